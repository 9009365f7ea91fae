"""Replicas that share presence, of each kind of store."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from server.adapters import holding
from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.online import MemoryOnline
from server.adapters.memory.presence import MemoryPresence
from server.adapters.postgres.bus import PostgresBus
from server.adapters.postgres.connections import connect
from server.adapters.postgres.database import Database
from server.adapters.postgres.holding import Holding as PostgresHolding
from server.adapters.postgres.online import PostgresOnline
from server.adapters.postgres.presence import PostgresPresence
from server.adapters.postgres.reaper import Reaper as PostgresReaper
from server.adapters.redis import presence_keys, ways
from server.adapters.redis.broadcast import RedisBroadcast
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.holding import Holding
from server.adapters.redis.keys import PARTITIONS
from server.adapters.redis.master import Master
from server.adapters.redis.online import RedisOnline
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.presence import RedisPresence
from server.adapters.redis.reaper import Reaper
from server.adapters.redis.signals import RedisSignals
from server.adapters.topics.broadcast import TopicBroadcast
from server.adapters.topics.topics import Topics
from server.domain.channels import ChannelName
from server.domain.presence import ChannelTurned, RosterChanged, RosterHead
from server.domain.replicas import ReplicaId
from server.ports.broadcast import Broadcast
from server.ports.presence import CHANGES_LIMIT, Online, Presence, RostersLost
from server.ports.replicas import LEASE_S
from tests.contracts.redises import RedisServer
from tests.doubles.clock import Clock
from tests.harness.postgres import PostgresProcess
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess
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
class SharingReplica(Replica):
    """A replica of a store that replicas share. `look` removes what dead replicas have left."""

    holding: holding.Holding
    look: Callable[[], Awaitable[None]]
    refused: Callable[[], int]
    """How many payloads were not believed."""


class Deployment(Protocol):
    """A deployment of a kind, empty."""

    async def open(self, limit: int = CHANGES_LIMIT) -> Replica:
        """Start a replica."""
        ...


class Sharing(Deployment, Protocol):
    """A deployment whose replicas share a store. `clock` is the time of all, if the test moves it."""

    clock: Clock

    async def open(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        """Start a replica."""
        ...

    def make(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        """Start a replica, and do not wait for the store."""
        ...

    async def left_by(self, holder: str) -> bool:
        """Say whether the store still has something that the holder has entered, or its lease."""
        ...

    async def counted(self) -> bool:
        """Say whether the store has sessions."""
        ...

    async def end_lease(self, holder: str) -> None:
        """Let a lease have ended long ago."""
        ...

    async def go_back(self, channel: ChannelName, head: RosterHead) -> None:
        """Let the store have an older version of a roster."""
        ...

    async def publish(self, replica: SharingReplica, channel: ChannelName, body: bytes) -> int:
        """Publish changes of a roster that nobody of the cluster has sealed. Returns how many."""
        ...

    async def empty(self) -> None:
        """Lose all."""
        ...

    async def break_links(self) -> None:
        """End the connections by which replicas hear."""
        ...

    async def aclose(self) -> None:
        """Stop all."""
        ...


class InMemory(Deployment):
    """A single process is a single replica."""

    async def open(self, limit: int = CHANGES_LIMIT) -> Replica:
        broadcast, clock = MemoryBroadcast(), Clock()
        presence = MemoryPresence(broadcast.hears, limit, now_ms=clock)
        return Replica(broadcast, presence, MemoryOnline(now_ms=clock), clock)


class InRedis(Sharing):
    """Replicas of a prefix of the test's own. With a `clock` it is the time of all; else it is Redis'."""

    def __init__(self, url: str, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        self.url, self.lease_s, self.clock = url, lease_s, clock or Clock()
        self.prefix = f"presence-{next(_numbers)}:"
        self._times: dict[str, Callable[[], int]] = {} if clock is None else {"store_ms": clock}
        self.server: RedisServer | None = None  # for commands of the test
        self._started = list[tuple[RedisBus, Pipeline, asyncio.Task[None]]]()

    async def open(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        replica = self.make(limit)
        async with asyncio.timeout(DEADLINE_S):
            bus, pipeline, _ = self._started[-1]
            await bus.linked.wait()
            await replica.lost()
            # Connected, to every node: no call of the test fails since a loaded machine connects too slowly.
            await asyncio.gather(*(pipeline.ask("EXISTS", partition) for partition in PARTITIONS))
        return replica

    def make(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        bus, pipeline = RedisBus(self.url, prefix=self.prefix, pulse_s=0.5), ways.pipeline(self.url, Master())
        broadcast, signals = RedisBroadcast(bus, SEAL), RedisSignals(bus, SEAL)
        monotonic = (lambda: self.clock() / 1_000) if self._times else time.monotonic
        id, times = ReplicaId(f"{next(_numbers):016x}"), self._times
        holding = Holding(pipeline, id, prefix=self.prefix, lease_s=self.lease_s, monotonic=monotonic, **times)
        reaper = Reaper(holding, SEAL, bus.topic)
        presence = RedisPresence(holding, reaper, bus, signals, SEAL, limit)
        online = RedisOnline(holding, reaper)
        self._started.append((bus, pipeline, asyncio.create_task(bus.run())))
        return SharingReplica(broadcast, presence, online, self.clock, holding, reaper.look, lambda: signals.refused)

    async def left_by(self, holder: str) -> bool:
        leases = await self.command("ZRANGE", presence_keys.holders(self.prefix), 0, -1)
        return holder.encode() in leases or await self.keys(holder) > {"dead"}

    async def counted(self) -> bool:
        return any("counted" in key for key in await self.keys())

    async def end_lease(self, holder: str) -> None:
        await self.command("ZADD", presence_keys.holders(self.prefix), 1, holder)

    async def go_back(self, channel: ChannelName, head: RosterHead) -> None:
        await self.command("SET", presence_keys.roster(channel, self.prefix)[2], f"{head.epoch} {head.version}")

    async def publish(self, replica: SharingReplica, channel: ChannelName, body: bytes) -> int:
        payloads = [b"~" + body, b"~" + b"0" * 40 + b" " + body]
        for payload in payloads:
            assert self.server is not None
            await self.server.publish(self._started[-1][0].topic(channel), payload)
        return len(payloads)

    async def empty(self) -> None:
        await self.command("DEL", *await self.keys())

    async def break_links(self) -> None:
        # Of one node: a replica of a cluster takes another name for each node that it hears again.
        assert self.server is not None
        node = (await self.server.masters())[0] if isinstance(self.server, ClusterProcess) else self.server
        await node.command("CLIENT", "KILL", "TYPE", "pubsub")

    async def command(self, *words: str | int | bytes) -> Any:
        """Run a command; strings come back as bytes."""
        assert self.server is not None
        return await self.server.command(*words)

    async def keys(self, holder: str = "") -> set[str]:
        """The keys of the deployment; or the kinds of keys of a holder."""
        found = {key.decode() for key in await self.command("KEYS", f"{self.prefix}*")}
        return {key.split(":")[-2] for key in found if key.endswith(f":{holder}")} if holder else found

    async def aclose(self) -> None:
        for bus, pipeline, listening in self._started:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await bus.aclose()
            await pipeline.aclose()


TABLES = "holders", "rosters", "members", "entries", "online", "counted", "seen"
"""Of presence, in PostgreSQL."""


class InPostgres(Sharing):
    """Replicas of a database. With a `clock` it is the time of all; else it is the database's."""

    def __init__(self, url: str, clock: Clock | None = None, lease_s: float = LEASE_S) -> None:
        self.url, self.lease_s, self.clock = url, lease_s, clock or Clock()
        self._times: dict[str, Callable[[], int]] = {} if clock is None else {"store_ms": clock}
        self._started = list[tuple[PostgresBus, Database, asyncio.Task[None]]]()

    async def open(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        replica = self.make(limit)
        async with asyncio.timeout(DEADLINE_S):
            await self._started[-1][0].linked.wait()
            await replica.lost()
        return replica

    def make(self, limit: int = CHANGES_LIMIT) -> SharingReplica:
        db = Database(self.url, size=4)
        bus = PostgresBus(self.url, pulse_s=0.5)
        topics = Topics(bus, SEAL)
        monotonic = (lambda: self.clock() / 1_000) if self._times else time.monotonic
        id = ReplicaId(f"{next(_numbers):016x}")
        holding = PostgresHolding(db, id, lease_s=self.lease_s, monotonic=monotonic, **self._times)
        reaper = PostgresReaper(holding)
        presence, online = PostgresPresence(holding, reaper, topics, limit), PostgresOnline(holding, reaper)
        broadcast = TopicBroadcast(topics)
        self._started.append((bus, db, asyncio.create_task(bus.run())))
        return SharingReplica(broadcast, presence, online, self.clock, holding, reaper.look, lambda: topics.refused)

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        """Run a statement; return its rows."""
        connection = await connect(self.url)
        try:
            found: list[Any] = await connection.fetch(sql, *arguments)
            return found
        finally:
            connection.terminate()

    async def left_by(self, holder: str) -> bool:
        parts = (
            "SELECT name FROM maru.holders WHERE reaped_at IS NULL",
            "SELECT holder FROM maru.entries",
            "SELECT holder FROM maru.counted",
        )
        return bool(await self.rows(f"SELECT FROM ({' UNION ALL '.join(parts)}) p (n) WHERE n = $1", holder))

    async def counted(self) -> bool:
        return bool(await self.rows("SELECT FROM maru.counted UNION ALL SELECT FROM maru.online"))

    async def end_lease(self, holder: str) -> None:
        await self.rows("UPDATE maru.holders SET ends_at = 1 WHERE name = $1", holder)

    async def go_back(self, channel: ChannelName, head: RosterHead) -> None:
        moved = "UPDATE maru.rosters SET epoch = $2, version = $3 WHERE channel = $1"
        await self.rows(moved, channel, head.epoch, head.version)

    async def publish(self, replica: SharingReplica, channel: ChannelName, body: bytes) -> int:
        bus = self._started[-1][0]
        payloads = [b"r " + body, b"r " + b"0" * 40 + b" " + body]
        for payload in payloads:
            await bus.publish(channel, payload)
        return len(payloads)

    async def empty(self) -> None:
        await self.rows(f"TRUNCATE {', '.join(f'maru.{table}' for table in TABLES)}")

    async def break_links(self) -> None:
        await self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'maru' AND pid <> pg_backend_pid()"
        )

    async def aclose(self) -> None:
        for _, db, listening in self._started:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await db.__aexit__()


