"""Counting of webhooks, by endpoint."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.domain.webhooks import Outcome
from server.ports.webhook_metrics import WebhookMetrics


class _Endpoint:
    """The counts of an endpoint. The values of the first group are those of the replica that leads it."""

    __slots__ = (
        "answers",
        "buried",
        "channels",
        "down",
        "events",
        "faults",
        "gaps",
        "leads",
        "off",
        "oldest_s",
        "seconds",
    )

    def __init__(self) -> None:
        self.leads = self.down = self.off = False
        self.channels = self.events = 0
        self.oldest_s = 0.0
        # Of this replica, since its start: requests by outcome, the time that they took, and the rest.
        self.answers = {str(outcome): 0 for outcome in Outcome}
        self.seconds = 0.0
        self.buried = self.gaps = self.faults = 0


class WebhookCounters(WebhookMetrics, Collector):
    """All counts of webhooks, since the start of the process."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self._endpoints = {name: _Endpoint() for name in endpoints}

    def webhook_led(self, endpoint: str, leads: bool) -> None:
        counts = self._endpoints[endpoint]
        counts.leads = leads
        if not leads:
            counts.down = counts.off = False
            counts.channels, counts.events, counts.oldest_s = 0, 0, 0.0

    def webhook_answered(self, endpoint: str, outcome: Outcome, seconds: float) -> None:
        counts = self._endpoints[endpoint]
        counts.answers[outcome] += 1
        counts.seconds += max(0.0, seconds)

    def webhook_state(self, endpoint: str, *, down: bool, off: bool) -> None:
        counts = self._endpoints[endpoint]
        counts.down, counts.off = down, off

    def webhook_buried(self, endpoint: str) -> None:
        self._endpoints[endpoint].buried += 1

    def webhook_gapped(self, endpoint: str) -> None:
        self._endpoints[endpoint].gaps += 1

    def webhook_fault(self, endpoint: str) -> None:
        self._endpoints[endpoint].faults += 1

    def webhook_lagged(self, endpoint: str, channels: int, events: int, oldest_s: float) -> None:
        counts = self._endpoints[endpoint]
        counts.channels, counts.events, counts.oldest_s = channels, events, oldest_s

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. docs/metrics.md explains each."""
        yield self._gauge("maru_webhook_leads", "1 where this replica dispatches.", "leads")
        yield self._gauge("maru_webhook_down", "1 while everything fails there.", "down")
        yield self._gauge("maru_webhook_off", "1 where the endpoint has answered 410.", "off")
        yield self._gauge("maru_webhook_owed_channels", "Channels with events not yet there.", "channels")
        yield self._gauge("maru_webhook_lag_events", "About how many events these are.", "events")
        yield self._gauge("maru_webhook_oldest", "Age of the oldest of them.", "oldest_s", unit="seconds")
        attempts = CounterMetricFamily("maru_webhook_attempts", "Requests.", labels=("endpoint", "outcome"))
        for name, counts in self._endpoints.items():
            for outcome, count in tuple(counts.answers.items()):
                attempts.add_metric((name, outcome), count)
        yield attempts
        yield self._counter("maru_webhook_attempt", "Time that requests took.", "seconds", unit="seconds")
        yield self._counter("maru_webhook_dead_letters", "Requests that were given up.", "buried")
        yield self._counter("maru_webhook_gaps", "Gaps that an endpoint was told of.", "gaps")
        yield self._counter("maru_webhook_faults", "Faults of this side.", "faults")

    def _gauge(self, name: str, text: str, field: str, unit: str = "") -> Metric:
        family = GaugeMetricFamily(name, text, labels=("endpoint",), unit=unit)
        for endpoint, counts in self._endpoints.items():
            family.add_metric((endpoint,), getattr(counts, field))
        return family

    def _counter(self, name: str, text: str, field: str, unit: str = "") -> Metric:
        family = CounterMetricFamily(name, text, labels=("endpoint",), unit=unit)
        for endpoint, counts in self._endpoints.items():
            family.add_metric((endpoint,), getattr(counts, field))
        return family
