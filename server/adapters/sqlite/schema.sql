-- Version 5 of the message log. Loaded by database.py, which sets application_id and user_version beside it.

-- The identity of this store: one random row, lost together with the file. Epochs are made from it (epochs.py).
-- `clock`: the time by which the log judged age last (log_clock.py), the evidence for the next start.
-- `hour`: since when by that time `may_age` counts, the events that may still go by age in this hour (age_budget.py).
CREATE TABLE store (id BLOB NOT NULL, clock INTEGER, hour INTEGER, may_age INTEGER);
INSERT INTO store (id) VALUES (randomblob(16));

-- `head`: the last offset given. `floor`: the highest offset that is no longer kept. `posts`: messages so far; a file of
-- an earlier version counts those that were kept when it became one of version 5.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    posts INTEGER NOT NULL DEFAULT 0
);

-- The channels in which a user has ever written, so that all messages of a user can be found.
CREATE TABLE authors (author TEXT NOT NULL, channel_id INTEGER NOT NULL, PRIMARY KEY (author, channel_id)) WITHOUT ROWID;

-- Dense per channel from floor + 1 to head. `payload` is the codec's JSON, which holds no raw newline. An event that
-- created a message has the message's id, and the offset of the last event that changed it: the payload of that event
-- is the message's state. It is kept as long as the creation is, because the oldest events are dropped first.
-- Other events (edits, deletions, and those of kinds that a newer version writes) have no message's id: each event is in
-- one of the two unique indexes by offset.
-- An edit has the offset of its message's creation in `edit_of`, until it is erased. A deletion replaces the payloads of
-- its message's creation and edits by those of erased events.
-- Rows are stored in the order of writing, whatever their channel, and ids begin with the time: a commit touches few
-- pages.
CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    message_id TEXT,
    state_offset INTEGER,
    edit_of INTEGER,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX messages ON events (message_id, channel_id) WHERE message_id IS NOT NULL;
CREATE UNIQUE INDEX creations ON events (channel_id, offset) WHERE message_id IS NOT NULL;
CREATE UNIQUE INDEX changes ON events (channel_id, offset) WHERE message_id IS NULL;
CREATE INDEX edits ON events (channel_id, edit_of) WHERE edit_of IS NOT NULL;

-- Deleted messages whose edits may still have their text, by the offsets of their creations. `payload`: the erased event
-- of an edit, as a pattern.
CREATE TABLE erasing (
    channel_id INTEGER NOT NULL,
    created INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (channel_id, created)
) WITHOUT ROWID;

-- `n` counts in the order of writing, so the expired keys are the first ones. A key outlives its event. Keys of the events
-- of applications have the channel's id with a minus, and an empty `message_id`.
CREATE TABLE keys (
    n INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    author TEXT NOT NULL,
    key TEXT NOT NULL,
    offset INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (channel_id, author, key)
);

-- The tokens that are good no longer, and the users that are denied a channel (ports/revocations.py), each until it
-- expires. `entry` is the JSON of a revocation (adapters/orders.py).
CREATE TABLE revocations (id TEXT PRIMARY KEY, entry BLOB NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE denials (
    user TEXT NOT NULL,
    channel TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user, channel)
) WITHOUT ROWID;

-- The endpoints of webhooks that are open. `patterns`: a JSON list. `opened_at`: when it was opened last, some time
-- late. `starting`: the last channel of which an endpoint that begins at the start of the logs was given the debt, -1 if
-- it has them all.
CREATE TABLE webhook_endpoints (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    patterns TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    starting INTEGER NOT NULL
);

-- Channels with events that an endpoint has not got: those behind `delivered`.
CREATE TABLE webhook_debts (
    endpoint_id INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, channel_id)
) WITHOUT ROWID;

-- Events that an endpoint did not take. Ids are given once.
CREATE TABLE webhook_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    channel TEXT NOT NULL,
    epoch TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    reason TEXT NOT NULL,
    failed_at INTEGER NOT NULL
);
CREATE INDEX letters ON webhook_letters (endpoint, id);

-- The erasures of users' messages that were asked for (ports/erasures.py). `record` is their JSON (adapters/erasures.py).
CREATE TABLE erasures (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;

-- How far each user has read. What is unread behind an offset is counted when it is asked for (unread.py): messages,
-- without those that are deleted. So that few rows are counted, `posts` has the number of messages up to each 256th.
CREATE TABLE reads (
    channel_id INTEGER NOT NULL,
    user TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user)
) WITHOUT ROWID;
CREATE TABLE posts (
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    posts INTEGER NOT NULL,
    PRIMARY KEY (channel_id, offset)
) WITHOUT ROWID;
-- The creations of deleted messages.
CREATE TABLE gone (channel_id INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (channel_id, offset)) WITHOUT ROWID;
-- The creations of messages that name users, until they are deleted.
CREATE TABLE mentions (
    channel_id INTEGER NOT NULL,
    user TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user, offset)
) WITHOUT ROWID;
CREATE INDEX mentioned ON mentions (channel_id, offset);

-- The reactions to messages, by the offsets of their creations; `n` counts in the order of reacting.
CREATE TABLE reactions (
    n INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    created INTEGER NOT NULL,
    emoji TEXT NOT NULL,
    user TEXT NOT NULL
);
CREATE UNIQUE INDEX reactors ON reactions (channel_id, created, emoji, user);
CREATE INDEX first_reactors ON reactions (channel_id, created, emoji);
-- The state that they make of a message (tallies.py), and the offset of the last event that told of it.
CREATE TABLE reacted (
    channel_id INTEGER NOT NULL,
    created INTEGER NOT NULL,
    told INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (channel_id, created)
) WITHOUT ROWID;

-- The events of applications, by their names.
CREATE TABLE records (
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (channel_id, offset)
) WITHOUT ROWID;
CREATE INDEX named_records ON records (channel_id, name, offset);

-- The channels that users follow. A channel may have no event yet.
CREATE TABLE follows (user TEXT NOT NULL, channel TEXT NOT NULL, PRIMARY KEY (user, channel)) WITHOUT ROWID;
CREATE INDEX followers ON follows (channel, user);
