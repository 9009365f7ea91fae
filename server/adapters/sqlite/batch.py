"""A single transaction of the log: drafts become events, and their channels are kept within bounds."""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from server.adapters.codec import DecodeError, decode_event, encode_event, known, state_of
from server.adapters.sqlite.channels import Channel, Channels
from server.adapters.sqlite.debts import Debts
from server.adapters.sqlite.earlier import First, Id, Key, find_firsts, find_states
from server.adapters.sqlite.entries import Entry, Following, Moving, Written
from server.adapters.sqlite.erasing import STEP_EDITS, Erased, erase, erase_edits
from server.adapters.sqlite.events import drop
from server.adapters.sqlite.growth import STATE_OFFSET, Growth, Row
from server.adapters.sqlite.order import out_of_order
from server.adapters.sqlite.people import People
from server.adapters.sqlite.rows import execute_rows
from server.domain.appending import Appended, created, decide, id_taken, recreated
from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, NewMessage, Reaction, Record, Revision, Sender
from server.domain.errors import MaruError, Unavailable
from server.domain.events import MessageCreated, MessageEdited, MessageEvent, erased
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import Position
from server.domain.retention import Retention

SPARE_TRIMS = 64
"""A batch drops as many events of a channel as it adds, and up to this many more: after the bound was lowered, the
channel gets there in steps."""

Outcome = Written | MaruError

_MOVE_STATES = """
WITH moved (id, channel_id, state_offset) AS (VALUES {rows})
UPDATE events SET state_offset = moved.state_offset FROM moved
WHERE events.message_id = moved.id AND events.channel_id = moved.channel_id
"""


