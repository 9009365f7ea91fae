"""The terms on which a log takes events: how many a channel keeps, how many it takes, and by which clock."""

from collections.abc import Callable, Mapping

from server.domain.appending import too_many_events
from server.domain.channels import ChannelName
from server.domain.errors import RateLimited
from server.domain.gcra import Rate
from server.domain.retention import Retention
from server.domain.rules import Rule

SPARE_TRIMS = 64
"""An append drops as many events of a channel as it adds, and up to this many more: after the bound was lowered, the
channel gets there in steps."""

_TOLERANCE_MS = 0.01
"""Times of the wall clock in ms, as numbers with a fraction, are exact to 0.0002."""


class Terms:
    """The retention and the rate of a log. `own_ms` is a test's clock; without, PostgreSQL's own counts."""

    def __init__(
        self,
        max_events: int,
        max_age_ms: int,
        rules: Mapping[str, Rule] | None,
        rate: Rate | None,
        own_ms: Callable[[], int] | None,
    ) -> None:
        self.retention = Retention(max_events, max_age_ms, rules)
        self.interval_ms = 0.0 if rate is None else 1_000.0 / rate.per_s
        self.room_ms = 0.0 if rate is None else rate.burst * self.interval_ms + _TOLERANCE_MS
        self._own_ms = own_ms

    @property
    def now_ms(self) -> int | None:
        """The time as the functions in PostgreSQL take it."""
        return None if self._own_ms is None else self._own_ms()

    def kept(self, channel: ChannelName) -> int:
        """Return how many events the channel keeps."""
        return self.retention.of(channel).events

    def wait_ms(self, full_ms: float, now_ms: float) -> float:
        """Return for how long a channel takes no event, 0 if it does so now; see `gcra`."""
        if not self.interval_ms:
            return 0.0
        return max(0.0, max(full_ms, now_ms) + self.interval_ms - now_ms - self.room_ms)


def limited(wait_ms: float) -> RateLimited:
    """Return the refusal of a draft over the rate, which passes after the wait."""
    return too_many_events((wait_ms + 2 * _TOLERANCE_MS) / 1_000)
