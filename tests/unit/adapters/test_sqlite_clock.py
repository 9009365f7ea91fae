"""Age in a SQLite log under wrong clocks: a clock that jumps destroys nothing, and an honest pause ends in the end."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.adapters.sqlite import age_budget
from server.adapters.sqlite.batch import Batch
from server.adapters.sqlite.channels import Channels
from server.adapters.sqlite.database import open_writer, prepare
from server.adapters.sqlite.log_clock import TRUST_MS
from server.adapters.sqlite.message_log import SqliteMessageLog
from server.adapters.sqlite.sweep import STEP_ROWS, Sweep
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.retention import Retention
from tests.doubles.samples import HOUR_MS, NOW_MS, ROOM, new_message
from tests.unit.adapters.sqlite_cases import DEADLINE_S

DAY_MS = 24 * HOUR_MS
MAX_AGE_MS = 30 * DAY_MS


class Clocks:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall = NOW_MS
        self.monotonic = 0

    def jump(self, ms: int) -> None:
        """Set the wall clock to another time."""
        self.wall += ms

    def run(self, ms: int) -> None:
        """Let time pass."""
        self.wall += ms
        self.monotonic += ms


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that agree."""
    return Clocks()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with a hundred events that have keys."""
    prepare(tmp_path / "maru.db")
    with closing(open_writer(tmp_path / "maru.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        write(db, range(100), NOW_MS)
        yield db


def write(db: sqlite3.Connection, numbers: range, now: int) -> None:
    """Append messages with keys at this time."""
    Batch(db, Channels(b"store"), now, Retention(10**9, 1)).run(
        [new_message(number, key=f"k{number}") for number in numbers]
    )


def opened(clocks: Clocks) -> Sweep:
    """The sweep of a server that starts now."""
    return Sweep(
        Retention(10**9, MAX_AGE_MS),
        now_ms=lambda: clocks.wall,
        monotonic_ms=lambda: clocks.monotonic,
        interval_s=60.0,
    )


def left(db: sqlite3.Connection, table: str = "events") -> int:
    """How many rows are left."""
    (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # a table's name
    return int(count)


def test_a_start_with_a_clock_that_is_ahead_destroys_nothing(db: sqlite3.Connection, clocks: Clocks) -> None:
    """It is said once and counted; when the clock is set right, all is as before."""
    clocks.jump(40 * DAY_MS)
    sweep = opened(clocks)
    with capture_logs() as logs:
        for _ in range(3):
            sweep.step(db)
            clocks.run(60_000)
    assert (left(db), sweep.refusals) == (100, 3)
    assert [line["event"] for line in logs] == ["message_log.trim_refused"]
    clocks.jump(-40 * DAY_MS)
    sweep.step(db)
    assert (left(db), sweep.refusals) == (100, 3)


def test_messages_of_a_wrong_clock_are_no_evidence(db: sqlite3.Connection, clocks: Clocks) -> None:
    """Nor are starts: however many there are with a clock that is ahead, nothing goes."""
    opened(clocks).step(db)
    clocks.jump(40 * DAY_MS)
    for start in range(15):
        sweep = opened(clocks)
        sweep.now(db)
        write(db, range(1_000 + start, 1_001 + start), clocks.wall)
        sweep.step(db)
        clocks.run(60_000)
    assert left(db) == 115


def test_messages_after_an_honest_downtime_are_kept(db: sqlite3.Connection, clocks: Clocks) -> None:
    """They are as young as they are, although the clock was not believed yet when they were written."""
    opened(clocks).step(db)
    clocks.jump(40 * DAY_MS)
    sweep = opened(clocks)
    sweep.step(db)
    write(db, range(1_000, 1_010), clocks.wall)
    clocks.run(TRUST_MS)
    sweep.step(db)
    assert (left(db), left(db, "keys")) == (10, 10)


@pytest.mark.parametrize("days", [40, -40])
def test_a_clock_that_jumps_under_way_destroys_nothing(db: sqlite3.Connection, clocks: Clocks, days: int) -> None:
    """Neither events nor keys, ahead or back."""
    sweep = opened(clocks)
    sweep.step(db)
    clocks.jump(days * DAY_MS)
    sweep.step(db)
    assert (left(db), left(db, "keys")) == (100, 100)


def test_after_an_honest_downtime_the_log_is_aged(db: sqlite3.Connection, clocks: Clocks) -> None:
    """A server that was down for 40 days believes its clock after an hour."""
    clocks.jump(40 * DAY_MS)
    sweep = opened(clocks)
    sweep.step(db)
    assert left(db) == 100
    clocks.run(TRUST_MS)
    sweep.step(db)
    assert (left(db), left(db, "keys")) == (0, 0)


def test_an_hour_takes_a_bounded_part_of_the_store(
    db: sqlite3.Connection, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old the events are, a part goes in each hour, and the rest is counted as refused."""
    monkeypatch.setattr(age_budget, "AT_LEAST", 0)
    sweep = opened(clocks)
    sweep.step(db)
    clocks.run(MAX_AGE_MS + 1)
    for kept in (95, 91):
        for _ in range(2):
            sweep.step(db)
            assert left(db) == kept
        clocks.run(HOUR_MS)
    assert sweep.refusals == 4


