"""The log of a channel in memory."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.domain.events import (
    Event,
    LogEvent,
    MessageChange,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    erased,
    state_after,
)
from server.domain.messages import Message, MessageId, Position, Tombstone


@dataclass(slots=True)
class Kept:
    """A kept message: the offset of its creation, its last change, and the offsets of its edits, if any."""

    offset: int
    last: MessageChange
    edits: list[int] | None = None

    @property
    def state(self) -> Message | Tombstone:
        return state_after(self.last, self.offset)


@dataclass(slots=True)
class Channel:
    """A channel's log. `events[i]` has the offset `floor + 1 + i` and was written at `written[i]`. `ids` and
    `offsets` list the kept messages in the order of their creation, `messages` has them by id."""

    epoch: str
    floor: int = 0
    events: list[Event] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    ids: list[MessageId] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    messages: dict[MessageId, Kept] = field(default_factory=dict)

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events))

    @property
    def next(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events) + 1)

    def add(self, event: LogEvent, now: int) -> None:
        self.events.append(event)
        self.written.append(now)
        if isinstance(event, MessageCreated):
            self.ids.append(event.message.id)
            self.offsets.append(event.offset)
            self.messages[event.message.id] = Kept(event.offset, event)
        elif isinstance(event, MessageEdited):
            kept = self.messages[event.message.id]
            kept.last = event
            kept.edits = kept.edits or []
            kept.edits.append(event.offset)
        elif isinstance(event, MessageDeleted):
            kept = self.messages[event.id]
            kept.last = event
            self._erase([kept.offset, *(kept.edits or ())])

    def at(self, offset: int) -> Event:
        """Return the event with this offset, which must be kept."""
        return self.events[offset - self.floor - 1]

    def _erase(self, offsets: Sequence[int]) -> None:
        for offset in offsets:
            event = self.at(offset)
            if isinstance(event, MessageCreated | MessageEdited):
                self.events[offset - self.floor - 1] = erased(event)

    def is_over(self, max_events: int, oldest: int) -> bool:
        """Say whether `trim` has something to drop."""
        written = self.written
        return len(written) > max_events or (bool(written) and written[0] < oldest)

    def trim(self, max_events: int, oldest: int) -> None:
        """Drop the oldest events: those over the count, and those written before `oldest`."""
        drop = max(0, len(self.events) - max_events)
        while drop < len(self.events) and self.written[drop] < oldest:
            drop += 1
        if not drop:
            return
        self.floor += drop
        del self.events[:drop], self.written[:drop]
        gone = bisect_right(self.offsets, self.floor)
        for id in self.ids[:gone]:
            del self.messages[id]
        del self.ids[:gone], self.offsets[:gone]
