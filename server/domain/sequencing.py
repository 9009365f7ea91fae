"""Putting one channel's events in order, whatever order, loss or repetition the hints arrive with.

Pure: no clock, no await, no logger. The hub asks, then acts.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from server.domain.events import Event, MessageDeleted, UnknownEvent
from server.domain.messages import Position

HELD_LIMIT = 256
"""Events held back behind a gap; beyond it they are forgotten, since the log has them."""

RING_LIMIT = 256
"""Recent events kept per hosted channel: a reconnect after an outage of some seconds is served from them."""

RING_BYTES = 256 * 1024
"""About so much memory a hosted channel's ring may hold: 256 messages of 200 characters fit, and of the longest, 14."""

_EVENT_BYTES = 512
_DATA_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """These events are next, in this order, and the position has moved past them."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The event has been delivered before: drop it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between the position and this one have not been seen: read the log."""


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """The event belongs to another life of the log: ask the log which one is true."""


Verdict = Ready | Known | Gap | OtherEpoch


class Sequencer:
    """Accepts a channel's events in any order and gives them out by offset, each once, without a gap.

    `position` is the last event given out. An event that comes early waits, at most `HELD_LIMIT` of them, until the
    log or a late hint fills the gap before it.
    """

    __slots__ = ("_held", "position")

    def __init__(self, position: Position) -> None:
        self.position = position
        self._held: dict[int, Event] = {}

    @property
    def has_gap(self) -> bool:
        """Whether events wait behind one that has not been seen."""
        return bool(self._held)

    def accept(self, event: Event) -> Verdict:
        """Judge one event, and move the position where it is the next."""
        if event.epoch != self.position.epoch:
            return OtherEpoch()
        if event.offset <= self.position.offset:
            return Known()
        if event.offset > self.position.offset + 1:
            if len(self._held) < HELD_LIMIT:
                self._held[event.offset] = event
            return Gap()
        ready = [event]
        offset = event.offset + 1
        while (following := self._held.pop(offset, None)) is not None:
            ready.append(following)
            offset += 1
        self.position = Position(self.position.epoch, offset - 1)
        return Ready(tuple(ready))

    def fill(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Take a slice of the log, oldest first; return what is to be delivered now, waiting events included."""
        ready: list[Event] = []
        for event in events:
            verdict = self.accept(event)
            if isinstance(verdict, Ready):
                ready.extend(verdict.events)
        return tuple(ready)

    def reset(self, position: Position) -> None:
        """Go on from another position, e.g. in a new epoch; what waits is forgotten."""
        self.position = position
        self._held.clear()

    def drop_held(self) -> None:
        """Drop what waits behind a gap that the log can't fill."""
        self._held.clear()


class Ring:
    """The last events that were delivered in a channel, dense: at most `limit` of them, and about `budget` bytes."""

    __slots__ = ("_budget", "_bytes", "_events", "_limit")

    def __init__(self, limit: int = RING_LIMIT, budget: int = RING_BYTES) -> None:
        self._events: deque[Event] = deque()
        self._limit = limit
        self._budget = budget
        self._bytes = 0

    def push(self, event: Event) -> None:
        """Add the next event; one that does not follow the last begins the ring anew."""
        if self._events and (event.offset != self._events[-1].offset + 1 or event.epoch != self._events[-1].epoch):
            self.clear()
        self._events.append(event)
        self._bytes += _size(event)
        while len(self._events) > self._limit or (self._bytes > self._budget and len(self._events) > 1):
            self._bytes -= _size(self._events.popleft())

    def after(self, offset: int) -> tuple[Event, ...]:
        """The kept events with a higher offset, oldest first."""
        if not self._events:
            return ()
        return tuple(islice(self._events, max(0, offset + 1 - self._events[0].offset), None))

    def clear(self) -> None:
        """Forget everything, e.g. in a new epoch."""
        self._events.clear()
        self._bytes = 0


def _size(event: Event) -> int:
    """Roughly the memory that an event holds: nothing is encoded to find it, so an application's data counts whole."""
    if isinstance(event, MessageDeleted | UnknownEvent):
        return _EVENT_BYTES
    return _EVENT_BYTES + 2 * len(event.message.text) + (0 if event.message.data is None else _DATA_BYTES)


def merge(after: int, upto: int, *sources: Iterable[Event]) -> tuple[Event, ...] | None:
    """The events `after + 1 .. upto`, each once, in order, from sources of one epoch that may overlap, repeat and be
    out of order; None where one of them is in no source."""
    found = {event.offset: event for source in sources for event in source if after < event.offset <= upto}
    if len(found) != max(0, upto - after):
        return None
    return tuple(found[offset] for offset in range(after + 1, upto + 1))
