"""The promises of the list of orders, by their numbers, held by every adapter."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from time import monotonic
from typing import Protocol

import pytest

from server.adapters.memory.control import MemoryControl
from server.adapters.nats.control import NatsControl
from server.adapters.nats.link import Link
from server.adapters.orders import encode_order
from server.adapters.postgres.control import PostgresControl
from server.adapters.postgres.database import Database
from server.adapters.redis import keys
from server.adapters.redis.control import RedisControl
from server.domain.channels import ChannelName
from server.domain.control import (
    Heard,
    MemberRemoved,
    Order,
    RefreshAsked,
    Resync,
    Revocation,
    RevocationLifted,
    Revoked,
    SessionsEnded,
    UnknownOrder,
)
from server.domain.errors import Unavailable
from server.domain.identity import UserId
from server.ports.control import Control
from tests.contracts.postgres_tables import emptied
from tests.contracts.redises import REDISES, RedisServer
from tests.harness.nats import NatsProcess
from tests.harness.postgres import PostgresProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisProcess
from tests.harness.redis_cluster import ClusterProcess

DEADLINE_S = 5.0
SOON_S = 1.0
"""Promise 1."""

_numbers = count(1)


class Lists(Protocol):
    """A list of one kind."""

    async def open(self, limit: int = 100_000) -> Control:
        """Return a replica's way to the list."""
        ...


class InMemory(Lists):
    """Replicas of a single process share one."""

    def __init__(self) -> None:
        self._control: Control | None = None

    async def open(self, limit: int = 100_000) -> Control:
        self._control = self._control or MemoryControl(limit)
        return self._control


class InRedis(Lists):
    """A stream of the test's own."""

    def __init__(self, process: RedisServer, closing: AsyncExitStack) -> None:
        self.process, self.prefix = process, f"control-{next(_numbers)}:"
        self._closing = closing

    async def open(self, limit: int = 100_000) -> RedisControl:
        control = RedisControl(self.process.url, prefix=self.prefix, limit=limit)
        self._closing.push_async_callback(control.aclose)
        return control


class InNats(Lists):
    """A stream of the test's own."""

    def __init__(self, link: Link) -> None:
        self.link, self.prefix = link, f"control-{next(_numbers)}"

    async def open(self, limit: int = 100_000) -> NatsControl:
        return NatsControl(self.link, prefix=self.prefix, limit=limit)


class InPostgres(Lists):
    """A table, which is empty at first."""

    def __init__(self, process: PostgresProcess, closing: AsyncExitStack) -> None:
        self.process, self._closing = process, closing

    async def open(self, limit: int = 100_000) -> PostgresControl:
        return PostgresControl(await self._closing.enter_async_context(Database(self.process.url)), limit)


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """Closes what a test has opened."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def in_redis(redis_server: RedisProcess, closing: AsyncExitStack) -> InRedis:
    """A list in Redis."""
    return InRedis(redis_server, closing)


@pytest.fixture
def in_redis_cluster(redis_cluster_server: ClusterProcess, closing: AsyncExitStack) -> InRedis:
    """A list in a Redis Cluster."""
    return InRedis(redis_cluster_server, closing)


@pytest.fixture
async def in_nats(nats_server: NatsProcess) -> AsyncIterator[InNats]:
    """A list in NATS."""
    async with Link(nats_server.url) as link:
        yield InNats(link)


@pytest.fixture
async def in_postgres(postgres_server: PostgresProcess, closing: AsyncExitStack) -> InPostgres:
    """A list in PostgreSQL."""
    await emptied(postgres_server, "orders", "order_list")
    await postgres_server.query("INSERT INTO maru.order_list DEFAULT VALUES")
    return InPostgres(postgres_server, closing)


@pytest.fixture(params=["memory", "postgres", "nats", *REDISES])
def lists(request: pytest.FixtureRequest) -> Lists:
    """A list of each kind, empty."""
    if request.param == "memory":
        return InMemory()
    shared: Lists = request.getfixturevalue(f"in_{request.param}")
    return shared


class Ears:
    """The listener of a replica."""

    def __init__(self, control: Control) -> None:
        self._heard = control.listen()

    async def next(self) -> Heard:
        """The next item."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._heard)

    async def orders(self, number: int) -> list[Heard]:
        """So many items."""
        return [await self.next() for _ in range(number)]

    async def ready(self) -> "Ears":
        """Hear the `Resync` at the beginning."""
        assert await self.next() == Resync()
        return self


def ended(number: int) -> Order:
    """An order of its own."""
    return SessionsEnded(UserId(f"user {number}"), reconnect=False)


