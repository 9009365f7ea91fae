-- The message log. All is in the schema `maru`, and every statement may be run again. Strangers' bytes are `bytea`: text
-- of PostgreSQL has no NUL, and jsonb reorders keys. Users' ids and channels' names have no control characters.
-- Files beside this one (schema_*.sql, in the order of their names) add tables, and replace the functions `on_...`.
CREATE SCHEMA IF NOT EXISTS maru;

-- A single row. `id` makes the epochs of channels (with the system's identifier and the timeline).
CREATE TABLE IF NOT EXISTS maru.store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    schema int NOT NULL DEFAULT 0
);
INSERT INTO maru.store DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The timeline on which PostgreSQL writes now. An error on a standby: nothing may be written or healed from there.
CREATE OR REPLACE FUNCTION maru.timeline() RETURNS int LANGUAGE sql VOLATILE AS $$
    SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
$$;

-- A single row, which is gone when PostgreSQL has recovered from a crash: if only a backend was killed, the server's start
-- does not tell of it, and with `synchronous_commit` off the last commits are gone, too.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.lives (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id text NOT NULL DEFAULT gen_random_uuid()
);

-- Changes whenever PostgreSQL was started anew or had crashed, or another one stands in for it: then all must be looked
-- at again.
CREATE OR REPLACE FUNCTION maru.life() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT maru.timeline() || '/' || extract(epoch FROM pg_postmaster_start_time()) || '/'
        || coalesce((SELECT id FROM maru.lives), '')
$$;

-- The row of a channel is the lock under which its offsets are given. Rows are made in a transaction of their own,
-- before: see ensure. Nothing may index `head` or `floor`, not even the predicate of a partial index: updates stay HOT.
-- `losses`: how often the log was found older than a process has seen it. `full_ms`: when the rate is whole again.
CREATE TABLE IF NOT EXISTS maru.channels (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE COLLATE "C",
    head bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    losses int NOT NULL DEFAULT 0,
    full_ms double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

-- The payload is the event as JSON (codec.py), whose epoch and offset do not count: the row's place does.
-- The same goes for `at`, so that the erased edits of a message are the same bytes.
-- `message_id` is that of the creation of a message, `state_offset` its last change. `edit_of` of an edit is the offset
-- of the message's creation.
CREATE TABLE IF NOT EXISTS maru.events (
    channel_id bigint NOT NULL,
    "offset" bigint NOT NULL,
    at bigint NOT NULL,
    written_ms bigint NOT NULL,
    message_id text COLLATE "C",
    state_offset bigint,
    edit_of bigint,
    payload bytea NOT NULL,
    PRIMARY KEY (channel_id, "offset")
);
CREATE UNIQUE INDEX IF NOT EXISTS event_messages ON maru.events (channel_id, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_creations ON maru.events (channel_id, "offset") WHERE message_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_edits ON maru.events (channel_id, edit_of) WHERE edit_of IS NOT NULL;

-- Idempotency keys of messages and, with `record`, of events of applications.
CREATE TABLE IF NOT EXISTS maru.keys (
    channel_id bigint NOT NULL,
    author text NOT NULL COLLATE "C",
    key bytea NOT NULL,
    record boolean NOT NULL,
    "offset" bigint NOT NULL,
    message_id text,
    at bigint NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (channel_id, author, key, record)
);
CREATE INDEX IF NOT EXISTS keys_expire ON maru.keys (expires_ms);

-- Deleted messages of which edits are left to erase: reads show `payload` in their place.
CREATE TABLE IF NOT EXISTS maru.erasing (
    channel_id bigint NOT NULL,
    created bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (channel_id, created)
);

-- The reactions to messages, by the offsets of their creations; `n` counts in the order of reacting to the message.
CREATE TABLE IF NOT EXISTS maru.reactions (
    channel_id bigint NOT NULL,
    created bigint NOT NULL,
    emoji bytea NOT NULL,
    "user" text NOT NULL COLLATE "C",
    n bigint NOT NULL,
    PRIMARY KEY (channel_id, created, emoji, "user")
);
CREATE INDEX IF NOT EXISTS reactions_first ON maru.reactions (channel_id, created, emoji, n);
-- The state that they make of a message (tallies.py), and the offset of the last event that told of it.
CREATE TABLE IF NOT EXISTS maru.reacted (
    channel_id bigint NOT NULL,
    created bigint NOT NULL,
    told bigint NOT NULL,
    state bytea NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (channel_id, created)
);

-- The events of applications, by their names.
CREATE TABLE IF NOT EXISTS maru.records (
    channel_id bigint NOT NULL,
    "offset" bigint NOT NULL,
    name bytea NOT NULL,
    PRIMARY KEY (channel_id, "offset")
);
CREATE INDEX IF NOT EXISTS records_named ON maru.records (channel_id, name, "offset");

-- Make the rows of channels that have none. A transaction of its own: made within an append, two of them deadlock.
CREATE OR REPLACE FUNCTION maru.ensure(names text[]) RETURNS TABLE (id bigint, name text)
LANGUAGE sql AS $$
    INSERT INTO maru.channels (name) SELECT DISTINCT n FROM unnest(names) n ORDER BY n ON CONFLICT DO NOTHING;
    SELECT c.id, c.name FROM maru.channels c WHERE c.name = ANY (names);
$$;

-- Work of other parts of the log in the transaction of an append; all arrays of a call have the same length.
-- New messages: `marks` moves the author's mark to the message, `mentions` are JSON lists of users, or null.
CREATE OR REPLACE FUNCTION maru.on_posted(
    channel_ids bigint[], offsets bigint[], authors text[], marks boolean[], mentions text[]
) RETURNS void LANGUAGE sql AS '';
-- Channels that got events of any kind, with the offsets before these.
CREATE OR REPLACE FUNCTION maru.on_events(channel_ids bigint[], befores bigint[]) RETURNS void LANGUAGE sql AS '';
-- Messages that were deleted, by the offsets of their creations.
CREATE OR REPLACE FUNCTION maru.on_deleted(channel_ids bigint[], offsets bigint[]) RETURNS void LANGUAGE sql AS '';
-- Channels whose events up to `floors` are dropped.
CREATE OR REPLACE FUNCTION maru.on_dropped(channel_ids bigint[], floors bigint[]) RETURNS void LANGUAGE sql AS '';
