"""A SQLite log that has grown to its bound, or whose disk is nearly full: what it still takes, and how it recovers."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.adapters.sqlite import space as module
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.space import MIN_FREE_BYTES, RETRY_MS, SHARE, Space
from server.domain.appending import Appended
from server.domain.drafts import Deletion, Draft, Revision, Sender
from server.domain.errors import MaruError, Overloaded
from server.domain.messages import Message
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message, some_id

MIB = 1 << 20
DEADLINE_S = 20.0


class Clocks:
    """Time as a test says: the wall clock and the monotonic clock agree."""

    def __init__(self) -> None:
        self.passed = 0

    def log(self, path: Path, max_bytes: int | None = MIB) -> SqliteMessageLog:
        """A log that keeps events for an hour."""
        return SqliteMessageLog(
            path,
            max_events=1_000_000,
            max_age_ms=HOUR_MS,
            now_ms=lambda: NOW_MS + self.passed,
            monotonic_ms=lambda: self.passed,
            sweep_interval_s=0.05,
            max_bytes=max_bytes,
        )


@pytest.fixture(autouse=True)
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test need not wait for the next look."""
    monkeypatch.setattr(module, "LOOK_S", 0.0)


async def outcome(log: SqliteMessageLog, draft: Draft) -> Appended | MaruError:
    """The outcome of a draft."""
    try:
        return await log.append(draft)
    except MaruError as error:
        return error


async def filled(log: SqliteMessageLog, first: int = 0) -> int:
    """Append messages until one is refused; return its number."""
    for number in range(first, first + 10_000):
        told = await outcome(log, new_message(number, key=f"k{number}", text="x" * 3_000))
        if isinstance(told, Overloaded):
            assert told.retry_after_ms == RETRY_MS
            return number
    raise AssertionError("the log takes everything")


