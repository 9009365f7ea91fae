"""How many events may be dropped by age: a bounded part of the store in an hour, whatever the clocks say."""

import sqlite3
from collections.abc import Callable

HOUR_MS = 3_600_000

PART = 0.05
"""The part of the store that may go in an hour by age. A short retention drops more in honest work: then twice that."""

AT_LEAST = 10_000
"""Events that may go in an hour from a store of any size."""


class AgeBudget:
    """Counts the events that went by age in this hour of the monotonic clock."""

    def __init__(self, monotonic_ms: Callable[[], int], max_age_ms: int) -> None:
        self._monotonic_ms = monotonic_ms
        self._part = max(PART, 2 * HOUR_MS / max(1, max_age_ms))
        self._renewed_at: int | None = None
        self.left = 0  # events that may still go in this hour

    def renew(self, db: sqlite3.Connection) -> None:
        """Begin the next hour if it is time."""
        now = self._monotonic_ms()
        if self._renewed_at is None or now - self._renewed_at >= HOUR_MS:
            (kept,) = db.execute("SELECT coalesce(sum(head - floor), 0) FROM channels").fetchone()
            self._renewed_at = now
            self.left = max(AT_LEAST, int(kept * self._part))
