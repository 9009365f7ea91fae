"""The promises of the store of revocations and denials, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from server.adapters.clock import now_ms
from server.adapters.memory.revocations import MemoryRevocations
from server.adapters.nats.link import Link
from server.adapters.nats.revocations import NatsRevocations
from server.adapters.orders import encode_revocation
from server.adapters.postgres.database import Database
from server.adapters.postgres.revocations import PostgresRevocations
from server.adapters.redis import keys
from server.adapters.redis.revocations import RedisRevocations
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.revocations import SqliteRevocations
from server.domain.channels import ChannelName
from server.domain.control import Denial, Revocation
from server.domain.errors import Overloaded, Unavailable
from server.domain.identity import UserId
from server.ports.revocations import Held, Revocations
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import REDISES, RedisServer, redis_of
from tests.doubles.samples import HOUR_MS
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.waiting import polled

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMIT = 5
ROOM = ChannelName("room:1")
SHORT_MS = 300
"""The life of an entry that is to expire during a test."""

_numbers = count(1)


class Stores(Protocol):
    """A store of one kind, empty at first."""

    async def open(self) -> Revocations:
        """Open it; also again, as after a restart."""
        ...


class InMemory(Stores):
    """As long as the process lives."""

    def __init__(self) -> None:
        self._revocations = MemoryRevocations(limit=LIMIT)

    async def open(self) -> Revocations:
        return self._revocations


class InSqlite(Stores):
    """A file, which each opening opens anew."""

    def __init__(self, path: Path, closing: AsyncExitStack) -> None:
        self._path = path
        self._closing = closing
        self._opened = AsyncExitStack()

    async def open(self) -> Revocations:
        await self._opened.aclose()
        log = SqliteMessageLog(self._path, max_events=100, max_age_ms=HOUR_MS)
        self._opened = AsyncExitStack()
        await self._opened.enter_async_context(log)
        self._closing.push_async_callback(self._opened.aclose)
        return SqliteRevocations(log, limit=LIMIT)


class InRedis(Stores):
    """Keys of the test's own."""

    def __init__(self, process: RedisServer, closing: AsyncExitStack) -> None:
        self.process, self.prefix = process, f"revocations-{next(_numbers)}:"
        self._closing = closing

    async def open(self) -> Revocations:
        opened = RedisRevocations(self.process.url, prefix=self.prefix, limit=LIMIT)
        self._closing.push_async_callback(opened.aclose)
        return opened


class InNats(Stores):
    """Streams of the test's own."""

    def __init__(self, process: NatsProcess, closing: AsyncExitStack) -> None:
        self.process, self.prefix = process, f"revocations-{next(_numbers)}"
        self._closing = closing

    async def open(self) -> Revocations:
        link = await self._closing.enter_async_context(Link(self.process.url))
        return NatsRevocations(link, prefix=self.prefix, limit=LIMIT)


class InPostgres(Stores):
    """Tables, which are empty at first."""

    def __init__(self, process: PostgresProcess, closing: AsyncExitStack) -> None:
        self.process, self._closing = process, closing

    async def open(self) -> Revocations:
        return PostgresRevocations(await self._closing.enter_async_context(Database(self.process.url)), limit=LIMIT)


@pytest_asyncio.fixture(loop_scope="session")
async def in_postgres(postgres_server: PostgresProcess, closing: AsyncExitStack) -> InPostgres:
    """Revocations in PostgreSQL."""
    return InPostgres(await emptied(postgres_server, "revocations", "denials"), closing)


@pytest_asyncio.fixture(loop_scope="session")
async def closing() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack


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
        case "postgres":
            in_postgres: InPostgres = request.getfixturevalue("in_postgres")
            return in_postgres
        case _:
            return InRedis(redis_of(request), closing)


def revocation(id: str, life_ms: int = HOUR_MS, user: str | None = "alice", token_id: str | None = None) -> Revocation:
    """A revocation of all tokens of a user, or of the token with an id."""
    now = now_ms()
    return Revocation(id, None if user is None else UserId(user), token_id, now, now + life_ms, ban=token_id is None)


