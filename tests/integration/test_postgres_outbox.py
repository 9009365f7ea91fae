"""Messages from PostgreSQL's outbox: once, in order, by a role that may do nothing else; bad rows hold up nobody."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from server.adapters.memory.broadcast import MemoryBroadcast
from server.adapters.memory.message_log import MemoryMessageLog
from server.adapters.postgres.database import Database
from server.adapters.postgres.outbox import BATCH, LEASE_S, Outbox
from server.application.messages.publisher import Publisher
from server.bootstrap.ids import new_message_id
from server.bootstrap.outbox import submit
from server.domain.channels import ChannelName
from server.domain.events import MessageCreated
from server.domain.gcra import Rate
from tests.clients.python import PyClient
from tests.conftest import Figure
from tests.doubles.samples import HOUR_MS
from tests.harness.cluster import ready
from tests.harness.postgres import PostgresProcess
from tests.harness.server import ROOT, ServerProcess
from tests.harness.tokens import token
from tests.harness.waiting import pause, polled

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_S = 15.0

DOCUMENT = ROOT / "docs/engines/postgres.md"

PAID, RIGHTS, NAMED = re.findall("```sql\n(.*?)```", DOCUMENT.read_text().partition("## Sending")[2], re.DOTALL)
"""The examples: a message within a transaction, what it needs, and all that it takes."""

SEND = "SELECT maru.maru_send($1, 'shop', $2, key => $3)"

_rooms = (ChannelName(f"room:{number}") for number in itertools.count())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[PostgresProcess]:
    """A PostgreSQL with the schema, and a role `shop` that may send."""
    async with PostgresProcess() as process:
        async with Database(process.url) as database:
            assert await database.fetchval("SELECT 1") == 1
        connection = await asyncpg.connect(process.superuser_url)
        await connection.execute("CREATE ROLE shop LOGIN; CREATE TABLE orders (id int, state text)")
        await connection.execute("GRANT UPDATE, SELECT ON orders TO shop")
        await connection.execute(RIGHTS)
        await connection.close()
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def shop(postgres: PostgresProcess) -> AsyncIterator[asyncpg.Connection]:
    """The application's own connection; the outbox is empty."""
    await postgres.query("TRUNCATE maru.outbox, maru.outbox_dead, maru.outbox_lease")
    connection = await asyncpg.connect(postgres.url.replace("maru@", "shop@"))
    yield connection
    await connection.close()


class Replica:
    """A dispatcher over a log in memory."""

    def __init__(self, database: Database, log: MemoryMessageLog, name: str = "one") -> None:
        self.log = log
        publisher = Publisher(log, MemoryBroadcast(), time.time_ns, new_message_id)
        self.outbox = Outbox(database, name, partial(submit, publisher))

    async def texts(self, room: ChannelName, count: int) -> list[str]:
        """The channel's messages, once there are so many."""

        async def there() -> bool:
            return (await self.log.read(room, 0, 1)).head.offset >= count

        await polled(there, DEADLINE_S, lambda: f"{count} messages are in the log")
        events = (await self.log.read(room, 0, 10_000)).events
        assert all(isinstance(event, MessageCreated) for event in events)
        return [event.message.text for event in events if isinstance(event, MessageCreated)]


@asynccontextmanager
async def dispatching(
    postgres: PostgresProcess, log: MemoryMessageLog | None = None, name: str = "one"
) -> AsyncIterator[Replica]:
    """Run a dispatcher, and stop it as in a drain."""
    async with Database(postgres.url, size=1) as database:
        replica = Replica(database, log or memory_log(), name)
        running = asyncio.create_task(replica.outbox.run())
        try:
            yield replica
            await replica.outbox.stop()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def memory_log(rate: Rate | None = None) -> MemoryMessageLog:
    """A log."""
    return MemoryMessageLog(max_events=100_000, max_age_ms=1_000 * HOUR_MS, rate=rate)


