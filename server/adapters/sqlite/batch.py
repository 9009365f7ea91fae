"""A single transaction of the log: drafts become events, and their channels are kept within bounds."""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from server.adapters.codec import DecodeError, decode_event, encode_event, known, state_of
from server.adapters.sqlite.channels import Channel, Channels
from server.adapters.sqlite.debts import Debts
from server.adapters.sqlite.earlier import First, Id, Key, find_firsts, find_states
from server.adapters.sqlite.erasing import STEP_EDITS, Erased, erase, erase_edits
from server.adapters.sqlite.events import drop
from server.adapters.sqlite.order import out_of_order
from server.adapters.sqlite.rows import execute_rows
from server.adapters.sqlite.space import RETRY_MS
from server.domain.appending import Appended, created, decide, recreated
from server.domain.channel_rates import ChannelRates
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Sender
from server.domain.errors import MaruError, Overloaded, Unavailable
from server.domain.events import MessageCreated, MessageEdited, MessageEvent, erased
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import Position
from server.domain.retention import Retention

SPARE_TRIMS = 64
"""A batch drops as many events of a channel as it adds, and up to this many more: after the bound was lowered, the
channel gets there in steps."""

Outcome = Appended | MaruError

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
        self._rates = rates or ChannelRates(None)
        self._now = self._rates.clock()
        self._taken: list[ChannelName] = []  # the channels of the events that `rates` has counted
        self._trusting = trusting
        self._judged_ms = judged_ms or now_ms
        self._full = full
        self._plain = False  # no draft changes a message of this batch, or is looked up by its id
        self._rows: Mapping[ChannelName, Channel] = {}  # of the drafts' channels
        self._heads: dict[ChannelName, int] = {}  # heads before this batch, of the channels that it changes
        self._firsts: dict[Key, First] = {}  # of the keys that the drafts repeat or make
        self._states: dict[Id, bytes] = {}  # the last change of each message, encoded
        self._created: dict[Id, list[Any]] = {}  # rows of `_event_rows` that create a message
        self._moved: dict[Id, int] = {}  # new `state_offset` of messages from before this batch
        self._erased: dict[Id, Erased] = {}  # messages that the drafts delete
        self._event_rows: list[list[Any]] = []  # to insert into `events`
        self._key_rows: dict[Key, tuple[Any, ...]] = {}  # to insert into `keys`
        self._unreadable: set[tuple[Sender, ChannelName]] = set()  # channels that were refused to their senders
        self.unfinished = False  # edits of deleted messages are left to erase

    @property
    def erases(self) -> bool:
        """Whether the drafts delete messages, so that text must leave the WAL, too."""
        return bool(self._erased)

    def run(self, drafts: Sequence[Draft], senders: Sequence[Sender | None] = ()) -> list[Outcome]:
        """Write the drafts, in their order, and return the outcome of each: behind a draft that is `Unavailable`, those
        of the same sender and channel are, too. Raises `sqlite3.Error`, and `TypeError` for a draft that can't be
        encoded; then the caller must roll back."""
        self._plain = self._trusting and all(isinstance(draft, NewMessage) for draft in drafts)
        self._load(drafts)
        outcomes = list(map(self._outcome, drafts, senders or repeat(None)))
        self._save()
        return outcomes

    def _load(self, drafts: Sequence[Draft]) -> None:
        self._rows = self._channels.load(self._db, {draft.channel for draft in drafts})
        self._firsts = find_firsts(self._db, drafts, self._rows, self._judged_ms)
        if not self._plain:
            self._states = find_states(self._db, drafts, self._rows, trusting=self._trusting)

    def _outcome(self, draft: Draft, sender: Sender | None) -> Outcome:
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

    def _write(self, draft: Draft) -> Appended:
        """Plan the rows of a draft, if it becomes an event. Raises `MaruError` if it is refused, and `DecodeError`."""
        channel = self._rows[draft.channel]
        if isinstance(draft, NewMessage):
            if first := self._first(channel, draft):
                return Appended(first, duplicate=True)
            if self._plain:
                self._take_room(draft)
                return Appended(self._add(channel, draft, created(draft, channel.next)), duplicate=False)
        payload = self._states.get((draft.channel, draft.id))
        present = None if payload is None else state_of(decode_event(payload))
        appended = decide(draft, present, channel.next)
        if not appended.duplicate:
            self._take_room(draft)
            self._add(channel, draft, appended.event)
            if isinstance(draft, Deletion) and isinstance(present, MessageCreated | MessageEdited):
                erasure = Erased(self._channels.id(self._db, channel), erased(present))
                self._erased[draft.channel, draft.id] = erasure
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

    def _add(self, channel: Channel, draft: Draft, event: MessageEvent) -> MessageEvent:
        """Plan the event's row, and let the creation of its message point to it. Returns the event."""
        payload = encode_event(event)
        offset = event.offset
        self._heads.setdefault(channel.name, channel.head)
        channel.head = offset
        channel_id = channel.id or self._channels.id(self._db, channel)
        if isinstance(draft, NewMessage):
            row = [channel_id, offset, self._now_ms, draft.id, offset, None, payload]
            self._channels.wrote(channel, draft.author.id)
            if draft.key is not None:
                self._remember_key(channel_id, draft, draft.key, offset, payload)
            if not self._plain:
                self._states[draft.channel, draft.id] = payload
                self._created[draft.channel, draft.id] = row
        else:
            edit_of = event.message.offset if isinstance(event, MessageEdited) else None
            row = [channel_id, offset, self._now_ms, None, None, edit_of, payload]
            self._move(draft, offset, payload)
        self._event_rows.append(row)
        return event

    def _move(self, draft: Draft, offset: int, payload: bytes) -> None:
        """Let the creation of the draft's message point to its last change."""
        message = (draft.channel, draft.id)
        self._states[message] = payload
        if created_row := self._created.get(message):
            created_row[4] = offset
        else:
            self._moved[message] = offset

    def _remember_key(self, channel_id: int, draft: NewMessage, key: str, offset: int, payload: bytes) -> None:
        named = (draft.channel, draft.author.id, key)
        self._firsts[named] = First(offset, draft.id, draft.at, payload)
        expires_at = self._now_ms + KEY_LIFETIME_MS
        self._key_rows[named] = (channel_id, *named[1:], offset, draft.id, draft.at, expires_at)

    def _take_room(self, draft: Draft) -> None:
        """Count an event that is to be written. Raises `RateLimited`; and `Overloaded` if the log is full, but for a
        deletion, which takes little and may be what makes room."""
        if self._full and not isinstance(draft, Deletion):
            raise Overloaded("the message log is full", retry_after_ms=RETRY_MS)
        self._rates.take(draft.channel, self._now)
        self._taken.append(draft.channel)

    def undo(self) -> None:
        """Count nothing, since nothing was written."""
        self._rates.give_back(self._taken)

    def _save(self) -> None:
        execute_rows(
            self._db,
            "INSERT INTO events (channel_id, offset, written_at, message_id, state_offset, edit_of, payload)"
            " VALUES {rows}",
            self._event_rows,
        )
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
        changed = [self._rows[name] for name in self._heads]
        self._debts.append(self._db, changed, self._heads)
        drop(self._db, [trimmed for channel in changed if (trimmed := self._trimmed(channel))])
        self._channels.save(self._db, changed)

    def _trimmed(self, channel: Channel) -> tuple[int, int] | None:
        """Return the channel's id and new floor if it has grown over its bound."""
        excess = channel.head - channel.floor - self._retention.of(channel.name).events
        if excess <= 0 or channel.id is None:
            return None
        channel.floor += min(excess, channel.head - self._heads[channel.name] + SPARE_TRIMS)
        return channel.id, channel.floor
