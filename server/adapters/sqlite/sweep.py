"""Retention in the background: events that are too old, also in channels that nobody writes to, and expired keys."""

import sqlite3
from collections.abc import Callable

from server.adapters.sqlite.batch import drop

STEP_ROWS = 1_000
"""Events, channels and keys that a step looks at or drops, at most: some 10 ms, in which no append is written."""

PACE_S = 0.02
"""Between the steps of a pass: appends go first."""


class Sweep:
    """Passes over all channels, in bounded steps, with a pause of `interval_s` between passes.

    Each step is a single transaction, which the caller begins and ends. After a failed step, call `restart`.
    """

    def __init__(self, *, max_events: int, max_age_ms: int, now_ms: Callable[[], int], interval_s: float) -> None:
        self._max_events = max_events
        self._max_age_ms = max_age_ms
        self._now_ms = now_ms
        self._interval_s = interval_s
        self._done_with = 0  # the highest channel id of this pass so far

    def restart(self) -> float:
        """Start the next pass from the first channel. Returns the seconds until then."""
        self._done_with = 0
        return self._interval_s

    def step(self, db: sqlite3.Connection) -> float:
        """Do a step of the pass. Returns the seconds until the next step is due."""
        now = self._now_ms()
        keys_left = _purge_keys(db, now)
        channels_left = self._trim_channels(db, now - self._max_age_ms)
        return PACE_S if keys_left or channels_left else self.restart()

    def _trim_channels(self, db: sqlite3.Connection, oldest: int) -> bool:
        """Trim the next few channels. Returns whether more are left."""
        up_to = self._done_with + STEP_ROWS
        due = db.execute(
            "SELECT c.id, c.head, c.floor FROM channels c"
            " JOIN events e ON e.channel_id = c.id AND e.offset = c.floor + 1"
            " WHERE c.id > ? AND c.id <= ? AND (c.head - c.floor > ? OR e.written_at < ?) ORDER BY c.id",
            (self._done_with, up_to, self._max_events, oldest),
        ).fetchall()
        budget = STEP_ROWS
        for id, head, floor in due:
            wanted = max(floor, head - self._max_events, _aged(db, id, floor, oldest))
            reached = min(wanted, floor + budget)
            budget -= reached - floor
            drop(db, [(id, reached)])
            db.execute("UPDATE channels SET floor = ? WHERE id = ?", (reached, id))
            if budget == 0:
                self._done_with = id - 1  # this channel may have more to drop
                return True
        self._done_with = up_to
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM channels WHERE id > ?)", (up_to,)).fetchone()[0])


def _aged(db: sqlite3.Connection, channel_id: int, floor: int, oldest: int) -> int:
    """Return the highest floor under which all events were written before `oldest`, as far as a step looks."""
    young, last = db.execute(
        "SELECT min(offset) FILTER (WHERE written_at >= ?), max(offset) FROM"
        " (SELECT offset, written_at FROM events WHERE channel_id = ? AND offset > ? ORDER BY offset LIMIT ?)",
        (oldest, channel_id, floor, STEP_ROWS),
    ).fetchone()
    return int(last if young is None else young - 1)


def _purge_keys(db: sqlite3.Connection, now: int) -> bool:
    """Drop the oldest keys that have expired. Returns whether more may have."""
    cursor = db.execute(
        "DELETE FROM keys WHERE expires_at <= ? AND n IN (SELECT n FROM keys ORDER BY n LIMIT ?)",
        (now, STEP_ROWS),
    )
    return cursor.rowcount == STEP_ROWS
