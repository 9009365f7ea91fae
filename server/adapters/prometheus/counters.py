"""Counting while messages flow: plain integers, read by a scrape.

They take a fifth of the time of the Prometheus library's own counters and need no lock, since only the event loop's
thread adds.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from math import inf

from server.domain.errors import TABLE, Internal, RateLimited, TokenExpired, TokenRevoked, Unauthenticated
from server.domain.events import (
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
)
from server.domain.hooks import AskOutcome, Hook
from server.domain.outcomes import CloseReason, DrainEnd, JwksFetch, KeyOrigin, Refusal, ReplaySource
from server.domain.rates import SCOPES
from server.domain.recovery import NotResumable
from server.ports.metrics import Metrics
from server.wire.words import Command, Operation

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of every histogram: from a commit to a broker's outage. 50 ms and 2 s, within which every
command is answered, are among them."""

CODES = ("ok", *(error.code for error in TABLE))
"""The answers that a command may get."""

STATUSES = (200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 429, 499, 500, 503)
"""The statuses that a request of a backend may get; 499: its client was gone before."""

ENDS = (*(error.code for error in (Unauthenticated, TokenExpired, TokenRevoked, RateLimited)), "reconnect")
"""Why a session is ended before its client leaves."""

SWALLOWED = (Command.TYPING_START, Command.TYPING_STOP, Command.MARK)
"""The commands that may be answered without an effect."""

UNKNOWN = "unknown"
"""The label of a value that is in no closed set."""

RECOVERED = "recovered"
"""The result of a resume that was given all events that it missed."""

EVENTS: Mapping[type[LogEvent], str] = {
    MessageCreated: "message:created",
    MessageEdited: "message:edited",
    MessageDeleted: "message:deleted",
    ReactionChanged: "reaction:changed",
    EventPublished: "event:published",
}


