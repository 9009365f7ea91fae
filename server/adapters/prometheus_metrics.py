"""What happens to a replica, counted, and written out for Prometheus in a registry of its own.

Counting and showing are two things here. `Counts` is called while messages flow: plain integers, which take a fifth of
the time of the library's own counters and need no lock, since only the loop's thread adds. `Exposition` is asked
once per scrape, in a thread of its own, and makes the library's metrics of them then.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from math import inf

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

from server.domain.errors import TABLE, Internal
from server.domain.events import MessageCreated, MessageDeleted, MessageEdited, MessageEvent
from server.domain.outcomes import CloseReason, DrainEnd, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.ports.metrics import LookAtState, Metrics, Traffic

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of every histogram: from a commit to a broker's outage; 50 ms and 2 s, in
which every command is answered, are among them."""

CODES = ("ok", *(error.code for error in TABLE))
"""How a command may be answered."""

UNKNOWN = "unknown"
"""The label of what is in no closed set."""

RECOVERED = "recovered"

EVENTS: Mapping[type[MessageEvent], str] = {
    MessageCreated: "message:created",
    MessageEdited: "message:edited",
    MessageDeleted: "message:deleted",
}

MEDIA_TYPES = ("application/openmetrics-text", "text/plain")
"""What a scrape is answered in: OpenMetrics 1.0 or Prometheus' text format 0.0.4."""


class Times:
    """A histogram of seconds over `BOUNDS_S`."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one; below zero, or no number at all, is zero."""
        if not 0.0 < seconds < inf:
            seconds = 0.0
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def family(self, name: str, text: str) -> Metric:
        """The library's form of it: cumulated, with `+Inf` last."""
        names = (*map(str, BOUNDS_S), "+Inf")
        buckets = list(zip(names, accumulate(tuple(self._counts)), strict=True))
        return HistogramMetricFamily(name, text, buckets, self._sum, unit="seconds")


class Tally(dict[str, int]):
    """Counts by the names of a closed set; each is there from the beginning."""

    def __init__(self, *names: str) -> None:
        super().__init__({str(name): 0 for name in names})

    def add(self, name: str, count: int = 1) -> None:
        """Count under the name; where it is not in the set, as unknown."""
        try:
            self[name] += count
        except KeyError:
            self[UNKNOWN] = self.get(UNKNOWN, 0) + count

    def family(self, name: str, text: str, label: str) -> Metric:
        """The library's form of it."""
        family = CounterMetricFamily(name, text, labels=(label,))
        for value, count in tuple(self.items()):
            family.add_metric((value,), count)
        return family


