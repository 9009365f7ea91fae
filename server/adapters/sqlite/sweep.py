"""Work in the background: events that are too old, also in channels that nobody writes to, expired keys, and the edits
of deleted messages."""

import sqlite3
from collections.abc import Callable

import structlog

from server.adapters.sqlite.age_budget import AgeBudget
from server.adapters.sqlite.debts import forget_old
from server.adapters.sqlite.erasing import STEP_EDITS, erase_edits
from server.adapters.sqlite.events import drop
from server.adapters.sqlite.leftovers import remove_leftovers
from server.adapters.sqlite.log_clock import LogClock
from server.domain.channels import ChannelName
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.retention import Retention

STEP_ROWS = 1_000
"""Events, channels and keys that a step looks at or drops, at most: some 10 ms, in which no append is written."""

KEY_MARGIN_MS = 3_600_000
"""A key that expires later than a new key would, by more than this, was written by a clock that was ahead."""

PACE_S = 0.02
"""Between the steps of a pass: appends go first."""

# When the oldest event of the channel `c` was written. It is in the index of creations, or in that of the others.
_OLDEST = """
coalesce(
    (SELECT written_at FROM events WHERE channel_id = c.id AND offset = c.floor + 1 AND message_id IS NOT NULL),
    (SELECT written_at FROM events WHERE channel_id = c.id AND offset = c.floor + 1 AND message_id IS NULL)
)
"""

_DUE = """
SELECT c.id, c.name, c.head, c.floor, {oldest} FROM channels c
WHERE c.id > ? AND c.id <= ? AND (c.head - c.floor > ? OR {oldest} < ?) ORDER BY c.id
""".replace("{oldest}", _OLDEST)

_HELD_BACK = """
SELECT c.name, {oldest} FROM channels c WHERE c.id > ? AND c.id <= ? AND {oldest} < ?
""".replace("{oldest}", _OLDEST)

_AGED = """
SELECT min(offset) FILTER (WHERE written_at >= ?1), max(offset) FROM (
    SELECT offset, written_at FROM events WHERE channel_id = ?2 AND offset > ?3 AND message_id IS NOT NULL
    UNION ALL
    SELECT offset, written_at FROM events WHERE channel_id = ?2 AND offset > ?3 AND message_id IS NULL
    ORDER BY offset LIMIT ?4
)
"""

_log = structlog.get_logger("maru.log")


