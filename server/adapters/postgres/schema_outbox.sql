-- Messages that applications send within their own transactions, until the dispatcher has written them to the log.
CREATE TABLE IF NOT EXISTS maru.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    channel text NOT NULL,
    author text NOT NULL,
    author_name text,
    "text" text NOT NULL,
    key text,
    data text,
    reply_to text,
    mentions text[]
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Those that no channel takes, and why.
CREATE TABLE IF NOT EXISTS maru.outbox_dead (
    LIKE maru.outbox,
    reason text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS outbox_died ON maru.outbox_dead (died_at);

-- The replica that dispatches: a single row.
CREATE TABLE IF NOT EXISTS maru.outbox_lease (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder text NOT NULL,
    until timestamptz NOT NULL
);

-- Send a message once the caller's transaction commits. Nobody but the owner may call it, until the right is granted. No
-- field is kept longer than a little over its bound, so that the row is refused, and costs those behind it nothing.
CREATE OR REPLACE FUNCTION maru.maru_send(
    channel text,
    author text,
    "text" text,
    key text DEFAULT NULL,
    author_name text DEFAULT NULL,
    data json DEFAULT NULL,
    reply_to text DEFAULT NULL,
    mentions text[] DEFAULT NULL
) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO maru.outbox (channel, author, author_name, "text", key, data, reply_to, mentions)
    VALUES (
        left($1, 200), left($2, 400), left($5, 400), left($3, 40000), left($4, 100), left($6::text, 40000), left($7, 400),
        CASE WHEN $8 IS NOT NULL THEN ARRAY (
            SELECT left(m, 400) FROM unnest($8) WITH ORDINALITY u (m, n) WHERE n <= 100 ORDER BY n
        ) END
    ) RETURNING id;
$$;
REVOKE ALL ON FUNCTION maru.maru_send(text, text, text, text, text, json, text, text[]) FROM PUBLIC;

-- Take or renew the lease; false if another replica has it.
CREATE OR REPLACE FUNCTION maru.outbox_take(wanting text, seconds double precision) RETURNS boolean
LANGUAGE sql AS $$
    INSERT INTO maru.outbox_lease AS l (holder, until) VALUES (wanting, clock_timestamp() + make_interval(secs => seconds))
    ON CONFLICT (one) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until
    WHERE l.holder = EXCLUDED.holder OR l.until < clock_timestamp();
    SELECT EXISTS (SELECT 1 FROM maru.outbox_lease WHERE holder = wanting);
$$;

-- Remove what has been written, and bury what can't be.
CREATE OR REPLACE FUNCTION maru.outbox_settle(written bigint[], dead bigint[], reasons text[]) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM maru.outbox WHERE id = ANY (written);
    WITH gone AS (DELETE FROM maru.outbox WHERE id = ANY (dead) RETURNING *)
    INSERT INTO maru.outbox_dead SELECT gone.*, r.reason FROM gone JOIN unnest(dead, reasons) r (id, reason) USING (id)
    ON CONFLICT DO NOTHING;
$$;
