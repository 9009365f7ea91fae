"""The price of presence, over a real Redis: a storm of users in a channel, and a herd that moves with its channels."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from server.application.people.entering import ENTRIES_PER_S
from server.application.people.presence import Presences
from server.bootstrap.stores.open import open_stores
from server.domain.channels import ChannelName
from server.domain.identity import SessionId
from server.domain.rules import Rules
from server.process import garbage
from server.settings.choices import BroadcastKind, MessageLogKind
from server.settings.model import Settings
from tests.conftest import Figure
from tests.doubles.samples import identity
from tests.doubles.transport import RecordingTransport
from tests.harness.redis import RedisProcess
from tests.harness.server import SECRET
from tests.harness.waiting import polled

pytestmark = [pytest.mark.alone]

STORM = 2_000
"""Users that join a channel at once."""

HERD, CHANNELS = 10_000, 50
"""Users that move, and how many channels each is in."""


@dataclass(slots=True)
class Price:
    """What Redis and the event loop have paid."""

    redis: RedisProcess
    commands: float = 0.0
    cpu_s: float = 0.0
    lag_s: float = 0.0
    took_s: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def look(self) -> tuple[float, float]:
        """Commands processed by Redis, and its seconds of CPU."""
        async with self.redis.client() as client:
            stats, cpu = await client.info("stats"), await client.info("cpu")
        return stats["total_commands_processed"], cpu["used_cpu_user"] + cpu["used_cpu_sys"]

    @asynccontextmanager
    async def paid(self) -> AsyncIterator[None]:
        """Note what the body costs."""
        over, (commands, cpu_s), began = asyncio.Event(), await self.look(), time.monotonic()

        async def lag() -> None:
            while not over.is_set():
                due = time.monotonic() + 0.01
                await asyncio.sleep(0.01)
                self.lag_s = max(self.lag_s, time.monotonic() - due)

        looking = asyncio.create_task(lag())
        yield
        over.set()
        await looking
        self.took_s = time.monotonic() - began
        after = await self.look()
        self.commands, self.cpu_s = after[0] - commands, after[1] - cpu_s


@asynccontextmanager
async def presences(redis: RedisProcess) -> AsyncIterator[Presences]:
    """A replica's presence, with its loops."""
    settings = Settings(
        jwt_secret=SecretStr(SECRET),
        message_log=MessageLogKind.REDIS,
        broadcast=BroadcastKind.REDIS,
        redis_url=SecretStr(redis.url),
    )
    async with AsyncExitStack() as stack:
        stores = await open_stores(settings, stack)
        transport = RecordingTransport()
        bus = stores.bus
        cases = Presences(bus.presence, transport, transport, Rules({}), time.monotonic, bus.link.is_set)
        loops = [asyncio.create_task(loop) for loop in (*cases.loops(), *bus.loops)]
        await bus.link.wait()
        yield cases
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def entered(cases: Presences, price: Price, count: int, timeout: float) -> None:
    """Wait until nobody waits, and Redis has all."""

    async def done() -> bool:
        return cases.entering.waiting == 0

    await polled(done, timeout, lambda: f"{cases.entering.waiting} of {count} wait")


async def test_a_storm_of_users_in_a_channel(tmp_path: Path, figure: Figure) -> None:
    """They are entered by some calls of a thousand, not by a call each."""
    channel = ChannelName("room:storm")
    async with RedisProcess(tmp_path / "redis") as redis, presences(redis) as cases:
        price = Price(redis)
        async with price.paid():
            for number in range(STORM):
                cases.entered(SessionId(f"s-{number}"), identity(f"user-{number}"), channel, told=False)
            await entered(cases, price, STORM, 30.0)
        figure(
            f"{STORM:,} users enter a channel: {price.commands:.0f} commands, {price.cpu_s * 1e3:.0f} ms of Redis, "
            f"{price.took_s:.2f} s, loop late by {price.lag_s * 1e3:.0f} ms at most"
        )
        assert price.commands < STORM / 4


async def test_a_herd_moves_with_its_channels(tmp_path: Path, figure: Figure) -> None:
    """At the pace of `ENTRIES_PER_S`, or slower if Redis is; the event loop goes on."""
    pairs = HERD * CHANNELS
    async with RedisProcess(tmp_path / "redis") as redis, presences(redis) as cases:
        price = Price(redis)
        garbage.settle()  # as a server does
        async with price.paid():
            for number in range(HERD):
                user = identity(f"user-{number}")
                for place in range(CHANNELS):
                    channel = ChannelName(f"room:{(number // CHANNELS) * CHANNELS + place}")
                    cases.entered(SessionId(f"s-{number}"), user, channel, told=True)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await entered(cases, price, pairs, 300.0)
        figure(
            f"{HERD:,} users move with {CHANNELS} channels each, {pairs:,} entries: {price.commands:,.0f} commands, "
            f"{price.cpu_s:.1f} s of Redis ({price.cpu_s / pairs * 1e6:.1f} us an entry), {price.took_s:.1f} s, "
            f"loop late by {price.lag_s * 1e3:.0f} ms at most"
        )
        assert price.took_s > pairs / ENTRIES_PER_S - 1