class Sweep:
    """Passes over all channels, in bounded steps, with a pause of `interval_s` between passes.

    Age is judged by `clock`. Events that are too old by the wall clock only are kept, and so are those over the hourly
    part of the store: `refusals` counts the passes in which that happened.

    Each step is a single transaction, which the caller begins and ends. After a failed step, call `restart`.
    """

    def __init__(
        self,
        retention: Retention,
        *,
        now_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        interval_s: float,
    ) -> None:
        self._retention = retention
        self._now_ms = now_ms
        self._interval_s = interval_s
        self.clock = LogClock(now_ms, monotonic_ms, retention.default.age_ms)
        self._budget = AgeBudget(retention.default.age_ms)
        self._refused = False  # in this pass
        self._warned = False  # since the clocks agreed the last time
        self.refusals = 0
        self._done_with = 0  # the highest channel id of this pass so far
        self.erased = 0  # edits, in the last step

    def restart(self) -> float:
        """Start the next pass from the first channel. Returns the seconds until then."""
        self._done_with = 0
        return self._interval_s

    def now(self, db: sqlite3.Connection) -> int:
        """Return the time by which age is judged. The first call looks at the store's evidence: the time of the last
        step, or of the newest event if there was none: events have the wall clock's time, believed or not."""
        if not self.clock.started:
            (evidence,) = db.execute(
                "SELECT coalesce(clock, (SELECT written_at FROM events ORDER BY n DESC LIMIT 1)) FROM store"
            ).fetchone()
            self.clock.start(evidence)
        return self.clock.now()

    def step(self, db: sqlite3.Connection) -> float:
        """Do a step of the pass. Returns the seconds until the next step is due."""
        now = self.now(db)
        db.execute("UPDATE store SET clock = ?", (now,))
        self._budget.load(db, now)
        keys_left = _purge_keys(db, now)
        if self.clock.trusted:
            _mend_keys(db, now + KEY_LIFETIME_MS)
        channels_left = self._trim_channels(db, now)
        self._budget.save(db)
        self.erased = erase_edits(db)
        if keys_left or channels_left or self.erased == STEP_EDITS:
            return PACE_S
        if self.clock.trusted and forget_old(db, now):
            return PACE_S
        self._tell()
        return self.restart()

    def _tell(self) -> None:
        """Count a pass that kept events which the wall clock calls too old, and say so once."""
        if self._refused:
            self.refusals += 1
            if not self._warned:
                _log.warning("message_log.trim_refused", clock_trusted=self.clock.trusted)
        self._warned = self._refused
        self._refused = False

    def _trim_channels(self, db: sqlite3.Connection, now: int) -> bool:
        """Trim the next few channels. Returns whether more are left."""
        up_to, least = self._done_with + STEP_ROWS, self._retention.least
        self._refused = self._refused or self._held_back(db, now, up_to)
        due = db.execute(_DUE, (self._done_with, up_to, least.events, now - least.age_ms)).fetchall()
        budget = STEP_ROWS
        for id, name, head, floor, written in due:
            kept = self._retention.of(ChannelName(name))
            over = max(floor, head - kept.events)
            aged = _aged(db, id, floor, now - kept.age_ms) - over if written < now - kept.age_ms else 0
            allowed = min(max(aged, 0), self._budget.left_for(kept.age_ms))
            self._refused = self._refused or allowed < aged
            reached = min(over + allowed, floor + budget)
            if reached == floor:  # within the bounds of its rule
                continue
            self._budget.take(max(0, reached - over), kept.age_ms)
            budget -= reached - floor
            drop(db, [(id, reached)])
            db.execute("UPDATE channels SET floor = ? WHERE id = ?", (reached, id))
            if budget == 0:
                self._done_with = id - 1  # this channel may have more to drop
                return True
        if remove_leftovers(db, self._done_with, up_to, STEP_ROWS):
            return True
        self._done_with = up_to
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM channels WHERE id > ?)", (up_to,)).fetchone()[0])

    def _held_back(self, db: sqlite3.Connection, now: int, up_to: int) -> bool:
        """Whether an event of the next few channels is too old by the wall clock, which is not believed."""
        if self.clock.trusted:
            return False
        wall, least = self._now_ms(), self._retention.least
        found = db.execute(_HELD_BACK, (self._done_with, up_to, wall - least.age_ms))
        ages = ((oldest, self._retention.of(ChannelName(name)).age_ms) for name, oldest in found)
        return any(now - age_ms <= oldest < wall - age_ms for oldest, age_ms in ages)


def _aged(db: sqlite3.Connection, channel_id: int, floor: int, oldest: int) -> int:
    """Return the highest floor under which all events were written before `oldest`, as far as a step looks."""
    young, last = db.execute(_AGED, (oldest, channel_id, floor, STEP_ROWS)).fetchone()
    return int(last if young is None else young - 1)


def _purge_keys(db: sqlite3.Connection, now: int) -> bool:
    """Drop the oldest keys that have expired. Returns whether more may have."""
    cursor = db.execute(
        "DELETE FROM keys WHERE expires_at <= ? AND n IN (SELECT n FROM keys ORDER BY n LIMIT ?)",
        (now, STEP_ROWS),
    )
    return cursor.rowcount == STEP_ROWS


def _mend_keys(db: sqlite3.Connection, latest: int) -> None:
    """Let the oldest keys end in time that a clock which was ahead has written: at `latest`, behind all others. They
    would stand before keys that expire, and stop the purge."""
    db.execute(
        "UPDATE keys SET expires_at = ?, n = n + (SELECT max(n) FROM keys)"
        " WHERE expires_at > ? AND n IN (SELECT n FROM keys ORDER BY n LIMIT ?)",
        (latest, latest + KEY_MARGIN_MS, STEP_ROWS),
    )
