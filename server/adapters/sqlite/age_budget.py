"""How many events may be dropped by age in an hour: a bounded part of a large store, a fixed number of a small one."""

import math
import sqlite3

HOUR_MS = 3_600_000

PART = 0.05
"""The part of the store that may go in an hour by age. A short retention drops more in honest work: then twice that."""

AT_LEAST = 10_000
"""Events that may go in an hour from a store of any size."""


class AgeBudget:
    """Counts the events that went by age in this hour of the log's clock. The count stands in the store, so that
    a start begins no new hour."""

    def __init__(self, max_age_ms: int) -> None:
        self._part = _part(max_age_ms)  # of channels without a rule
        self._hour = 0  # when this hour began
        self.left = 0  # events that may still go in this hour

    def load(self, db: sqlite3.Connection, now: int) -> None:
        """Go on with the hour of the store, or begin the next if it is time."""
        hour, left = db.execute("SELECT hour, may_age FROM store").fetchone()
        if hour is None or left is None or now - hour >= HOUR_MS:
            (kept,) = db.execute("SELECT coalesce(sum(head - floor), 0) FROM channels").fetchone()
            hour, left = now, max(AT_LEAST, int(kept * self._part))
        self._hour = min(hour, now)  # a clock that was ahead must not stretch the hour
        self.left = left

    def save(self, db: sqlite3.Connection) -> None:
        """Keep the count, in the transaction in which the events go."""
        db.execute("UPDATE store SET hour = ?, may_age = ?", (self._hour, self.left))

    def left_for(self, age_ms: int) -> int:
        """Return how many events of channels that keep them so long may still go in this hour."""
        return int(self.left / self._weight(age_ms))

    def take(self, events: int, age_ms: int) -> None:
        """Count events that go. If a rule keeps them for a shorter time, more of them go in honest work, and each
        counts less."""
        self.left = max(0, self.left - math.ceil(events * self._weight(age_ms)))

    def _weight(self, age_ms: int) -> float:
        return min(1.0, self._part / _part(age_ms))


def _part(age_ms: int) -> float:
    return max(PART, 2 * HOUR_MS / max(1, age_ms))