KINDS: Sequence[Order] = [
    Revoked(Revocation("r1", UserId('ali"ce ∂'), None, 1_700_000_000_000, 1_800_000_000_000, ban=True)),
    Revoked(Revocation("r2", None, "jti/1", 0, 1_800_000_000_000)),
    RevocationLifted("r1"),
    MemberRemoved(ChannelName("room:1"), UserId("bob"), None),
    MemberRemoved(ChannelName("room:1"), UserId("bob"), 1_800_000_000_000),
    SessionsEnded(UserId("carol"), reconnect=True),
    RefreshAsked(UserId("dan"), 1_700_000_000_000, 1_700_000_030_000),
    UnknownOrder(),
]


async def test_1_every_replica_hears_every_order_soon(lists: Lists) -> None:
    """Orders of each kind, also of two replicas that append at once; within a second."""
    one, other = await lists.open(), await lists.open()
    ears = [await Ears(control).ready() for control in (one, other)]
    began = monotonic()
    for order in KINDS:
        await one.append(order)
    for each in ears:
        assert await each.orders(len(KINDS)) == KINDS
    assert monotonic() - began < SOON_S
    await asyncio.gather(*(control.append(ended(number)) for control in (one, other) for number in range(50)))
    heard = [await each.orders(100) for each in ears]
    assert heard[0] == heard[1]
    assert {*heard[0]} == {ended(number) for number in range(50)}


async def test_1_an_idle_replica_hears_at_once(lists: Lists) -> None:
    """Also if the list was silent for longer than a read waits."""
    control = await lists.open()
    ears = await Ears(control).ready()
    waiting = asyncio.create_task(ears.next())
    done, _ = await asyncio.wait([waiting], timeout=0.6)
    assert not done
    began = monotonic()
    await control.append(ended(1))
    assert await waiting == ended(1)
    assert monotonic() - began < SOON_S


async def test_2_a_single_order_each_once(lists: Lists) -> None:
    """In the sequence in which they were appended, also if a reader is slow."""
    control = await lists.open()
    quick, slow = await Ears(control).ready(), await Ears(control).ready()
    orders = [ended(number) for number in range(1_200)]
    for order in orders[:1_199]:
        await control.append(order)
    assert await quick.orders(1_199) == orders[:1_199]
    await control.append(orders[-1])
    assert await slow.orders(1_200) == orders
    assert await quick.next() == orders[-1]


async def test_3_resync_comes_first_and_then_later_orders(lists: Lists) -> None:
    """Orders before the beginning are in the stores that the listener loads then."""
    control = await lists.open()
    await control.append(ended(1))
    ears = await Ears(control).ready()
    await control.append(ended(2))
    assert await ears.next() == ended(2)


async def test_3_a_reader_behind_the_kept_orders_is_told(lists: Lists) -> None:
    """Over the bound the oldest orders are gone: `Resync`, before any order that came after it."""
    control = await lists.open(limit=100)
    ears = await Ears(control).ready()
    await control.append(ended(0))
    assert await ears.next() == ended(0)
    for number in range(1, 1_000):  # Redis trims whole nodes of its stream, of some hundred entries
        await control.append(ended(number))
    assert await ears.next() == Resync()
    await control.append(ended(1_000))
    heard = await ears.next()
    while heard != ended(1_000):
        assert isinstance(heard, SessionsEnded)  # it may get those that are left
        heard = await ears.next()


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_4_an_order_that_can_not_be_given_is_an_error(closing: AsyncExitStack, kind: str) -> None:
    """Within two seconds, if the store is away."""
    control: Control
    if kind == "redis":
        control = RedisControl(f"redis://127.0.0.1:{free_port()}")
        closing.push_async_callback(control.aclose)
    else:
        control = PostgresControl(Database(f"postgresql://maru@127.0.0.1:{free_port()}/maru"))
    began = monotonic()
    with pytest.raises(Unavailable):
        await control.append(ended(1))
    assert monotonic() - began < 2.0


async def test_5_an_entry_that_can_not_be_read_holds_up_nobody(in_redis: InRedis) -> None:
    """Of a newer version, damaged, without an order, too long: unknown orders, and the next is heard."""
    control = await in_redis.open()
    ears = await Ears(control).ready()
    key = keys.control(in_redis.prefix)
    for fields in (
        ("n", "1", "o", '{"v":2,"k":"ended","user":"x","reconnect":false}'),
        ("n", "2", "o", '{"v":1,"k":"frozen","user":"x"}'),
        ("n", "3", "o", '{"v":1,"k":"ended","user":7,"reconnect":false}'),
        ("n", "4", "o", b"\xff\x00"),
        ("n", "5", "o", "9" * 20_000),
        ("n", "6", "o", '{"v":1,"k":"revoked","id":"a","user":"b","token_id":"c"}'),
        ("q", "7"),
    ):
        await in_redis.process.command("XADD", key, "*", *fields)
    await control.append(ended(1))
    assert await ears.orders(8) == [UnknownOrder()] * 7 + [ended(1)]


