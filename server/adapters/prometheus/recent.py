"""Recent times: those that came into a histogram since the look before."""

from server.adapters.prometheus.counters import BOUNDS_S, Histogram


class RecentTimes:
    """Looks at a histogram now and then."""

    def __init__(self, times: Histogram) -> None:
        self._times = times
        self._before = [0] * (len(BOUNDS_S) + 1)  # of each bound, how many times were up to it at the last look

    def quantile(self, share: float) -> float:
        """Return a bound that so large a share of the times since the last look is not above; 0 if there were none.
        The histogram's last bound stands for all that are above it."""
        now = [count for _, count in self._times.buckets()]
        counts = [count - before for count, before in zip(now, self._before, strict=True)]
        self._before = now
        if not counts[-1]:
            return 0.0
        return next(
            (bound for bound, count in zip(BOUNDS_S, counts, strict=False) if count >= share * counts[-1]), BOUNDS_S[-1]
        )
