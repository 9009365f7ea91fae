-- Version 1 of the message log. Loaded by database.py, which sets application_id and user_version beside it.

-- Who this store is: one row, random, lost with the file. Channels without an event take their epoch from it.
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

-- Dense per channel from floor + 1 to head. `payload` is the codec's JSON, which holds no raw newline.
CREATE TABLE events (
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (channel_id, offset)
) WITHOUT ROWID;

-- One row a kept message. `offset` is its creation, `state_offset` the last event that changed it: what it is now
-- stands there. Both go with the creation, because what is dropped is a prefix.
CREATE TABLE messages (
    channel_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    id TEXT NOT NULL,
    state_offset INTEGER NOT NULL,
    PRIMARY KEY (channel_id, offset),
    UNIQUE (channel_id, id)
) WITHOUT ROWID;

-- `n` counts in the order of writing, so that expired keys are a prefix. A key outlives its event.
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
