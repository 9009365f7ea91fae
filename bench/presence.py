"""What presence costs Redis: its CPU time (INFO cpu), with the parsing of commands.

    python -m bench.presence

10,000 users who enter one channel, from one replica and then from another; 10,000 users of 10 channels each who move to
another replica; and a dead replica with 20,000 channels of 5 users.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from server.adapters.redis import presence_keys
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from tests.contracts.presence_stores import InRedis, SharingReplica
from tests.harness.redis import RedisProcess

AT_ONCE = 512
"""Calls under way."""

PER_CALL = 64
"""Users of a call that enters many."""

REPEATS = 100
"""Of calls that are measured alone."""

USERS = [UserId(f"user {number}") for number in range(10_000)]
BIG = ChannelName("room:big")
PAIRS = [(user, ChannelName(f"room:{(n * 10 + k) % 20_000}")) for n, user in enumerate(USERS) for k in range(10)]
DEAD = [ChannelName(f"dead:{number}") for number in range(20_000)]

Entry = tuple[ChannelName, Sequence[UserId]]


def cpu_us(info: str) -> float:
    """Return the microseconds of CPU in the answer to INFO."""
    return 1e6 * sum(float(found) for found in re.findall(r"used_cpu_(?:user|sys)[:'\s]+([\d.]+)", info))


class Meter:
    """Prints what Redis spends."""

    def __init__(self, redis: RedisProcess) -> None:
        self._redis = redis

    async def _spent_us(self) -> float:
        return cpu_us(str(await self._redis.command("INFO", "cpu")))

    @asynccontextmanager
    async def told(self, label: str, items: int) -> AsyncIterator[None]:
        """Print the cost of each of so many items."""
        before, began = await self._spent_us(), time.perf_counter()
        yield
        took, spent = time.perf_counter() - began, await self._spent_us() - before
        print(f"{label}: {items / took:,.0f}/s, {spent / items:.1f} us of Redis each, {spent / 1e6:.2f} s in all")


async def enter(replica: SharingReplica, living: Sequence[SharingReplica], entries: Sequence[Entry]) -> None:
    """Enter users, while the leases of the living are renewed."""
    for start in range(0, len(entries), AT_ONCE):
        for each in living:
            await each.presence.renew()
        part = entries[start : start + AT_ONCE]
        await asyncio.gather(*(replica.presence.enter(name, dict.fromkeys(users, "A name")) for name, users in part))


async def measure(redis: RedisProcess, deployment: InRedis) -> None:
    """Measure all cases."""
    meter, one, two = Meter(redis), await deployment.open(), await deployment.open()
    crowd = [(BIG, USERS[start : start + PER_CALL]) for start in range(0, len(USERS), PER_CALL)]
    pairs = [(channel, (user,)) for user, channel in PAIRS]
    for replica, label in ((one, "10,000 users enter a channel"), (two, "the same from another replica")):
        async with meter.told(label, len(USERS)):
            await enter(replica, (one, two), crowd)
    for replica, label in ((one, "user and channel, entered"), (two, "the same, moved to another replica")):
        async with meter.told(label, len(pairs)):
            await enter(replica, (one, two), pairs)
    dead = await deployment.open()
    await enter(dead, (one, two, dead), [(channel, USERS[:5]) for channel in DEAD])
    await redis.command("ZADD", presence_keys.holders(deployment.prefix), "XX", 1, dead.holding.name)
    async with meter.told("channels of a dead replica, of 5 users each", len(DEAD)):
        await two.look()
    async with meter.told("the longest 100 of 10,000 read", REPEATS):
        for _ in range(REPEATS):
            await two.presence.read(BIG, 100)
    async with meter.told("a renewal", REPEATS):
        for _ in range(REPEATS):
            await two.presence.renew()


async def main() -> None:
    """Measure with a Redis of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with RedisProcess(Path(folder), ["--appendonly", "no"]) as redis:
            deployment = InRedis(redis.url)
            await measure(redis, deployment)
            await deployment.aclose()


if __name__ == "__main__":
    asyncio.run(main())
