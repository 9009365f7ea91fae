"""A channel's events in order, although their hints may be lost, repeated or out of order.

Pure: no clock, no await, no logger. The hub asks, then acts.
"""

from collections.abc import Iterable

from server.domain.events import Event, EventPublished, MessageCreated, MessageEdited, UnknownEvent
from server.domain.messages import Position
from server.domain.values import value

HELD_LIMIT = 256
"""Events that are held behind a gap, at most. Further events are dropped: the log has them."""


@value
class Ready:
    """These events are next, in this order. The position has moved past them."""

    events: tuple[Event, ...]


@value
class Known:
    """The event has been delivered before: drop it."""


@value
class Gap:
    """Events between the position and this event are missing: read the log."""


@value
class OtherEpoch:
    """The event belongs to another epoch: ask the log which epoch is true."""


Verdict = Ready | Known | Gap | OtherEpoch


Fingerprint = tuple[int, str]
"""Tells an event from another that has the same offset in another history of the channel."""


def fingerprint(event: Event) -> Fingerprint:
    """Return the event's time, and its message or kind. It stays the same if the message is deleted later."""
    match event:
        case MessageCreated():  # nearly all: a match by two classes takes twice as long
            return event.at, event.message.id
        case MessageEdited():
            return event.at, event.message.id
        case EventPublished():
            return event.at, event.name
        case UnknownEvent():
            return event.at, event.kind
        case _:
            return event.at, event.id


class Sequencer:
    """Accepts a channel's events in any order and returns them by offset, each once, without a gap.

    `position` is that of the last event returned. An event that comes early is held until the log or a late hint fills
    the gap before it; at most `HELD_LIMIT` events are held.
    """

    __slots__ = ("_held", "position", "resets")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.resets = 0  # how often the position was set by `reset`: answers to earlier questions are out of date
        self._held: dict[int, Event] = {}  # by offset, all beyond the position

    @property
    def has_gap(self) -> bool:
        """Whether events are held behind a missing event."""
        return bool(self._held)

    def accept(self, event: Event) -> Verdict:
        """Judge an event. If it is the next, move the position past it and past the held events behind it."""
        epoch, last, offset = self.position.epoch, self.position.offset, event.offset
        if event.epoch != epoch:
            return OtherEpoch()
        if offset <= last:
            return Known()
        if offset > last + 1:
            self.hold(event)
            return Gap()
        if not self._held:  # nearly always: the same as below, in a step
            self.position = Position(epoch, offset)
            return Ready((event,))
        ready = [event]
        self._held.pop(offset, None)
        while (following := self._held.pop(offset + 1, None)) is not None:
            ready.append(following)
            offset += 1
        self.position = Position(epoch, offset)
        return Ready(tuple(ready))

    def hold(self, event: Event) -> None:
        """Hold an event of this epoch back, even if it is the next: `fill` returns it with the events before it."""
        if event.offset > self.position.offset and len(self._held) < HELD_LIMIT:
            self._held[event.offset] = event

    def lacks(self, events: Iterable[Event]) -> bool:
        """Return whether one of the events of a slice of the log is neither delivered nor held: no hint brought it."""
        return any(event.offset > self.position.offset and event.offset not in self._held for event in events)

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
        self.resets += 1
        self._held.clear()

    def drop_held(self) -> None:
        """Drop the events behind a gap that the log can't fill."""
        self._held.clear()