async def emptied(postgres: PostgresProcess) -> None:
    """Wait until nothing waits."""

    async def empty() -> bool:
        [(count,)] = await postgres.query("SELECT count(*) FROM maru.outbox")
        return bool(count == 0)

    await polled(empty, DEADLINE_S, lambda: "the outbox is empty")


async def test_a_message_is_sent_if_the_transaction_is_committed(
    postgres: PostgresProcess, shop: asyncpg.Connection, figure: Figure
) -> None:
    """With all that it has; after a rollback there is none."""
    room = next(_rooms)
    async with dispatching(postgres) as replica:
        async with shop.transaction():
            await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'hello')", str(room))
            await shop.fetchval(
                "SELECT maru.maru_send($1, 'bob', 'all of it', key => 'k1', author_name => 'Bob', data => $2,"
                " mentions => ARRAY['alice'])",
                str(room),
                '{"order": 7}',
            )
        began = time.monotonic()
        assert await replica.texts(room, 2) == ["hello", "all of it"]
        figure(f"in the log {(time.monotonic() - began) * 1e3:.0f} ms after the commit")
        first, second = (event.message for event in (await replica.log.read(room, 0, 9)).events)  # type: ignore[union-attr]
        assert (first.author.id, first.author.name, first.key.partition(":")[0]) == ("alice", None, "outbox")  # type: ignore[union-attr]
        assert (second.author.id, second.author.name, second.key, second.data) == ("bob", "Bob", "k1", {"order": 7})
        assert second.mentions == ("alice",)
        undone = shop.transaction()
        await undone.start()
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'never')", str(room))
        await undone.rollback()
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'repeated', key => 'k2')", str(room))
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'repeated', key => 'k2')", str(room))
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'last')", str(room))
        assert await replica.texts(room, 4) == ["hello", "all of it", "repeated", "last"]
        await emptied(postgres)


async def test_the_examples_of_the_document(postgres: PostgresProcess, shop: asyncpg.Connection) -> None:
    """Run as they stand there."""
    room = ChannelName("room:42")
    async with dispatching(postgres) as replica:
        await shop.execute(PAID)
        await shop.execute(NAMED)
        assert await replica.texts(room, 2) == ["Order 7 is paid.", "Paid."]


async def test_the_role_may_do_nothing_else(postgres: PostgresProcess, shop: asyncpg.Connection) -> None:
    """It reads and writes no table, and dispatches nothing; a role without the grant can't send."""
    for statement in (
        "SELECT * FROM maru.outbox",
        "INSERT INTO maru.outbox (channel, author, text) VALUES ('a', 'b', 'c')",
        "SELECT * FROM maru.events",
        "UPDATE maru.channels SET head = 0",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.execute(statement)
    await postgres.query("REVOKE EXECUTE ON FUNCTION maru.maru_send FROM shop")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await shop.execute("SELECT maru.maru_send('a', 'b', 'c')")
    await postgres.query("GRANT EXECUTE ON FUNCTION maru.maru_send TO shop")


async def test_bad_rows_hold_up_nobody(postgres: PostgresProcess, shop: asyncpg.Connection) -> None:
    """They are kept with the reason, long ones cut; those behind them in the same channel are written."""
    room = next(_rooms)
    bad = [
        ("No Channel", "alice", "x", None, None),
        (room, "", "x", None, None),
        (room, "a\tb", "x", None, None),
        (room, "alice", "", None, None),
        (room, "alice", "x" * 100_000, None, None),
        (room, "alice", "x", "k" * 65, None),
        (room, "alice", "x", None, "[1]"),
        (room, "alice", "x", None, '{"n": 1e999}'),
        (room, "alice", "x", None, f'{{"a": "{"x" * 50_000}"}}'),
    ]
    async with dispatching(postgres) as replica, shop.transaction():
        for row in bad:
            await shop.fetchval("SELECT maru.maru_send($1, $2, $3, $4, data => $5)", *row)
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'good')", str(room))
    async with dispatching(postgres, replica.log) as replica:
        assert await replica.texts(room, 1) == ["good"]
        await emptied(postgres)
    rows = await postgres.query("SELECT channel, author, text, key, data, reason FROM maru.outbox_dead ORDER BY id")
    assert [tuple(row[:5]) for row in rows] == [
        (*row[:2], row[2][:40_000], row[3], row[4] and row[4][:40_000]) for row in bad
    ]
    fields = [row["reason"].partition(":")[0] for row in rows]
    assert fields == ["channel", "author.id", "author.id", "text", "text", "key", "data", "data", "data"]


