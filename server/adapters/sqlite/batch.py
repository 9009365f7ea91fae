"""What one transaction of the log does: drafts become events, and their channels are kept within bounds."""

import sqlite3
from dataclasses import dataclass, replace

from server.adapters.codec import channel_epoch, decode_event, encode_event
from server.domain.channels import ChannelName
from server.domain.errors import Conflict, NotFound
from server.domain.messages import (
    Deletion,
    Draft,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageId,
    Position,
    Post,
    Revision,
    created,
    revised,
)
from server.ports.message_log import Appended

KEY_LIFETIME_MS = 24 * 3600 * 1000
"""Promise 3 of the port."""

_SPARE_TRIMS = 64
"""Events over the bound that a batch drops a channel beyond its own number: a lowered bound is reached bit by bit."""


@dataclass(slots=True)
class _Channel:
    """A channel's row, as this batch has changed it. `id` is None until its first event."""

    id: int | None
    name: ChannelName
    epoch: str
    head: int
    floor: int
    added: int = 0

    @property
    def next(self) -> Position:
        return Position(self.epoch, self.head + 1)


class Batch:
    """Drafts that are written in one transaction, which the caller has begun and ends.

    A draft that is refused (`NotFound`, `Conflict`, or an error of its content) has written nothing.
    """

    def __init__(self, db: sqlite3.Connection, store_id: bytes, now_ms: int, max_events: int) -> None:
        self._db = db
        self._store_id = store_id
        self._now_ms = now_ms
        self._max_events = max_events
        self._channels: dict[ChannelName, _Channel] = {}

    def append(self, draft: Draft) -> Appended:
        """Write one draft. Raises `NotFound`, `Conflict`, `sqlite3.Error`."""
        channel = self._channels.get(draft.channel) or self._load(draft.channel)
        match draft:
            case Post():
                return self._post(channel, draft)
            case Revision():
                return self._revise(channel, draft)
            case Deletion():
                return self._delete(channel, draft)

    def finish(self) -> None:
        """Write the channels' new heads and drop what is over the bound. Call it once, before the commit."""
        for channel in self._channels.values():
            if channel.id is None or not channel.added:
                continue
            excess = channel.head - channel.floor - self._max_events
            if excess > 0:
                channel.floor += min(excess, channel.added + _SPARE_TRIMS)
                drop(self._db, channel.id, channel.floor)
            self._db.execute(
                "UPDATE channels SET head = ?, floor = ? WHERE id = ?", (channel.head, channel.floor, channel.id)
            )

    def _load(self, name: ChannelName) -> _Channel:
        row = self._db.execute("SELECT id, epoch, head, floor FROM channels WHERE name = ?", (name,)).fetchone()
        if row is None:
            channel = _Channel(None, name, channel_epoch(self._store_id, name), 0, 0)
        else:
            id, epoch, head, floor = row
            channel = _Channel(id, name, epoch, head, floor)
        self._channels[name] = channel
        return channel

    def _post(self, channel: _Channel, post: Post) -> Appended:
        if post.key is not None and (first := self._first(channel, post, post.key)):
            return Appended(first, duplicate=True)
        event = created(post, channel.next)
        try:
            id = self._write(channel, event, post.id)
        except sqlite3.IntegrityError as error:
            if "events.message_id" not in str(error):
                raise
            raise Conflict(f"message id '{post.id}' is already taken in '{post.channel}'") from error
        if post.key is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO keys (channel_id, author, key, offset, message_id, at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, post.author.id, post.key, event.offset, post.id, post.at, self._now_ms + KEY_LIFETIME_MS),
            )
        return Appended(event, duplicate=False)

    def _first(self, channel: _Channel, post: Post, key: str) -> Event | None:
        """What the key's first post became; where that is dropped, the repeat's content stands in."""
        row = self._db.execute(
            "SELECT k.offset, k.message_id, k.at, e.payload FROM keys k"
            " LEFT JOIN events e ON e.channel_id = k.channel_id AND e.offset = k.offset"
            " WHERE k.channel_id = ? AND k.author = ? AND k.key = ? AND k.expires_at > ?",
            (channel.id, post.author.id, key, self._now_ms),
        ).fetchone()
        if row is None:
            return None
        offset, id, at, payload = row
        if payload is not None:
            return decode_event(payload)
        return created(replace(post, id=MessageId(id), at=at), Position(channel.epoch, offset))

    def _revise(self, channel: _Channel, revision: Revision) -> Appended:
        state = self._state(channel, revision)
        if isinstance(state, MessageDeleted):
            raise Conflict(f"message '{revision.id}' in '{revision.channel}' is deleted and can't be edited")
        position = channel.next
        message = revised(state.message, revision)
        event = MessageEdited(revision.channel, position.epoch, position.offset, revision.at, message)
        self._write(channel, event)
        self._point(channel, event, revision.id)
        return Appended(event, duplicate=False)

    def _delete(self, channel: _Channel, deletion: Deletion) -> Appended:
        state = self._state(channel, deletion)
        if isinstance(state, MessageDeleted):
            return Appended(state, duplicate=True)
        position = channel.next
        event = MessageDeleted(deletion.channel, position.epoch, position.offset, deletion.at, deletion.id)
        self._write(channel, event)
        self._point(channel, event, deletion.id)
        return Appended(event, duplicate=False)

    def _state(self, channel: _Channel, draft: Revision | Deletion) -> Event:
        """The last event that changed the message."""
        row = self._db.execute(
            "SELECT state.payload FROM events creation JOIN events state"
            " ON state.channel_id = creation.channel_id AND state.offset = creation.state_offset"
            " WHERE creation.message_id = ? AND creation.channel_id = ?",
            (draft.id, channel.id),
        ).fetchone()
        if row is None:
            raise NotFound(f"no message '{draft.id}' in '{draft.channel}'")
        return decode_event(row[0])

    def _point(self, channel: _Channel, event: Event, id: MessageId) -> None:
        """Let the message's creation point to the event as its state."""
        self._db.execute(
            "UPDATE events SET state_offset = ? WHERE message_id = ? AND channel_id = ?",
            (event.offset, id, channel.id),
        )

    def _write(self, channel: _Channel, event: Event, creates: MessageId | None = None) -> int:
        """Insert the event. Returns the channel's id."""
        payload = encode_event(event)
        id = self._id(channel)
        self._db.execute(
            "INSERT INTO events (channel_id, offset, written_at, message_id, state_offset, payload)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (id, event.offset, self._now_ms, creates, event.offset if creates else None, payload),
        )
        channel.head = event.offset
        channel.added += 1
        return id

    def _id(self, channel: _Channel) -> int:
        if channel.id is None:
            cursor = self._db.execute(
                "INSERT INTO channels (name, epoch, head, floor) VALUES (?, ?, 0, 0)", (channel.name, channel.epoch)
            )
            channel.id = cursor.lastrowid
        assert channel.id is not None  # an INSERT into a rowid table has one
        return channel.id


def drop(db: sqlite3.Connection, channel_id: int, floor: int) -> None:
    """Drop a channel's events up to and with `floor`, and the messages that were created there."""
    db.execute("DELETE FROM events WHERE channel_id = ? AND offset <= ?", (channel_id, floor))
