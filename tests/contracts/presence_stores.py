"""Replicas that share presence, of each kind of store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.online import MemoryOnline
from server.adapters.memory.presence import MemoryPresence
from server.adapters.redis import link
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.holding import Holding
from server.adapters.redis.online import RedisOnline
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.presence import RedisPresence
from server.adapters.redis.reaper import Reaper
from server.adapters.redis.signals import RedisSignals
from server.domain.channels import ChannelName
from server.domain.presence import ChannelTurned, RosterChanged
from server.domain.replicas import ReplicaId
from server.ports.broadcast import Broadcast
from server.ports.presence import CHANGES_LIMIT, Online, Presence, RostersLost
from server.ports.replicas import LEASE_S
from tests.doubles.clock import Clock
from tests.harness.redis import RedisProcess
from tests.harness.seal import SEAL

DEADLINE_S = 10.0

_numbers = count(1)


@dataclass(eq=False)
class Replica:
    """A replica's part in presence."""

    broadcast: Broadcast
    presence: Presence
    online: Online
    clock: Clock
    """The time of the store, if the test moves it."""
    heard: AsyncIterator[RosterChanged | RostersLost] = field(init=False)
    turns: AsyncIterator[ChannelTurned] = field(init=False)

    def __post_init__(self) -> None:
        self.heard, self.turns = self.presence.listen(), self.presence.turns()

    async def changes(self, number: int) -> list[RosterChanged]:
        """So many changes; `RostersLost` is passed over."""
        found = list[RosterChanged]()
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < number:
                item = await anext(self.heard)
                if isinstance(item, RosterChanged):
                    found.append(item)
        return found

    async def turned(self, number: int) -> list[tuple[ChannelName, int, int]]:
        """So many turns: channel, version, count."""
        async with asyncio.timeout(DEADLINE_S):
            found = [await anext(self.turns) for _ in range(number)]
        return [(each.channel, each.head.version, each.head.count) for each in found]

    async def lost(self) -> None:
        """Return once the replica hears that it may have missed something."""
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(await anext(self.heard), RostersLost):
                pass


@dataclass(eq=False)
class RedisReplica(Replica):
    """With its parts. `look` removes what dead replicas have left."""

    holding: Holding
    reaper: Reaper
    bus: RedisBus
    signals: RedisSignals

    async def look(self) -> None:
        """Remove what dead replicas have left."""
        await self.reaper.look()


class Deployment(Protocol):
    """A deployment of a kind, empty."""

    async def open(self, limit: int = CHANGES_LIMIT) -> Replica:
        """Start a replica."""
        ...


class InMemory(Deployment):
    """A single process is a single replica."""

    async def open(self, limit: int = CHANGES_LIMIT) -> Replica:
        broadcast, clock = MemoryBroadcast(), Clock()
        presence = MemoryPresence(broadcast.hears, limit, now_ms=clock)
        return Replica(broadcast, presence, MemoryOnline(now_ms=clock), clock)


class InRedis(Deployment):
    """Replicas of a prefix of the test's own. With a `clock` it is the time of all; else it is Redis'."""

    def __init__(self, url: str, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        self.url, self.lease_s, self.clock = url, lease_s, clock or Clock()
        self.prefix = f"presence-{next(_numbers)}:"
        self._times: dict[str, Callable[[], int]] = {} if clock is None else {"store_ms": clock}
        self._started = list[tuple[RedisReplica, asyncio.Task[None]]]()

    async def open(self, limit: int = CHANGES_LIMIT) -> RedisReplica:
        replica = self.make(limit)
        async with asyncio.timeout(DEADLINE_S):
            await replica.bus.linked.wait()
            await replica.lost()
        return replica

    def make(self, limit: int = CHANGES_LIMIT) -> RedisReplica:
        """Start a replica, and do not wait for Redis."""
        bus, pipeline = RedisBus(self.url, prefix=self.prefix, pulse_s=0.5), Pipeline(link.connect(self.url))
        broadcast, signals = RedisBroadcast(bus, SEAL), RedisSignals(bus, SEAL)
        monotonic = (lambda: self.clock() / 1_000) if self._times else time.monotonic
        id, times = ReplicaId(f"{next(_numbers):016x}"), self._times
        holding = Holding(pipeline, id, prefix=self.prefix, lease_s=self.lease_s, monotonic=monotonic, **times)
        reaper = Reaper(holding, SEAL, bus.topic)
        presence = RedisPresence(holding, reaper, bus, signals, SEAL, limit)
        online = RedisOnline(holding, reaper)
        replica = RedisReplica(broadcast, presence, online, self.clock, holding, reaper, bus, signals)
        self._started.append((replica, asyncio.create_task(bus.run())))
        return replica

    async def command(self, *words: str | int | bytes) -> Any:
        """Run a command; strings come back as bytes."""
        client = link.connect(self.url)
        try:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            await link.close(client)

    async def keys(self, holder: str = "") -> set[str]:
        """The keys of the deployment; or the kinds of keys of a holder."""
        found = {key.decode() for key in await self.command("KEYS", f"{self.prefix}*")}
        return {key.split(":")[-2] for key in found if key.endswith(f":{holder}")} if holder else found

    async def aclose(self) -> None:
        """Stop all."""
        for replica, listening in self._started:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await replica.bus.aclose()
            await replica.holding.pipeline.aclose()


@asynccontextmanager
async def redis_deployment(
    server: RedisProcess, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AsyncIterator[InRedis]:
    """A deployment that is stopped at the end."""
    deployment = InRedis(server.url, clock, lease_s)
    try:
        yield deployment
    finally:
        await deployment.aclose()


async def subscribed(*replicas: Replica, channel: ChannelName) -> None:
    """Let replicas hear the channel's changes."""
    for replica in replicas:
        await replica.broadcast.subscribe(channel)