class Counts(Metrics):
    """The numbers, from the start of the process. `commands` are the names that clients may use; `clock` is monotonic,
    in seconds."""

    def __init__(self, commands: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.commands = {(str(name), code): 0 for name in (*commands, UNKNOWN) for code in CODES}
        self.opens = 0
        self.closes, self.refusals = Tally(*CloseReason), Tally(*Refusal)
        self.ephemerals = 0
        self.events = Tally(*EVENTS.values())
        self.resumes, self.replays = Tally(RECOVERED, *NotResumable), Tally(*ReplaySource)
        self.gaps = self.duplicates = 0
        self.command_times, self.append_times, self.write_times, self.lags = Times(), Times(), Times(), Times()
        self.drain_notices = 0
        self.drain_ends = Tally(*DrainEnd)
        self.drains = False
        self._drain_began = self._drain_took = 0.0

    @property
    def drain_s(self) -> float:
        """How long the drain has taken, so far or at all; 0 where there was none."""
        return self._clock() - self._drain_began if self.drains else self._drain_took

    def opened(self) -> None:
        self.opens += 1

    def closed(self, reason: CloseReason) -> None:
        self.closes.add(reason)

    def refused(self, reason: Refusal) -> None:
        self.refusals.add(reason)

    def ephemeral_dropped(self, count: int = 1) -> None:
        self.ephemerals += count

    def commanded(self, command: str, code: str, seconds: float) -> None:
        try:
            self.commands[command, code] += 1
        except KeyError:
            self.commands[UNKNOWN, code if code in CODES else Internal.code] += 1
        self.command_times.add(seconds)

    def appended(self, seconds: float) -> None:
        self.append_times.add(seconds)

    def ordered(self, event: MessageEvent) -> None:
        self.events.add(EVENTS.get(type(event), UNKNOWN))

    def published_to_written(self, seconds: float) -> None:
        self.write_times.add(seconds)

    def gap_healed(self) -> None:
        self.gaps += 1

    def duplicate_dropped(self) -> None:
        self.duplicates += 1

    def resumed(self, not_resumable: NotResumable | None) -> None:
        self.resumes.add(RECOVERED if not_resumable is None else not_resumable)

    def replayed(self, source: ReplaySource) -> None:
        self.replays.add(source)

    def loop_lagged(self, seconds: float) -> None:
        self.lags.add(seconds)

    def draining(self, active: bool) -> None:
        if active and not self.drains:
            self._drain_began = self._clock()
        elif self.drains and not active:
            self._drain_took = self.drain_s
        self.drains = active

    def drain_notified(self, count: int = 1) -> None:
        self.drain_notices += count

    def drain_closed(self, how: DrainEnd, count: int = 1) -> None:
        self.drain_ends.add(how, count)


class Exposition(Collector):
    """What a scrape shows: the counts, the traffic, the state at that moment, the process and its garbage collector.

    May be asked in any thread: it changes nothing, and copies in one step what the loop may be adding to.
    """

    def __init__(self, counts: Counts, traffic: Traffic, look: LookAtState, version: str) -> None:
        self._counts, self._traffic, self._look, self._version = counts, traffic, look, version
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="maru", registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its media type: of those that an `Accept` header names, the first one that is spoken
        here, which is how Prometheus orders them. What else the header says is left unread, so none is malformed."""
        named = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        encode, media_type = choose_encoder(next((name for name in named if name in MEDIA_TYPES), ""))
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """All that is Maru's own. docs/metrics.md explains each; a test holds the two together."""
        yield InfoMetricFamily("maru_build", "What runs here.", {"version": self._version})
        yield from self._of_the_state()
        yield from self._of_connections()
        yield from self._of_messages()
        yield from self._of_the_drain()
        yield self._counts.lags.family("maru_loop_lag", "How much too late the event loop ran a timer.")

    def _of_the_state(self) -> Iterator[Metric]:
        state = self._look()
        yield GaugeMetricFamily("maru_connections", "Open WebSockets.", state.connections)
        yield GaugeMetricFamily("maru_sessions", "Admitted sessions.", state.sessions)
        yield GaugeMetricFamily("maru_channels_hosted", "Channels with members here.", state.channels_hosted)
        yield GaugeMetricFamily("maru_broker_link_up", "1 where the other replicas can be reached.", state.link_up)
        yield CounterMetricFamily("maru_broker_link_losses", "How often that link was lost.", state.link_losses)

    def _of_connections(self) -> Iterator[Metric]:
        counts, traffic = self._counts, self._traffic
        slow = counts.closes[CloseReason.SLOW_READER] + counts.closes[CloseReason.MEMORY_CAP]
        yield CounterMetricFamily("maru_connections_opened", "Handshakes that became connections.", counts.opens)
        yield counts.closes.family("maru_connections_closed", "Connections that are gone.", "reason")
        yield counts.refusals.family("maru_admission_refusals", "Handshakes that were refused.", "reason")
        yield CounterMetricFamily("maru_slow_closes", "Connections closed as too slow.", slow)
        yield CounterMetricFamily("maru_ephemeral_dropped", "Ephemeral pushes not written.", counts.ephemerals)
        yield CounterMetricFamily("maru_received", "Bytes read.", traffic.received_bytes, unit="bytes")
        yield CounterMetricFamily("maru_sent", "Bytes written.", traffic.sent_bytes, unit="bytes")
        queued = traffic.outbound_queued_bytes
        yield GaugeMetricFamily("maru_outbound_queued", "Bytes that wait for slow readers.", queued, unit="bytes")

    def _of_messages(self) -> Iterator[Metric]:
        counts = self._counts
        commands = CounterMetricFamily("maru_commands", "Commands answered.", labels=("command", "code"))
        for key, count in tuple(counts.commands.items()):
            commands.add_metric(key, count)
        yield commands
        yield counts.command_times.family("maru_command", "From a command's arrival to its answer.")
        yield counts.append_times.family("maru_log_append", "From a draft to its place in the log.")
        yield counts.write_times.family("maru_publish_to_write", "From an event's time until its members have it.")
        yield counts.events.family("maru_events", "Log events put in order.", "event")
        yield CounterMetricFamily("maru_deliveries", "Events times members.", self._traffic.deliveries)
        yield CounterMetricFamily("maru_gaps_healed", "Log reads that brought lost hints.", counts.gaps)
        yield CounterMetricFamily("maru_duplicates_dropped", "Hints of delivered events.", counts.duplicates)
        yield counts.resumes.family("maru_resumes", "Channels resumed from a position.", "result")
        yield counts.replays.family("maru_replays", "Joins and resumes that were given events.", "source")

    def _of_the_drain(self) -> Iterator[Metric]:
        counts = self._counts
        yield GaugeMetricFamily("maru_draining", "1 while this replica drains.", counts.drains)
        yield GaugeMetricFamily("maru_drain", "How long the drain has taken.", counts.drain_s, unit="seconds")
        yield CounterMetricFamily("maru_drain_notified", "Sessions told of the drain.", counts.drain_notices)
        yield counts.drain_ends.family("maru_drain_closed", "Connections gone in the drain.", "how")
