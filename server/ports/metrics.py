"""Metrics: the calls and values with which the parts of a replica tell operators what happens to them.

Anything that happens up to some thousand times a second is told by a call; each part asks for the small protocol that
has its calls. Anything that happens for each member or each byte is added to the plain integers of one `Traffic`,
which are read when a scrape asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.domain.events import LogEvent
from server.domain.hooks import Hook
from server.domain.outcomes import CloseReason, Refusal, ReplaySource
from server.domain.recovery import NotResumable
from server.ports.connections import DrainMetrics
from server.ports.hooks import HookMetrics
from server.ports.token_verifier import TokenMetrics


@dataclass(slots=True)
class Traffic:
    """What the connections have carried since the start. Read and written on the event loop.

    Bytes are those of WebSocket frames, headers included; the bytes of a handshake or of a close frame are not counted.
    The first three only grow.
    """

    received_bytes: int = 0
    sent_bytes: int = 0
    deliveries: int = 0
    """Events times the members that they were written or queued for, even if the connection was just closing. Replays,
    acks, other packets, and what is ephemeral, are no deliveries."""
    outbound_queued_bytes: int = 0
    """Bytes that wait in this process, now, for clients that do not read."""
    inbound_queued_bytes: int = 0
    """Bytes that were read of clients and wait in this process, now, until they are handled, or are a whole message."""


@dataclass(frozen=True, slots=True)
class LogSize:
    """How large the log is, in bytes. All zero if its store has no bound that this process knows."""

    used: int = 0
    limit: int = 0
    full: bool = False
    """Whether further messages are refused."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a replica holds at this moment. `link_losses`, `rings_evicted`, `hints_dropped`, `hints_refused`, `erased`,
    `signals_dropped`, `signals_refused`, `emits_refused`, `trims_refused` and `log_lines_dropped` only grow."""

    connections: int
    sessions: int
    channels_hosted: int
    link_up: bool
    """Whether the other replicas can be reached; always true if there are none to reach."""
    link_losses: int
    ring_bytes: int
    """Memory of the recent events that are kept for clients that come back, of all channels."""
    rings_evicted: int
    """How often a channel's recent events were dropped so that all together stay within their bound."""
    hints_dropped: int = 0
    """Hints at events that had no room to wait; their channels are compared with the log."""
    hints_refused: int = 0
    """Hints that no replica of the cluster has sealed; their channels are compared with the log."""
    emits_refused: int = 0
    """Events of other processes that are not passed on to clients."""
    signals_dropped: int = 0
    """Signals that had no room to wait, or could not be sent."""
    signals_refused: int = 0
    """Signals that no replica of the cluster has sealed."""
    erased: int = 0
    """Messages that were erased with all of their users, by this replica."""
    erasures: int = 0
    """Erasures that are not done."""
    control_age_s: float = 0.0
    """Seconds since the list of orders was last read to its end."""
    replicas: int = 1
    """Replicas that live, this one included."""
    log_evicts: bool = False
    """Whether the log's store may drop messages when its memory is full."""
    trims_refused: int = 0
    """How often old events were kept because a clock is in doubt, or because too many were due at once."""
    log_lines_dropped: int = 0
    """Log lines that nobody read in time, or that could not be written."""
    log_size: LogSize = LogSize()
    asks_in_flight: int = 0
    """Questions to the backend before commands, under way."""
    hooks_open: frozenset[Hook] = frozenset()
    """The hooks whose backend is left alone at the moment, since it gave too few verdicts."""
    overload: int = 0
    """0: all is done; 1: new handshakes are left undone; 2: reads of history, too."""
    revocations: int = 0
    """Revocations of tokens that are held."""
    denials: int = 0
    """Users that are denied a channel, for each channel."""
    jwks_age_s: float = 0.0
    """How old the issuer's keys are; at the start, how long they have been missing; 0: they come from no issuer."""
    jwks_keys: int = 0
    """How many keys that issuer has."""


TakeSnapshot = Callable[[], Snapshot]
"""Take a snapshot, without waiting and without changing anything. Called for each scrape, in another thread."""


