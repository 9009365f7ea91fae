"""The outcomes of drafts, decided from a channel's fold and from the entries that are decided before them.

Pure. The entries are written in this order, behind the fold's last, or not at all: so each may rest on those before it.
"""

from copy import deepcopy
from dataclasses import replace

from server.adapters.channel_state import Kept
from server.adapters.codec import DecodeError, known
from server.adapters.nats.entries import Entry, Key, Reacts, key_of
from server.adapters.nats.fold import Fold, Keyed
from server.domain.appending import (
    Appended,
    Settled,
    decide,
    not_found,
    published,
    recreated,
    too_many_events,
)
from server.domain.drafts import Deletion, Draft, NewMessage, Reaction, Record
from server.domain.events import (
    Event,
    EventPublished,
    LogEvent,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    MessageErased,
    ReactionChanged,
    erased,
)
from server.domain.gcra import Pace, take
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId, Position
from server.domain.reactions import is_told
from server.domain.tallies import Tally, react_to_deleted
from server.ports.records import Recorded

Work = Draft | Reaction | Record
Outcome = Appended | Settled | Recorded


class Deciding:
    """Decides drafts one after the other. `token` gives each entry its own; `now` is the store's time, in ms."""

    def __init__(self, fold: Fold, pace: Pace | None, now: int, tokens: "Tokens") -> None:
        self._fold, self._pace, self._now, self._tokens = fold, pace, now, tokens
        self._head, self._earned = fold.head, fold.earned
        self._kept: dict[MessageId, Kept] = {}  # messages that were touched, as they are now
        self._events: dict[int, Event] = {}  # that were decided
        self._keys: dict[Key, Keyed] = {}

    def decide(self, work: Work) -> tuple[Outcome, Entry | None]:
        """Return the outcome of a draft, and the entry to write, if any. Raises `MaruError`, `DecodeError`."""
        match work:
            case Reaction():
                return self._react(work)
            case Record():
                return self._record(work)
            case _:
                return self._append(work)

    def _append(self, draft: Draft) -> tuple[Outcome, Entry | None]:
        if isinstance(draft, NewMessage) and draft.key is not None:
            keyed = self._keyed(("m", draft.author.id, draft.key))
            if keyed is not None and keyed.id is not None:
                return Appended(self._first(draft, keyed, keyed.id), duplicate=True), None
        kept = self._message(draft.id)
        appended = decide(draft, kept.present if kept else None, self._next)
        if appended.duplicate:
            return appended, None
        event, forms = appended.event, self._forms(kept) if isinstance(draft, Deletion) else ()
        marks = isinstance(draft, NewMessage) and draft.marks
        return appended, self._write(event, marks=marks, erases=forms)

    def _first(self, draft: NewMessage, keyed: Keyed, id: MessageId) -> MessageCreated | MessageErased:
        """Return the event of the first message with the draft's key."""
        if keyed.offset <= self._fold.floor:
            return recreated(draft, id, keyed.at, Position(self._head.epoch, keyed.offset))
        event = known(self._at(keyed.offset))
        if not isinstance(event, MessageCreated | MessageErased):
            raise DecodeError("the event of a key is no creation")
        kept = self._message(id)
        if isinstance(event, MessageCreated) and kept is not None and isinstance(kept.last, MessageDeleted):
            return erased(event)
        return event

    def _record(self, record: Record) -> tuple[Outcome, Entry | None]:
        keyed = None if record.key is None else self._keyed(("p", record.author.id, record.key))
        if keyed is None:
            event = published(record, self._next)
            return Recorded(event, duplicate=False), self._write(event)
        if keyed.offset <= self._fold.floor:
            place = Position(self._head.epoch, keyed.offset)
            return Recorded(published(replace(record, at=keyed.at), place), duplicate=True), None
        first = self._at(keyed.offset)
        if not isinstance(first, EventPublished):
            raise DecodeError("the event of a key is no record")
        return Recorded(first, duplicate=True), None

    def _react(self, reaction: Reaction) -> tuple[Outcome, Entry | None]:
        kept = self._message(reaction.id)
        if kept is None:
            raise not_found()
        if isinstance(kept.last, MessageDeleted):
            raise react_to_deleted()
        tally = kept.tally = kept.tally or Tally()
        if tally.has(reaction.emoji, reaction.user) == reaction.add:
            return Settled(Position(self._head.epoch, kept.told), None, duplicate=True), None
        if reaction.add:
            tally.check(reaction.emoji)
        before = tally.count(reaction.emoji)
        told = is_told(before, before + (1 if reaction.add else -1))
        if told:
            self._take()
        tally.change(reaction.emoji, reaction.user, add=reaction.add)
        reacts = reaction.id, reaction.emoji, reaction.user, reaction.add
        if not told:
            settled = Settled(Position(self._head.epoch, kept.told), None, duplicate=False)
            return settled, self._entry(None, reacts=reacts)
        place = self._next
        event = ReactionChanged(reaction.channel, place.epoch, place.offset, reaction.at, reaction.id, tally.state())
        self._note(event)
        return Settled(place, event, duplicate=False), self._entry(event, reacts=reacts)

    @property
    def _next(self) -> Position:
        return Position(self._head.epoch, self._head.offset + 1)

    def _write(self, event: LogEvent, *, marks: bool = False, erases: tuple[MessageErased, ...] = ()) -> Entry:
        self._take()
        self._note(event)
        return self._entry(event, marks=marks, erases=erases)

    def _entry(
        self,
        event: LogEvent | None,
        *,
        marks: bool = False,
        reacts: Reacts | None = None,
        erases: tuple[MessageErased, ...] = (),
    ) -> Entry:
        token, head, start = self._tokens.next(), self._head, self._fold.start
        return Entry(token, self._now, head, start, self._earned, event, marks, reacts, erases)

    def _take(self) -> None:
        """Count an event. Raises `RateLimited`."""
        if self._pace is None:
            return
        now = self._now / 1_000
        full = now + self._pace.room  # a bucket is never emptier, unless a clock was set back
        self._earned, wait = take(min(self._earned, full), self._pace, now)
        if wait:
            raise too_many_events(wait)

    def _note(self, event: LogEvent) -> None:
        """Let the drafts that follow see the event."""
        self._head = Position(event.epoch, event.offset)
        self._events[event.offset] = event
        if (key := key_of(event)) is not None:
            id = event.message.id if isinstance(event, MessageCreated) else None
            self._keys[key] = Keyed(event.offset, id, event.at, self._now)
        match event:
            case MessageCreated():
                self._kept[event.message.id] = Kept(event.offset, event, event.offset)
            case MessageEdited():
                kept = self._kept[event.message.id]
                kept.last, kept.told, kept.edits = event, event.offset, [*(kept.edits or ()), event.offset]
            case MessageDeleted():
                kept = self._kept[event.id]
                kept.last, kept.told, kept.tally = event, event.offset, None
            case ReactionChanged():
                self._kept[event.id].told = event.offset
            case _:
                pass

    def _message(self, id: MessageId) -> Kept | None:
        """Return the message as it is now; a copy, which may be changed."""
        if id not in self._kept and (kept := self._fold.messages.get(id)) is not None:
            tally = None if kept.tally is None else deepcopy(kept.tally)
            self._kept[id] = Kept(kept.offset, kept.last, kept.told, kept.edits, tally)
        return self._kept.get(id)

    def _keyed(self, key: Key) -> Keyed | None:
        keyed = self._keys.get(key) or self._fold.keys.get(key)
        return keyed if keyed is not None and keyed.written + KEY_LIFETIME_MS > self._now else None

    def _at(self, offset: int) -> Event:
        return self._events.get(offset) or self._fold.at(offset)

    def _forms(self, kept: Kept | None) -> tuple[MessageErased, ...]:
        """Return the erased forms of the events of a message."""
        offsets = (kept.offset, *(kept.edits or ())) if kept else ()
        events = [self._at(offset) for offset in offsets]
        return tuple([erased(event) for event in events if isinstance(event, MessageCreated | MessageEdited)])


class Tokens:
    """Names of entries, each used once: by the process, and a number."""

    def __init__(self, process: str) -> None:
        self._process, self._last = process, 0

    def next(self) -> str:
        """Return another name."""
        self._last += 1
        return f"{self._process}.{self._last}"
