"""Bringing a file of an earlier schema to the present one, in a single transaction at the start."""

import sqlite3

from server.adapters.codec import DecodeError, decode_event
from server.adapters.sqlite.erasing import STEP_EDITS, Erased, erase, erase_edits
from server.adapters.sqlite.unread import STRIDE
from server.domain.events import MessageDeleted, MessageErased

_BATCH = 500
"""Deleted messages whose texts are erased at once."""

_TO_2 = """
CREATE TABLE authors (author TEXT NOT NULL, channel_id INTEGER NOT NULL, PRIMARY KEY (author, channel_id))
WITHOUT ROWID;
ALTER TABLE events RENAME TO events_1;
DROP INDEX messages;
CREATE TABLE events (
    n INTEGER PRIMARY KEY, channel_id INTEGER NOT NULL, offset INTEGER NOT NULL, written_at INTEGER NOT NULL,
    message_id TEXT, state_offset INTEGER, edit_of INTEGER, payload BLOB NOT NULL
);
INSERT INTO events (n, channel_id, offset, written_at, message_id, state_offset, edit_of, payload)
SELECT n, channel_id, offset, written_at, message_id, state_offset, CASE
    WHEN message_id IS NULL AND json_valid(CAST(payload AS TEXT))
    AND json_extract(CAST(payload AS TEXT), '$.t') = 'edited'
    THEN json_extract(CAST(payload AS TEXT), '$.m.offset') END, payload
FROM events_1 ORDER BY n;
DROP TABLE events_1;
CREATE UNIQUE INDEX messages ON events (message_id, channel_id) WHERE message_id IS NOT NULL;
CREATE UNIQUE INDEX creations ON events (channel_id, offset) WHERE message_id IS NOT NULL;
CREATE UNIQUE INDEX changes ON events (channel_id, offset) WHERE message_id IS NULL;
CREATE INDEX edits ON events (channel_id, edit_of) WHERE edit_of IS NOT NULL;
CREATE TABLE erasing (channel_id INTEGER NOT NULL, created INTEGER NOT NULL, payload TEXT NOT NULL,
PRIMARY KEY (channel_id, created)) WITHOUT ROWID;
INSERT OR IGNORE INTO authors (author, channel_id)
SELECT json_extract(CAST(payload AS TEXT), '$.m.author[0]'), channel_id FROM events
WHERE message_id IS NOT NULL AND json_valid(CAST(payload AS TEXT))
AND json_extract(CAST(payload AS TEXT), '$.m.author[0]') IS NOT NULL;
ALTER TABLE store ADD COLUMN clock INTEGER;
ALTER TABLE store ADD COLUMN hour INTEGER;
ALTER TABLE store ADD COLUMN may_age INTEGER;
"""

_TO_3 = """
CREATE TABLE revocations (id TEXT PRIMARY KEY, entry BLOB NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE denials (
    user TEXT NOT NULL,
    channel TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user, channel)
) WITHOUT ROWID;
CREATE TABLE webhook_endpoints (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, patterns TEXT NOT NULL,
opened_at INTEGER NOT NULL, starting INTEGER NOT NULL);
CREATE TABLE webhook_debts (endpoint_id INTEGER NOT NULL, channel_id INTEGER NOT NULL, delivered INTEGER NOT NULL,
PRIMARY KEY (endpoint_id, channel_id)) WITHOUT ROWID;
CREATE TABLE webhook_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, channel TEXT NOT NULL,
epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL, failed_at INTEGER NOT NULL);
CREATE INDEX letters ON webhook_letters (endpoint, id);
"""

_TO_4 = "CREATE TABLE erasures (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"

