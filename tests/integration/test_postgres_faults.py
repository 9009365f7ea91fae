"""The log in PostgreSQL while it dies, freezes, refuses, and while a standby takes its place."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from server.adapters.postgres.database import Database
from server.adapters.postgres.message_log import PostgresMessageLog
from server.adapters.postgres.records import PostgresRecords
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Sender
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.messages import Position
from tests.doubles.samples import HOUR_MS, NOW_MS, new_message, some_id
from tests.harness.postgres import PostgresProcess
from tests.harness.waiting import polled

LIMIT_S = 2.0
"""Promise 9: an error comes within so long."""

SLACK_S = 1.0
"""What a busy machine may add to it."""

DEADLINE_S = 30.0

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[PostgresProcess]:
    """A PostgreSQL that tests stop and start again."""
    async with PostgresProcess() as process:
        yield process


@pytest.fixture
def channel() -> ChannelName:
    """A channel that no other test uses."""
    return ChannelName(f"faults:{next(_numbers)}")


@pytest.fixture
async def log(postgres: PostgresProcess, channel: ChannelName) -> AsyncIterator[PostgresMessageLog]:
    """A log that has been used."""
    async with (
        Database(postgres.url) as database,
        PostgresMessageLog(database, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as opened,
    ):
        await polled(partial(answered, partial(opened.append, new_message(0, channel, key="0"))), DEADLINE_S, str)
        yield opened


async def answered(call: Callable[[], Awaitable[Any]]) -> bool:
    """Whether a call is answered now; a refusal comes in time."""
    began = time.monotonic()
    try:
        await call()
    except (Unavailable, Overloaded):
        assert time.monotonic() - began < LIMIT_S + SLACK_S
        return False
    return True


async def failing(call: Awaitable[Any]) -> MaruError:
    """The error of a call that must fail in time."""
    began = time.monotonic()
    with pytest.raises((Unavailable, Overloaded)) as failure:
        await call
    assert time.monotonic() - began < LIMIT_S + SLACK_S
    return failure.value


class Client:
    """A client that sends numbered messages in their order, and repeats them by their keys from the first that was
    refused. `acked` are the offsets that it was told."""

    def __init__(self, log: PostgresMessageLog, channel: ChannelName, user: str) -> None:
        self._log, self._channel, self._user = log, channel, user
        self.acked: dict[str, int] = {}
        self.refusals = 0

    async def send(self, numbers: range) -> None:
        """Send all, whatever happens."""
        left = list(numbers)
        while left:
            left = left[await self._try(left) :]
            await asyncio.sleep(0)  # a log that is closed refuses at once

    async def _try(self, numbers: list[int]) -> int:
        """Submit messages without waiting; return how many of the first are written."""
        outcomes: asyncio.Queue[Any] = asyncio.Queue()
        sender, sent = Sender(), numbers[:20]
        for number in sent:
            draft = new_message(number, self._channel, key=f"{self._user}-{number}", user=self._user)
            self._log.submit(draft, sender, outcomes.put_nowait)
        told = [await outcomes.get() for _ in sent]
        written = [number for number, outcome in zip(sent, told, strict=True) if isinstance(outcome, Appended)]
        assert written == sent[: len(written)], "a message was written behind a refused one"
        for number, outcome in zip(sent, told, strict=True):
            if isinstance(outcome, Appended):
                self.acked[f"{self._user}-{number}"] = outcome.event.offset
        self.refusals += len(sent) - len(written)
        return len(written)


async def under_load(log: PostgresMessageLog, channel: ChannelName, harm: Callable[[], Awaitable[None]]) -> int:
    """Let clients send while harm is done; check that nothing acked is lost, nothing is doubled, and each client's
    messages are in its order. Returns how many sends were refused meanwhile."""
    clients = [Client(log, channel, f"u{number}") for number in range(6)]
    base = 1_000 * next(_numbers)
    async with asyncio.timeout(2 * DEADLINE_S):
        async with asyncio.TaskGroup() as sending:
            for n, client in enumerate(clients):
                sending.create_task(client.send(range(base + 200 * n, base + 200 * n + 200)))
            await polled(lambda: all(client.acked for client in clients), DEADLINE_S, lambda: "the first acks", 0.001)
            await harm()
    replay = await log.read(channel, 0, 100_000)
    assert [entry.offset for entry in replay.events] == list(range(1, replay.head.offset + 1))
    kept = {entry.message.key: entry.offset for entry in replay.events if hasattr(entry, "message")}
    assert len(kept) == len(replay.events), "a message was doubled"
    for client in clients:
        assert client.acked.items() <= kept.items()
        assert len(client.acked) == 200
        assert list(client.acked.values()) == sorted(client.acked.values())
    return sum(client.refusals for client in clients)


async def test_killed_under_load_nothing_acked_is_lost(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """`kill -9` of all processes in the middle of batches; a line tells that it is away, and a line that it is back."""

    async def harm() -> None:
        postgres.kill()
        await failing(log.read(channel, 0, 10))
        await postgres.start()

    with capture_logs() as lines:
        assert await under_load(log, channel, harm)
    told = [line["event"] for line in lines if line["event"].startswith("postgres.")]
    assert told in (["postgres.away", "postgres.back"], ["postgres.away", "postgres.back"] * 2)  # it may end twice


async def test_connections_are_ended_under_load(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """An operator, or a proxy, ends every connection, again and again."""

    async def harm() -> None:
        for _ in range(5):
            assert await postgres.terminate_backends()
            await polled(partial(answered, partial(log.read, channel, 0, 0)), DEADLINE_S, postgres.log)

    await under_load(log, channel, harm)


async def test_frozen_for_five_seconds(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """Nothing hangs: reads and writes are refused in time, and all goes on afterwards."""

    async def harm() -> None:
        postgres.freeze()
        try:
            until = time.monotonic() + 5.0
            while time.monotonic() < until:
                await failing(log.read(channel, 0, 10))
                await failing(log.append(Deletion(channel, some_id(0), NOW_MS)))
        finally:
            postgres.thaw()

    assert await under_load(log, channel, harm)


async def test_frozen_within_a_transaction(postgres: PostgresProcess, log: PostgresMessageLog) -> None:
    """The caller is refused in time, and does not wait for the end of a transaction that nobody answers."""

    async def work() -> None:
        async with log.database.transaction() as connection:
            await connection.execute("SELECT 1")
            postgres.freeze()
            await connection.execute("SELECT 2")

    try:
        await failing(work())
    finally:
        postgres.thaw()
    await polled(partial(answered, log.database.known), DEADLINE_S, postgres.log)


async def test_a_lock_that_is_held_too_long(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """A session holds the row of a channel: appends there are refused in time, reads go on, and nobody waits for ever.
    That is no outage, so no line tells of any."""
    other = ChannelName(f"{channel}:other")
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        with capture_logs() as lines:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT FROM maru.channels WHERE name = $1 FOR UPDATE", channel)
            await failing(log.append(new_message(1, channel, key="1")))
            assert (await log.read(channel, 0, 0)).head.offset == 1
            assert (await log.append(new_message(2, other))).event.offset == 1
            await transaction.rollback()
            assert (await log.append(new_message(1, channel, key="1"))).event.offset == 2
        assert [line["event"] for line in lines if line["event"] == "postgres.away"] == []
    finally:
        await connection.close()


async def test_a_postgres_that_is_stopped_before_the_start(channel: ChannelName) -> None:
    """The log opens without it, and works once it is there."""
    async with PostgresProcess() as postgres:
        await asyncio.to_thread(postgres.stop)
        async with (
            Database(postgres.url) as database,
            PostgresMessageLog(database, max_events=100, max_age_ms=HOUR_MS) as log,
        ):
            assert await database.problem() is None
            await failing(log.append(new_message(1, channel)))
            await failing(log.heads([channel]))
            await postgres.start()
            await polled(partial(answered, partial(log.append, new_message(2, channel))), DEADLINE_S, postgres.log)
            assert await database.problem() is None


async def test_a_promoted_standby_has_new_epochs(channel: ChannelName) -> None:
    """A standby takes the place of a primary that died, at the same address: what was replicated is there, under a new
    epoch, since the last events may be lacking. A standby that is not promoted is refused."""
    async with (
        PostgresProcess() as primary,
        Database(primary.url) as database,
        PostgresMessageLog(database, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as log,
    ):
        await polled(partial(answered, partial(log.append, new_message(1, channel, key="1"))), DEADLINE_S, primary.log)
        first = await log.append(new_message(2, channel))
        async with await primary.standby() as standby:
            await primary.caught_up(standby)
            primary.kill()
            await asyncio.to_thread(standby.stop)
            standby.port = primary.port
            await standby.start()
            await failing(log.append(new_message(3, channel)))
            await failing(log.read(channel, 0, 10))
            await standby.promote()
            await polled(partial(answered, partial(log.read, channel, 0, 0)), DEADLINE_S, standby.log)
            replay = await log.read(channel, 0, 10)
            assert replay.head.epoch != first.event.epoch
            assert [(entry.epoch, entry.offset) for entry in replay.events] == [
                (replay.head.epoch, 1),
                (replay.head.epoch, 2),
            ]
            again = await log.append(new_message(1, channel, key="1"))
            assert (again.duplicate, again.event.epoch, again.event.offset) == (True, replay.head.epoch, 1)
            assert (await log.append(new_message(3, channel))).event.offset == 3


async def test_a_backend_is_killed_under_load(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """A backend that dies makes PostgreSQL end all connections and recover by itself."""

    async def harm() -> None:
        ((pid,), *_) = await postgres.query("SELECT pid FROM pg_stat_activity WHERE usename = 'maru'")
        os.kill(pid, signal.SIGKILL)
        await polled(partial(answered, partial(log.read, channel, 0, 0)), DEADLINE_S, postgres.log)

    await under_load(log, channel, harm)


async def test_a_crash_that_loses_commits_is_found_out(channel: ChannelName) -> None:
    """With `synchronous_commit` off, a backend that dies takes the last commits with it, though the server was not
    started anew: the channel has another epoch then."""
    async with (
        PostgresProcess({"synchronous_commit": "off", "wal_writer_delay": "10s"}) as postgres,
        Database(postgres.url) as database,
        PostgresMessageLog(database, max_events=100_000, max_age_ms=1_000 * HOUR_MS) as log,
    ):
        await polled(partial(answered, partial(log.append, new_message(0, channel))), DEADLINE_S, postgres.log)
        await postgres.query("CHECKPOINT")
        last = [await log.append(new_message(number, channel)) for number in range(1, 9)][-1].event
        ((pid,), *_) = await postgres.query("SELECT pid FROM pg_stat_activity WHERE usename = 'maru'")
        os.kill(pid, signal.SIGKILL)
        await polled(partial(answered, partial(log.append, new_message(9, channel))), DEADLINE_S, postgres.log)
        heads = list[Position]()

        async def reads() -> bool:  # the append may have been answered before the others were ended
            with suppress(Unavailable):
                heads.append((await log.read(channel, 0, 0)).head)
            return bool(heads)

        await polled(reads, DEADLINE_S, postgres.log)
        assert (heads[0].epoch == last.epoch) == (heads[0].offset == 10)


async def test_a_read_whose_connection_is_cut_is_repeated(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """On another connection, within its time; nothing tells of an outage."""
    connection = await asyncpg.connect(postgres.superuser_url)
    waits = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'maru.life'"
    )
    try:
        with capture_logs() as lines:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("LOCK TABLE maru.records")
            records = PostgresRecords(log)
            reading = asyncio.create_task(records.page(channel, None, None, None, 10))

            async def cut() -> bool:
                return bool(await postgres.query(waits))

            await polled(cut, DEADLINE_S, postgres.log, 0.001)
            await transaction.rollback()
            assert (await reading).head.offset == 1
        assert [line["event"] for line in lines if line["event"] == "postgres.away"] == []
    finally:
        await connection.close()


async def test_an_argument_that_will_not_do_costs_no_other_connection(
    postgres: PostgresProcess, log: PostgresMessageLog
) -> None:
    """asyncpg refuses it by an error of the kind that tells of a cut; the read is not repeated."""
    tries = 0

    async def work(connection: asyncpg.Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.fetch("SELECT $1::text", "\ud800")

    with pytest.raises(Unavailable):
        await log.database.run(work, reads=True)
    assert tries == 1


async def test_reads_that_hang_leave_room_for_writes(
    postgres: PostgresProcess, log: PostgresMessageLog, channel: ChannelName
) -> None:
    """However many there are, and though each holds a connection for as long as it may."""
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE maru.records")
        records = PostgresRecords(log)
        hanging = [asyncio.create_task(failing(records.page(channel, None, None, None, 10))) for _ in range(40)]
        await asyncio.sleep(0)
        assert (await log.append(new_message(1, channel))).event.offset == 2
        assert not any(task.done() for task in hanging)
        await asyncio.gather(*hanging)
        await transaction.rollback()
    finally:
        await connection.close()


async def test_a_url_that_will_not_do() -> None:
    """The start is refused for what waiting does not help: a password, a database, no URL, a right, a newer schema."""
    async with PostgresProcess() as postgres:
        for url in (postgres.url.replace("maru@", "nobody@"), postgres.url.replace("/maru", "/nothing")):
            async with Database(url) as database:
                assert "refuses the user, the password or the database" in str(await database.problem())
                assert "refuses to serve" in str(await failing(database.fetchval("SELECT 1")))
        for url, told in (
            ("https://127.0.0.1", "not a PostgreSQL URL"),
            (f"{postgres.url}?sslmode=never", "not a PostgreSQL URL"),
            (f"{postgres.url}?sslmode=require", "PostgreSQL offers no TLS, and the URL asks for it"),
            (f"{postgres.url}?sslmode=verify-full", "names no CA: add sslrootcert=FILE"),
            (f"{postgres.url}?sslmode=verify-full&sslrootcert=/none.pem", "can't be used (FileNotFoundError)"),
            (f"{postgres.url}?sslmode=verify-full&sslrootcert={__file__}", "can't be used (SSLError)"),
            (f"{postgres.url}?nonsense=1", "PostgreSQL refuses an option of the URL (42704)"),
        ):
            async with Database(url) as database:
                assert told in str(await database.problem())
        async with Database(postgres.url) as database:
            await postgres.query("REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
            assert "PostgreSQL refuses a right (42501)" in str(await database.problem())
            await postgres.query("GRANT EXECUTE ON FUNCTION pg_control_system TO maru")
            assert await database.problem() is None
            await postgres.query("UPDATE maru.store SET schema = 99")
            assert "newer Maru (schema 99" in str(await database.problem())
            assert "newer Maru" in str(await failing(database.known()))