def test_a_start_begins_no_new_hour(db: sqlite3.Connection, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of the hour is the store's: many starts take no more than a single server would."""
    monkeypatch.setattr(age_budget, "AT_LEAST", 0)
    opened(clocks).step(db)
    clocks.run(MAX_AGE_MS - HOUR_MS)
    sweep = opened(clocks)
    sweep.step(db)
    clocks.run(TRUST_MS + 1)
    sweep.step(db)
    assert left(db) == 95
    write(db, range(1_000, 1_001), clocks.wall)
    for _ in range(5):
        clocks.run(60_000)
        opened(clocks).step(db)
        assert left(db) == 96
    clocks.run(HOUR_MS)
    opened(clocks).step(db)
    assert left(db) == 92


def test_an_hour_of_a_clock_that_was_ahead_ends(
    db: sqlite3.Connection, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clock that was believed is set back, the next part is due an hour later, and not when it gets there."""
    monkeypatch.setattr(age_budget, "AT_LEAST", 0)
    budget = age_budget.AgeBudget(MAX_AGE_MS)
    for now, kept in ((40 * DAY_MS, 5), (0, 0), (HOUR_MS - 1, 0), (HOUR_MS, 5)):
        budget.load(db, NOW_MS + now)
        assert budget.left == kept
        budget.left = 0
        budget.save(db)


def test_a_short_rule_counts_less() -> None:
    """Of a channel that keeps an hour, more goes in an hour of honest work than of a channel that keeps a month."""
    budget = age_budget.AgeBudget(30 * DAY_MS)
    budget.left = 100
    assert [budget.left_for(age) for age in (365 * DAY_MS, 30 * DAY_MS, DAY_MS, HOUR_MS)] == [100, 100, 166, 4_000]
    budget.take(40, HOUR_MS)
    assert budget.left == 99
    budget.take(40, 30 * DAY_MS)
    assert budget.left == 59
    budget.take(4_000, HOUR_MS)
    assert budget.left == 0


def test_keys_of_a_clock_that_was_ahead_do_not_stop_the_purge(db: sqlite3.Connection, clocks: Clocks) -> None:
    """They end a day after they were found, and keys behind them in time."""
    write(db, range(1_000, 1_000 + STEP_ROWS), NOW_MS + 400 * DAY_MS)
    write(db, range(5_000, 5_010), NOW_MS)
    sweep = opened(clocks)
    sweep.clock.start(None)
    sweep.step(db)
    clocks.run(KEY_LIFETIME_MS)
    for _ in range(4):
        sweep.step(db)
    assert left(db, "keys") <= STEP_ROWS
    clocks.run(KEY_LIFETIME_MS)
    for _ in range(4):
        sweep.step(db)
    assert left(db, "keys") == 0


async def test_operators_can_count_what_was_refused(tmp_path: Path) -> None:
    """The log tells of the passes of its sweep, while it serves."""
    clocks = Clocks()

    def log() -> SqliteMessageLog:
        return SqliteMessageLog(
            tmp_path / "maru.db",
            max_events=10,
            max_age_ms=MAX_AGE_MS,
            now_ms=lambda: clocks.wall,
            monotonic_ms=lambda: clocks.monotonic,
            sweep_interval_s=0.05,
        )

    async with log() as right:
        await right.append(new_message(1))
        assert right.trims_refused == 0
    clocks.jump(40 * DAY_MS)
    async with log() as wrong, asyncio.timeout(DEADLINE_S):
        while wrong.trims_refused < 2:
            assert (await wrong.read(ROOM, 0, 10)).floor == 0
