"""The promises of the store of erasures, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Protocol

import pytest

from server.adapters.memory.erasures import MemoryErasures
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.nats.erasures import NatsErasures
from server.adapters.nats.link import Link
from server.adapters.nats.message_log import NatsMessageLog
from server.adapters.postgres.database import Database
from server.adapters.postgres.erasures import PostgresErasures
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.redis import keys, ways
from server.adapters.redis.erasures import RedisErasures
from server.adapters.redis.link import connect
from server.adapters.redis.master import Master
from server.adapters.redis.message_log import RedisMessageLog
from server.adapters.redis.pipeline import Pipeline
from server.adapters.sqlite.erasures import SqliteErasures
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion
from server.domain.erasures import Erasure, Step
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.domain.replicas import ReplicaId
from server.ports.erasures import ERASURES_LIMIT, KEPT_MS, Erasures
from server.ports.message_log import MessageLog
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import REDISES, RedisServer
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

RETENTION_MS = 1_000_000 * HOUR_MS
ALICE, STEP = UserId("alice"), Step(ChannelName("room:1"), 3, 90, 64)

_numbers = count(1)


class Opened(NamedTuple):
    """A log, and the erasures of its messages."""

    log: MessageLog
    erasures: Erasures


class Stores(Protocol):
    """A store of one kind, empty at first."""

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        """Open it; also again, as after a restart."""
        ...


class InMemory(Stores):
    """As long as the process lives."""

    def __init__(self) -> None:
        self._opened: Opened | None = None

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        log = MemoryMessageLog(max_events=100_000, max_age_ms=RETENTION_MS)
        self._opened = self._opened or Opened(log, MemoryErasures(log, limit))
        return self._opened


class InSqlite(Stores):
    """A file, which each opening opens anew."""

    def __init__(self, path: Path, closing: AsyncExitStack) -> None:
        self._path, self._closing, self._last = path, closing, AsyncExitStack()

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        await self._last.aclose()
        self._last = AsyncExitStack()
        log = SqliteMessageLog(self._path, max_events=100_000, max_age_ms=RETENTION_MS)
        await self._last.enter_async_context(log)
        self._closing.push_async_callback(self._last.aclose)
        return Opened(log, SqliteErasures(log, limit))


class InRedis(Stores):
    """Keys of the test's own."""

    def __init__(self, process: RedisServer, closing: AsyncExitStack) -> None:
        self.process, self.prefix, self._closing = process, f"erasures-{next(_numbers)}:", closing

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        pipeline = ways.pipeline(self.process.url, Master())
        self._closing.push_async_callback(pipeline.aclose)
        log = RedisMessageLog(self.process.url, max_events=100_000, max_age_ms=RETENTION_MS, prefix=self.prefix)
        await self._closing.enter_async_context(log)
        return Opened(log, RedisErasures(pipeline, prefix=self.prefix, limit=limit))


class InNats(Stores):
    """Streams of the test's own."""

    def __init__(self, process: NatsProcess, closing: AsyncExitStack) -> None:
        self._process, self._prefix, self._closing = process, f"erasures-{next(_numbers)}", closing

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        link = await self._closing.enter_async_context(Link(self._process.url))
        log = NatsMessageLog(link, max_events=100_000, max_age_ms=RETENTION_MS, prefix=self._prefix)
        await self._closing.enter_async_context(log)
        return Opened(log, NatsErasures(link, log.side.channels, prefix=self._prefix, limit=limit))


class InPostgres(Stores):
    """Tables, which are empty at first."""

    def __init__(self, process: PostgresProcess, closing: AsyncExitStack) -> None:
        self.process, self._closing = process, closing

    async def open(self, limit: int = ERASURES_LIMIT) -> Opened:
        db = await self._closing.enter_async_context(Database(self.process.url))
        log = PostgresMessageLog(db, max_events=100_000, max_age_ms=RETENTION_MS)
        await self._closing.enter_async_context(log)
        return Opened(log, PostgresErasures(db, limit))


