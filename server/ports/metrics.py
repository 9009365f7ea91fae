"""What operators can count: the words in which the parts of a replica say what happens to them.

Two ways lead out. What happens up to some thousand times a second is told by a call of `Metrics`. What happens for each
member or each byte is added to the plain integers of one `Traffic`, which is read when somebody looks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from server.domain.events import MessageEvent
from server.domain.outcomes import CloseReason, DrainEnd, Refusal, ReplaySource
from server.domain.recovery import NotResumable


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

    def ordered(self, event: MessageEvent) -> None:
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

    def resumed(self, not_resumable: NotResumable | None) -> None:
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
