"""The reactions to messages, as a transaction reads and changes them.

Each reaction is a row. The state that they make of a message is kept beside them, so that reads, and the bounds, look
at a single row: a JSON list of `[emoji, count, [user ...], n]`, by `n`, the number of the emoji's first reaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from asyncpg import Connection, Record

from server.adapters.codec import decode_reactions
from server.adapters.postgres.growth import columns
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction
from server.domain.events import MessageChange, MessageDeleted
from server.domain.identity import UserId
from server.domain.messages import Message, MessageId, Tombstone
from server.domain.reactions import SHOWN_USERS, Reactions
from server.domain.tallies import check_room

Id = tuple[ChannelName, MessageId]
Made = tuple[ChannelName, MessageId, str, UserId]
Row = tuple[int, int, bytes, str]

_HAS = """
SELECT w.n
FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[]) WITH ORDINALITY w (channel_id, id, emoji, u, n)
JOIN maru.events e ON e.channel_id = w.channel_id AND e.message_id = w.id
JOIN maru.reactions r ON r.channel_id = w.channel_id AND r.created = e."offset" AND r.emoji = w.emoji AND r."user" = w.u
"""
_REMOVE = """
DELETE FROM maru.reactions r USING unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[])
g (channel_id, created, emoji, u)
WHERE r.channel_id = g.channel_id AND r.created = g.created AND r.emoji = g.emoji AND r."user" = g.u
"""
_ADD = """
INSERT INTO maru.reactions (channel_id, created, emoji, "user", n)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[], $5::bigint[])
"""
_FIRST = """
SELECT n, "user" FROM maru.reactions WHERE channel_id = $1 AND created = $2 AND emoji = $3 ORDER BY n LIMIT $4
"""
_DROP = (
    "DELETE FROM maru.reactions WHERE channel_id = $1 AND created = $2",
    "DELETE FROM maru.reacted WHERE channel_id = $1 AND created = $2",
)
_SAVE = """
INSERT INTO maru.reacted (channel_id, created, told, state, last)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[])
ON CONFLICT (channel_id, created) DO UPDATE SET told = excluded.told, state = excluded.state, last = excluded.last
"""


@dataclass(slots=True)
class Tallied:
    """The reactions to a message. `told`: the offset of the last event of them, 0 if there was none. `last`: the number
    of the last reaction."""

    channel_id: int
    created: int
    told: int
    state: list[list[Any]]
    last: int

    def count(self, emoji: str) -> int:
        """Return how many users react with the emoji."""
        return next((count for name, count, *_ in self.state if name == emoji), 0)

    def check(self, emoji: str) -> None:
        """Check that there is room for a further reaction. Raises `Conflict`."""
        check_room(self.count(emoji), len(self.state), sum(count for _, count, *_ in self.state))

    @property
    def reactions(self) -> Reactions:
        """The state as it is told."""
        return _decode(self.state)


class Tallies:
    """The messages whose reactions a transaction has looked at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: dict[Id, Tallied] = {}
        self._changed: dict[Id, Tallied] = {}
        self._made: set[Made] = set()  # the reactions that are there, of those that the drafts name
        self._removed: dict[Made, Row] = {}  # rows to remove, before others are written
        self._added: dict[Made, tuple[Any, ...]] = {}  # rows to write

    async def load(self, reactions: Sequence[Reaction], ids: Mapping[ChannelName, int]) -> None:
        """Read which of the reactions are there."""
        if not reactions:
            return
        rows = [(ids[each.channel], each.id, each.emoji.encode(), each.user) for each in reactions]
        for row in await self._connection.fetch(_HAS, *columns(rows)):
            self._made.add(_key(reactions[row["n"] - 1]))

    def found(self, id: Id, channel_id: int, created: int, row: Record) -> None:
        """Take the row of a message in."""
        self._found[id] = Tallied(channel_id, created, row["told"], orjson.loads(row["state"]), row["last"])

    def of(self, id: Id, channel_id: int, created: int) -> Tallied:
        """Return the reactions to a message that is there."""
        tallied = self._found.get(id)
        if tallied is None:
            tallied = self._found[id] = Tallied(channel_id, created, 0, [], 0)
        return tallied

    def present(self, id: Id, last: MessageChange) -> MessageChange:
        """Return the last change of a message, with the reactions as of now."""
        tallied = self._found.get(id)
        if tallied is None or isinstance(last, MessageDeleted):
            return last
        return replace(last, message=replace(last.message, reactions=tallied.reactions))

    def has(self, reaction: Reaction) -> bool:
        """Say whether the user reacts so."""
        return _key(reaction) in self._made

    async def change(self, tallied: Tallied, reaction: Reaction) -> None:
        """Add a reaction that is missing, or remove it."""
        self._changed[reaction.channel, reaction.id] = tallied
        if reaction.add:
            self._add(tallied, reaction)
        else:
            await self._remove(tallied, reaction)

    def _add(self, tallied: Tallied, reaction: Reaction) -> None:
        tallied.last += 1
        self._made.add(_key(reaction))
        self._added[_key(reaction)] = (*_row(tallied, reaction), tallied.last)
        entry = _entry(tallied, reaction)
        if entry is None:
            tallied.state.append([reaction.emoji, 1, [reaction.user], tallied.last])
            return
        entry[1] += 1
        if len(entry[2]) < SHOWN_USERS:
            entry[2].append(reaction.user)

    async def _remove(self, tallied: Tallied, reaction: Reaction) -> None:
        self._made.discard(_key(reaction))
        if self._added.pop(_key(reaction), None) is None:
            self._removed[_key(reaction)] = _row(tallied, reaction)
        entry = _entry(tallied, reaction)
        assert entry is not None
        entry[1] -= 1
        if not entry[1]:
            tallied.state.remove(entry)
        elif reaction.user in entry[2]:
            await self._flush()
            first = await self._connection.fetch(_FIRST, *_row(tallied, reaction)[:3], SHOWN_USERS)
            entry[2], entry[3] = [row["user"] for row in first], first[0]["n"]
            tallied.state.sort(key=_number)

    async def _flush(self) -> None:
        """Write the rows that have changed so far."""
        if self._removed:
            await self._connection.execute(_REMOVE, *columns(list(self._removed.values())))
        if self._added:
            await self._connection.execute(_ADD, *columns(list(self._added.values())))
        self._removed.clear()
        self._added.clear()

    async def drop(self, id: Id, channel_id: int, created: int) -> None:
        """Forget the reactions to a message that is deleted."""
        await self._flush()
        self._changed.pop(id, None)
        if self._found.pop(id, None):
            for sql in _DROP:
                await self._connection.execute(sql, channel_id, created)

    async def save(self) -> None:
        """Write what has changed."""
        await self._flush()
        rows = [
            (each.channel_id, each.created, each.told, orjson.dumps(each.state), each.last)
            for each in self._changed.values()
        ]
        if rows:
            await self._connection.execute(_SAVE, *columns(rows))


def reacting(message: Message | Tombstone, state: bytes | None) -> Message | Tombstone:
    """Return a message as it is read, with the state of its reactions."""
    if isinstance(message, Tombstone) or (not state and not message.reactions):
        return message
    return replace(message, reactions=_decode(orjson.loads(state)) if state else ())


def _decode(state: list[list[Any]]) -> Reactions:
    return decode_reactions([[emoji, count, list(users)] for emoji, count, users, _ in state])


def _key(reaction: Reaction) -> Made:
    return reaction.channel, reaction.id, reaction.emoji, reaction.user


def _entry(tallied: Tallied, reaction: Reaction) -> list[Any] | None:
    return next((entry for entry in tallied.state if entry[0] == reaction.emoji), None)


def _row(tallied: Tallied, reaction: Reaction) -> Row:
    return tallied.channel_id, tallied.created, reaction.emoji.encode(), reaction.user


def _number(entry: list[Any]) -> int:
    number: int = entry[3]
    return number