async def test_no_row_is_long(postgres: PostgresProcess, shop: asyncpg.Connection) -> None:
    """Whatever the application gives: a row of hundreds of megabytes would hold up all others for ever."""
    room = next(_rooms)
    long = "repeat('x', 1000000)"
    fields = ", ".join([long] * 4)
    await shop.execute(
        f"SELECT maru.maru_send({fields}, {long}, json_build_array({long}), {long},"
        " array_fill(repeat('x', 9999), ARRAY[300]))"
    )
    [(size,)] = await postgres.query("SELECT length(row(o.*)::text) FROM maru.outbox o")
    assert size < 150_000
    async with dispatching(postgres) as replica:
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'good', mentions => ARRAY['bob', 'carl'])", str(room))
        assert await replica.texts(room, 1) == ["good"]
        await emptied(postgres)


async def test_whoever_is_refused_for_now_is_tried_again(postgres: PostgresProcess, shop: asyncpg.Connection) -> None:
    """In its order, and without holding up other channels, though it fills a batch."""
    slow, quick = next(_rooms), next(_rooms)
    log = memory_log(Rate(100.0, 50))
    async with dispatching(postgres, log) as replica:
        async with shop.transaction():
            many = "SELECT maru.maru_send($1, 'alice', 'text ' || n) FROM generate_series(1, $2) n ORDER BY n"
            await shop.fetch(many, str(slow), BATCH + 20)
            await shop.fetch(many, str(quick), 5)
        assert await replica.texts(quick, 5) == [f"text {number}" for number in range(1, 6)]
        assert (await log.read(slow, 0, 1)).head.offset < BATCH
        assert await replica.texts(slow, BATCH + 20) == [f"text {number}" for number in range(1, BATCH + 21)]


async def test_one_replica_dispatches_and_another_takes_over(
    postgres: PostgresProcess, shop: asyncpg.Connection, figure: Figure
) -> None:
    """At once if the first is drained, and after its lease if it was stopped dead; nothing is written twice."""
    room, log = next(_rooms), memory_log()
    async with dispatching(postgres, log, "second") as second:
        async with dispatching(postgres, log, "third"):
            await shop.fetchval("SELECT maru.maru_send($1, 'alice', '1')", str(room))
            await second.texts(room, 1)
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', '2')", str(room))
        began = time.monotonic()
        await second.texts(room, 2)
        figure(f"taken over {time.monotonic() - began:.1f} s after a drain")
    await postgres.query("SELECT maru.outbox_take('dead', $1)", LEASE_S)
    async with dispatching(postgres, log, "fourth") as fourth:
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', '3')", str(room))
        began = time.monotonic()
        assert await fourth.texts(room, 3) == ["1", "2", "3"]
        figure(f"taken over {time.monotonic() - began:.1f} s after a kill")
    [(count,)] = await postgres.query("SELECT count(*) FROM maru.outbox_lease")
    assert count == 0


