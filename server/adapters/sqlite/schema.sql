-- Version 4 of the message log. Loaded by database.py, which sets application_id and user_version beside it.

-- The identity of this store: one random row, lost together with the file. Epochs are made from it (epochs.py).
-- `clock`: the time by which the log judged age last (log_clock.py), the evidence for the next start.
-- `hour`: since when by that time `may_age` counts, the events that may still go by age in this hour (age_budget.py).
CREATE TABLE store (id BLOB NOT NULL, clock INTEGER, hour INTEGER, may_age INTEGER);
INSERT INTO store (id) VALUES (randomblob(16));

-- `head`: the last offset given. `floor`: the highest offset that is no longer kept.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL,
    floor INTEGER NOT NULL
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

-- `n` counts in the order of writing, so the expired keys are the first ones. A key outlives its event.
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
