"""What marks and inboxes cost: Redis' time of a send, and the server's of an inbox of 500 channels.

    python -m bench.reading [--sends 20000]

It starts a Redis of its own, and prints a line for each figure. Redis' time is that of a processor, with sockets, so
that it holds on a machine that does other work, too.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench.redis_layout import append, draft
from server.adapters.redis.marks import RedisMarks
from server.adapters.redis.message_log import RedisMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.identity import UserId
from server.domain.marks import MAX_INBOX
from tests.harness.redis import RedisProcess

DAY_MS = 86_400_000

ROUNDS = 5
"""Of each measurement; the best counts."""


async def redis_us(redis: RedisProcess) -> float:
    """Microseconds of a processor that Redis has used so far."""
    cpu = await redis.command("INFO", "cpu")
    return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6


async def measure_sends(redis: RedisProcess, log: RedisMessageLog, sends: int) -> None:
    """Print Redis' time of a send alone, and of a call with 64 messages of 64 authors."""
    alone, together = [], []
    for number in range(ROUNDS):
        drafts = [draft(f"alone:{number}:{index % 50}", index, 1_000, keyed=True) for index in range(sends)]
        before = await redis_us(redis)
        for start in range(0, sends, 50):  # each of another channel, so a call each
            await asyncio.gather(*(log.append(one) for one in drafts[start : start + 50]))
        alone.append((await redis_us(redis) - before) / sends)
        before = await redis_us(redis)
        for _ in range(sends // 64):
            await append(log, [draft(f"together:{number}", index, 1_000, keyed=True) for index in range(64)])
        together.append((await redis_us(redis) - before) / (sends // 64 * 64))
    print(f"a send alone: {min(alone):.2f} us of Redis; 64 in a call: {min(together):.2f} us each")


async def measure_inbox(redis: RedisProcess, log: RedisMessageLog) -> None:
    """Print the time of an inbox of 500 channels, each with 20 messages, some of them deleted."""
    marks, user = RedisMarks(log), UserId("reader")
    channels = [ChannelName(f"inbox:{number}") for number in range(MAX_INBOX)]
    for channel in channels:
        drafts = [draft(channel, number, 1_000, keyed=False) for number in range(20)]
        await append(log, drafts)
        await log.append(Deletion(channel, drafts[-1].id, 1_000))
        await marks.mark(channel, user, 10)
    for name, ask in (("inbox", marks.inbox), ("marks", marks.marks)):
        wall, cpu, before = [], [], await redis_us(redis)
        for _ in range(ROUNDS):
            began, used = time.perf_counter(), time.process_time()
            await ask(user, channels)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        us = (await redis_us(redis) - before) / ROUNDS / len(channels)
        print(
            f"{name} of {len(channels)} channels: {min(wall) * 1000:.1f} ms in all, {min(cpu) * 1000:.1f} ms of the"
            f" server's processor, {us:.1f} us of Redis a channel"
        )


async def main(sends: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            RedisProcess(Path(folder)) as redis,
            RedisMessageLog(redis.url, max_events=100_000, max_age_ms=DAY_MS) as log,
        ):
            await measure_sends(redis, log, sends)
            await measure_inbox(redis, log)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sends", type=int, default=20_000)
    asyncio.run(main(parser.parse_args().sends))