async def test_an_outage_delays(postgres: PostgresProcess, shop: asyncpg.Connection, figure: Figure) -> None:
    """Of PostgreSQL itself: what was committed comes once it is back, in the order of ids; transactions that overlap
    lose nothing."""
    room = next(_rooms)
    other = await asyncpg.connect(postgres.url.replace("maru@", "shop@"))
    async with dispatching(postgres) as replica:
        lasting = other.transaction()
        await lasting.start()
        await other.fetchval("SELECT maru.maru_send($1, 'alice', 'late')", str(room))
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', 'early')", str(room))
        assert await replica.texts(room, 1) == ["early"]  # nobody waits for a transaction that goes on
        await lasting.commit()
        assert await replica.texts(room, 2) == ["early", "late"]
        await other.close()
        await replica.outbox.stop()
    for number in range(300):
        await shop.fetchval("SELECT maru.maru_send($1, 'alice', $2)", str(room), str(number))
    postgres.kill()
    async with dispatching(postgres, replica.log) as replica:
        await postgres.start()
        began = time.monotonic()
        assert (await replica.texts(room, 302))[2:] == [str(number) for number in range(300)]
        figure(f"300 messages {time.monotonic() - began:.1f} s after PostgreSQL was back")


class Shop:
    """An application that sends one message after another, each in a transaction. The key makes it one message if the
    answer to a commit was lost, and it is sent again."""

    def __init__(self, url: str, room: ChannelName) -> None:
        self._url, self._room = url, room
        self._over = asyncio.Event()
        self.committed: list[str] = []

    async def run(self) -> None:
        """Send until it is over."""
        connection: asyncpg.Connection | None = None
        while not self._over.is_set():
            number = len(self.committed)
            try:
                connection = connection or await asyncpg.connect(self._url, timeout=2)
                await connection.execute(SEND, str(self._room), f"{number}", f"shop-{number}", timeout=5)
            except Exception:  # noqa: BLE001  # asyncpg meets a server that dies with errors of many kinds
                connection = None
                await pause(self._over, 0.1)
            else:
                self.committed.append(f"{number}")
                await pause(self._over, 0.005)
        if connection is not None:
            connection.terminate()

    async def goes_on(self) -> None:
        """Wait for further messages."""
        enough = len(self.committed) + 80
        await polled(lambda: len(self.committed) >= enough, DEADLINE_S, lambda: "it sends")

    def stop(self) -> None:
        """Send no more."""
        self._over.set()


async def said(replica: ServerProcess, room: ChannelName) -> list[str]:
    """All texts of a channel."""
    texts: list[str] = []
    async with PyClient(replica.url, token("auditor")) as auditor:
        more, after = True, 0
        while more:
            page = {"channel": str(room), "after": after, "limit": 100}
            ack = await auditor.ask("history:read", page)
            texts += [message["text"] for message in ack["messages"]]
            more, after = ack["more"], ack["messages"][-1]["offset"]
    return texts


@pytest.mark.timeout(240)  # five starts of servers, each two seconds of a quiet processor
async def test_kills_under_load(postgres: PostgresProcess, tmp_path: Path, figure: Figure) -> None:
    """`kill -9` of each replica in turn and of PostgreSQL while an application sends: each message that was committed
    is in the log once, in the order of commits."""
    await postgres.query("TRUNCATE maru.outbox, maru.outbox_dead, maru.outbox_lease")
    room = next(_rooms)
    shop = Shop(postgres.url.replace("maru@", "shop@"), room)
    async with AsyncExitStack() as stack:
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            replicas.append(ServerProcess(tmp_path / name, {"MARU_POSTGRES_URL": postgres.url}))
            stack.push_async_exit(replicas[-1])
        await asyncio.gather(*(replica.start() for replica in replicas))
        sending = asyncio.create_task(shop.run())
        for replica in replicas:
            await ready(replica)
            await shop.goes_on()
            await replica.kill()
            await replica.start()
        postgres.kill()
        await postgres.start()
        await shop.goes_on()
        shop.stop()
        await sending
        await emptied(postgres)
        texts = await said(replicas[0], room)
    assert texts == shop.committed
    figure(f"{len(texts)} messages, two kills of replicas and one of PostgreSQL: each is there once, in order")
