"""Recent times of a histogram."""

from server.adapters.prometheus.counters import BOUNDS_S, Histogram
from server.adapters.prometheus.recent import RecentTimes


def test_a_quantile_is_that_of_the_times_since_the_last_look() -> None:
    """A bound of the histogram's; 0 if nothing came."""
    times = Histogram()
    recent = RecentTimes(times)
    assert recent.quantile(0.99) == 0.0
    for _ in range(99):
        times.add(0.002)
    times.add(0.2)
    assert recent.quantile(0.99) == 0.0025
    times.add(0.2)
    assert recent.quantile(0.99) == 0.25
    times.add(100.0)
    assert recent.quantile(0.5) == BOUNDS_S[-1]
    assert recent.quantile(0.5) == 0.0