async def test_5_an_odd_entry_in_postgres_holds_up_nobody(in_postgres: InPostgres) -> None:
    """Of a newer version, damaged, too long."""
    control = await in_postgres.open()
    ears = await Ears(control).ready()
    give = "SELECT maru.give_order($1, $2, 100)"
    for number, body in enumerate((b'{"v":2,"k":"ended"}', b'{"v":1,"k":"frozen"}', b"\xff\x00", b"9" * 20_000)):
        await in_postgres.process.query(give, bytes([number]), body)
    await control.append(ended(1))
    assert await ears.orders(5) == [UnknownOrder()] * 4 + [ended(1)]


async def test_2_an_order_that_is_repeated_is_heard_once(in_postgres: InPostgres) -> None:
    """As by a replica that had no answer."""
    ears = await Ears(await in_postgres.open()).ready()
    for nonce in (b"one", b"two", b"one"):
        await in_postgres.process.query("SELECT maru.give_order($1, $2, 100)", nonce, encode_order(ended(len(nonce))))
    assert await ears.orders(2) == [ended(3), ended(3)]
    await (await in_postgres.open()).append(ended(9))
    assert await ears.next() == ended(9)


@pytest.mark.parametrize("restored", ["shorter", "other", "another list"])
async def test_3_a_list_that_came_back_older_is_told(in_postgres: InPostgres, restored: str) -> None:
    """As after a failover: orders are gone, others stand in their places; those are heard, none twice."""
    control, query = await in_postgres.open(), in_postgres.process.query
    await control.append(ended(0))
    ears = await Ears(control).ready()
    for number in range(1, 5):
        await control.append(ended(number))
    assert await ears.orders(4) == [ended(number) for number in range(1, 5)]
    await query("DELETE FROM maru.orders WHERE n > 3")
    await query("UPDATE maru.order_list SET last = 3")
    expected: list[Heard] = [Resync(lost=True)]
    if restored == "another list":
        await query("UPDATE maru.order_list SET id = $1", b"another")
        expected.append(ended(0))
    if restored != "shorter":
        for number in (11, 12, 13):
            await (await in_postgres.open()).append(ended(number))
            expected.append(ended(number))
    assert await ears.orders(len(expected)) == expected
    await control.append(ended(14))
    assert await ears.next() == ended(14)


async def test_6_the_age_tells_how_late_a_replica_may_be(lists: Lists) -> None:
    """It stays small while the listener reads, and grows while it does not."""
    control = await lists.open()
    ears = await Ears(control).ready()
    reading = asyncio.create_task(ears.next())
    await asyncio.wait([reading], timeout=0.6)
    assert control.age_s < SOON_S
    await control.append(ended(1))
    await reading
    await control.append(ended(2))
    before = control.age_s
    await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=0.3)
    assert control.age_s >= before + 0.2


Kill = Callable[[], Awaitable[object]]


@contextmanager
def killing(lists: InRedis | InPostgres, kind: str) -> Iterator[asyncio.Task[None]]:
    """Kill all connections of a kind each 100 ms; those to PostgreSQL, each of which is a process, each 300 ms."""

    async def kill() -> None:
        while True:
            if isinstance(lists, InRedis):
                await lists.process.command("CLIENT", "KILL", "TYPE", kind)
                await asyncio.sleep(0.1)
            else:
                await lists.process.terminate_backends()
                await asyncio.sleep(0.3)

    task = asyncio.create_task(kill())
    try:
        yield task
    finally:
        task.cancel()


@pytest.fixture
def killable(request: pytest.FixtureRequest, kind: str) -> InRedis | InPostgres:
    """The list whose connections of a kind are killed."""
    found: InRedis | InPostgres = request.getfixturevalue("in_postgres" if kind == "postgres" else "in_redis")
    return found


@pytest.mark.parametrize("kind", ["pubsub", "normal", "postgres"])
async def test_1_whatever_happens_to_connections(killable: InRedis | InPostgres, kind: str) -> None:
    """Each order is heard once, in order, and within a second, while all connections are killed again and again."""
    control = await killable.open()
    await control.append(ended(-1))  # of an empty list nothing would show that it was trimmed
    readers = [await Ears(await killable.open()).ready() for _ in range(2)]
    sent = dict[Heard, float]()

    async def listen(ears: Ears) -> tuple[list[Heard], float]:
        heard, worst = list[Heard](), 0.0
        while len(heard) < 100:
            heard.append(await ears.next())
            worst = max(worst, monotonic() - sent[heard[-1]])
        return heard, worst

    with killing(killable, kind):
        listening = [asyncio.create_task(listen(ears)) for ears in readers]
        for number in range(100):
            sent[ended(number)] = monotonic()
            await control.append(ended(number))
        results = await asyncio.gather(*listening)
    for heard, worst in results:
        assert heard == [ended(number) for number in range(100)]
        assert worst < SOON_S
