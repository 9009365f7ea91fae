"""The state of a channel, folded from the entries of its stream."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from server.adapters.channel_state import Channel, Kept
from server.adapters.nats.entries import Entry, Key, key_of
from server.domain.channels import ChannelName
from server.domain.events import (
    Event,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    UnknownEvent,
)
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId
from server.domain.retention import Kept as Bounds
from server.domain.tallies import Tally

STEP = 200
"""Entries that are taken in a turn of the event loop."""

MISSING = "missing"
"""The kind of an event that stands in for an entry that somebody else has removed."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """The first event of a key: its place, the message's id, its time, and when it was written."""

    offset: int
    id: MessageId | None
    at: int
    written: int


@dataclass(slots=True)
class Text:
    """The text of a deleted message: entries to erase, by offset, and the keys and marks that outlive them."""

    seqs: dict[int, int]
    keys: dict[Key, Keyed]
    marks: dict[UserId, int]


@dataclass(slots=True)
class Fold(Channel):
    """A channel as of the entry `seq`, whose token is `token`. `seqs[i]` is the entry of `events[i]`, 0 if it is gone.
    `marks` are those that the kept events moved."""

    name: ChannelName = field(default=ChannelName(""), kw_only=True)
    seq: int = 0
    token: str = ""
    start: int = 0
    earned: float = 0.0
    purged: int = 0  # the floor as the stream's entries tell it; `floor` may be higher
    seqs: list[int] = field(default_factory=list)
    keys: dict[Key, Keyed] = field(default_factory=dict)
    texts: dict[MessageId, Text] = field(default_factory=dict)  # of deleted messages, to be erased
    moved: dict[int, UserId] = field(default_factory=dict)  # by offset of a creation that moved its author's mark

    def load(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Take all entries of a stream, some at each step."""
        if not entries:
            return
        self.epoch, self.floor = entries[-1].head.epoch, told_floor(entries)
        self.purged = self.floor
        gone = _gone(entries)
        for start in range(0, len(entries), STEP):
            for entry in entries[start : start + STEP]:
                self._take(entry, gone)
            yield

    def extend(self, entries: Iterable[Entry]) -> None:
        """Take further entries, in the order of the stream. Those of deleted messages may be missing."""
        later = [entry for entry in entries if entry.seq > self.seq]
        gone = _gone(later)
        for entry in later:
            self._take(entry, gone)

    def _take(self, entry: Entry, gone: "Gone") -> None:
        if entry.event is not None and entry.event.offset > self.floor:
            self._fill(entry.event.offset, gone)
            self._add(entry, entry.event)
        elif entry.reacts is not None and entry.event is None:
            self._react(entry)
        if entry.floor is not None:
            self.purged = max(self.purged, entry.floor)
        self.seq, self.token, self.start, self.earned = entry.seq, entry.token, entry.start, entry.earned

    def _fill(self, upto: int, gone: "Gone") -> None:
        """Put in the erased forms of events whose entries are gone."""
        for offset in range(self.head.offset + 1, upto):
            event = gone.forms.get(offset)
            self.seqs.append(0)
            if event is None:
                self._add_bare(UnknownEvent(self.name, self.epoch, offset, 0, MISSING), 0)
                continue
            self._add_bare(replace(event, epoch=self.epoch), event.at)
            if not event.edited:
                self.ids.append(event.id)
                self.offsets.append(offset)
                self.messages[event.id] = Kept(offset, gone.deletions[event.id], offset)

    def _add_bare(self, event: Event, written: int) -> None:
        self.events.append(event)
        self.written.append(written)

    def _add(self, entry: Entry, event: Event) -> None:
        if event.epoch != self.epoch:
            event = replace(event, epoch=self.epoch)
        self.seqs.append(entry.seq)
        if (key := key_of(event)) is not None:
            id = event.message.id if isinstance(event, MessageCreated) else None
            self.keys[key] = Keyed(event.offset, id, event.at, entry.written)
        if isinstance(event, MessageCreated) and entry.marks:
            self.move_mark(event.message.author.id, event.offset)
            self.moved[event.offset] = event.message.author.id
        if isinstance(event, MessageDeleted):
            self._leave(event.id)
        if isinstance(event, UnknownEvent) or not self._knows(event):
            self._add_bare(event, entry.written)
        else:
            self.add(event, entry.written)
        if entry.reacts is not None:
            self._react(entry)

    def _knows(self, event: LogEvent) -> bool:
        """Say whether the log has the message of an event that changes one: retention may have taken it."""
        match event:
            case MessageEdited():
                return event.message.id in self.messages
            case MessageDeleted() | ReactionChanged():
                return event.id in self.messages
            case _:
                return True

    def _react(self, entry: Entry) -> None:
        assert entry.reacts is not None
        id, emoji, user, added = entry.reacts
        kept = self.messages.get(id)
        if kept is None or isinstance(kept.last, MessageDeleted):
            return
        kept.tally = kept.tally or Tally()
        kept.tally.change(emoji, user, add=added)

    def _leave(self, id: MessageId) -> None:
        """Note which entries hold the text of a message that is deleted now."""
        kept = self.messages.get(id)
        if kept is None:
            return
        text = Text({}, {}, {})
        for offset in (kept.offset, *(kept.edits or ())):
            event, seq = self.at(offset), self.seq_of(offset)
            if seq and isinstance(event, MessageCreated | MessageEdited):
                text.seqs[offset] = seq
                if isinstance(event, MessageCreated):
                    text.keys, text.marks = self.memory_of(offset, offset)
        if text.seqs:
            self.texts[id] = text

    def seq_of(self, offset: int) -> int:
        """Return the entry of a kept event."""
        return self.seqs[offset - self.floor - 1]

    def memory_of(self, first: int, last: int) -> tuple[dict[Key, Keyed], dict[UserId, int]]:
        """Return the keys and the authors' marks that outlive the entries of the events `first` to `last`."""
        keys = {key: keyed for key, keyed in self.keys.items() if first <= keyed.offset <= last}
        marks: dict[UserId, int] = {}
        for offset, user in self.moved.items():
            if first <= offset <= last:
                marks[user] = max(offset, marks.get(user, 0))
        return keys, marks

    def erased(self, id: MessageId) -> None:
        """Note that nothing of a deleted message is left."""
        for offset in self.texts.pop(id).seqs:
            if offset > self.floor:
                self.seqs[offset - self.floor - 1] = 0

    def trim(self, max_events: int, oldest: int) -> None:
        before = self.floor
        Channel.trim(self, max_events, oldest)
        del self.seqs[: self.floor - before]

    def drop_to(self, floor: int) -> None:
        """Drop the events up to a floor that another replica has told."""
        if floor > self.floor:
            self.trim(max(0, self.head.offset - floor), -1)

    def purge_below(self) -> int:
        """Return the sequence below which the stream holds nothing that is kept."""
        return next((seq for seq in self.seqs if seq), self.seq)

    def were_purged(self, floor: int, now: int) -> None:
        """Note that the entries up to a floor are gone."""
        self.purged = floor
        self.moved = {offset: user for offset, user in self.moved.items() if offset > floor}
        self.keys = {key: keyed for key, keyed in self.keys.items() if keyed.written + KEY_LIFETIME_MS > now}
        self.moved = {offset: user for offset, user in self.moved.items() if offset > self.floor}


@dataclass(frozen=True, slots=True)
class Gone:
    """The erased forms of events whose entries may be gone, by offset, and the deletions of their messages."""

    forms: dict[int, MessageErased]
    deletions: dict[MessageId, MessageDeleted]


def _gone(entries: Sequence[Entry]) -> Gone:
    deletions = [entry for entry in entries if isinstance(entry.event, MessageDeleted)]
    forms = {each.offset: each for entry in deletions for each in entry.erases}
    return Gone(forms, {each.event.id: each.event for each in deletions if isinstance(each.event, MessageDeleted)})


def gaps(entries: Sequence[Entry], offset: int) -> set[int]:
    """Return the offsets behind this one of which the entries have no event."""
    missing: set[int] = set()
    for entry in entries:
        upto = entry.head.offset if entry.event is None else entry.event.offset - 1
        missing.update(range(offset + 1, upto + 1))
        offset = max(offset, entry.head.offset)
    return missing


def told_floor(entries: Sequence[Entry]) -> int:
    """Return the floor that the entries tell, 0 if they tell none."""
    return max((entry.floor for entry in entries if entry.floor is not None), default=0)


def trim(fold: Fold, bounds: Bounds, now: int) -> None:
    """Drop the events over the bounds; the stream's entries go later."""
    if fold.is_over(bounds.events, now - bounds.age_ms):
        fold.trim(bounds.events, now - bounds.age_ms)
