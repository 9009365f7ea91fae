"""Recent events of the hosted channels, as the bytes that go out: what a reconnect storm is served from.

Pure: no clock, no await, no logger.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from sys import getsizeof

from server.domain.events import Event
from server.domain.messages import MessageId
from server.domain.values import value

RING_LIMIT = 256
"""Recent events that are kept for each hosted channel, at most: they serve reconnects after an outage of some
seconds."""

RING_BYTES = 256 * 1024
"""Memory of a channel's ring, at most: 256 messages of 400 characters fit, or 10 of the longest."""

RINGS_BYTES = 64 * 1024 * 1024
"""Memory of all rings of a process, if no setting says otherwise."""

ENTRY_BYTES = 208
"""Memory of an event in a ring beside its JSON: the value and its place in the list (112), its offset (32) and the
message's id (in most cases 88)."""


@value
class EncodedEvent:
    """An event of a channel's log, encoded once: for its delivery and for every replay."""

    offset: int
    name: str  # on the wire; empty for an entry of an unknown kind, which is given to nobody
    json: bytes  # the event's body; empty for an entry of an unknown kind
    message: MessageId | None  # the message that is created, edited or deleted; None if no text can stand here
    deletes: bool


Encode = Callable[[Event], EncodedEvent]
"""Encode an event. Its JSON is what clients are given live."""

Erase = Callable[[EncodedEvent], EncodedEvent]
"""Return the creation or the edit of a message that was deleted later: without its text and data, at its place."""


class Ring:
    """The last events of a channel, without a gap: at most `RING_LIMIT` of them, and `RING_BYTES`.

    A ring is filled by `push`, as events are delivered, and by `replay`, if a client needs events of the log. It is
    empty again if the other channels of the process need the memory more. The text of a deleted message is not in it.
    """

    __slots__ = ("_events", "_rings", "size")

    def __init__(self, rings: "Rings") -> None:
        self._rings = rings
        self._events: list[EncodedEvent] = []
        self.size = 0  # memory of all kept events

    def push(self, event: EncodedEvent) -> None:
        """Add the channel's next event. If it does not follow the last event, the ring starts over with it."""
        events = self._events
        if events and event.offset != events[-1].offset + 1:
            self.clear()
            events = self._events
        if event.deletes:
            self._erase(event)
        events.append(event)
        size = ENTRY_BYTES + getsizeof(event.json)  # `_memory` and `_grow`, in a step
        self.size += size
        self._rings.size += size
        if len(self._events) > RING_LIMIT or self.size > RING_BYTES:
            self._drop_oldest()
        self._rings.used(self)

    def encode(self, event: Event) -> EncodedEvent:
        """Encode an event that is not delivered."""
        return self._rings.encode(event)

    def after(self, offset: int) -> Sequence[EncodedEvent]:
        """Return the kept events with a higher offset, oldest first."""
        if not self._events:
            return ()
        return self._events[max(0, offset + 1 - self._events[0].offset) :]

    def replay(self, after: int, upto: int, logged: Iterable[Event]) -> Sequence[EncodedEvent] | None:
        """Return the events `after + 1 .. upto`, from the ring and from a slice of the log; None if an event is in
        neither. No text of a message that has been deleted up to there is in them.

        `upto` is the offset of the last event that was delivered. The ring keeps what it had not.
        """
        fresh = [self.encode(event) for event in logged]
        found = merge(after, upto, fresh, self.after(after))
        if found is None:
            return None
        if fresh:
            found = self._rings.without_deleted(found)
        if len(found) > len(self._events):
            self._set(found[-RING_LIMIT:])
            self._drop_oldest()
        self._rings.used(self)
        return found

    def clear(self) -> None:
        """Drop all events, e.g. in a new epoch."""
        self._set([])
        self._rings.emptied(self)

    def _erase(self, deletion: EncodedEvent) -> None:
        """Erase what the ring has of the deleted message. The messages of earlier deletions are erased already."""
        for index, event in enumerate(self._events):
            if event.message == deletion.message and not event.deletes:
                self._events[index] = erased = self._rings.erase(event)
                self._grow(_memory(erased) - _memory(event))

    def _set(self, events: list[EncodedEvent]) -> None:
        self._events = events
        self._grow(sum(map(_memory, events)) - self.size)

    def _drop_oldest(self) -> None:
        """Drop as many of the oldest events as are over the ring's own bounds, but never the last event."""
        events, size, drop = self._events, self.size, 0
        count = len(events)
        while count - drop > RING_LIMIT or (size > RING_BYTES and drop < count - 1):
            size -= _memory(events[drop])
            drop += 1
        del events[:drop]
        self._grow(size - self.size)

    def _grow(self, by: int) -> None:
        self.size += by
        self._rings.size += by


class Rings:
    """The rings of all channels of a process: together they take at most `budget` bytes.

    If they take more, the rings of the channels go first in which for the longest time no event came and no client was
    given one.
    """

    def __init__(self, encode: Encode, erase: Erase, budget: int = RINGS_BYTES) -> None:
        self.encode = encode
        self.erase = erase
        self._budget = budget
        self._filled: OrderedDict[Ring, None] = OrderedDict()  # rings with events, the least recently used first
        self._latest: Ring | None = None  # the ring that was used last, if it has events
        self.size = 0  # memory of all kept events
        self.evicted = 0  # rings that were emptied for others

    def used(self, ring: Ring) -> None:
        """Note that a ring was used, and empty others if all together are too large."""
        if ring.size and ring is not self._latest:
            self._filled[ring] = None
            self._filled.move_to_end(ring)
            self._latest = ring
        while self.size > self._budget:
            self.evicted += 1
            next(iter(self._filled)).clear()

    def emptied(self, ring: Ring) -> None:
        """Note that a ring has no events."""
        self._filled.pop(ring, None)
        if ring is self._latest:
            self._latest = None

    def without_deleted(self, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
        """Erase the creations and edits of the messages that are deleted later in the same slice."""
        gone = {event.message for event in events if event.deletes}
        if not gone:
            return [*events]
        return [self.erase(event) if event.message in gone and not event.deletes else event for event in events]


def merge(after: int, upto: int, *sources: Iterable[EncodedEvent]) -> list[EncodedEvent] | None:
    """Return the events `after + 1 .. upto`, each once and in order; None if an event is in no source.

    The sources are of the same epoch. They may overlap, repeat events and be out of order; of an event that is in
    several sources, the last source's is taken.
    """
    found = {event.offset: event for source in sources for event in source if after < event.offset <= upto}
    if len(found) != max(0, upto - after):
        return None
    return [found[offset] for offset in range(after + 1, upto + 1)]


def _memory(event: EncodedEvent) -> int:
    return ENTRY_BYTES + getsizeof(event.json)