class ConnectionMetrics(Protocol):
    """How connections begin and end. The promises of `Metrics` hold."""

    def opened(self) -> None:
        """A handshake became a connection."""
        ...

    def closed(self, reason: CloseReason) -> None:
        """A connection is gone: once for each that was opened. Slow closes are counted by this, too."""
        ...

    def refused(self, reason: Refusal) -> None:
        """A handshake was refused."""
        ...

    def ephemeral_dropped(self, count: int = 1) -> None:
        """That many ephemeral pushes were not given to clients that do not keep up."""
        ...


class SessionMetrics(Protocol):
    """How sessions end before their clients leave. The promises of `Metrics` hold."""

    def session_ended(self, code: str) -> None:
        """A session was ended: a code of the error table, or `reconnect` if its client is to come back."""
        ...


class CommandMetrics(Protocol):
    """How commands are answered. The promises of `Metrics` hold."""

    def commanded(self, command: str, code: str, seconds: float) -> None:
        """A command was answered: `ok`, or a code of the error table."""
        ...

    def rate_limited(self, command: str, scope: str) -> None:
        """A command was refused because of a rate; `scope` names the limit."""
        ...

    def swallowed(self, command: str) -> None:
        """A command was answered `ok`, and has no effect (now): it is over a rate, or nobody is to be told."""
        ...


class ApiMetrics(Protocol):
    """How requests of backends are answered. The promises of `Metrics` hold."""

    def api_answered(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered with this status; 499: its client was gone before."""
        ...


class MessageMetrics(Protocol):
    """How long messages take. The promises of `Metrics` hold."""

    def appended(self, seconds: float) -> None:
        """The log took a draft, from the call to its return."""
        ...

    def published_to_written(self, seconds: float) -> None:
        """An event has been written to all its members here: from `event.at`, by the wall clock, until now. Called
        once for each event that had a member, however it came."""
        ...


class ChannelMetrics(Protocol):
    """Events of hosted channels. The promises of `Metrics` hold."""

    def ordered(self, event: LogEvent) -> None:
        """The hub delivered an event in its order: once for each event and replica."""
        ...

    def gap_healed(self) -> None:
        """A read of the log brought events that the hints had not."""
        ...

    def quarantined(self) -> None:
        """A fault while a channel was handled: the channel is left alone for a while."""
        ...

    def duplicate_dropped(self) -> None:
        """A hint told of an event that had been delivered."""
        ...

    def resumed(self, not_resumable: NotResumable | None) -> None:
        """A client came back to a channel with a position; None: it is given all events that it missed."""
        ...

    def replayed(self, source: ReplaySource) -> None:
        """A client that joins or resumes is given events."""
        ...


class LoopMetrics(Protocol):
    """How the event loop fares. The promises of `Metrics` hold."""

    def loop_lagged(self, seconds: float) -> None:
        """The event loop ran a timer this much too late."""
        ...


class Metrics(
    ConnectionMetrics,
    SessionMetrics,
    CommandMetrics,
    ApiMetrics,
    TokenMetrics,
    MessageMetrics,
    ChannelMetrics,
    HookMetrics,
    LoopMetrics,
    DrainMetrics,
    Protocol,
):
    """All counts and times of a replica.

    1. Cheap: a call takes about a microsecond, waits for nothing and allocates nothing that stays.
    2. Harmless: no call raises, whatever the values. A name that is in no closed set is counted as `unknown`, and a
       time below zero (clocks of two machines differ) as zero.
    3. Anonymous: no user, channel, session, address or token is taken, except by `ordered`, which looks at the event's
       kind only.
    4. Complete: every series that a call can move is there, at zero, before the first call.
    5. Called on the event loop's thread only.
    6. Times are in seconds.
    """


class _Silent(Metrics):
    """Counts nothing: the methods above have empty bodies."""


SILENT: Metrics = _Silent()  # type: ignore[abstract]  # the empty bodies are all that is needed
"""For parts that are used without metrics."""
