"""The reactions to messages, as a transaction reads and changes them.

Each reaction is a row. The state that they make of a message is kept beside them, so that reads, and the bounds, look
at a single row: a JSON list of `[emoji, count, [user ...], n]`, by `n`, the number of the emoji's first reaction.
"""

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import orjson

from server.adapters.codec import decode_reactions
from server.adapters.sqlite.earlier import Id
from server.adapters.sqlite.rows import execute_rows
from server.domain.drafts import Reaction
from server.domain.events import MessageChange, MessageDeleted
from server.domain.messages import Message, Tombstone
from server.domain.reactions import SHOWN_USERS, Reactions
from server.domain.tallies import check_room

_HAS = "SELECT 1 FROM reactions WHERE channel_id = ? AND created = ? AND emoji = ? AND user = ?"
_ADD = "INSERT INTO reactions (channel_id, created, emoji, user) VALUES (?, ?, ?, ?)"
_REMOVE = "DELETE FROM reactions WHERE channel_id = ? AND created = ? AND emoji = ? AND user = ?"
_FIRST = "SELECT n, user FROM reactions WHERE channel_id = ? AND created = ? AND emoji = ? ORDER BY n LIMIT ?"


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
        return _decode(self.state)


class Tallies:
    """The messages whose reactions a transaction has looked at."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._found: dict[Id, Tallied] = {}
        self._changed: dict[Id, Tallied] = {}

    def found(self, id: Id, channel_id: int, created: int, told: int, state: str) -> None:
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

    def has(self, tallied: Tallied, reaction: Reaction) -> bool:
        """Say whether the user reacts so."""
        return self._db.execute(_HAS, _row(tallied, reaction)).fetchone() is not None

    def change(self, tallied: Tallied, reaction: Reaction) -> None:
        """Add a reaction that is not there, or remove one that is."""
        self._changed[reaction.channel, reaction.id] = tallied
        entry = next((entry for entry in tallied.state if entry[0] == reaction.emoji), None)
        if reaction.add:
            n = self._db.execute(_ADD, _row(tallied, reaction)).lastrowid
            if entry is None:
                tallied.state.append([reaction.emoji, 1, [reaction.user], n])
                return
            entry[1] += 1
            if len(entry[2]) < SHOWN_USERS:
                entry[2].append(reaction.user)
            return
        assert entry is not None
        self._db.execute(_REMOVE, _row(tallied, reaction))
        entry[1] -= 1
        if not entry[1]:
            tallied.state.remove(entry)
        elif reaction.user in entry[2]:
            place = (tallied.channel_id, tallied.created, reaction.emoji, SHOWN_USERS)
            first = self._db.execute(_FIRST, place).fetchall()
            entry[2], entry[3] = [user for _, user in first], first[0][0]
            tallied.state.sort(key=_number)

    def drop(self, id: Id, channel_id: int, created: int) -> None:
        """Forget the reactions to a message that is deleted."""
        self._changed.pop(id, None)
        if self._found.pop(id, None):
            self._db.execute("DELETE FROM reactions WHERE channel_id = ? AND created = ?", (channel_id, created))
            self._db.execute("DELETE FROM reacted WHERE channel_id = ? AND created = ?", (channel_id, created))

    def save(self) -> None:
        """Write the states that have changed."""
        rows = [(each.channel_id, each.created, each.told, _encode(each.state)) for each in self._changed.values()]
        execute_rows(self._db, "INSERT OR REPLACE INTO reacted (channel_id, created, told, state) VALUES {rows}", rows)


def reacting(message: Message | Tombstone, state: bytes | str | None) -> Message | Tombstone:
    """Return a message as it is read, with the state of its reactions."""
    if isinstance(message, Tombstone) or (not state and not message.reactions):
        return message
    return replace(message, reactions=_decode(orjson.loads(state)) if state else ())


def _decode(state: list[list[Any]]) -> Reactions:
    return decode_reactions([[emoji, count, list(users)] for emoji, count, users, _ in state])


def _encode(state: list[list[Any]]) -> str:
    return orjson.dumps(state).decode()


def _row(tallied: Tallied, reaction: Reaction) -> tuple[int, int, str, str]:
    return tallied.channel_id, tallied.created, reaction.emoji, reaction.user


def _number(entry: list[Any]) -> int:
    number: int = entry[3]
    return number
