"""Retention in the background: passes in bounded steps that drop exactly the events and keys that are due."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.sqlite.batch import Batch
from server.adapters.sqlite.channels import Channels
from server.adapters.sqlite.database import open_writer, prepare
from server.adapters.sqlite.sweep import PACE_S, STEP_ROWS, Sweep
from server.domain.channels import ChannelName
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.retention import Retention
from server.domain.rules import Rule
from tests.doubles.samples import NOW_MS, ROOM, new_message

INTERVAL_S = 60.0
MAX_AGE_MS = 1_000
UNBOUNDED = 10**9


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty database."""
    prepare(tmp_path / "maru.db")
    with closing(open_writer(tmp_path / "maru.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        yield db


def write(db: sqlite3.Connection, channel: ChannelName, numbers: range, now: int, *, keyed: bool = False) -> None:
    """Append messages with these numbers in one transaction at this time."""
    db.execute("BEGIN IMMEDIATE")
    drafts = [new_message(number, channel, key=f"k{number}" if keyed else None) for number in numbers]
    Batch(db, Channels(b"store"), now, Retention(UNBOUNDED, 1)).run(drafts)
    db.execute("COMMIT")


def sweep(now: int, *, max_events: int = UNBOUNDED, max_age_ms: int = MAX_AGE_MS) -> Sweep:
    """A sweep at this time."""
    return agreeing(lambda: now, max_events, max_age_ms)


def agreeing(clock: Callable[[], int], max_events: int, max_age_ms: int) -> Sweep:
    """A sweep whose clocks have agreed for long."""
    pass_ = Sweep(Retention(max_events, max_age_ms), now_ms=clock, monotonic_ms=clock, interval_s=INTERVAL_S)
    pass_.clock.start(None)
    return pass_


def floors(db: sqlite3.Connection) -> list[tuple[int, int | None, int | None]]:
    """Of each channel: the floor, and the first and last event that are there."""
    return db.execute(
        "SELECT c.floor, min(e.offset), max(e.offset) FROM channels c LEFT JOIN events e ON e.channel_id = c.id"
        " GROUP BY c.id ORDER BY c.id"
    ).fetchall()


def test_a_long_past_is_dropped_step_by_step(db: sqlite3.Connection) -> None:
    """No step drops more than its bound; the pass goes on at once until nothing old is left, and keeps the rest."""
    write(db, ROOM, range(2 * STEP_ROWS + 5), NOW_MS)
    write(db, ROOM, range(10_000, 10_010), NOW_MS + 1)
    pass_ = sweep(NOW_MS + 1 + MAX_AGE_MS)
    head = 2 * STEP_ROWS + 15
    assert pass_.step(db) == PACE_S
    assert floors(db) == [(STEP_ROWS, STEP_ROWS + 1, head)]
    assert pass_.step(db) == PACE_S
    assert pass_.step(db) == INTERVAL_S
    assert floors(db) == [(2 * STEP_ROWS + 5, 2 * STEP_ROWS + 6, head)]


def test_every_channel_has_its_turn(db: sqlite3.Connection) -> None:
    """A step looks at a bounded number of channels. Channels without old events are left alone, wherever they are."""
    channels = Channels(b"store")
    db.execute("BEGIN IMMEDIATE")
    for number in range(2 * STEP_ROWS + 2):
        now = NOW_MS if number % 2 else NOW_MS + MAX_AGE_MS
        Batch(db, channels, now, Retention(UNBOUNDED, 1)).run([new_message(1, ChannelName(f"c:{number}"))])
    db.execute("COMMIT")
    pass_ = sweep(NOW_MS + MAX_AGE_MS + 1)
    assert [pass_.step(db) for _ in range(3)] == [PACE_S, PACE_S, INTERVAL_S]
    assert floors(db) == [(1, None, None), (0, 1, 1)][::-1] * (STEP_ROWS + 1)


def test_a_lowered_bound_is_reached(db: sqlite3.Connection) -> None:
    """A channel that nobody writes to comes down to a bound that was set lower since."""
    write(db, ROOM, range(50), NOW_MS)
    assert sweep(NOW_MS, max_events=20).step(db) == INTERVAL_S
    assert floors(db) == [(30, 31, 50)]


def test_a_lowered_bound_is_reached_by_appends_too(db: sqlite3.Connection) -> None:
    """Each batch drops some more than it adds, so that a busy channel needs no sweep, and no append waits long."""
    write(db, ROOM, range(500), NOW_MS)
    seen: list[int] = []
    for number in range(1_000, 1_008):
        Batch(db, Channels(b"store"), NOW_MS, Retention(20, 1)).run([new_message(number)])
        head = 501 + len(seen)
        seen.append(head - floors(db)[0][0])
    assert seen[0] > 400
    assert seen[-1] == 20


def test_expired_keys_are_dropped(db: sqlite3.Connection) -> None:
    """Step by step, and only those; their events stay."""
    write(db, ROOM, range(STEP_ROWS + 5), NOW_MS, keyed=True)
    write(db, ROOM, range(10_000, 10_003), NOW_MS + 1, keyed=True)
    pass_ = sweep(NOW_MS + KEY_LIFETIME_MS, max_age_ms=UNBOUNDED)
    assert pass_.step(db) == PACE_S
    assert pass_.step(db) == INTERVAL_S
    assert db.execute("SELECT count(*) FROM keys").fetchone() == (3,)
    assert floors(db) == [(0, 1, STEP_ROWS + 8)]


def test_after_a_failure_the_pass_begins_anew(db: sqlite3.Connection) -> None:
    """The next pass does the work of a step that was rolled back."""
    write(db, ROOM, range(STEP_ROWS + 5), NOW_MS)
    pass_ = sweep(NOW_MS + MAX_AGE_MS + 1)
    db.execute("BEGIN IMMEDIATE")
    pass_.step(db)
    db.execute("ROLLBACK")
    assert pass_.restart() == INTERVAL_S
    assert pass_.step(db) == PACE_S
    assert pass_.step(db) == INTERVAL_S
    assert floors(db) == [(STEP_ROWS + 5, None, None)]


def test_rules_cost_only_channels_that_have_more_to_drop(db: sqlite3.Connection) -> None:
    """A channel is within its own rule, or it is trimmed by that; the least bound of all is no other channel's."""
    brief, few, plain = ChannelName("brief"), ChannelName("few"), ChannelName("plain")
    for channel in (brief, few, plain):
        write(db, channel, range(100 * len(channel), 100 * len(channel) + 20), NOW_MS)
    rules: dict[str, Rule] = {brief: Rule(retention_age_s=MAX_AGE_MS / 2_000), few: Rule(retention_events=5)}
    clock = NOW_MS + MAX_AGE_MS // 2 + 1
    pass_ = Sweep(
        Retention(UNBOUNDED, MAX_AGE_MS, rules), now_ms=lambda: clock, monotonic_ms=lambda: clock, interval_s=INTERVAL_S
    )
    pass_.clock.start(None)
    assert pass_.step(db) == INTERVAL_S
    assert [floor for floor, *_ in floors(db)] == [20, 15, 0]
    assert pass_.refusals == 0
