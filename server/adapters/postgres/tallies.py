"""The reactions to messages, as a transaction reads and changes them.

Each reaction is a row. The state that they make of a message is kept beside them, so that reads, and the bounds, look
at a single row: a JSON list of `[emoji, count, [user ...], n]`, by `n`, the number of the emoji's first reaction.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson
from asyncpg import Connection

from server.adapters.codec import decode_reactions
from server.domain.channels import ChannelName
from server.domain.drafts import Reaction
from server.domain.events import MessageChange, MessageDeleted
from server.domain.messages import Message, MessageId, Tombstone
from server.domain.reactions import SHOWN_USERS, Reactions
from server.domain.tallies import check_room

Id = tuple[ChannelName, MessageId]

_HAS = 'SELECT 1 FROM maru.reactions WHERE channel_id = $1 AND created = $2 AND emoji = $3 AND "user" = $4'
_ADD = 'INSERT INTO maru.reactions (channel_id, created, emoji, "user") VALUES ($1, $2, $3, $4) RETURNING n'
_REMOVE = 'DELETE FROM maru.reactions WHERE channel_id = $1 AND created = $2 AND emoji = $3 AND "user" = $4'
_FIRST = (
    'SELECT n, "user" FROM maru.reactions WHERE channel_id = $1 AND created = $2 AND emoji = $3 ORDER BY n LIMIT $4'
)
_DROP = (
    "DELETE FROM maru.reactions WHERE channel_id = $1 AND created = $2",
    "DELETE FROM maru.reacted WHERE channel_id = $1 AND created = $2",
)
_SAVE = """
INSERT INTO maru.reacted (channel_id, created, told, state)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
ON CONFLICT (channel_id, created) DO UPDATE SET told = excluded.told, state = excluded.state
"""


@dataclass(slots=True)
class Tallied:
    """The reactions to a message. `told`: the offset of the last event of them, 0 if there was none."""

    channel_id: int
    created: int
    told: int
    state: list[list[Any]]

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

    def found(self, id: Id, channel_id: int, created: int, told: int, state: bytes) -> None:
        """Take the row of a message in."""
        self._found[id] = Tallied(channel_id, created, told, orjson.loads(state))

    def of(self, id: Id, channel_id: int, created: int) -> Tallied:
        """Return the reactions to a message that is there."""
        tallied = self._found.get(id)
        if tallied is None:
            tallied = self._found[id] = Tallied(channel_id, created, 0, [])
        return tallied

    def present(self, id: Id, last: MessageChange) -> MessageChange:
        """Return the last change of a message, with the reactions as of now."""
        tallied = self._found.get(id)
        if tallied is None or isinstance(last, MessageDeleted):
            return last
        return replace(last, message=replace(last.message, reactions=tallied.reactions))

    async def has(self, tallied: Tallied, reaction: Reaction) -> bool:
        """Say whether the user reacts so."""
        if not tallied.count(reaction.emoji):
            return False
        return await self._connection.fetchval(_HAS, *_row(tallied, reaction)) is not None

    async def change(self, tallied: Tallied, reaction: Reaction) -> None:
        """Add a reaction that is missing, or remove it."""
        self._changed[reaction.channel, reaction.id] = tallied
        entry = next((entry for entry in tallied.state if entry[0] == reaction.emoji), None)
        if reaction.add:
            n = await self._connection.fetchval(_ADD, *_row(tallied, reaction))
            if entry is None:
                tallied.state.append([reaction.emoji, 1, [reaction.user], n])
                return
            entry[1] += 1
            if len(entry[2]) < SHOWN_USERS:
                entry[2].append(reaction.user)
            return
        assert entry is not None
        await self._connection.execute(_REMOVE, *_row(tallied, reaction))
        entry[1] -= 1
        if not entry[1]:
            tallied.state.remove(entry)
        elif reaction.user in entry[2]:
            first = await self._connection.fetch(_FIRST, *_row(tallied, reaction)[:3], SHOWN_USERS)
            entry[2], entry[3] = [row["user"] for row in first], first[0]["n"]
            tallied.state.sort(key=_number)

    async def drop(self, id: Id, channel_id: int, created: int) -> None:
        """Forget the reactions to a message that is deleted."""
        self._changed.pop(id, None)
        if self._found.pop(id, None):
            for sql in _DROP:
                await self._connection.execute(sql, channel_id, created)

    async def save(self) -> None:
        """Write the states that have changed."""
        rows = [(each.channel_id, each.created, each.told, orjson.dumps(each.state)) for each in self._changed.values()]
        if rows:
            await self._connection.execute(_SAVE, *map(list, zip(*rows, strict=True)))


def reacting(message: Message | Tombstone, state: bytes | None) -> Message | Tombstone:
    """Return a message as it is read, with the state of its reactions."""
    if isinstance(message, Tombstone) or (not state and not message.reactions):
        return message
    return replace(message, reactions=_decode(orjson.loads(state)) if state else ())


def _decode(state: list[list[Any]]) -> Reactions:
    return decode_reactions([[emoji, count, list(users)] for emoji, count, users, _ in state])


def _row(tallied: Tallied, reaction: Reaction) -> tuple[int, int, bytes, str]:
    return tallied.channel_id, tallied.created, reaction.emoji.encode(), reaction.user


def _number(entry: list[Any]) -> int:
    number: int = entry[3]
    return number