def denial(user: str, life_ms: int = HOUR_MS, channel: ChannelName = ROOM) -> Denial:
    """A denial of a channel."""
    return Denial(channel, UserId(user), now_ms() + life_ms)


def same(held: Held, revocations: list[Revocation], denials: list[Denial]) -> bool:
    """Whether these are held, and no others."""
    return set(held.revocations) == set(revocations) and set(held.denials) == set(denials)


async def test_entries_are_kept(stores: Stores) -> None:
    """Promise 1: also for whoever opens the store anew; with names that hold colons and more."""
    store = await stores.open()
    assert same(await store.load(), [], [])
    entries = [revocation("1"), revocation("2", user="urn:x:ü"), revocation("3", user=None, token_id="a:b\u2028c")]
    for each in entries:
        await store.add(each)
    refused = [denial("urn:x:ü"), denial("7:alice"), denial("alice", channel=ChannelName("dm:a:b"))]
    for each_denial in refused:
        await store.deny(each_denial)
    assert same(await (await stores.open()).load(), entries, refused)


async def test_a_revocation_is_removed(stores: Stores) -> None:
    """Promise 1: once, and no other with it."""
    store = await stores.open()
    kept, removed = revocation("kept"), revocation("removed")
    await store.add(kept)
    await store.add(removed)
    assert await store.remove("removed")
    assert not await store.remove("removed")
    assert not await store.remove("never")
    assert same(await (await stores.open()).load(), [kept], [])


async def test_a_denial_takes_the_place_of_the_one_before(stores: Stores) -> None:
    """A later denial of the same user and channel counts, also if it ends earlier; one that is over ends it."""
    store = await stores.open()
    other = denial("bob")
    await store.deny(other)
    await store.deny(denial("alice", 2 * HOUR_MS))
    shorter = denial("alice")
    await store.deny(shorter)
    assert same(await store.load(), [], [shorter, other])
    await store.deny(denial("alice", 0))
    await store.deny(denial("carol", -HOUR_MS))
    assert same(await (await stores.open()).load(), [], [other])


async def test_no_more_than_the_bound(stores: Stores) -> None:
    """Promise 2: each kind has its own room; an entry that is refused changes nothing; room that is made is used."""
    store = await stores.open()
    entries, refused = [revocation(str(n)) for n in range(LIMIT)], [denial(f"u{n}") for n in range(LIMIT)]
    for each, each_denial in zip(entries, refused, strict=True):
        await store.add(each)
        await store.deny(each_denial)
    with pytest.raises(Overloaded, match="5 entries"):
        await store.add(revocation("one more"))
    with pytest.raises(Overloaded, match="5 entries"):
        await store.deny(denial("one more"))
    assert same(await store.load(), entries, refused)
    refused[0] = denial("u0", 2 * HOUR_MS)
    await store.deny(refused[0])
    entries[1] = revocation("1", 2 * HOUR_MS)
    await store.add(entries[1])
    await store.remove("0")
    entries[0] = revocation("one more")
    await store.add(entries[0])
    assert same(await store.load(), entries, refused)


async def _is_empty(store: Revocations) -> bool:
    return same(await store.load(), [], [])


async def test_entries_expire(stores: Stores) -> None:
    """Promise 3: they are held no longer, and make room for others."""
    store = await stores.open()
    for number in range(LIMIT):
        await store.add(revocation(str(number), SHORT_MS))
        await store.deny(denial(f"u{number}", SHORT_MS))
    await polled(lambda: _is_empty(store), 10, lambda: "entries that have expired")
    assert not await store.remove("0")
    lasting, refused = revocation("lasting"), denial("alice")
    await store.add(lasting)
    await store.deny(refused)
    assert same(await (await stores.open()).load(), [lasting], [refused])


