"""The part of a transaction that is about reactions, events of applications, and marks."""

import sqlite3
from collections.abc import Mapping, Sequence

from server.adapters.codec import DecodeError, decode_event, encode_event, state_of
from server.adapters.sqlite.channels import Channel
from server.adapters.sqlite.earlier import Key, RecordFirst, find_record_firsts
from server.adapters.sqlite.entries import Entry, Following, Moving
from server.adapters.sqlite.growth import Growth
from server.adapters.sqlite.rows import execute_rows
from server.adapters.sqlite.tallies import Tallied, Tallies
from server.adapters.sqlite.unread import Unread
from server.domain.appending import Settled, not_found, published
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction, Record
from server.domain.events import EventPublished, MessageDeleted, ReactionChanged
from server.domain.limits import KEY_LIFETIME_MS
from server.domain.marks import MAX_FOLLOWS, too_many_follows
from server.domain.messages import Position
from server.domain.reactions import is_told
from server.domain.tallies import react_to_deleted
from server.ports.records import Recorded

_FOLLOWS = "SELECT 1 FROM follows WHERE user = ? AND channel = ?"
_COUNT = "SELECT count(*) FROM follows WHERE user = ?"
_FOLLOW = "INSERT INTO follows (user, channel) VALUES (?, ?)"
_UNFOLLOW = "DELETE FROM follows WHERE user = ? AND channel = ?"


class People:
    """Plans the rows of these entries, which others decide on beside messages: `Batch` has the rest."""

    def __init__(self, db: sqlite3.Connection, growth: Growth, now_ms: int) -> None:
        self._db = db
        self._growth = growth
        self._now_ms = now_ms
        self.tallies = Tallies(db)
        self.unread = Unread()
        self._firsts: dict[Key, RecordFirst] = {}  # of the keys that records repeat or make
        self._key_rows: dict[Key, tuple[int, str, str, int, str, int, int]] = {}
        self._records: list[tuple[int, int, str]] = []

    def load(self, entries: Sequence[Entry], channels: Mapping[ChannelName, Channel], judged_ms: int) -> None:
        """Read what the entries touch, but for the states of messages."""
        marks = [
            (channel_id, entry.user)
            for entry in entries
            if isinstance(entry, Moving | Following) and (channel_id := channels[entry.channel].id)
        ]
        self.unread.load(self._db, marks)
        self._firsts = find_record_firsts(self._db, entries, channels, judged_ms)

    def move(self, channel: Channel, moving: Moving) -> bool:
        """Move a mark. Returns whether it was further back."""
        self._growth.check_room()
        return self.unread.move(channel, moving)

    def follow(self, channel: Channel, following: Following) -> bool:
        """Change whether a user follows the channel. Returns whether that is a change. Raises `Conflict`."""
        row = (following.user, following.channel)
        followed = self._db.execute(_FOLLOWS, row).fetchone() is not None
        if followed == following.follow:
            return False
        if not following.follow:
            self._db.execute(_UNFOLLOW, row)
            return True
        self._growth.check_room()
        if self._db.execute(_COUNT, row[:1]).fetchone()[0] >= MAX_FOLLOWS:
            raise too_many_follows()
        self._db.execute(_FOLLOW, row)
        self.unread.begin(channel, following.user)
        return True

    def record(self, channel: Channel, record: Record) -> Recorded:
        """Plan the rows of a record, unless its key is known."""
        key = None if record.key is None else (record.channel, record.author.id, record.key)
        if key and (first := self._firsts.get(key)):
            return Recorded(_first(channel, record, first), duplicate=True)
        self._growth.check_room()
        event = published(record, channel.next)
        payload = encode_event(event)
        self._growth.take(record.channel)
        channel_id = self._growth.add(channel, payload)[0]
        self._records.append((channel_id, event.offset, event.name))
        if key:
            self._firsts[key] = RecordFirst(event.offset, record.at, payload)
            expires_at = self._now_ms + KEY_LIFETIME_MS
            self._key_rows[key] = (-channel_id, key[1], key[2], event.offset, "", record.at, expires_at)
        return Recorded(event, duplicate=False)

    def react(self, channel: Channel, reaction: Reaction, state: bytes | None) -> Settled:
        """Change a reaction; plan the row of the event that tells of it, if one does. `state` is the last change of
        the message. Raises `MaruError`, `DecodeError`."""
        if state is None or channel.id is None:
            raise not_found()
        last = state_of(decode_event(state))
        if isinstance(last, MessageDeleted):
            raise react_to_deleted()
        tallied = self.tallies.of((reaction.channel, reaction.id), channel.id, last.message.offset)
        so_far = Position(channel.epoch, max(last.offset, tallied.told))
        if self.tallies.has(tallied, reaction) == reaction.add:
            return Settled(so_far, None, duplicate=True)
        if reaction.add:
            self._growth.check_room()
            tallied.check(reaction.emoji)
        before = tallied.count(reaction.emoji)
        told = is_told(before, before + (1 if reaction.add else -1))
        if told:
            self._growth.take(reaction.channel)
        self.tallies.change(tallied, reaction)
        return self._tell(channel, reaction, tallied) if told else Settled(so_far, None, duplicate=False)

    def _tell(self, channel: Channel, reaction: Reaction, tallied: Tallied) -> Settled:
        place = channel.next
        where = (reaction.channel, place.epoch, place.offset, reaction.at)
        event = ReactionChanged(*where, reaction.id, tallied.reactions)
        self._growth.add(channel, encode_event(event))
        tallied.told = place.offset
        return Settled(place, event, duplicate=False)

    def save(self) -> None:
        """Write the rows."""
        self.tallies.save()
        self.unread.save(self._db)
        execute_rows(self._db, "INSERT INTO records (channel_id, offset, name) VALUES {rows}", self._records)
        execute_rows(
            self._db,
            "INSERT OR REPLACE INTO keys (channel_id, author, key, offset, message_id, at, expires_at) VALUES {rows}",
            list(self._key_rows.values()),
        )


def _first(channel: Channel, record: Record, first: RecordFirst) -> EventPublished:
    """Return the event of the first record with the key. The content of the repeat stands in for that of an event that
    the log has dropped."""
    if first.payload is None:
        place = (channel.name, channel.epoch, first.offset, first.at)
        return EventPublished(*place, record.name, record.author, record.data, record.key)
    event = decode_event(first.payload)
    if not isinstance(event, EventPublished):
        raise DecodeError(f"expected an event of an application, found {type(event).__name__}")
    return event
