"""The time by which the log judges age. It moves by evidence: a wall clock that jumps must not destroy the log."""

from collections.abc import Callable

TOLERANCE_MS = 120_000
"""The wall clock and the monotonic clock may differ by this much: NTP, and the drift between two looks."""

TRUST_MS = 3_600_000
"""A wall clock that has jumped is believed after it has run evenly for this long: time to set a wrong clock right."""

DOWNTIME_SHARE = 10
"""At the opening, the wall clock is believed if the log's last time is younger than this share of the retention, or
than an hour: after a longer silence the store can't tell an honest downtime from a wrong clock, so it waits."""


class LogClock:
    """Wall-clock time in milliseconds, held back while it disagrees with the monotonic clock. Used by one thread."""

    def __init__(self, now_ms: Callable[[], int], monotonic_ms: Callable[[], int], max_age_ms: int) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms
        self._max_age_ms = max_age_ms
        self._wall = self._monotonic = 0  # when the two agreed for the last time
        self._suspected: tuple[int, int] | None = None  # the difference, and since when on the monotonic clock
        self.started = False

    def start(self, evidence: int | None) -> None:
        """Begin with the evidence of the store: the last time that it is known to have seen, if any. A wall clock that
        is not believed adds nothing, so that many starts don't add up."""
        self._wall, self._monotonic = self._now_ms(), self._monotonic_ms()
        if evidence is not None and self._wall - evidence > max(TRUST_MS, self._max_age_ms // DOWNTIME_SHARE):
            self._wall = evidence
        self.started = True

    def now(self) -> int:
        """Return the time by which age is judged: never later than either clock says."""
        wall, monotonic = self._now_ms(), self._monotonic_ms()
        if not self.started:
            return wall
        expected = self._wall + monotonic - self._monotonic
        ahead = wall - expected
        if abs(ahead) <= TOLERANCE_MS or self._believed(ahead, monotonic):
            self._wall, self._monotonic, self._suspected = wall, monotonic, None
            return wall
        return min(wall, expected)

    @property
    def trusted(self) -> bool:
        """Whether the wall clock was believed at the last look."""
        return self._suspected is None

    def _believed(self, ahead: int, monotonic: int) -> bool:
        """Whether the wall clock has been ahead by the same time for long enough."""
        if self._suspected is None or abs(ahead - self._suspected[0]) > TOLERANCE_MS:
            self._suspected = (ahead, monotonic)
        return monotonic - self._suspected[1] >= TRUST_MS
