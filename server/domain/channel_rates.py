"""The rate of events of each channel, for logs that a single process writes."""

from collections.abc import Callable

from server.domain.appending import too_many_events
from server.domain.buckets import Buckets
from server.domain.channels import ChannelName
from server.domain.gcra import Rate, pace


class ChannelRates:
    """A bucket of events for each channel; without a rate, none is ever empty. `clock` is monotonic, in seconds."""

    def __init__(self, rate: Rate | None, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self._pace = None if rate is None else pace(rate)
        self._buckets = Buckets[ChannelName]()

    def take(self, channel: ChannelName, now: float) -> None:
        """Count an event that is to be written. Raises `RateLimited`."""
        if self._pace is not None and (wait := self._buckets.take(channel, self._pace, now)):
            raise too_many_events(wait)

    def give_back(self, channels: list[ChannelName]) -> None:
        """Take back the events of a moment ago: they were not written."""
        if self._pace is not None:
            for channel in channels:
                self._buckets.give_back(channel, self._pace.interval)

    def sweep(self) -> None:
        """Forget some of the buckets that are full."""
        self._buckets.sweep(self.clock())
