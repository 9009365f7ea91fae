"""The promises of the replicas' leases, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from time import monotonic
from typing import Protocol

import pytest

from server.adapters.memory.replicas import MemoryReplicas
from server.adapters.nats.link import Link
from server.adapters.nats.replicas import NatsReplicas
from server.adapters.postgres.database import Database
from server.adapters.postgres.replicas import PostgresReplicas
from server.adapters.redis import keys, ways
from server.adapters.redis.link import connect
from server.adapters.redis.master import Master
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.replicas import RedisReplicas
from server.domain.errors import Unavailable
from server.domain.replicas import ReplicaId, ReplicaState
from server.ports.replicas import LEASE_S, Replicas
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import REDISES, RedisServer
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess
from tests.harness.waiting import polled

DEADLINE_S = 5.0
SHORT_S = 0.4

_numbers = count(1)


class Deployment(Protocol):
    """A deployment of a kind."""

    async def open(self, id: str, lease_s: float = LEASE_S) -> Replicas:
        """Return the view of a replica."""
        ...


class InMemory(Deployment):
    """A single process is a single replica."""

    async def open(self, id: str, lease_s: float = LEASE_S) -> Replicas:
        return MemoryReplicas(ReplicaId(id), version="1.2.3", lease_s=lease_s)


class InRedis(Deployment):
    """Replicas of a prefix of the test's own."""

    def __init__(self, process: RedisServer, closing: AsyncExitStack) -> None:
        self.process, self.prefix = process, f"replicas-{next(_numbers)}:"
        self._closing = closing

    async def open(self, id: str, lease_s: float = LEASE_S) -> RedisReplicas:
        pipeline = ways.pipeline(self.process.url, Master())
        self._closing.push_async_callback(pipeline.aclose)
        await pipeline.ask("EXISTS", keys.leases(self.prefix))  # connected: what follows takes no time
        return RedisReplicas(pipeline, ReplicaId(id), version="1.2.3", prefix=self.prefix, lease_s=lease_s)


class InNats(Deployment):
    """Replicas of a prefix of the test's own."""

    def __init__(self, link: Link) -> None:
        self.link, self.prefix = link, f"replicas-{next(_numbers)}"

    async def open(self, id: str, lease_s: float = LEASE_S) -> NatsReplicas:
        return NatsReplicas(self.link, ReplicaId(id), version="1.2.3", prefix=self.prefix, lease_s=lease_s)


class InPostgres(Deployment):
    """Replicas of a table, which is empty at first."""

    def __init__(self, process: PostgresProcess, closing: AsyncExitStack) -> None:
        self.process, self._closing = process, closing

    async def open(self, id: str, lease_s: float = LEASE_S) -> PostgresReplicas:
        db = await self._closing.enter_async_context(Database(self.process.url))
        return PostgresReplicas(db, ReplicaId(id), version="1.2.3", lease_s=lease_s)


@pytest.fixture
async def in_redis(redis_server: RedisProcess) -> AsyncIterator[InRedis]:
    """Replicas that meet in Redis."""
    async with AsyncExitStack() as closing:
        yield InRedis(redis_server, closing)


@pytest.fixture
async def in_redis_cluster(redis_cluster_server: ClusterProcess) -> AsyncIterator[InRedis]:
    """Replicas that meet in a Redis Cluster."""
    async with AsyncExitStack() as closing:
        yield InRedis(redis_cluster_server, closing)


@pytest.fixture
async def in_nats(nats_server: NatsProcess) -> AsyncIterator[InNats]:
    """Replicas that meet in NATS."""
    async with Link(nats_server.url) as link:
        yield InNats(link)


@pytest.fixture
async def in_postgres(postgres_server: PostgresProcess) -> AsyncIterator[InPostgres]:
    """Replicas that meet in PostgreSQL."""
    await emptied(postgres_server, "replicas")
    async with AsyncExitStack() as closing:
        yield InPostgres(postgres_server, closing)


@pytest.fixture(params=["postgres", *REDISES])
def sharing(request: pytest.FixtureRequest) -> Deployment:
    """A deployment of each kind with several replicas, without one."""
    found: Deployment = request.getfixturevalue(f"in_{request.param}")
    return found


@pytest.fixture(params=["memory", "postgres", "nats", *REDISES])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """A deployment of each kind, without a replica."""
    if request.param == "memory":
        return InMemory()
    found: Deployment = request.getfixturevalue(f"in_{request.param}")
    return found


async def ids(replicas: Replicas) -> list[str]:
    """The ids of those that live."""
    return [row.id for row in await replicas.living()]


async def test_1_a_row_is_that_of_the_last_renewal(deployment: Deployment) -> None:
    """With the state, the version, the numbers and two times of the store's clock, of which the first stays."""
    replicas = await deployment.open("a")
    assert (replicas.id, await ids(replicas)) == ("a", [])
    await replicas.renew(ReplicaState.STARTING, {"sessions": 1})
    (first,) = await replicas.living()
    await replicas.renew(ReplicaState.SERVING, {"sessions": 2, "lag_s": 0.25, "rss_bytes": 9e9})
    (row,) = await replicas.living()
    assert (row.id, row.state, row.version) == ("a", ReplicaState.SERVING, "1.2.3")
    assert row.numbers == {"sessions": 2, "lag_s": 0.25, "rss_bytes": 9e9}
    assert abs(row.started_at - first.started_at) <= 5
    assert row.started_at <= first.seen_at <= row.seen_at
    assert row.seen_at > 1_700_000_000_000