async def test_all_at_once(stores: Stores) -> None:
    """Promises 1 and 2: no entry over the bound slips in between."""
    store = await stores.open()
    outcomes = await asyncio.gather(
        *(store.add(revocation(str(number))) for number in range(2 * LIMIT)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, Overloaded)] == []
    assert len([outcome for outcome in outcomes if outcome is None]) == LIMIT
    assert len((await store.load()).revocations) == LIMIT


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_the_store_is_away(closing: AsyncExitStack, kind: str) -> None:
    """Promise 4: every call says so, within 2 s."""
    store: Revocations
    if kind == "redis":
        store = RedisRevocations(f"redis://127.0.0.1:{free_port()}/0")
        closing.push_async_callback(store.aclose)
    else:
        store = PostgresRevocations(Database(f"postgresql://maru@127.0.0.1:{free_port()}/maru"))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.add(revocation("1")),
        lambda: store.remove("1"),
        lambda: store.deny(denial("alice")),
        store.load,
    ]
    for call in calls:
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable):
                await call()


async def test_entries_that_redis_can_not_give(redis_server: RedisProcess, closing: AsyncExitStack) -> None:
    """Promise 5: damaged entries, and those of a newer version, hide no others; a key of another kind is an outage."""
    stores = InRedis(redis_server, closing)
    store = await stores.open()
    kept, refused = revocation("1"), denial("alice")
    await store.add(kept)
    await store.deny(refused)
    (revoked, _), (denied, _) = keys.revoked(stores.prefix), keys.denied(stores.prefix)
    for entry in ("", "[]", '{"v":2,"id":"x"}', '{"v":1}', "x" * 20_000):
        await redis_server.command("HSET", revoked, f"bad {len(entry)}", entry)
    for name, until in (
        ("alice:room", "1"),
        ("3:bob:room:1", "never"),
        ("9:alice", "1"),
        ("nothing", ""),
        ("3:eve:room", "9" * 40),
    ):
        await redis_server.command("HSET", denied, name, until)
    assert same(await store.load(), [kept], [refused])
    await redis_server.command("DEL", revoked)
    await redis_server.command("SET", revoked, "text")
    for call in (store.load(), store.add(kept)):
        with pytest.raises(Unavailable, match="refuses"):
            await call


async def test_many_entries_come_in_pages(redis_server: RedisProcess, closing: AsyncExitStack) -> None:
    """Redis gives some thousand at a time; all come."""
    prefix = f"revocations-{next(_numbers)}:"
    store = RedisRevocations(redis_server.url, prefix=prefix)
    closing.push_async_callback(store.aclose)
    entries = [revocation(str(number)) for number in range(3_000)]
    await asyncio.gather(*map(store.add, entries))
    assert same(await store.load(), entries, [])


async def test_entries_that_postgres_can_not_give(in_postgres: InPostgres) -> None:
    """Promise 5: damaged entries, and those of a newer version, hide no others. Many come in pages."""
    store, query = await in_postgres.open(), in_postgres.process.query
    kept, refused = revocation("1"), denial("alice")
    await store.add(kept)
    await store.deny(refused)
    for entry in (b"", b"[]", b'{"v":2,"id":"x"}', b"x" * 20_000):
        await query("INSERT INTO maru.revocations VALUES ($1, $2, $3)", entry[:9], entry, 10**13)
    await query("INSERT INTO maru.denials VALUES ($1, 'room:1', $2)", b"\xff", 10**13)
    await query("INSERT INTO maru.denials VALUES ($1, 'room:1', $2)", b"eve", 10**18)
    many = [replace(kept, id=f"many {number}") for number in range(2_100)]
    insert = "INSERT INTO maru.revocations SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])"
    await query(
        insert, *map(list, zip(*((m.id.encode(), encode_revocation(m), m.expires_at) for m in many), strict=True))
    )
    assert same(await store.load(), [kept, *many], [refused])


async def test_a_file_that_is_lost(tmp_path: Path) -> None:
    """Promise 4: what can't be kept is not accepted; nor is anything once the log is closed."""
    path = tmp_path / "maru.db"
    async with SqliteMessageLog(path, max_events=100, max_age_ms=HOUR_MS) as log:
        store = SqliteRevocations(log)
        await store.add(revocation("1"))
        path.unlink()
        with pytest.raises(Unavailable):
            await store.add(revocation("2"))
    with pytest.raises(Unavailable):
        await store.add(revocation("3"))