class Batch:
    """Drafts that are written in a single transaction, which the caller has begun and ends. Call `run` once.

    Reads everything that the drafts touch, decides in memory, then writes: a few statements, however many drafts.
    `judged_ms` is the time by which a key has expired, if that is not `now_ms`.
    `trusting`: the ids of new messages are not looked up, because the server makes them unique. If an id is taken all
    the same, `run` raises `sqlite3.IntegrityError`, and the caller must roll back. `full`: nothing is written but
    deletions.
    """

    def __init__(  # noqa: PLR0913  # all that a transaction depends on
        self,
        db: sqlite3.Connection,
        channels: Channels,
        now_ms: int,
        retention: Retention,
        *,
        debts: Debts | None = None,
        rates: ChannelRates | None = None,
        trusting: bool = False,
        judged_ms: int = 0,
        full: bool = False,
    ) -> None:
        self._db = db
        self._channels = channels
        self._debts = debts or Debts()
        self._now_ms = now_ms
        self._retention = retention
        self._growth = Growth(db, channels, now_ms, rates or ChannelRates(None), full=full)
        self._people = People(db, self._growth, now_ms)
        self._trusting = trusting
        self._judged_ms = judged_ms or now_ms
        self._plain = False  # no draft changes a message of this batch, or is looked up by its id
        self._rows: Mapping[ChannelName, Channel] = {}  # of the drafts' channels
        self._firsts: dict[Key, First] = {}  # of the keys that the drafts repeat or make
        self._states: dict[Id, bytes] = {}  # the last change of each message, encoded
        self._created: dict[Id, Row] = {}  # rows that create a message
        self._moved: dict[Id, int] = {}  # new `state_offset` of messages from before this batch
        self._erased: dict[Id, Erased] = {}  # messages that the drafts delete
        self._key_rows: dict[Key, tuple[Any, ...]] = {}  # to insert into `keys`
        self._unreadable: set[tuple[Sender, ChannelName]] = set()  # channels that were refused to their senders
        self.unfinished = False  # edits of deleted messages are left to erase

    @property
    def erases(self) -> bool:
        """Whether the drafts delete messages, so that text must leave the WAL, too."""
        return bool(self._erased)

    def run(self, drafts: Sequence[Entry], senders: Sequence[Sender | None] = ()) -> list[Outcome]:
        """Write the drafts, in their order, and return the outcome of each: behind a draft that is `Unavailable`, those
        of the same sender and channel are, too. Raises `sqlite3.Error`, and `TypeError` for a draft that can't be
        encoded; then the caller must roll back."""
        self._plain = self._trusting and all(isinstance(draft, NewMessage) for draft in drafts)
        self._load(drafts)
        outcomes = list(map(self._outcome, drafts, senders or repeat(None)))
        self._save()
        return outcomes

    def _load(self, drafts: Sequence[Entry]) -> None:
        self._rows = self._channels.load(self._db, {draft.channel for draft in drafts})
        self._firsts = find_firsts(self._db, drafts, self._rows, self._judged_ms)
        if self._plain:
            return
        for id, state in find_states(self._db, drafts, self._rows, trusting=self._trusting).items():
            self._states[id] = state.payload
            if state.told is not None and state.reactions is not None:
                self._people.tallies.found(id, state.channel_id, state.created, state.told, state.reactions)
        self._people.load(drafts, self._rows, self._judged_ms)

    def _outcome(self, draft: Entry, sender: Sender | None) -> Outcome:
        if self._unreadable and (sender, draft.channel) in self._unreadable:
            return out_of_order()
        try:
            return self._write(draft)
        except MaruError as refusal:
            return refusal
        except DecodeError as error:
            if sender is not None:
                self._unreadable.add((sender, draft.channel))
            damaged = Unavailable("what the message log holds of this message can't be read")
            damaged.__cause__ = error
            return damaged

    def _write(self, draft: Entry) -> Written:
        """Plan the rows of a draft, if it becomes an event. Raises `MaruError` if it is refused, and `DecodeError`."""
        channel = self._rows[draft.channel]
        match draft:
            case NewMessage():
                return self._send(channel, draft)
            case Revision() | Deletion():
                return self._change(channel, draft)
            case Reaction():
                return self._people.react(channel, draft, self._states.get((draft.channel, draft.id)))
            case Record():
                return self._people.record(channel, draft)
            case Moving():
                return self._people.move(channel, draft)
            case Following():
                return self._people.follow(channel, draft)

    def _send(self, channel: Channel, draft: NewMessage) -> Appended:
        if first := self._first(channel, draft):
            return Appended(first, duplicate=True)
        if not self._plain and (draft.channel, draft.id) in self._states:
            raise id_taken()
        self._growth.check_room()
        event = created(draft, channel.next)
        payload = encode_event(event)
        self._growth.take(draft.channel)
        offset = event.offset
        row = self._growth.add(channel, payload, draft.id, offset)
        self._channels.wrote(channel, draft.author.id)
        self._people.unread.wrote(channel, row[0], draft, offset)
        if draft.key is not None:
            self._remember_key(row[0], draft, draft.key, offset, payload)
        if not self._plain:
            self._states[draft.channel, draft.id] = payload
            self._created[draft.channel, draft.id] = row
        return Appended(event, duplicate=False)

    def _change(self, channel: Channel, draft: Revision | Deletion) -> Appended:
        id = (draft.channel, draft.id)
        state = self._states.get(id)
        present = None if state is None else self._people.tallies.present(id, state_of(decode_event(state)))
        appended = decide(draft, present, channel.next)
        if appended.duplicate:
            return appended
        if isinstance(draft, Revision):
            self._growth.check_room()
        event = appended.event
        payload = encode_event(event)
        self._growth.take(draft.channel)
        edit_of = event.message.offset if isinstance(event, MessageEdited) else None
        channel_id = self._growth.add(channel, payload, edit_of=edit_of)[0]
        self._move(id, event.offset, payload)
        if isinstance(draft, Deletion) and isinstance(present, MessageCreated | MessageEdited):
            self._erased[id] = Erased(channel_id, erased(present))
            self._people.unread.deleted(channel_id, present.message.offset)
            self._people.tallies.drop(id, channel_id, present.message.offset)
        return appended

    def _first(self, channel: Channel, draft: NewMessage) -> MessageEvent | None:
        """Return the event of the first message with the draft's key, or None."""
        first = None if draft.key is None else self._firsts.get((draft.channel, draft.author.id, draft.key))
        if first is None:
            return None
        if first.payload is not None:
            event = known(decode_event(first.payload))
            deleted = isinstance(event, MessageCreated) and (draft.channel, first.id) in self._erased
            return erased(event) if deleted and isinstance(event, MessageCreated) else event
        return recreated(draft, first.id, first.at, Position(channel.epoch, first.offset))

    def _move(self, message: Id, offset: int, payload: bytes) -> None:
        """Let the creation of a message point to its last change."""
        self._states[message] = payload
        if created_row := self._created.get(message):
            created_row[STATE_OFFSET] = offset
        else:
            self._moved[message] = offset

    def _remember_key(self, channel_id: int, draft: NewMessage, key: str, offset: int, payload: bytes) -> None:
        named = (draft.channel, draft.author.id, key)
        self._firsts[named] = First(offset, draft.id, draft.at, payload)
        expires_at = self._now_ms + KEY_LIFETIME_MS
        self._key_rows[named] = (channel_id, *named[1:], offset, draft.id, draft.at, expires_at)

    def undo(self) -> None:
        """Count nothing, since nothing was written."""
        self._growth.undo()

    def _save(self) -> None:
        self._growth.save()
        self._people.save()
        moved = [(id, self._rows[name].id, offset) for (name, id), offset in self._moved.items()]
        execute_rows(self._db, _MOVE_STATES, moved)
        if self._erased:
            erase(self._db, list(self._erased.values()))
            self.unfinished = erase_edits(self._db) == STEP_EDITS
        execute_rows(
            self._db,
            "INSERT OR REPLACE INTO keys (channel_id, author, key, offset, message_id, at, expires_at) VALUES {rows}",
            list(self._key_rows.values()),
        )
        changed = [self._rows[name] for name in self._growth.heads]
        self._debts.append(self._db, changed, self._growth.heads)
        drop(self._db, [trimmed for channel in changed if (trimmed := self._trimmed(channel))])
        self._channels.save(self._db, changed)

    def _trimmed(self, channel: Channel) -> tuple[int, int] | None:
        """Return the channel's id and new floor if it has grown over its bound."""
        excess = channel.head - channel.floor - self._retention.of(channel.name).events
        if excess <= 0 or channel.id is None:
            return None
        channel.floor += min(excess, channel.head - self._growth.heads[channel.name] + SPARE_TRIMS)
        return channel.id, channel.floor