@pytest.fixture
async def in_postgres(postgres_server: PostgresProcess, closing: AsyncExitStack) -> InPostgres:
    """Erasures in PostgreSQL."""
    return InPostgres(await emptied(postgres_server, "erasures", "authors", "channels", "events"), closing)


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """Closes the stores that a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def in_redis(redis_server: RedisProcess, closing: AsyncExitStack) -> InRedis:
    """A store in Redis."""
    return InRedis(redis_server, closing)


@pytest.fixture
def in_redis_cluster(redis_cluster_server: ClusterProcess, closing: AsyncExitStack) -> InRedis:
    """Erasures in a Redis Cluster."""
    return InRedis(redis_cluster_server, closing)


@pytest.fixture(params=["memory", "sqlite", "postgres", "nats", *REDISES])
def stores(request: pytest.FixtureRequest, tmp_path: Path, closing: AsyncExitStack) -> Stores:
    """A store of each kind."""
    match request.param:
        case "memory":
            return InMemory()
        case "sqlite":
            return InSqlite(tmp_path / "maru.db", closing)
        case "nats":
            return InNats(request.getfixturevalue("nats_server"), closing)
        case _:
            shared: Stores = request.getfixturevalue(f"in_{request.param}")
            return shared


def erasure(id: str, user: str = "alice", began_at: int = NOW_MS) -> Erasure:
    """An erasure that nobody works on."""
    return Erasure(id, UserId(user), began_at, began_at)


async def test_1_erasures_are_kept(stores: Stores) -> None:
    """With every field, by the time at which they began, and for whoever opens the store anew."""
    _, erasures = await stores.open()
    assert (await erasures.all(), await erasures.find("a")) == ([], None)
    first, second = erasure("b", user='7:al"ice ∂'), erasure("a", began_at=NOW_MS + 1)
    for each in (second, first):
        assert await erasures.add(each) == each
    full = replace(second, asked_at=NOW_MS + 9, erased=7, step=STEP, leader=ReplicaId("one"), done_at=NOW_MS + 10)
    assert await erasures.replace(second, full)
    _, again = await stores.open()
    assert await again.all() == [first, full]
    assert await again.find("a") == full


async def test_2_an_id_is_a_single_erasure(stores: Stores) -> None:
    """A second one is not kept; the first is returned as it is by now."""
    _, erasures = await stores.open()
    first = erasure("a")
    await erasures.add(first)
    led = replace(first, leader=ReplicaId("one"))
    await erasures.replace(first, led)
    assert await erasures.add(erasure("a", began_at=NOW_MS + 5)) == led
    assert await erasures.all() == [led]


async def test_2_what_is_done_is_forgotten_after_a_day(stores: Stores) -> None:
    """What is not done is kept, whatever its age."""
    _, erasures = await stores.open()
    done, waits = erasure("done"), erasure("waits")
    for each in (done, waits):
        await erasures.add(each)
    over = replace(done, done_at=NOW_MS + 1)
    assert await erasures.replace(done, over)
    soon, late = erasure("soon", began_at=NOW_MS + KEPT_MS), erasure("late", began_at=NOW_MS + KEPT_MS + 2)
    assert await erasures.add(soon) == soon
    assert await erasures.all() == [over, waits, soon]
    assert await erasures.add(late) == late
    assert await erasures.all() == [waits, soon, late]


async def test_2_what_was_done_first_makes_room(stores: Stores) -> None:
    """If there are as many as may be; an erasure that is under way never does."""
    _, erasures = await stores.open(limit=2)
    waits, done = erasure("waits"), erasure("done", began_at=NOW_MS + 1)
    for each in (waits, done):
        await erasures.add(each)
    with pytest.raises(Overloaded):
        await erasures.add(erasure("next"))
    await erasures.replace(done, replace(done, done_at=NOW_MS + 5))
    assert await erasures.add(erasure("next", began_at=NOW_MS + 2)) == erasure("next", began_at=NOW_MS + 2)
    assert [each.id for each in await erasures.all()] == ["waits", "next"]
    assert await erasures.add(erasure("waits", began_at=NOW_MS + 3)) == waits


async def test_3_only_the_present_state_is_replaced(stores: Stores) -> None:
    """Of two that replace the same, one succeeds; an unknown erasure is not made."""
    _, erasures = await stores.open()
    first = erasure("a")
    await erasures.add(first)
    led = [replace(first, leader=ReplicaId(name)) for name in ("one", "two")]
    results = await asyncio.gather(*(erasures.replace(first, each) for each in led))
    assert sorted(results) == [False, True]
    assert await erasures.find("a") == led[results.index(True)]
    assert not await erasures.replace(erasure("b"), replace(erasure("b"), erased=1))
    assert await erasures.find("b") is None


async def test_4_each_channel_of_a_user_is_found(stores: Stores) -> None:
    """However many; also if all of the user's messages there are deleted; those of another user need not be."""
    log, erasures = await stores.open()
    names = [ChannelName(f"room:{number}") for number in range(1_050)]
    others = [ChannelName("dm:alice:bob")]
    for start in range(0, len(names), 50):
        drafts = [new_message(start + number, name) for number, name in enumerate(names[start : start + 50])]
        await asyncio.gather(*map(log.append, drafts))
    await log.append(new_message(5_000, others[0], user="alic"))
    await log.append(new_message(5_001, others[0], user="alice:dm"))
    await log.append(Deletion(names[0], some_id(0), NOW_MS))
    found, after = list[ChannelName](), None
    while True:
        page, after = await erasures.channels(ALICE, after)
        found += page
        if after is None:
            break
    assert len(found) == len(set(found))
    assert set(found) - set(others) == set(names)


@pytest.fixture(params=["redis", "postgres"])
def sharing(request: pytest.FixtureRequest) -> InRedis | InPostgres:
    """A store of each kind that replicas share."""
    found: InRedis | InPostgres = request.getfixturevalue(f"in_{request.param}")
    return found


async def test_5_an_entry_that_can_not_be_read_is_passed_over(sharing: InRedis | InPostgres) -> None:
    """Of a newer version, or damaged: it is no erasure, and none takes its id."""
    _, erasures = await sharing.open()
    for id, raw in {"newer": b'{"v":2}', "damaged": b"\xff", "odd": b'{"v":1,"id":"odd","user":7}'}.items():
        if isinstance(sharing, InRedis):
            await sharing.process.command("HSET", keys.erasures(sharing.prefix), id, raw)
        else:
            await erasures.all()
            await sharing.process.query("INSERT INTO maru.erasures VALUES ($1, $2)", id.encode(), raw)
    assert (await erasures.all(), await erasures.find("newer")) == ([], None)
    with pytest.raises(Unavailable):
        await erasures.add(erasure("newer"))


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_6_without_the_store_every_call_is_an_error(kind: str) -> None:
    """Within two seconds."""
    pipeline = Pipeline(connect(f"redis://127.0.0.1:{free_port()}"))
    erasures: Erasures = RedisErasures(pipeline)
    if kind == "postgres":
        erasures = PostgresErasures(Database(f"postgresql://maru@127.0.0.1:{free_port()}/maru"))
    began = monotonic()
    calls = (
        erasures.add(erasure("a")),
        erasures.find("a"),
        erasures.all(),
        erasures.replace(erasure("a"), erasure("a")),
        erasures.channels(ALICE, None),
    )
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 5
    assert monotonic() - began < 2.0
    await pipeline.aclose()
