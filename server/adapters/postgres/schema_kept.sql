-- Orders, leases of replicas, revocations, erasures, and the secret that replicas share. Texts of backends are `bytea`.

-- The replicas that live, until their leases end. Unlogged: after a crash of the database each is back with its renewal.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.replicas (
    id text COLLATE "C" PRIMARY KEY,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    ends_at bigint NOT NULL,
    said bytea NOT NULL
);

-- Renew a lease, and remove rows whose leases have ended. A `for_ms` of 0 ends the lease.
CREATE OR REPLACE FUNCTION maru.renew_replica(replica text, for_ms bigint, age_ms bigint, says bytea)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(NULL);
BEGIN
    IF for_ms > 0 THEN
        INSERT INTO maru.replicas AS r VALUES (replica, now - age_ms, now, now + for_ms, says) ON CONFLICT (id)
        DO UPDATE SET seen_at = excluded.seen_at, ends_at = excluded.ends_at, said = excluded.said;
    ELSE
        DELETE FROM maru.replicas r WHERE r.id = replica;
    END IF;
    DELETE FROM maru.replicas r USING (
        SELECT d.id FROM maru.replicas d WHERE d.ends_at <= now FOR UPDATE SKIP LOCKED
    ) d WHERE r.id = d.id;
END $$;

-- The list of orders. Its row is the lock under which numbers are given: they are committed in their order. `id` tells
-- one list from another.
CREATE TABLE IF NOT EXISTS maru.order_list (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    last bigint NOT NULL DEFAULT 0,
    first bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50);
INSERT INTO maru.order_list DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS maru.orders (
    n bigint PRIMARY KEY,
    nonce bytea NOT NULL UNIQUE,
    at bigint NOT NULL,
    body bytea NOT NULL
);

-- Append an order, unless it is there: an append whose answer was lost is repeated. The list keeps `most`.
CREATE OR REPLACE FUNCTION maru.give_order(nonce_ bytea, body_ bytea, most bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    list maru.order_list;
BEGIN
    SELECT * INTO list FROM maru.order_list FOR UPDATE;
    IF EXISTS (SELECT FROM maru.orders o WHERE o.nonce = nonce_) THEN
        RETURN;
    END IF;
    INSERT INTO maru.orders VALUES (list.last + 1, nonce_, maru.now_ms(NULL), body_);
    DELETE FROM maru.orders o WHERE o.n <= list.last + 1 - most;
    UPDATE maru.order_list SET last = list.last + 1, first = greatest(list.first, list.last + 2 - most);
END $$;

-- Revocations of tokens, and denials in channels, until they expire.
CREATE TABLE IF NOT EXISTS maru.revocations (id bytea PRIMARY KEY, entry bytea NOT NULL, expires_at bigint NOT NULL);
CREATE TABLE IF NOT EXISTS maru.denials (
    "user" bytea NOT NULL,
    channel text NOT NULL COLLATE "C",
    expires_at bigint NOT NULL,
    PRIMARY KEY ("user", channel)
);

-- Hold a revocation; one that has expired, no longer. Returns whether it was held; NULL if there is no room.
CREATE OR REPLACE FUNCTION maru.hold_revocation(id_ bytea, entry_ bytea, expires bigint, most bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(NULL);
    was boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(1835102838, 1);
    DELETE FROM maru.revocations r WHERE r.expires_at <= now;
    DELETE FROM maru.revocations r WHERE r.id = id_;
    was := FOUND;
    IF expires > now THEN
        IF NOT was AND (SELECT count(*) FROM maru.revocations) >= most THEN
            RETURN NULL;
        END IF;
        INSERT INTO maru.revocations VALUES (id_, entry_, expires);
    END IF;
    RETURN was;
END $$;

-- The same for a denial.
CREATE OR REPLACE FUNCTION maru.hold_denial(user_ bytea, channel_ text, expires bigint, most bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(NULL);
    was boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(1835102838, 2);
    DELETE FROM maru.denials d WHERE d.expires_at <= now;
    DELETE FROM maru.denials d WHERE d."user" = user_ AND d.channel = channel_;
    was := FOUND;
    IF expires > now THEN
        IF NOT was AND (SELECT count(*) FROM maru.denials) >= most THEN
            RETURN NULL;
        END IF;
        INSERT INTO maru.denials VALUES (user_, channel_, expires);
    END IF;
    RETURN was;
END $$;

-- The erasures that were asked for; `record` is their JSON (adapters/erasures.py).
CREATE TABLE IF NOT EXISTS maru.erasures (id bytea PRIMARY KEY, record bytea NOT NULL);

-- Write an erasure if it is as it was. An `old` of NULL: if there is none; a `new` of NULL: it goes. Of 0 or more
-- erasures `most` are kept. Returns what became of it (kept, full or changed), and the present record.
CREATE OR REPLACE FUNCTION maru.keep_erasure(id_ bytea, old bytea, new bytea, most bigint)
RETURNS TABLE (state text, present bytea) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1835102838, 3);
    present := (SELECT e.record FROM maru.erasures e WHERE e.id = id_);
    IF present IS DISTINCT FROM old THEN
        state := 'changed';
    ELSIF new IS NULL THEN
        DELETE FROM maru.erasures e WHERE e.id = id_;
        state := 'kept';
    ELSIF old IS NULL AND most > 0 AND (SELECT count(*) FROM maru.erasures) >= most THEN
        state := 'full';
    ELSE
        INSERT INTO maru.erasures VALUES (id_, new) ON CONFLICT (id) DO UPDATE SET record = excluded.record;
        present := new;
        state := 'kept';
    END IF;
    RETURN NEXT;
END $$;

-- The secret that replicas share.
CREATE TABLE IF NOT EXISTS maru.secret (one boolean PRIMARY KEY DEFAULT true CHECK (one), secret bytea NOT NULL);
