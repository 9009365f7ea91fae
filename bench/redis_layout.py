"""What the log costs a Redis: bytes a channel, bytes a key, and how long Redis stands still while old events go.

    python -m bench.redis_layout [--channels 100000] [--events 1000000]

It starts a Redis of its own, with the settings of docs/operations.md, and prints a line for each figure.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from server.adapters.redis import keys
from server.adapters.redis.clocks import Clocks
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import NewMessage
from server.domain.identity import Author, UserId
from server.domain.messages import ID_RANDOM_BYTES, message_id
from tests.harness.redis import RedisProcess

BATCH = 100
"""Appends at once."""

DAY_MS = 86_400_000


class Time:
    """A clock that can be moved."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead


def draft(channel: str, number: int, at: int, *, keyed: bool) -> NewMessage:
    """Return a message of 100 characters."""
    return NewMessage(
        channel=ChannelName(channel),
        id=message_id(at, os.urandom(ID_RANDOM_BYTES)),
        author=Author(UserId(f"user-{number % 100}"), "Some User"),
        text="x" * 100,
        data=None,
        reply_to=None,
        key=os.urandom(8).hex() if keyed else None,
        at=at,
    )


async def append(log: RedisMessageLog, drafts: list[NewMessage]) -> None:
    """Append them, so many at once."""
    for start in range(0, len(drafts), BATCH):
        await asyncio.gather(*(log.append(one) for one in drafts[start : start + BATCH]))


async def used(client: Redis) -> int:
    """Return the bytes of Redis' data."""
    memory = await client.info("memory")
    return int(memory["used_memory"])


async def channels(log: RedisMessageLog, client: Redis, number: int, now: Time) -> None:
    """Print the bytes of a channel with one message, with and without a key."""
    for keyed in (False, True):
        before = await used(client)
        await append(log, [draft(f"one:{keyed}:{index}", index, now(), keyed=keyed) for index in range(number)])
        each = (await used(client) - before) / number
        print(f"a channel with one message, {'with' if keyed else 'without'} a key: {each:.0f} bytes")
        await client.flushdb()


async def idempotency(log: RedisMessageLog, client: Redis, now: Time) -> None:
    """Print the bytes of a key by the number of keys in the channel."""
    for number in (100, 1_000, 10_000):
        channel = ChannelName(f"keys:{number}")
        await append(log, [draft(channel, index, now(), keyed=True) for index in range(number)])
        total = 0
        async for name in client.scan_iter(keys.sent(channel, "*"), count=10_000):
            total += await client.memory_usage(name, samples=0) or 0
        print(f"an idempotency key of {number:,} in the channel: {total / number:.1f} bytes")
    await client.flushdb()


FILL = """
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][2][2]
for offset = ARGV[1], ARGV[2] do
  redis.call('XADD', KEYS[2], string.format('%.0f-0', offset), 'e', last)
  redis.call('ZADD', KEYS[3], offset, 'id-' .. offset)
end
local words = {}
for word in string.gmatch(redis.call('GET', KEYS[1]), '%S+') do words[#words + 1] = word end
words[2], words[10] = ARGV[2], ARGV[2]
redis.call('SET', KEYS[1], table.concat(words, ' '))
"""
"""Repeats the last event of a channel: a million appends would take minutes."""


async def ageing(log: RedisMessageLog, client: Redis, events: int, now: Time) -> None:
    """Print the longest script call while the events of one channel age out: all of them, and all but the newest."""
    for left in (0, 1_000):
        channel = ChannelName(f"aged:{left}")
        names = (keys.meta(channel), keys.log(channel), keys.order(channel))
        await append(log, [draft(channel, 0, now(), keyed=False)])
        for first in range(2, events + 1, 10_000):
            await client.eval(FILL, 3, *names, first, min(events, first + 9_999))
        now.ahead += DAY_MS * 9 // 10
        await append(log, [draft(channel, index, now(), keyed=False) for index in range(left)])
        now.ahead += DAY_MS // 5
        await client.config_set("slowlog-log-slower-than", 0)
        await client.config_set("slowlog-max-len", 100_000)
        await client.slowlog_reset()
        began = time.monotonic()
        await log.read(channel, 0, 0)
        await log.sweep.sweep(keys.partition(channel))
        seconds = time.monotonic() - began
        calls = [call for call in await client.slowlog_get(100_000) if call["command"].startswith(b"EVALSHA")]
        longest = sorted(call["duration"] / 1000 for call in calls)[-3:]
        stored = await client.xlen(keys.log(channel))
        print(
            f"{events:,} aged events, {left:,} kept: {len(calls)} calls in {seconds:.1f} s, the three longest stopped "
            f"Redis for {longest} ms, {stored:,} left"
        )


async def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    now = Time()
    with tempfile.TemporaryDirectory() as folder:
        settings = ("--stream-node-max-bytes", "512", "--appendonly", "no")
        async with RedisProcess(Path(folder), settings) as redis, redis.client() as client:
            log = RedisMessageLog(redis.url, max_events=10**9, max_age_ms=DAY_MS, clocks=Clocks(now, now))
            async with log:
                await channels(log, client, options.channels, now)
                await idempotency(log, client, now)
                await ageing(log, client, options.events, now)


if __name__ == "__main__":
    asyncio.run(main())
