"""Metrics that record their calls, and counters that are scraped."""

from server.adapters.prometheus.counters import Counters
from server.adapters.prometheus.exposition import Exposition
from server.domain.events import LogEvent
from server.domain.hooks import AskOutcome, Hook
from server.domain.outcomes import CloseReason, DrainEnd, JwksFetch, KeyOrigin, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.ports.metrics import Metrics, Snapshot, Traffic
from server.wire.words import Command
from tests.harness.scrape import Samples, read


class RecordingMetrics(Metrics):
    """Records every call in `told`: the method's name, then its arguments."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def of(self, name: str) -> list[tuple[object, ...]]:
        """Return the arguments of each call of one method."""
        return [call[1:] for call in self.told if call[0] == name]

    def opened(self) -> None:
        self.told.append(("opened",))

    def closed(self, reason: CloseReason) -> None:
        self.told.append(("closed", reason))

    def refused(self, reason: Refusal) -> None:
        self.told.append(("refused", reason))

    def ephemeral_dropped(self, count: int = 1) -> None:
        self.told.append(("ephemeral_dropped", count))

    def session_ended(self, code: str) -> None:
        self.told.append(("session_ended", code))

    def commanded(self, command: str, code: str, seconds: float) -> None:
        self.told.append(("commanded", command, code, seconds))

    def rate_limited(self, command: str, scope: str) -> None:
        self.told.append(("rate_limited", command, scope))

    def swallowed(self, command: str) -> None:
        self.told.append(("swallowed", command))

    def api_answered(self, operation: str, status: int, seconds: float) -> None:
        self.told.append(("api_answered", operation, status, seconds))

    def token_verified(self, origin: KeyOrigin) -> None:
        self.told.append(("token_verified", origin))

    def jwks_fetched(self, outcome: JwksFetch) -> None:
        self.told.append(("jwks_fetched", outcome))

    def appended(self, seconds: float) -> None:
        self.told.append(("appended", seconds))

    def ordered(self, event: LogEvent) -> None:
        self.told.append(("ordered", event))

    def published_to_written(self, seconds: float) -> None:
        self.told.append(("published_to_written", seconds))

    def gap_healed(self) -> None:
        self.told.append(("gap_healed",))

    def quarantined(self) -> None:
        self.told.append(("quarantined",))

    def duplicate_dropped(self) -> None:
        self.told.append(("duplicate_dropped",))

    def asked(self, hook: Hook, outcome: AskOutcome, seconds: float | None) -> None:
        self.told.append(("asked", hook, outcome))

    def let_through(self, hook: Hook) -> None:
        self.told.append(("let_through", hook))

    def resumed(self, not_resumable: NotResumable | None) -> None:
        self.told.append(("resumed", not_resumable))

    def replayed(self, source: ReplaySource) -> None:
        self.told.append(("replayed", source))

    def loop_lagged(self, seconds: float) -> None:
        self.told.append(("loop_lagged", seconds))

    def draining(self, active: bool) -> None:
        self.told.append(("draining", active))

    def drain_notified(self, count: int = 1) -> None:
        self.told.append(("drain_notified", count))

    def drain_closed(self, how: DrainEnd, count: int = 1) -> None:
        self.told.append(("drain_closed", how, count))


class ScrapedCounters:
    """Counters and their exposition, with a clock and a snapshot of the test's choice. An index is a sample's name."""

    def __init__(self) -> None:
        self.now = 100.0
        self.snapshot = Snapshot(
            connections=0, sessions=0, channels_hosted=0, link_up=True, link_losses=0, ring_bytes=0, rings_evicted=0
        )
        self.traffic = Traffic()
        self.counters = Counters(tuple(Command), lambda: self.now)
        self.exposition = Exposition(self.counters, self.traffic, lambda: self.snapshot, "1.2.3")

    def samples(self) -> Samples:
        """Return all samples of a scrape."""
        return read(self.exposition.render("")[0].decode())

    def __getitem__(self, name: str) -> float:
        return self.samples()[name]
