"""What one transaction of the log does: drafts become events, and their channels are kept within bounds."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.adapters.codec import DecodeError, decode_event, encode_event
from server.adapters.sqlite.channels import Channel, Channels
from server.adapters.sqlite.rows import execute_rows
from server.domain.channels import ChannelName
from server.domain.drafts import Deletion, Draft, NewMessage, Revision, created, revised
from server.domain.errors import Conflict, MaruError, NotFound, Unavailable
from server.domain.events import Event, MessageDeleted, MessageEdited
from server.domain.identity import UserId
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.messages import MessageId, Position
from server.ports.message_log import Appended

SPARE_TRIMS = 64
"""Events over the bound that a batch drops a channel beyond its own number: a lowered bound is reached bit by bit."""

Outcome = Appended | MaruError

_Key = tuple[ChannelName, UserId, str]
_Id = tuple[ChannelName, MessageId]

_FIND_KEYS = """
WITH wanted (draft, channel_id, author, key, now) AS (VALUES {rows})
SELECT w.draft, k.offset, k.message_id, k.at, e.payload FROM wanted w
JOIN keys k ON k.channel_id = w.channel_id AND k.author = w.author AND k.key = w.key AND k.expires_at > w.now
LEFT JOIN events e ON e.channel_id = k.channel_id AND e.offset = k.offset
"""

_FIND_STATES = """
WITH wanted (draft, channel_id, id) AS (VALUES {rows})
SELECT w.draft, state.payload FROM wanted w
JOIN events creation ON creation.message_id = w.id AND creation.channel_id = w.channel_id
JOIN events state ON state.channel_id = creation.channel_id AND state.offset = creation.state_offset
"""

_MOVE_STATES = """
WITH moved (id, channel_id, state_offset) AS (VALUES {rows})
UPDATE events SET state_offset = moved.state_offset FROM moved
WHERE events.message_id = moved.id AND events.channel_id = moved.channel_id
"""

_DROP = """
WITH dropped (channel_id, floor) AS (VALUES {rows})
DELETE FROM events WHERE n IN (
    SELECT e.n FROM dropped d JOIN events e ON e.channel_id = d.channel_id AND e.offset <= d.floor
)
"""


@dataclass(frozen=True, slots=True)
class _First:
    """What a key became. `payload` is None where the event itself has been dropped since."""

    offset: int
    id: MessageId
    at: int
    payload: bytes | None


class Batch:
    """Drafts that are written in one transaction, which the caller has begun and ends: `run` once.

    Reads all that the drafts touch, decides in memory, then writes; so its statements are few, however many drafts.
    `trusting`: the ids of posts are taken for new, as they are; where one is not, `run` raises `sqlite3.IntegrityError`
    and nothing of the transaction may be kept.
    """

    def __init__(
        self, db: sqlite3.Connection, channels: Channels, now_ms: int, max_events: int, *, trusting: bool = False
    ) -> None:
        self._db = db
        self._channels = channels
        self._now_ms = now_ms
        self._max_events = max_events
        self._trusting = trusting
        self._heads: dict[ChannelName, int] = {}  # before this batch, of the channels that it changes
        self._firsts: dict[_Key, _First] = {}
        self._states: dict[_Id, bytes] = {}
        self._created: dict[_Id, list[Any]] = {}
        self._moved: dict[_Id, int] = {}
        self._event_rows: list[list[Any]] = []
        self._key_rows: dict[_Key, tuple[Any, ...]] = {}

    def run(self, drafts: Sequence[Draft]) -> list[Outcome]:
        """Write the drafts, in their order, and say what became of each. Raises `sqlite3.Error`, or what an
        unencodable draft raises; then nothing of the transaction may be kept."""
        self._load(drafts)
        outcomes = [self._outcome(draft) for draft in drafts]
        self._save()
        return outcomes

    def _load(self, drafts: Sequence[Draft]) -> None:
        self._channels.load(self._db, {draft.channel for draft in drafts})
        keys, ids = [], []
        for number, draft in enumerate(drafts):
            if (channel_id := self._channels[draft.channel].id) is None:
                continue  # it has no event yet
            if not (self._trusting and isinstance(draft, NewMessage)):
                ids.append((number, channel_id, draft.id))
            if isinstance(draft, NewMessage) and draft.key is not None:
                keys.append((number, channel_id, draft.author.id, draft.key, self._now_ms))
        for number, *first in execute_rows(self._db, _FIND_KEYS, keys):
            draft = drafts[number]
            if isinstance(draft, NewMessage) and draft.key is not None:
                self._firsts[draft.channel, draft.author.id, draft.key] = _First(*first)
        for number, payload in execute_rows(self._db, _FIND_STATES, ids):
            self._states[drafts[number].channel, drafts[number].id] = payload

    def _outcome(self, draft: Draft) -> Outcome:
        channel = self._channels[draft.channel]
        try:
            match draft:
                case NewMessage():
                    return self._post(channel, draft)
                case Revision():
                    return self._revise(channel, draft)
                case Deletion():
                    return self._delete(channel, draft)
        except MaruError as refusal:
            return refusal
        except DecodeError as error:
            damaged = Unavailable("what the message log holds of this message can't be read")
            damaged.__cause__ = error
            return damaged

    def _post(self, channel: Channel, post: NewMessage) -> Appended:
        key = None if post.key is None else (post.channel, post.author.id, post.key)
        if key is not None and (first := self._firsts.get(key)):
            return Appended(_repeated(channel, post, first), duplicate=True)
        if (post.channel, post.id) in self._states:
            raise Conflict(f"message id '{post.id}' is already taken in '{post.channel}'")
        event = created(post, channel.next)
        row = self._add(channel, event, post.id)
        self._created[post.channel, post.id] = row
        if key is not None:
            self._firsts[key] = _First(event.offset, post.id, post.at, row[-1])
            expires_at = self._now_ms + KEY_LIFETIME_MS
            self._key_rows[key] = (channel.id, *key[1:], event.offset, post.id, post.at, expires_at)
        return Appended(event, duplicate=False)

    def _revise(self, channel: Channel, revision: Revision) -> Appended:
        state = self._state(revision)
        if isinstance(state, MessageDeleted):
            raise Conflict(f"message '{revision.id}' in '{revision.channel}' is deleted and can't be edited")
        position = channel.next
        message = revised(state.message, revision)
        event = MessageEdited(revision.channel, position.epoch, position.offset, revision.at, message)
        self._move(channel, event, revision.id)
        return Appended(event, duplicate=False)

    def _delete(self, channel: Channel, deletion: Deletion) -> Appended:
        state = self._state(deletion)
        if isinstance(state, MessageDeleted):
            return Appended(state, duplicate=True)
        position = channel.next
        event = MessageDeleted(deletion.channel, position.epoch, position.offset, deletion.at, deletion.id)
        self._move(channel, event, deletion.id)
        return Appended(event, duplicate=False)

    def _state(self, draft: Revision | Deletion) -> Event:
        """The last event that changed the message."""
        payload = self._states.get((draft.channel, draft.id))
        if payload is None:
            raise NotFound(f"no message '{draft.id}' in '{draft.channel}'")
        return decode_event(payload)

    def _add(self, channel: Channel, event: Event, id: MessageId, *, creates: bool = True) -> list[Any]:
        """Plan the event's row: it is the message's state from now on."""
        payload = encode_event(event)
        self._heads.setdefault(channel.name, channel.head)
        channel.head = event.offset
        kept = (id, event.offset) if creates else (None, None)
        row = [self._channels.id(self._db, channel), event.offset, self._now_ms, *kept, payload]
        self._event_rows.append(row)
        self._states[channel.name, id] = payload
        return row

    def _move(self, channel: Channel, event: Event, id: MessageId) -> None:
        """Plan the event, and let the message's creation point to it as its state."""
        self._add(channel, event, id, creates=False)
        if row := self._created.get((channel.name, id)):
            row[4] = event.offset
        else:
            self._moved[channel.name, id] = event.offset

    def _save(self) -> None:
        execute_rows(
            self._db,
            "INSERT INTO events (channel_id, offset, written_at, message_id, state_offset, payload) VALUES {rows}",
            self._event_rows,
        )
        moved = [(id, self._channels[name].id, offset) for (name, id), offset in self._moved.items()]
        execute_rows(self._db, _MOVE_STATES, moved)
        execute_rows(
            self._db,
            "INSERT OR REPLACE INTO keys (channel_id, author, key, offset, message_id, at, expires_at) VALUES {rows}",
            list(self._key_rows.values()),
        )
        changed = [self._channels[name] for name in self._heads]
        drop(self._db, [trimmed for channel in changed if (trimmed := self._trimmed(channel))])
        self._channels.save(self._db, changed)

    def _trimmed(self, channel: Channel) -> tuple[int, int] | None:
        """The channel's id and new floor, where it has grown over its bound."""
        excess = channel.head - channel.floor - self._max_events
        if excess <= 0 or channel.id is None:
            return None
        channel.floor += min(excess, channel.head - self._heads[channel.name] + SPARE_TRIMS)
        return channel.id, channel.floor


def drop(db: sqlite3.Connection, floors: Sequence[tuple[int, int]]) -> None:
    """Drop the channels' events up to and with their floors, and the messages that were created there."""
    execute_rows(db, _DROP, floors)


def _repeated(channel: Channel, repeat: NewMessage, first: _First) -> Event:
    """The event of the key's first post; where it is dropped, the repeat's content stands in."""
    if first.payload is not None:
        return decode_event(first.payload)
    return created(replace(repeat, id=first.id, at=first.at), Position(channel.epoch, first.offset))
