"""The bounds of a SQLite log: waiting drafts and reads, their time, the channels in memory, the size of the WAL."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.sqlite import channels, database, intake, reader, wal, writer
from server.adapters.sqlite.reader_threads import Row
from server.domain.appending import Appended
from server.domain.channels import ChannelName
from server.domain.errors import Overloaded, Unavailable
from server.ports.message_log import Replay
from tests.doubles.samples import ROOM, new_message, some_id
from tests.unit.adapters.sqlite_cases import log_at, outcome, recovered

WAIT_S = 20.0
"""Longer than any step takes."""


async def test_what_nobody_waits_for_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that the writer comes to after its deadline is dropped: its caller was told, and may have moved on."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(writer, "BATCH_LIMIT", 1)
    monkeypatch.setattr(intake, "DEADLINE_S", 0.4)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with log_at(path) as log:
            await log.append(new_message(0))
            other.execute("BEGIN IMMEDIATE")
            # The first is refused after the busy timeout; then the second is tried, and the third waits on.
            results = await asyncio.gather(*(outcome(log, number) for number in (1, 2, 3)))
            assert results == [Unavailable] * 3
            other.execute("ROLLBACK")
            await recovered(log, 4)
            assert await log.message(ROOM, some_id(1)) is None
            assert await log.message(ROOM, some_id(3)) is None


async def test_a_slow_write_is_answered_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft whose writing began in time is answered with its event, however late: it must be hinted at."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(intake, "DEADLINE_S", 0.2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with log_at(path) as log:
            await log.append(new_message(0))
            other.execute("BEGIN IMMEDIATE")
            slow = asyncio.ensure_future(log.append(new_message(1)))
            await asyncio.wait([slow], timeout=0.1)  # its writing has begun, and waits for the lock
            too_late = await outcome(log, 2)
            other.execute("ROLLBACK")
            assert too_late is Unavailable
            assert (await slow).event.offset == 2
            assert (await recovered(log, 3)).event.offset == 3
            assert await log.message(ROOM, some_id(2)) is None


async def test_overrun_it_refuses_and_writes_none_of_the_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If too many wait, further appends are `Overloaded` at once and not written; the waiting ones are written."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(intake, "WAITING_LIMIT", 100)
    monkeypatch.setattr(writer, "BATCH_LIMIT", 50)  # the writer holds one batch, perhaps, beside those that wait
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with log_at(path) as log:
            await log.append(new_message(0))
            other.execute("BEGIN IMMEDIATE")
            pending = [asyncio.create_task(outcome(log, number)) for number in range(1, 301)]
            await asyncio.sleep(0)  # each has begun, and been refused or queued
            refused = [task.result() for task in pending if task.done()]
            other.execute("ROLLBACK")
            results = await asyncio.gather(*pending)
            replay = await log.read(ROOM, 0, 1_000)
    written = [result for result in results if isinstance(result, Appended)]
    assert len(refused) >= 150
    assert set(refused) == {Overloaded}
    assert len(written) == 300 - len(refused)
    assert [event.offset for event in replay.events] == list(range(1, len(written) + 2))


async def test_too_many_reads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads over the bound are `Overloaded` at once, the others are answered; then there is room again."""
    monkeypatch.setattr(reader, "WAITING_LIMIT", 5)
    async with log_at(tmp_path / "maru.db") as log:
        reads = (log.read(ROOM, 0, 0) for _ in range(20))
        results = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(result) for result in results] == [Replay] * 5 + [Overloaded] * 15
        await log.read(ROOM, 0, 0)


async def test_a_read_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes longer is unavailable, and its answer is not missed; later ones are not harmed."""
    monkeypatch.setattr(reader, "DEADLINE_S", 0.05)
    async with log_at(tmp_path / "maru.db") as log:
        over = threading.Event()
        with pytest.raises(Unavailable, match="did not answer"):
            await log.reader.query("SELECT 1", (), lambda _: over.wait(WAIT_S))
        over.set()
        monkeypatch.undo()
        await log.read(ROOM, 0, 0)


async def test_an_answer_of_a_busy_moment_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop stood still beyond the deadline, and the thread has answered meanwhile: that counts."""
    monkeypatch.setattr(reader, "DEADLINE_S", 0.01)
    async with log_at(tmp_path / "maru.db") as log:
        begun, over = threading.Event(), threading.Event()

        def answered(row: Row | None) -> Row | None:
            begun.set()
            return row

        reading = asyncio.create_task(log.reader.query("SELECT 1", (), answered))
        await asyncio.sleep(0)
        assert begun.wait(WAIT_S)
        over.wait(0.05)  # the loop stands still
        assert await reading == (1,)


async def test_more_channels_than_the_writer_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgotten channels are read again: offsets stay dense in each."""
    monkeypatch.setattr(channels, "REMEMBERED", 3)
    names = [ChannelName(f"c:{number}") for number in range(10)]
    async with log_at(tmp_path / "maru.db") as log:
        for number in range(1, 4):
            appended = await asyncio.gather(*(log.append(new_message(number, name)) for name in names))
            assert [one.event.offset for one in appended] == [number] * 10


async def test_the_wal_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under constant writing and reading it is emptied into the file again and again."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(wal, "CHECKPOINT_CHANGES", 200)
    monkeypatch.setattr(wal, "WAL_LIMIT_PAGES", 500)

    async def read_on() -> None:
        while not done.is_set():
            await log.read(ROOM, 0, 10)

    async def sender(number: int) -> None:
        for i in range(50):
            await log.append(new_message(number * 1_000 + i, text="x" * 3_000))

    done = asyncio.Event()
    async with log_at(path) as log:
        readers = [asyncio.create_task(read_on()) for _ in range(2)]
        await asyncio.gather(*map(sender, range(16)))
        wal_file = path.with_name("maru.db-wal").stat().st_size
        done.set()
        await asyncio.gather(*readers)
    assert path.stat().st_size > 2_500_000
    assert wal_file < 3_500_000


async def test_a_reader_that_stays_stops_no_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a backup reads, the WAL must grow over its bound; once it is done, the WAL is emptied."""
    path = tmp_path / "maru.db"
    monkeypatch.setattr(wal, "CHECKPOINT_CHANGES", 50)
    monkeypatch.setattr(wal, "WAL_LIMIT_PAGES", 20)
    with closing(sqlite3.connect(path, isolation_level=None)) as backup:
        async with log_at(path) as log:
            await log.append(new_message(0))
            backup.execute("BEGIN")
            assert backup.execute("SELECT count(*) FROM events").fetchone() == (1,)
            await asyncio.gather(*(log.append(new_message(number, text="x" * 3_000)) for number in range(1, 300)))
            assert backup.execute("SELECT count(*) FROM events").fetchone() == (1,)
            grown = path.stat().st_size
            backup.execute("COMMIT")
            await asyncio.gather(*(log.append(new_message(number, text="x" * 3_000)) for number in range(300, 400)))
            assert (await log.append(new_message(400))).event.offset == 401
            assert path.stat().st_size > grown + 1_000_000
