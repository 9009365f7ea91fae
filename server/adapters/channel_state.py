"""The log of a channel in memory: the whole log of a store in memory, or the fold of a stream."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, assert_never

from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageChange,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    erased,
    state_after,
)
from server.domain.identity import UserId
from server.domain.marks import Mark
from server.domain.messages import EVERYBODY, Message, MessageId, Position, Tombstone
from server.domain.tallies import Tally

_Name = TypeVar("_Name")


@dataclass(slots=True)
class Kept:
    """A kept message: the offset of its creation, its last change, the offsets of its edits and its reactions, if any.
    `told` is the offset of its last event of any kind."""

    offset: int
    last: MessageChange
    told: int
    edits: list[int] | None = None
    tally: Tally | None = None

    @property
    def present(self) -> MessageChange:
        """The last change, with the reactions as of now."""
        if self.tally is None or isinstance(self.last, MessageDeleted):
            return self.last
        return replace(self.last, message=replace(self.last.message, reactions=self.tally.state()))

    @property
    def state(self) -> Message | Tombstone:
        return state_after(self.present, self.offset)


@dataclass(slots=True)
class Channel:
    """A channel's log. `events[i]` has the offset `floor + 1 + i` and was written at `written[i]`. `ids` and
    `offsets` list the kept messages in the order of their creation, `messages` has them by id. `gone`, and `mentions`
    by user, list the offsets of creations: of messages that are deleted, and of others that name the user.
    `records` lists the offsets of applications' events, by name and, as None, of all names."""

    epoch: str
    floor: int = 0
    events: list[Event] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    ids: list[MessageId] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    messages: dict[MessageId, Kept] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    mentions: dict[UserId, list[int]] = field(default_factory=dict)
    records: dict[str | None, list[int]] = field(default_factory=dict)
    marks: dict[UserId, int] = field(default_factory=dict)

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events))

    @property
    def next(self) -> Position:
        return Position(self.epoch, self.floor + len(self.events) + 1)

    def add(self, event: LogEvent, now: int) -> None:
        self.events.append(event)
        self.written.append(now)
        match event:
            case MessageCreated():
                self.ids.append(event.message.id)
                self.offsets.append(event.offset)
                self.messages[event.message.id] = Kept(event.offset, event, event.offset)
                for user in set(event.message.mentions):
                    self.mentions.setdefault(user, []).append(event.offset)
            case MessageEdited():
                kept = self.messages[event.message.id]
                kept.last, kept.told = event, event.offset
                kept.edits = kept.edits or []
                kept.edits.append(event.offset)
            case MessageDeleted():
                self._delete(event)
            case ReactionChanged():
                self.messages[event.id].told = event.offset
            case EventPublished():
                self.records.setdefault(None, []).append(event.offset)
                self.records.setdefault(event.name, []).append(event.offset)
            case MessageErased():
                raise AssertionError("no draft becomes an erased event")
            case never:
                assert_never(never)

    def at(self, offset: int) -> Event:
        """Return the event with this offset, which must be kept."""
        return self.events[offset - self.floor - 1]

    def mark(self, user: UserId) -> Mark:
        """Return the user's mark. One below the floor counts as the floor: no message below is kept."""
        offset, head = self.marks.get(user, 0), self.head
        unread = _above(self.offsets, offset) - _above(self.gone, offset)
        mentions = [self.mentions.get(name, ()) for name in {user, EVERYBODY}]
        return Mark(offset, unread, sum(_above(each, offset) for each in mentions), head)

    def move_mark(self, user: UserId, offset: int) -> bool:
        """Move the user's mark, if it is further back. Returns whether it was."""
        moves = offset > self.marks.get(user, 0)
        if moves:
            self.marks[user] = offset
        return moves

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
        for event in self.events[:drop]:
            if isinstance(event, EventPublished):
                _forget(self.records, None, event.offset)
                _forget(self.records, event.name, event.offset)
        del self.events[:drop], self.written[:drop], self.gone[: bisect_right(self.gone, self.floor)]
        gone = bisect_right(self.offsets, self.floor)
        for id in self.ids[:gone]:
            self._forget_mentions(self.messages.pop(id))
        del self.ids[:gone], self.offsets[:gone]

    def _delete(self, event: MessageDeleted) -> None:
        kept = self.messages[event.id]
        self._forget_mentions(kept)
        insort(self.gone, kept.offset)
        kept.last, kept.told, kept.tally = event, event.offset, None
        for offset in (kept.offset, *(kept.edits or ())):
            present = self.at(offset)
            if isinstance(present, MessageCreated | MessageEdited):
                self.events[offset - self.floor - 1] = erased(present)

    def _forget_mentions(self, kept: Kept) -> None:
        if not isinstance(kept.last, MessageDeleted):
            for user in set(kept.last.message.mentions):
                _forget(self.mentions, user, kept.offset)


def _forget(lists: dict[_Name, list[int]], name: _Name, offset: int) -> None:
    """Take an offset out of the list with this name."""
    offsets = lists[name]
    del offsets[bisect_left(offsets, offset)]
    if not offsets:
        del lists[name]


def _above(offsets: Sequence[int], offset: int) -> int:
    """Return how many of the offsets, which ascend, are higher."""
    return len(offsets) - bisect_right(offsets, offset)