class Histogram:
    """A histogram of seconds over `BOUNDS_S`."""

    __slots__ = ("_counts", "sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)  # times in each bucket; the last holds those above every bound
        self.sum = 0.0  # seconds of all times together

    def add(self, seconds: float) -> None:
        """Count a time; below zero, or no number at all, is zero."""
        if not 0.0 < seconds < inf:
            seconds = 0.0
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Return each bound with the number of times up to it; `+Inf`, the last, has them all."""
        names = (*map(str, BOUNDS_S), "+Inf")
        # Copied in one step, since the loop may be adding.
        return list(zip(names, accumulate(tuple(self._counts)), strict=True))


class CounterSet(dict[str, int]):
    """Counters by the names of a closed set; each is there from the start."""

    def __init__(self, *names: str) -> None:
        super().__init__({str(name): 0 for name in names})

    def add(self, name: str, count: int = 1) -> None:
        """Count under the name; if it is not in the set, as unknown."""
        try:
            self[name] += count
        except KeyError:
            self[UNKNOWN] = self.get(UNKNOWN, 0) + count


class Counters(Metrics):
    """All counts of a replica, from the start of the process. `commands` are the names that clients may use; `clock` is
    monotonic, in seconds."""

    def __init__(self, commands: Iterable[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        # Connections: opened, and gone by reason; refused handshakes; ephemeral pushes that were dropped.
        self.opens = 0
        self.closes = CounterSet(*CloseReason)
        self.refusals = CounterSet(*Refusal)
        self.ephemerals = 0
        # Sessions that were ended, by cause; commands that were answered without an effect, by name.
        self.session_ends, self.swallows = CounterSet(*ENDS), CounterSet(*SWALLOWED)
        # Commands by name and code, and the times of their answers.
        self.commands = {(str(name), code): 0 for name in (*commands, UNKNOWN) for code in CODES}
        self.command_times = Histogram()
        # Commands that were refused because of a rate, by name and limit.
        self.rate_limits = {(str(name), scope): 0 for name in (*commands, UNKNOWN) for scope in SCOPES}
        # Requests of backends by operation and status, and the times of their answers.
        self.api_requests = {(str(name), status): 0 for name in (*Operation, UNKNOWN) for status in STATUSES}
        self.api_times = Histogram()
        # Tokens that were found good, by their key; fetches of the issuer's keys by outcome.
        self.tokens = CounterSet(*KeyOrigin)
        self.jwks_fetches = CounterSet(*JwksFetch)
        # Times of a message's way: into the log; from its publication to its members.
        self.append_times, self.write_times = Histogram(), Histogram()
        # Channels: delivered events by kind, healed gaps, repeated hints, faults, resumes by result, replays by
        # source.
        self.events = CounterSet(*EVENTS.values())
        self.gaps = self.duplicates = self.quarantines = 0
        self.resumes = CounterSet(RECOVERED, *NotResumable)
        self.replays = CounterSet(*ReplaySource)
        # Commands that a backend was to be asked about, by hook and outcome; how long it took; those let through.
        self.asks = {(str(hook), str(outcome)): 0 for hook in Hook for outcome in AskOutcome}
        self.ask_times, self.lets_through = Histogram(), CounterSet(*Hook)
        # Delays of the event loop's timers.
        self.lags = Histogram()
        # The drain: whether it is under way, sessions told, connections gone by how, its times.
        self.drains = False
        self.drain_notices = 0
        self.drain_ends = CounterSet(*DrainEnd)
        self._drain_began = self._drain_took = 0.0

    @property
    def drain_s(self) -> float:
        """How long the drain has taken: so far, or in all; 0 if there was none."""
        return self._clock() - self._drain_began if self.drains else self._drain_took

    def opened(self) -> None:
        self.opens += 1

    def closed(self, reason: CloseReason) -> None:
        self.closes.add(reason)

    def refused(self, reason: Refusal) -> None:
        self.refusals.add(reason)

    def ephemeral_dropped(self, count: int = 1) -> None:
        self.ephemerals += count

    def session_ended(self, code: str) -> None:
        self.session_ends.add(code)

    def commanded(self, command: str, code: str, seconds: float) -> None:
        try:
            self.commands[command, code] += 1
        except KeyError:
            self.commands[UNKNOWN, code if code in CODES else Internal.code] += 1
        self.command_times.add(seconds)

    def rate_limited(self, command: str, scope: str) -> None:
        key = (command, scope) if (command, scope) in self.rate_limits else (UNKNOWN, scope)
        self.rate_limits[key] = self.rate_limits.get(key, 0) + 1

    def swallowed(self, command: str) -> None:
        self.swallows.add(command)

    def api_answered(self, operation: str, status: int, seconds: float) -> None:
        known = (operation, status) in self.api_requests
        self.api_requests[(operation, status) if known else (UNKNOWN, 500)] += 1
        self.api_times.add(seconds)

    def token_verified(self, origin: KeyOrigin) -> None:
        self.tokens.add(origin)

    def jwks_fetched(self, outcome: JwksFetch) -> None:
        self.jwks_fetches.add(outcome)

    def appended(self, seconds: float) -> None:
        self.append_times.add(seconds)

    def published_to_written(self, seconds: float) -> None:
        self.write_times.add(seconds)

    def ordered(self, event: LogEvent) -> None:
        name = EVENTS.get(type(event))
        if name is None:
            if isinstance(event, MessageErased):  # counted as the event that stood in its place
                name = EVENTS[MessageEdited if event.edited else MessageCreated]
            else:
                name = UNKNOWN
        self.events.add(name)

    def gap_healed(self) -> None:
        self.gaps += 1

    def quarantined(self) -> None:
        self.quarantines += 1

    def duplicate_dropped(self) -> None:
        self.duplicates += 1

    def resumed(self, not_resumable: NotResumable | None) -> None:
        self.resumes.add(RECOVERED if not_resumable is None else not_resumable)

    def replayed(self, source: ReplaySource) -> None:
        self.replays.add(source)

    def asked(self, hook: Hook, outcome: AskOutcome, seconds: float | None) -> None:
        self.asks[hook.value, outcome.value] += 1
        if seconds is not None:
            self.ask_times.add(seconds)

    def let_through(self, hook: Hook) -> None:
        self.lets_through.add(hook)

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
