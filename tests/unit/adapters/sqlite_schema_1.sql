-- Version 1 of the message log. Loaded by database.py, which sets application_id and user_version beside it.

-- The identity of this store: one random row, lost together with the file. Epochs are made from it (epochs.py).
CREATE TABLE store (id BLOB NOT NULL);
INSERT INTO store (id) VALUES (randomblob(16));

-- `head`: the last offset given. `floor`: the highest offset that is no longer kept.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL,
    floor INTEGER NOT NULL
);

-- Dense per channel from floor + 1 to head. `payload` is the codec's JSON, which holds no raw newline. An event that
-- created a message has the message's id, and the offset of the last event that changed it: the payload of that event
-- is the message's state. It is kept as long as the creation is, because the oldest events are dropped first.
-- Rows are stored in the order of writing, whatever their channel, and ids begin with the time: a commit touches few
-- pages.
CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    message_id TEXT,
    state_offset INTEGER,
    payload BLOB NOT NULL,
    UNIQUE (channel_id, offset)
);
CREATE UNIQUE INDEX messages ON events (message_id, channel_id) WHERE message_id IS NOT NULL;

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
