"""Counting of presence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.ports.presence_metrics import PresenceMetrics

KINDS = ("joined", "left", "count")


@dataclass(frozen=True, slots=True)
class PresenceNow:
    """The state of presence at the moment of a scrape."""

    waiting: int
    """Users that wait to be entered or taken out."""
    rosters: int
    """Rosters whose members are in memory."""
    dropped: int
    """Changes that had no room to wait."""
    uncounted: int = 0
    """Users that wait to be counted as online or offline."""
    reaped: int = 0
    """Users that were taken out for dead replicas."""
    notices: int = 0
    """Notices for webhooks that wait to be kept."""
    notices_dropped: int = 0
    """Notices, and messages to look at for some, that had no room to wait."""


class PresenceCounters(PresenceMetrics, Collector):
    """All counts of presence, since the start of the process. `now` is set before the first scrape."""

    def __init__(self) -> None:
        self.now: Callable[[], PresenceNow] = lambda: PresenceNow(0, 0, 0)
        self.told = dict.fromkeys(KINDS, 0)
        self.holes = 0

    def presence_told(self, kind: str) -> None:
        self.told[kind] += 1

    def presence_hole(self) -> None:
        self.holes += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        now = self.now()
        events = CounterMetricFamily("maru_presence_events", "Changes told to members.", labels=("event",))
        for kind, count in self.told.items():
            events.add_metric((kind,), count)
        yield events
        yield CounterMetricFamily("maru_presence_holes", "Rosters read again after a hole.", self.holes)
        yield GaugeMetricFamily("maru_presence_entries_waiting", "Users to be entered or taken out.", now.waiting)
        yield GaugeMetricFamily("maru_presence_rosters", "Rosters in memory.", now.rosters)
        yield CounterMetricFamily("maru_presence_changes_dropped", "Changes without room.", now.dropped)
        yield GaugeMetricFamily("maru_online_users_waiting", "Users to be counted.", now.uncounted)
        yield CounterMetricFamily("maru_presence_reaped", "Users taken out for dead replicas.", now.reaped)
        yield GaugeMetricFamily("maru_webhook_notices_waiting", "Notices to be kept.", now.notices)
        yield CounterMetricFamily("maru_webhook_notices_dropped", "Notices without room.", now.notices_dropped)
