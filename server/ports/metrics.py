"""What operators can count: the words in which the parts of a replica say what happens to them.

Two ways lead out. What happens up to some thousand times a second is told by a call of `Metrics`. What happens for each
member or each byte is added to the plain integers of one `Traffic`, which is read when somebody looks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.domain.messages import Event
from server.domain.recovery import Lapse


class CloseReason(StrEnum):
    """Why a connection ended: the first cause that was known, one for each connection."""

    CLIENT_LEFT = "client_left"  # DISCONNECT, Engine.IO's close or a close frame came
    TRANSPORT_LOST = "transport_lost"  # TCP ended, or failed, without a word
    PING_TIMEOUT = "ping_timeout"
    SLOW_READER = "slow_reader"  # over the bound of one connection, or takes nothing while it is waited for
    MEMORY_CAP = "memory_cap"  # the fattest, when all connections together were over the bound of the process
    MALFORMED = "malformed"  # a frame or a packet that breaks the protocol; binary, too
    TOO_BIG = "too_big"  # a message over `maxPayload`
    REFUSED = "refused"  # its CONNECT was: no token, a bad one, another namespace
    NO_CONNECT = "no_connect"  # none came in time
    TERMINATED = "terminated"  # the session ended: expired, revoked
    DRAINING = "draining"  # told to come back elsewhere
    SERVER_STOPPED = "server_stopped"  # cut off at the end of a stop
    INTERNAL_ERROR = "internal_error"


class Refusal(StrEnum):
    """Why a handshake got no WebSocket."""

    RATE = "rate"
    DRAINING = "draining"
    ORIGIN = "origin"
    BAD_REQUEST = "bad_request"
    TOKEN_IN_QUERY = "token_in_query"  # noqa: S105  # a name, not a token


class ReplaySource(StrEnum):
    """Where the events that a client is given as it joins or resumes come from."""

    RING = "ring"  # the hub's memory alone
    LOG = "log"  # the log had to be read


class DrainEnd(StrEnum):
    """How a connection went during a drain."""

    LEFT = "left"  # by itself, after it was told
    CLOSED = "closed"  # by us, in its turn
    ABORTED = "aborted"  # cut off at the end of the time


@dataclass(slots=True)
class Traffic:
    """What the connections have carried since the start; whoever writes and reads them adds to it, on the loop.

    Bytes are those of WebSocket frames, headers included; what is sent for a handshake or as a close frame is not among
    them. The first three only grow.
    """

    received_bytes: int = 0
    sent_bytes: int = 0
    deliveries: int = 0
    """Events times members for whose connection they were meant, also one that is just closing; replays, acks and other
    packets are none."""
    outbound_queued_bytes: int = 0
    """What waits in this process for clients that do not read, now."""


@dataclass(frozen=True, slots=True)
class State:
    """What a replica holds at this moment. `link_losses` only grows."""

    connections: int
    sessions: int
    channels_hosted: int
    link_up: bool
    """Whether the other replicas can be reached; always, where there are none to reach."""
    link_losses: int


LookAtState = Callable[[], State]
"""Take a look, without waiting and without changing anything; it is done for each scrape, in another thread."""


class Metrics(Protocol):
    """Counts and times.

    1. Cheap: a call takes about a microsecond, waits for nothing and allocates nothing that stays.
    2. Harmless: no call raises, whatever the values; what is in no closed set is counted as `unknown`, never by its
       own name, and a time below zero (clocks of two machines differ) as zero.
    3. Anonymous: no user, channel, session, address or token is taken, but by `ordered`, of which only the kind of
       the event is looked at.
    4. Complete: every series that a call can move is there, at zero, before the first call.
    5. Called on the event loop's thread only.
    6. Times are in seconds.
    """

    # Connections

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
        """So many ephemeral pushes were not given to clients that do not keep up."""
        ...

    # Messages

    def commanded(self, command: str, code: str, seconds: float) -> None:
        """A command was answered: `ok`, or a code of the error table."""
        ...

    def appended(self, seconds: float) -> None:
        """The log took a draft, from the call to its return."""
        ...

    def ordered(self, event: Event) -> None:
        """The hub put an event in its place and gave it to the transport: once for each event and replica."""
        ...

    def published_to_written(self, seconds: float) -> None:
        """An event has been written to all its members here: from `event.at`, by the wall clock, until now. Once for
        each event that had a member, whatever way it came."""
        ...

    def gap_healed(self) -> None:
        """A read of the log brought events that the hints had not."""
        ...

    def duplicate_dropped(self) -> None:
        """A hint told of an event that had been delivered."""
        ...

    def resumed(self, lapse: Lapse | None) -> None:
        """A client came back to a channel with a position; None: it is given all that it missed."""
        ...

    def replayed(self, source: ReplaySource) -> None:
        """A client that joins or resumes is given events."""
        ...

    # The process

    def loop_lagged(self, seconds: float) -> None:
        """The event loop ran a timer so much too late."""
        ...

    def draining(self, active: bool) -> None:
        """A drain begins (its time is measured from here), or has ended. Repeating it changes nothing."""
        ...

    def drain_notified(self, count: int = 1) -> None:
        """So many sessions were told that the server drains."""
        ...

    def drain_closed(self, how: DrainEnd, count: int = 1) -> None:
        """So many connections went during the drain."""
        ...


class _Silent(Metrics):
    """Does what the methods above do: nothing."""


SILENT: Metrics = _Silent()  # type: ignore[abstract]  # bodies that do nothing are all that is wanted
"""Counts nothing: for parts that are used on their own."""