# The tables are those of schema.sql. Messages are counted from those that are kept.
_TO_5 = """
ALTER TABLE channels ADD COLUMN posts INTEGER NOT NULL DEFAULT 0;
CREATE TABLE reads (channel_id INTEGER NOT NULL, user TEXT NOT NULL, offset INTEGER NOT NULL,
PRIMARY KEY (channel_id, user)) WITHOUT ROWID;
CREATE TABLE posts (channel_id INTEGER NOT NULL, offset INTEGER NOT NULL, posts INTEGER NOT NULL,
PRIMARY KEY (channel_id, offset)) WITHOUT ROWID;
CREATE TABLE gone (channel_id INTEGER NOT NULL, offset INTEGER NOT NULL,
PRIMARY KEY (channel_id, offset)) WITHOUT ROWID;
CREATE TABLE mentions (channel_id INTEGER NOT NULL, user TEXT NOT NULL, offset INTEGER NOT NULL,
PRIMARY KEY (channel_id, user, offset)) WITHOUT ROWID;
CREATE INDEX mentioned ON mentions (channel_id, offset);
CREATE TABLE reactions (n INTEGER PRIMARY KEY, channel_id INTEGER NOT NULL, created INTEGER NOT NULL,
emoji TEXT NOT NULL, user TEXT NOT NULL);
CREATE UNIQUE INDEX reactors ON reactions (channel_id, created, emoji, user);
CREATE INDEX first_reactors ON reactions (channel_id, created, emoji);
CREATE TABLE reacted (channel_id INTEGER NOT NULL, created INTEGER NOT NULL, told INTEGER NOT NULL, state TEXT NOT NULL,
PRIMARY KEY (channel_id, created)) WITHOUT ROWID;
CREATE TABLE records (channel_id INTEGER NOT NULL, offset INTEGER NOT NULL, name TEXT NOT NULL,
PRIMARY KEY (channel_id, offset)) WITHOUT ROWID;
CREATE INDEX named_records ON records (channel_id, name, offset);
CREATE TABLE follows (user TEXT NOT NULL, channel TEXT NOT NULL, PRIMARY KEY (user, channel)) WITHOUT ROWID;
CREATE INDEX followers ON follows (channel, user);
INSERT INTO posts (channel_id, offset, posts) SELECT channel_id, offset, number FROM (
    SELECT channel_id, offset, row_number() OVER (PARTITION BY channel_id ORDER BY offset) AS number
    FROM events WHERE message_id IS NOT NULL
) WHERE number % {stride} = 0;
UPDATE channels SET posts = (
    SELECT count(*) FROM events e WHERE e.channel_id = channels.id AND e.message_id IS NOT NULL
);
INSERT INTO gone (channel_id, offset) SELECT channel_id, offset FROM events
WHERE message_id IS NOT NULL AND state_offset > offset AND json_valid(CAST(payload AS TEXT))
AND json_extract(CAST(payload AS TEXT), '$.t') = 'erased'
""".replace("{stride}", str(STRIDE))

_DELETED = """
SELECT m.channel_id, m.offset, e.payload FROM events m
JOIN events e ON e.channel_id = m.channel_id AND e.offset = m.state_offset AND e.message_id IS NULL
WHERE m.message_id IS NOT NULL AND m.state_offset > m.offset
"""


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Do the steps from `version` to the present schema. The caller has begun a transaction, and ends it."""
    if version < 2:  # noqa: PLR2004  # the versions of the schema
        _execute(db, _TO_2)
        _erase_deleted(db)
    if version < 3:  # noqa: PLR2004
        _execute(db, _TO_3)
    if version < 4:  # noqa: PLR2004
        _execute(db, _TO_4)
    if version < 5:  # noqa: PLR2004
        _execute(db, _TO_5)


def _execute(db: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        db.execute(statement)


def _erase_deleted(db: sqlite3.Connection) -> None:
    """Erase the texts of messages that were deleted before: version 1 kept them in their events."""
    states = db.execute(_DELETED)
    while rows := states.fetchmany(_BATCH):
        erase(db, [found for row in rows if (found := _deleted(*row))])
    while erase_edits(db) == STEP_EDITS:
        pass


def _deleted(channel_id: int, created_offset: int, state: bytes) -> Erased | None:
    try:
        last = decode_event(state)
    except DecodeError:
        return None  # nobody can read the message either
    if not isinstance(last, MessageDeleted):
        return None
    place = MessageErased(last.channel, last.epoch, created_offset, last.at, last.id, created_offset, edited=False)
    return Erased(channel_id, place)
