"""The rows of channels in memory: the writer does not read them again in each transaction."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.adapters.epochs import channel_epoch
from server.adapters.sqlite.rows import execute_rows
from server.domain.channels import ChannelName
from server.domain.identity import UserId
from server.domain.messages import Position

REMEMBERED = 20_000
"""Channels in memory (some 10 MiB). Over this number all are forgotten, and those in use are read again."""

REMEMBERED_AUTHORS = 50_000
"""Pairs of a user and a channel in memory (some 10 MiB). Over this number all are forgotten, and written again."""


@dataclass(slots=True)
class Channel:
    """A channel's row. `id` is None until its first event. `posts` counts its messages so far."""

    id: int | None
    name: ChannelName
    epoch: str
    head: int
    floor: int
    posts: int

    @property
    def next(self) -> Position:
        return Position(self.epoch, self.head + 1)


class Channels:
    """The rows of channels as of the last commit, with the changes of the running transaction.

    They are right as long as only this process writes. Call `forget` after every rollback.
    """

    def __init__(self, store_id: bytes) -> None:
        self._store_id = store_id
        self._known: dict[ChannelName, Channel] = {}
        self._authors: set[tuple[UserId, int]] = set()  # rows of `authors` that exist, or that `save` will write
        self._new_authors: list[tuple[UserId, int]] = []  # of these, those to write
        self._last_id: int | None = None  # of all channels in the file; None until it is needed

    def load(self, db: sqlite3.Connection, names: Iterable[ChannelName]) -> Mapping[ChannelName, Channel]:
        """Return the channels in memory. Before, read these channels if they are not among them yet."""
        if len(self._known) > REMEMBERED or len(self._authors) > REMEMBERED_AUTHORS:
            self.forget()
        missing = {name for name in names if name not in self._known}
        rows = execute_rows(
            db,
            "SELECT id, name, epoch, head, floor, posts FROM channels WHERE name IN (VALUES {rows})",
            [(name,) for name in missing],
        )
        for name in missing:
            self._known[name] = Channel(None, name, channel_epoch(self._store_id, name), 0, 0, 0)
        for row in rows:
            self._known[row[1]] = Channel(*row)
        return self._known

    def id(self, db: sqlite3.Connection, channel: Channel) -> int:
        """Return the channel's id. A channel that has none gets the next free id."""
        if channel.id is None:
            if self._last_id is None:
                (self._last_id,) = db.execute("SELECT coalesce(max(id), 0) FROM channels").fetchone()
            self._last_id += 1
            channel.id = self._last_id
        return channel.id

    def wrote(self, channel: Channel, author: UserId) -> None:
        """Remember that the user has written in the channel, which has an id."""
        assert channel.id is not None
        if (pair := (author, channel.id)) not in self._authors:
            self._authors.add(pair)
            self._new_authors.append(pair)

    def save(self, db: sqlite3.Connection, channels: Iterable[Channel]) -> None:
        """Write the rows of these channels."""
        execute_rows(
            db,
            "INSERT INTO channels (id, name, epoch, head, floor, posts) VALUES {rows}"
            " ON CONFLICT (id) DO UPDATE SET head = excluded.head, floor = excluded.floor, posts = excluded.posts",
            [
                (channel.id, channel.name, channel.epoch, channel.head, channel.floor, channel.posts)
                for channel in channels
            ],
        )
        execute_rows(db, "INSERT OR IGNORE INTO authors (author, channel_id) VALUES {rows}", self._new_authors)
        self._new_authors.clear()

    def forget(self) -> None:
        """Drop all rows; each is read again when it is needed."""
        self._known.clear()
        self._authors.clear()
        self._new_authors.clear()
        self._last_id = None
