"""What users have not read: counted by offsets, never kept as a number.

A message counts if it was created behind the mark, and is not deleted. Messages are counted from the mark to the next
row of `posts`, of which each tells the number of messages up to it, and from there by subtraction: `STRIDE` rows of an
index at most, however much is unread.
"""

import sqlite3

from server.adapters.sqlite.channels import Channel
from server.adapters.sqlite.entries import Moving
from server.adapters.sqlite.rows import execute_rows
from server.domain.drafts import NewMessage
from server.domain.identity import UserId

STRIDE = 256
"""Messages between two rows of `posts`."""

_BEHIND = "max(coalesce(r.offset, 0), c.floor)"

# Of the channel `c`, and the mark `r` in it. Events below the floor are gone; rows of the other tables may lag behind.
UNREAD = """
(
    coalesce((
        SELECT c.posts - p.posts + (
            SELECT count(*) FROM events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL
            AND e.offset > {behind} AND e.offset <= p.offset
        ) FROM posts p WHERE p.channel_id = c.id AND p.offset > {behind} ORDER BY p.offset LIMIT 1
    ), (
        SELECT count(*) FROM events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL AND e.offset > {behind}
    )) - (SELECT count(*) FROM gone g WHERE g.channel_id = c.id AND g.offset > {behind})
)
""".replace("{behind}", _BEHIND)

# `?2` is the user.
UNREAD_MENTIONS = """
(
    SELECT count(DISTINCT m.offset) FROM mentions m
    WHERE m.channel_id = c.id AND m.user IN (?2, '*') AND m.offset > {behind}
)
""".replace("{behind}", _BEHIND)

_FIND = """
WITH wanted (channel_id, user) AS (VALUES {rows})
SELECT r.channel_id, r.user, r.offset FROM wanted w JOIN reads r ON r.channel_id = w.channel_id AND r.user = w.user
"""


class Unread:
    """What a transaction changes of that, until `save` writes it."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, UserId], int] = {}  # offsets of the marks that were loaded
        self._marks: dict[tuple[int, UserId], int] = {}  # offsets of the marks that move, each to its last place
        self._posts: list[tuple[int, int, int]] = []
        self._mentions: list[tuple[int, UserId, int]] = []
        self._gone: list[tuple[int, int]] = []

    def load(self, db: sqlite3.Connection, marks: list[tuple[int, UserId]]) -> None:
        """Read the marks that are to be moved."""
        for channel_id, user, offset in execute_rows(db, _FIND, marks):
            self._before[channel_id, user] = offset

    def move(self, channel: Channel, moving: Moving) -> bool:
        """Move a mark that was loaded. Returns whether it was further back."""
        if channel.id is None:
            return False
        place, offset = (channel.id, moving.user), min(moving.offset, channel.head)
        moves = offset > (self._marks.get(place) or self._before.get(place, 0))
        if moves:
            self._marks[place] = offset
        return moves

    def begin(self, channel: Channel, user: UserId) -> None:
        """Set a mark that was loaded at the head, if there is none."""
        if channel.id is not None and (channel.id, user) not in self._before:
            self._marks.setdefault((channel.id, user), channel.head)

    def wrote(self, channel: Channel, channel_id: int, draft: NewMessage, offset: int) -> None:
        """Count a new message, and note its author's mark and its mentions."""
        channel.posts += 1
        if not channel.posts % STRIDE:
            self._posts.append((channel_id, offset, channel.posts))
        if draft.marks:
            self._marks[channel_id, draft.author.id] = offset
        if draft.mentions:
            self._mentions += [(channel_id, user, offset) for user in draft.mentions]

    def deleted(self, channel_id: int, created: int) -> None:
        """Count a message no more."""
        self._gone.append((channel_id, created))

    def save(self, db: sqlite3.Connection) -> None:
        """Write the changes."""
        # No mark in the file is further: it was loaded, or it is that of an author, whose message is the newest. So the
        # row is written without a look at the old one, which takes half as long.
        marks = [(channel_id, user, offset) for (channel_id, user), offset in self._marks.items()]
        execute_rows(db, "INSERT OR REPLACE INTO reads (channel_id, user, offset) VALUES {rows}", marks)
        execute_rows(db, "INSERT INTO posts (channel_id, offset, posts) VALUES {rows}", self._posts)
        execute_rows(db, "INSERT OR IGNORE INTO mentions (channel_id, user, offset) VALUES {rows}", self._mentions)
        execute_rows(db, "INSERT INTO gone (channel_id, offset) VALUES {rows}", self._gone)
        execute_rows(db, "DELETE FROM mentions WHERE (channel_id, offset) IN (VALUES {rows})", self._gone)