async def roomy(log: SqliteMessageLog, number: int) -> Appended:
    """Append a message until it is taken."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            told = await outcome(log, new_message(number))
            if isinstance(told, Appended):
                return told
            await asyncio.sleep(0)


async def test_a_full_log_refuses_messages_and_edits_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    """Reads, repeats of what it has, and deletions; the file stays within its bound."""
    path = tmp_path / "maru.db"
    async with Clocks().log(path) as log:
        number = await filled(log)
        assert isinstance(await outcome(log, new_message(number, key=f"k{number}")), Overloaded)
        assert isinstance(await outcome(log, Revision(ROOM, some_id(3), "new", None, False, NOW_MS)), Overloaded)
        repeated = await log.append(new_message(5, key="k5", text="x" * 3_000))
        assert (repeated.duplicate, repeated.event.offset) == (True, 6)
        assert (await log.append(Deletion(ROOM, some_id(4), NOW_MS))).event.offset == number + 1
        assert len((await log.history(ROOM, None, None, 100)).messages) == 100
        assert isinstance(await log.message(ROOM, some_id(3)), Message)
        assert (await log.read(ROOM, 0, 10)).head.offset == number + 1
        assert (log.space.limit, log.space.full) == (MIB, True)
    with closing(sqlite3.connect(path)) as db:
        (pages,), (size,) = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA page_size").fetchone()
    assert MIB <= pages * size < MIB * 1.1


async def test_retention_makes_room(tmp_path: Path) -> None:
    """What is dropped is room for others, though the file keeps its size. The log says both, once."""
    clocks = Clocks()
    with capture_logs() as lines:
        async with clocks.log(tmp_path / "maru.db") as log:
            number = await filled(log)
            for _ in range(20):
                await outcome(log, new_message(number))
            clocks.passed = 3 * HOUR_MS
            assert (await roomy(log, number)).event.offset == number + 1
            again = await filled(log, number + 1)
            assert again > number + 100
    told = [line["event"] for line in lines]
    assert told == ["message_log.full", "message_log.has_room", "message_log.full"]


async def test_a_larger_bound_makes_room(tmp_path: Path) -> None:
    """At the next start; nothing that was acked is lost."""
    clocks = Clocks()
    async with clocks.log(tmp_path / "maru.db") as log:
        number = await filled(log)
    async with clocks.log(tmp_path / "maru.db", 2 * MIB) as log:
        assert (await log.append(new_message(number))).event.offset == number + 1
        assert await filled(log, number + 1) > number + 200


async def test_nothing_is_written_behind_a_refused_message(tmp_path: Path) -> None:
    """A client that does not wait for its acks repeats all of them in their order: no later one may be there before."""
    clocks = Clocks()
    async with clocks.log(tmp_path / "maru.db") as log:
        number = await filled(log)
        sender, told, all_told = Sender(), list[tuple[int, Appended | Exception]](), asyncio.Event()

        def done(which: int, outcome: Appended | Exception) -> None:
            told.append((which, outcome))
            if len(told) == 40:
                all_told.set()

        for which in range(40):
            log.submit(new_message(number + which), sender, partial(done, which))
        clocks.passed = 3 * HOUR_MS
        async with asyncio.timeout(DEADLINE_S):
            await all_told.wait()
        assert [which for which, _ in told] == [*range(40)]
        assert isinstance(told[0][1], Overloaded)
        assert not any(isinstance(outcome, Appended) for _, outcome in told)
        assert (await roomy(log, number)).event.offset == number + 1


async def test_with_little_room_the_wal_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small volume it would fill the disk before anybody looks: each commit writes whole pages."""
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr(module, "MIN_FREE_SHARE", 1.0)
    monkeypatch.setattr(module, "MIN_FREE_BYTES", disk.f_bavail * disk.f_frsize // 2)
    async with Clocks().log(tmp_path / "maru.db", 1 << 40) as log:
        for number in range(1_000):
            await log.append(new_message(number, text="x" * 3_000))
        assert (log.space.full, log.space.tight) == (False, True)
        assert (tmp_path / "maru.db-wal").stat().st_size < 4 * MIB


class Disk:
    """A file system with as much room as a test says."""

    def __init__(self, size: int, free: int) -> None:
        self.size, self.free = size, free

    def __call__(self, path: Path) -> os.statvfs_result:
        if self.size < 0:
            raise FileNotFoundError(path)
        return os.statvfs_result((4096, 4096, self.size // 4096, 0, self.free // 4096, 0, 0, 0, 0, 255))


@contextmanager
def database(pages: int = 100) -> Iterator[sqlite3.Connection]:
    """A database of about so many pages of 4 KiB."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE t (x)")
        for _ in range(pages):
            db.execute("INSERT INTO t VALUES (zeroblob(4000))")
        yield db


@pytest.mark.parametrize(
    ("size", "free", "full"),
    [
        (1 << 40, MIN_FREE_BYTES, False),
        (1 << 40, MIN_FREE_BYTES - 4096, True),
        (100 * MIB, 11 * MIB, False),
        (100 * MIB, 9 * MIB, True),
    ],
)
def test_little_room_on_the_disk_is_a_full_log(size: int, free: int, full: bool) -> None:
    """64 MiB, or a tenth of a small disk, is left to the WAL, whoever has taken the rest."""
    space = Space(Path("x"), None, Disk(size, free))
    with database() as db:
        space.look(db)
    assert (space.full, space.limit) == (full, int(size * SHARE))


def test_the_log_may_take_most_of_the_disk() -> None:
    """Four fifths, unless a setting says otherwise."""
    with database(1_000) as db:
        used = Space(Path("x"), None, Disk(8 * MIB, 4 * MIB))
        used.look(db)
        assert (used.full, 1_000 * 4096 < used.used < 1_020 * 4096) == (False, True)
        small = Space(Path("x"), None, Disk(5_000_000, 4 * MIB))
        small.look(db)
        assert small.full
        mine = Space(Path("x"), 3 * MIB, Disk(1 << 40, 1 << 39))
        mine.look(db)
        assert (mine.full, mine.limit) == (True, 3 * MIB)


def test_a_little_room_is_not_enough_to_go_on() -> None:
    """Else the log would be full and not full in turn, with a line each time."""
    disk = Disk(1 << 40, MIN_FREE_BYTES - 4096)
    space = Space(Path("x"), None, disk)
    with database() as db, capture_logs() as lines:
        space.look(db)
        disk.free = MIN_FREE_BYTES + 4096
        space.look(db)
        assert space.full
        disk.free = MIN_FREE_BYTES * 11 // 10
        space.look(db)
        space.look(db)
    assert [line["event"] for line in lines] == ["message_log.full", "message_log.has_room"]


def test_a_disk_that_is_away_is_told_of_elsewhere() -> None:
    """Nothing is known of its room, so nothing changes."""
    space = Space(Path("x"), MIB, Disk(-1, 0))
    with database(1_000) as db:
        space.look(db)
    assert not space.full
