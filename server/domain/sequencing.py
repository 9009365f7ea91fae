"""A channel's events in order, although their hints may be lost, repeated or out of order.

Pure: no clock, no await, no logger. The hub asks, then acts.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from server.domain.events import Event, MessageDeleted, UnknownEvent
from server.domain.messages import Position

HELD_LIMIT = 256
"""Events that are held behind a gap, at most. Further events are dropped: the log has them."""

RING_LIMIT = 256
"""Recent events that are kept for each hosted channel: they serve reconnects after an outage of some seconds."""

RING_BYTES = 256 * 1024
"""Memory of a hosted channel's ring, approximately: 256 messages of 200 characters fit, or 14 of the longest."""

_EVENT_BYTES = 512
_DATA_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """These events are next, in this order. The position has moved past them."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The event has been delivered before: drop it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between the position and this event are missing: read the log."""


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """The event belongs to another epoch: ask the log which epoch is true."""


Verdict = Ready | Known | Gap | OtherEpoch


class Sequencer:
    """Accepts a channel's events in any order and returns them by offset, each once, without a gap.

    `position` is that of the last event returned. An event that comes early is held until the log or a late hint fills
    the gap before it; at most `HELD_LIMIT` events are held.
    """

    __slots__ = ("_held", "position")

    def __init__(self, position: Position) -> None:
        self.position = position
        self._held: dict[int, Event] = {}  # by offset, all beyond the next event

    @property
    def has_gap(self) -> bool:
        """Whether events are held behind a missing event."""
        return bool(self._held)

    def accept(self, event: Event) -> Verdict:
        """Judge an event. If it is the next, move the position past it and past the held events behind it."""
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
        """Take a slice of the log, oldest first. Return the events to deliver now, held events included."""
        ready: list[Event] = []
        for event in events:
            verdict = self.accept(event)
            if isinstance(verdict, Ready):
                ready.extend(verdict.events)
        return tuple(ready)

    def reset(self, position: Position) -> None:
        """Go on from another position, e.g. in a new epoch. Held events are dropped."""
        self.position = position
        self._held.clear()

    def drop_held(self) -> None:
        """Drop the events behind a gap that the log can't fill."""
        self._held.clear()


class Ring:
    """The last events of a channel, without a gap: at most `limit` of them, and approximately `budget` bytes."""

    __slots__ = ("_budget", "_bytes", "_events", "_limit")

    def __init__(self, limit: int = RING_LIMIT, budget: int = RING_BYTES) -> None:
        self._events: deque[Event] = deque()
        self._limit = limit
        self._budget = budget
        self._bytes = 0  # of all kept events, by `_size`

    def push(self, event: Event) -> None:
        """Add the next event. If it does not follow the last event, the ring starts over with it."""
        if self._events and (event.offset != self._events[-1].offset + 1 or event.epoch != self._events[-1].epoch):
            self.clear()
        self._events.append(event)
        self._bytes += _size(event)
        while len(self._events) > self._limit or (self._bytes > self._budget and len(self._events) > 1):
            self._bytes -= _size(self._events.popleft())

    def after(self, offset: int) -> tuple[Event, ...]:
        """Return the kept events with a higher offset, oldest first."""
        if not self._events:
            return ()
        return tuple(islice(self._events, max(0, offset + 1 - self._events[0].offset), None))

    def clear(self) -> None:
        """Drop all events, e.g. in a new epoch."""
        self._events.clear()
        self._bytes = 0


def _size(event: Event) -> int:
    """Return approximately the memory of an event. Nothing is encoded to find it: data counts as if it had its largest
    size."""
    if isinstance(event, MessageDeleted | UnknownEvent):
        return _EVENT_BYTES
    return _EVENT_BYTES + 2 * len(event.message.text) + (0 if event.message.data is None else _DATA_BYTES)


def merge(after: int, upto: int, *sources: Iterable[Event]) -> tuple[Event, ...] | None:
    """Return the events `after + 1 .. upto`, each once and in order; None if an event is in no source.

    The sources are of the same epoch. They may overlap, repeat events and be out of order.
    """
    found = {event.offset: event for source in sources for event in source if after < event.offset <= upto}
    if len(found) != max(0, upto - after):
        return None
    return tuple(found[offset] for offset in range(after + 1, upto + 1))