@asynccontextmanager
async def redis_deployment(
    server: RedisServer, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AsyncIterator[InRedis]:
    """A deployment that is stopped at the end."""
    deployment = InRedis(server.url, clock, lease_s)
    deployment.server = server
    try:
        yield deployment
    finally:
        await deployment.aclose()


@asynccontextmanager
async def postgres_deployment(
    server: PostgresProcess, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AsyncIterator[InPostgres]:
    """A deployment that is stopped at the end, in an empty database."""
    async with Database(server.url) as db:
        await db.known()
    deployment = InPostgres(server.url, clock, lease_s)
    await deployment.empty()
    try:
        yield deployment
    finally:
        await deployment.aclose()


def sharing_deployment(
    server: RedisServer | PostgresProcess, clock: Clock | None = None, lease_s: float = LEASE_S
) -> AbstractAsyncContextManager[Sharing]:
    """A deployment in a store of any kind, that is stopped at the end."""
    if isinstance(server, RedisProcess | ClusterProcess):
        return redis_deployment(server, clock, lease_s)
    return postgres_deployment(server, clock, lease_s)


async def subscribed(*replicas: Replica, channel: ChannelName) -> None:
    """Let replicas hear the channel's changes."""
    for replica in replicas:
        await replica.broadcast.subscribe(channel)