async def test_2_a_lease_ends_by_itself(deployment: Deployment) -> None:
    """A replica that does not renew is missing; it comes back by renewing."""
    replicas = await deployment.open("a", lease_s=SHORT_S)
    began = monotonic()
    await replicas.renew(ReplicaState.SERVING, {})
    assert await ids(replicas) == ["a"]

    async def is_missing() -> bool:
        return await ids(replicas) == []

    await polled(is_missing, DEADLINE_S, lambda: "the lease ends")
    assert monotonic() - began >= SHORT_S
    await replicas.renew(ReplicaState.SERVING, {})
    assert await ids(replicas) == ["a"]


async def test_2_leaving_ends_a_lease_at_once(deployment: Deployment) -> None:
    """Also twice, or without a lease."""
    replicas = await deployment.open("a")
    await replicas.leave()
    await replicas.renew(ReplicaState.DRAINING, {})
    await replicas.leave()
    assert await ids(replicas) == []
    await replicas.leave()


async def test_2_replicas_see_each_other(sharing: InRedis | InPostgres) -> None:
    """In the order of their ids; a dead one is missing, and its row is gone with the next renewal of another."""
    b, a, dead = await sharing.open("b"), await sharing.open("a"), await sharing.open("c", lease_s=SHORT_S)
    for replicas in (b, dead, a):
        await replicas.renew(ReplicaState.SERVING, {})
    assert await ids(a) == await ids(b) == ["a", "b", "c"]

    async def only_two() -> bool:
        return await ids(b) == ["a", "b"]

    await polled(only_two, DEADLINE_S, lambda: "the dead replica is missing")
    await a.renew(ReplicaState.SERVING, {})
    if isinstance(sharing, InRedis):
        assert sorted(await sharing.process.command("HKEYS", keys.rows(sharing.prefix))) == [b"a", b"b"]
        assert await sharing.process.command("ZCARD", keys.leases(sharing.prefix)) == 2
    else:
        assert await sharing.process.query("SELECT id FROM maru.replicas ORDER BY id") == [("a",), ("b",)]


async def test_3_a_row_that_can_not_be_read_is_passed_over(in_redis: InRedis) -> None:
    """Of a newer version, damaged, too long, missing, with too many numbers."""
    a = await in_redis.open("a")
    await a.renew(ReplicaState.SERVING, {"sessions": 1, "nonsense": float("nan")})
    far = 10**15
    many = ",".join(f'"n{number}":1' for number in range(65))
    strange: dict[str, str | bytes] = {
        "newer": '1 2 {"v":2,"state":"serving","version":"9","numbers":{}}',
        "state": '1 2 {"v":1,"state":"asleep","version":"9","numbers":{}}',
        "number": '1 2 {"v":1,"state":"serving","version":"9","numbers":{"a":"b"}}',
        "list": '1 2 {"v":1,"state":"serving","version":"9","numbers":[]}',
        "many": '1 2 {"v":1,"state":"serving","version":"9","numbers":{' + many + "}}",
        "damaged": b"\xff",
        "long": "1 2 " + "9" * 20_000,
    }
    for id, row in strange.items():
        await in_redis.process.command("ZADD", keys.leases(in_redis.prefix), far, id)
        await in_redis.process.command("HSET", keys.rows(in_redis.prefix), id, row)
    await in_redis.process.command("ZADD", keys.leases(in_redis.prefix), far, "rowless")
    assert [(living.id, living.numbers) for living in await a.living()] == [("a", {"sessions": 1})]


async def test_3_an_odd_row_in_postgres_is_passed_over(in_postgres: InPostgres) -> None:
    """As in Redis."""
    a = await in_postgres.open("a")
    await a.renew(ReplicaState.SERVING, {"sessions": 1, "nonsense": float("nan")})
    many = b",".join(b'"n%d":1' % number for number in range(65))
    strange = {
        "newer": b'{"v":2,"state":"serving","version":"9","numbers":{}}',
        "state": b'{"v":1,"state":"asleep","version":"9","numbers":{}}',
        "list": b'{"v":1,"state":"serving","version":"9","numbers":[]}',
        "many": b'{"v":1,"state":"serving","version":"9","numbers":{' + many + b"}}",
        "damaged": b"\xff",
        "long": b"9" * 20_000,
    }
    for id, row in strange.items():
        await in_postgres.process.query("INSERT INTO maru.replicas VALUES ($1, 1, 2, $2, $3)", id, 10**15, row)
    assert [(living.id, living.numbers) for living in await a.living()] == [("a", {"sessions": 1})]


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_4_without_the_store_every_call_is_an_error(kind: str) -> None:
    """Within two seconds."""
    pipeline = Pipeline(connect(f"redis://127.0.0.1:{free_port()}"))
    replicas: Replicas = RedisReplicas(pipeline, ReplicaId("a"), version="1")
    if kind == "postgres":
        db = Database(f"postgresql://maru@127.0.0.1:{free_port()}/maru")
        replicas = PostgresReplicas(db, ReplicaId("a"), version="1")
    began = monotonic()
    calls = (replicas.renew(ReplicaState.SERVING, {}), replicas.living(), replicas.leave())
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert monotonic() - began < 2.0
    await pipeline.aclose()
