"""Showing the counts to Prometheus: at each scrape the library's metrics are made, in a registry of its own."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from server.adapters.prometheus.counters import Counters, CounterSet, Histogram
from server.domain.hooks import Hook
from server.domain.outcomes import CloseReason
from server.ports.metrics import Snapshot, TakeSnapshot, Traffic

MEDIA_TYPES = ("application/openmetrics-text", "text/plain")
"""The formats of an answer: OpenMetrics 1.0, or Prometheus' text format 0.0.4."""


class Exposition(Collector):
    """Answers a scrape: counts, traffic, a snapshot of that moment, the process and its garbage collector, and `more`.

    May be asked in any thread: it changes nothing, and copies in one step any value that the loop may be adding to.
    """

    def __init__(
        self,
        counters: Counters,
        traffic: Traffic,
        take_snapshot: TakeSnapshot,
        version: str,
        more: Iterable[Collector] = (),
    ) -> None:
        self._counters = counters
        self._traffic = traffic
        self._take_snapshot = take_snapshot
        self._version = version
        self._registry = CollectorRegistry()
        for collector in (self, *more):
            self._registry.register(collector)
        ProcessCollector(namespace="maru", registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its media type: the first one known here that an `Accept` header names, since Prometheus
        names them in its order of preference. The rest of the header is not read, so no header is malformed."""
        named = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        encode, media_type = choose_encoder(next((name for name in named if name in MEDIA_TYPES), ""))
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Yield Maru's own metrics. docs/metrics.md explains each; a test holds the two together."""
        yield InfoMetricFamily("maru_build", "What runs here.", {"version": self._version})
        yield from self._of_the_snapshot()
        yield from self._of_connections()
        yield from self._of_tokens()
        yield from self._of_messages()
        yield from self._of_backends()
        yield from self._of_hooks()
        yield from self._of_channels()
        yield from self._of_the_drain()
        yield _times("maru_loop_lag", "How much too late the event loop ran a timer.", self._counters.lags)

    def _of_the_snapshot(self) -> Iterator[Metric]:
        now = self._take_snapshot()
        yield from _of_the_cluster(now)
        yield GaugeMetricFamily("maru_connections", "Open WebSockets.", now.connections)
        yield GaugeMetricFamily("maru_sessions", "Admitted sessions.", now.sessions)
        yield GaugeMetricFamily("maru_channels_hosted", "Channels with members here.", now.channels_hosted)
        yield GaugeMetricFamily("maru_broker_link_up", "1 where the other replicas can be reached.", now.link_up)
        yield CounterMetricFamily("maru_broker_link_losses", "How often that link was lost.", now.link_losses)
        yield GaugeMetricFamily("maru_rings", "Memory of recent events.", now.ring_bytes, unit="bytes")
        yield CounterMetricFamily("maru_hints_dropped", "Hints that had no room to wait.", now.hints_dropped)
        yield CounterMetricFamily("maru_hints_refused", "Hints that nobody here has sealed.", now.hints_refused)
        yield CounterMetricFamily("maru_emits_refused", "Events of others not passed on.", now.emits_refused)
        yield GaugeMetricFamily("maru_log_evicts", "1 where the store may drop messages.", now.log_evicts)
        yield CounterMetricFamily("maru_trims_refused", "Old events kept in doubt of a clock.", now.trims_refused)
        yield CounterMetricFamily("maru_log_lines_dropped", "Log lines that were lost.", now.log_lines_dropped)
        size = now.log_size
        yield GaugeMetricFamily("maru_log", "Size of the SQLite log.", size.used, unit="bytes")
        yield GaugeMetricFamily("maru_log_limit", "Bound of that size.", size.limit, unit="bytes")
        yield GaugeMetricFamily("maru_log_full", "1 while messages are refused for lack of room.", size.full)
        yield GaugeMetricFamily("maru_overload_state", "0 calm, 1 busy, 2 hot.", now.overload)
        yield CounterMetricFamily("maru_rings_evicted", "Channels whose recent events made room.", now.rings_evicted)
        yield from _of_tokens_now(now)

    def _of_connections(self) -> Iterator[Metric]:
        counters, traffic = self._counters, self._traffic
        slow = counters.closes[CloseReason.SLOW_READER] + counters.closes[CloseReason.MEMORY_CAP]
        yield CounterMetricFamily("maru_connections_opened", "Handshakes that became connections.", counters.opens)
        yield _labelled("maru_connections_closed", "Connections that are gone.", "reason", counters.closes)
        yield _labelled("maru_sessions_ended", "Sessions that were ended.", "cause", counters.session_ends)
        yield _labelled("maru_admission_refusals", "Handshakes that were refused.", "reason", counters.refusals)
        yield CounterMetricFamily("maru_slow_closes", "Connections closed as too slow.", slow)
        yield CounterMetricFamily("maru_ephemeral_dropped", "Ephemeral pushes not written.", counters.ephemerals)
        yield CounterMetricFamily("maru_received", "Bytes read.", traffic.received_bytes, unit="bytes")
        yield CounterMetricFamily("maru_sent", "Bytes written.", traffic.sent_bytes, unit="bytes")
        queued = traffic.outbound_queued_bytes
        yield GaugeMetricFamily("maru_outbound_queued", "Bytes that wait for slow readers.", queued, unit="bytes")
        queued = traffic.inbound_queued_bytes
        yield GaugeMetricFamily("maru_inbound_queued", "Bytes that were read and wait.", queued, unit="bytes")

    def _of_tokens(self) -> Iterator[Metric]:
        yield _labelled("maru_tokens_verified", "Tokens that were found good.", "key", self._counters.tokens)
        yield _labelled("maru_jwks_fetches", "Fetches of the issuer's keys.", "outcome", self._counters.jwks_fetches)

    def _of_messages(self) -> Iterator[Metric]:
        counters = self._counters
        commands = CounterMetricFamily("maru_commands", "Commands answered.", labels=("command", "code"))
        for key, count in tuple(counters.commands.items()):
            commands.add_metric(key, count)
        yield commands
        limited = CounterMetricFamily("maru_rate_limited", "Commands over a rate.", labels=("command", "scope"))
        for key, count in tuple(counters.rate_limits.items()):
            limited.add_metric(key, count)
        yield limited
        yield _labelled("maru_swallowed", "Commands answered without an effect.", "command", counters.swallows)
        yield _times("maru_command", "From a command's arrival to its answer.", counters.command_times)
        yield _times("maru_log_append", "From a draft to its place in the log.", counters.append_times)
        yield _times("maru_publish_to_write", "From an event's time until its members have it.", counters.write_times)

    def _of_backends(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("maru_api_requests", "Requests of backends.", labels=("operation", "status"))
        for (operation, status), count in tuple(self._counters.api_requests.items()):
            requests.add_metric((operation, str(status)), count)
        yield requests
        yield _times("maru_api_request", "From a backend's request to its answer.", self._counters.api_times)

    def _of_channels(self) -> Iterator[Metric]:
        counters = self._counters
        yield _labelled("maru_events", "Log events put in order.", "event", counters.events)
        yield CounterMetricFamily("maru_deliveries", "Events times members.", self._traffic.deliveries)
        yield CounterMetricFamily("maru_gaps_healed", "Log reads that brought lost hints.", counters.gaps)
        yield CounterMetricFamily("maru_duplicates_dropped", "Hints of delivered events.", counters.duplicates)
        yield CounterMetricFamily("maru_channel_faults", "Channels left alone after a fault.", counters.quarantines)
        yield _labelled("maru_resumes", "Channels resumed from a position.", "result", counters.resumes)
        yield _labelled("maru_replays", "Joins and resumes that were given events.", "source", counters.replays)

    def _of_hooks(self) -> Iterator[Metric]:
        counters, now = self._counters, self._take_snapshot()
        asks = CounterMetricFamily("maru_hook_asks", "Commands to ask a backend about.", labels=("hook", "outcome"))
        for key, count in tuple(counters.asks.items()):
            asks.add_metric(key, count)
        yield asks
        yield _times("maru_hook_ask", "From a question to its verdict, or to none.", counters.ask_times)
        yield _labelled("maru_hook_let_through", "Commands done without a verdict.", "hook", counters.lets_through)
        yield GaugeMetricFamily("maru_hook_asks_in_flight", "Questions under way.", now.asks_in_flight)
        opened = GaugeMetricFamily("maru_hook_circuit_open", "1 while the backend is left alone.", labels=("hook",))
        for hook in Hook:
            opened.add_metric((hook.value,), hook in now.hooks_open)
        yield opened

    def _of_the_drain(self) -> Iterator[Metric]:
        counters = self._counters
        yield GaugeMetricFamily("maru_draining", "1 while this replica drains.", counters.drains)
        yield GaugeMetricFamily("maru_drain", "How long the drain has taken.", counters.drain_s, unit="seconds")
        yield CounterMetricFamily("maru_drain_notified", "Sessions told of the drain.", counters.drain_notices)
        yield _labelled("maru_drain_closed", "Connections gone in the drain.", "how", counters.drain_ends)


def _of_tokens_now(now: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily("maru_revocations", "Revocations of tokens in force.", now.revocations)
    yield GaugeMetricFamily("maru_denials", "Users that are denied a channel.", now.denials)
    yield GaugeMetricFamily("maru_jwks_age", "Age of the issuer's keys.", now.jwks_age_s, unit="seconds")
    yield GaugeMetricFamily("maru_jwks_keys", "Keys of the issuer.", now.jwks_keys)


def _of_the_cluster(now: Snapshot) -> Iterator[Metric]:
    yield CounterMetricFamily("maru_signals_dropped", "Signals without room.", now.signals_dropped)
    yield CounterMetricFamily("maru_signals_refused", "Signals that nobody here sealed.", now.signals_refused)
    yield GaugeMetricFamily("maru_control_age", "How late orders may be.", now.control_age_s, unit="seconds")
    yield GaugeMetricFamily("maru_erasures", "Erasures that are not done.", now.erasures)
    yield CounterMetricFamily("maru_erased_messages", "Messages erased here.", now.erased)
    yield GaugeMetricFamily("maru_replicas", "Replicas that live.", now.replicas)


def _labelled(name: str, text: str, label: str, counts: CounterSet) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in tuple(counts.items()):
        family.add_metric((value,), count)
    return family


def _times(name: str, text: str, times: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, times.buckets(), times.sum, unit="seconds")
