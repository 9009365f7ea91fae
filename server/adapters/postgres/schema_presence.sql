-- Rosters, leases and sessions. All but `seen` is unlogged: it costs no WAL, and a database that had crashed begins with
-- empty tables, whereupon each replica enters all again (holding.py).
--
-- Order of locks: advisory (of a holder), rosters by channel, online by member. A `now_ms` of NULL is the database's time.

-- The names under which replicas hold entries, and when their leases end. `dead`: its entries are being removed, and it
-- enters nobody any more; `reaped_at`: since when all are.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.holders (
    name text COLLATE "C" PRIMARY KEY,
    ends_at bigint NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    reaped_at bigint
);

-- `emptied_at`: since when nobody is there.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.rosters (
    channel text COLLATE "C" PRIMARY KEY,
    epoch text NOT NULL,
    version bigint NOT NULL,
    count integer NOT NULL,
    emptied_at bigint
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS empty_rosters ON maru.rosters (emptied_at) WHERE emptied_at IS NOT NULL;

-- The members of rosters, and the holders that have entered them, at least one each.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.members (
    channel text COLLATE "C" NOT NULL,
    member bytea NOT NULL,
    name bytea,
    since bigint NOT NULL,
    PRIMARY KEY (channel, member)
);
CREATE INDEX IF NOT EXISTS longest_members ON maru.members (channel, since, member);
CREATE UNLOGGED TABLE IF NOT EXISTS maru.entries (
    channel text COLLATE "C" NOT NULL,
    member bytea NOT NULL,
    holder text COLLATE "C" NOT NULL,
    PRIMARY KEY (channel, member, holder)
);
CREATE INDEX IF NOT EXISTS held_entries ON maru.entries (holder, channel, member);

-- The sessions of users that are online: in all, and by holder.
CREATE UNLOGGED TABLE IF NOT EXISTS maru.online (member bytea PRIMARY KEY, sessions integer NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS maru.counted (
    member bytea NOT NULL,
    holder text COLLATE "C" NOT NULL,
    sessions integer NOT NULL,
    PRIMARY KEY (member, holder)
);
CREATE INDEX IF NOT EXISTS counted_members ON maru.counted (holder, member);
-- When users that are offline were last online.
CREATE TABLE IF NOT EXISTS maru.seen (member bytea PRIMARY KEY, at bigint NOT NULL);
CREATE INDEX IF NOT EXISTS seen_long_ago ON maru.seen (at);

-- Renew leases, or set their ends. `fresh`: a name whose lease begins, or NULL. Returns, of each of `names`, whether its
-- lease had not ended; else it stays ended. One that is not known, because the table was emptied, is noted as ended.
CREATE OR REPLACE FUNCTION maru.hold(now_ms bigint, for_ms bigint, fresh text, names text[])
RETURNS TABLE (holder text, held boolean) LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(now_ms);
BEGIN
    INSERT INTO maru.holders AS h (name, ends_at)
    SELECT each, CASE WHEN each = fresh THEN now + for_ms ELSE now END
    FROM unnest(names || fresh) each WHERE each IS NOT NULL GROUP BY each ORDER BY each
    ON CONFLICT (name) DO UPDATE SET ends_at = CASE
        WHEN h.name = fresh OR (h.ends_at > now AND NOT h.dead) THEN now + for_ms ELSE h.ends_at END;
    RETURN QUERY SELECT h.name, h.ends_at > now AND NOT h.dead FROM maru.holders h WHERE h.name = ANY (names);
END $$;

-- Let nobody remove what a holder has, for this transaction; say whether that has not begun.
CREATE OR REPLACE FUNCTION maru.holds(holder text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1835102837, hashtext(holder));
    RETURN EXISTS (SELECT FROM maru.holders h WHERE h.name = holder AND NOT h.dead);
END $$;

-- Enter members. A roster that is behind a head that was seen gets another epoch. `state`: dead or done; the arrays are
-- the members that are new.
CREATE OR REPLACE FUNCTION maru.enter_roster(
    now_ms bigint, to_channel text, holder text, new_epoch text, seen_epoch text, seen_version bigint,
    users bytea[], names bytea[]
) RETURNS TABLE (state text, epoch text, version bigint, count integer, told boolean, at bigint,
    joined bytea[], joined_names bytea[]) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint := maru.now_ms(now_ms);
    roster maru.rosters;
    new integer;
    back boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT maru.holds(holder) THEN
        state := 'dead';
        RETURN NEXT;
        RETURN;
    END IF;
    LOOP
        SELECT * INTO roster FROM maru.rosters r WHERE r.channel = to_channel FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO maru.rosters VALUES (to_channel, new_epoch, 0, 0, now) ON CONFLICT DO NOTHING;
    END LOOP;
    WITH given AS (SELECT * FROM unnest(users, names) WITH ORDINALITY g (member, name, ord)),
    fresh AS (
        INSERT INTO maru.members SELECT to_channel, g.member, g.name, now FROM given g
        ON CONFLICT DO NOTHING RETURNING member, name
    )
    SELECT coalesce(array_agg(f.member ORDER BY g.ord), '{}'), coalesce(array_agg(f.name ORDER BY g.ord), '{}'), count(*)
    INTO joined, joined_names, new FROM fresh f JOIN given g ON g.member = f.member;
    INSERT INTO maru.entries SELECT to_channel, u, holder FROM unnest(users) u ON CONFLICT DO NOTHING;
    back := roster.epoch = seen_epoch AND roster.version < seen_version;
    told := new > 0 OR back;
    IF told THEN
        UPDATE maru.rosters r SET epoch = CASE WHEN back THEN new_epoch ELSE r.epoch END, version = r.version + new,
            count = r.count + new, emptied_at = NULL
        WHERE r.channel = to_channel RETURNING r.* INTO roster;
    END IF;
    state := 'done';
    epoch := roster.epoch;
    version := roster.version;
    count := roster.count;
    at := now;
    RETURN NEXT;
END $$;

-- Enter members no longer, under any of the names of a replica, the present one first. The arrays are the members that
-- have left. `epoch` is NULL if there is no roster.
CREATE OR REPLACE FUNCTION maru.leave_roster(now_ms bigint, from_channel text, holders_ text[], users bytea[])
RETURNS TABLE (state text, epoch text, version bigint, count integer, gone bytea[], gone_names bytea[], gone_since bigint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    roster maru.rosters;
    less integer;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT maru.holds(holders_[1]) THEN
        state := 'dead';
        RETURN NEXT;
        RETURN;
    END IF;
    state := 'done';
    SELECT * INTO roster FROM maru.rosters r WHERE r.channel = from_channel FOR UPDATE;
    IF FOUND THEN
        DELETE FROM maru.entries e WHERE e.channel = from_channel AND e.member = ANY (users) AND e.holder = ANY (holders_);
        WITH gone AS (
            DELETE FROM maru.members m WHERE m.channel = from_channel AND m.member = ANY (users)
            AND NOT EXISTS (SELECT FROM maru.entries e WHERE e.channel = m.channel AND e.member = m.member)
            RETURNING m.member, m.name, m.since
        )
        SELECT array_agg(g.member), array_agg(g.name), array_agg(g.since), count(*)
        INTO gone, gone_names, gone_since, less FROM gone g;
        IF less > 0 THEN
            UPDATE maru.rosters r SET version = r.version + less, count = r.count - less,
                emptied_at = CASE WHEN r.count = less THEN maru.now_ms(now_ms) END
            WHERE r.channel = from_channel RETURNING r.* INTO roster;
        END IF;
        epoch := roster.epoch;
        version := roster.version;
        count := roster.count;
    END IF;
    RETURN NEXT;
END $$;

-- Remove some entries of a holder whose lease has ended, unless another replica is doing that. A row for each roster that
-- lost members, and a last row without a channel, which says how many entries were looked at; none: no lease has ended.
-- The holder is done with if nothing was left.
CREATE OR REPLACE FUNCTION maru.reap_rosters(now_ms bigint, most integer)
RETURNS TABLE (channel text, epoch text, version bigint, count integer, gone bytea[], gone_names bytea[], gone_since bigint[],
    holder text, looked integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint := maru.now_ms(now_ms);
    lapsed maru.holders;
    due_channels text[];
    due_members bytea[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT h.* INTO lapsed FROM maru.holders h WHERE h.ends_at <= now AND h.reaped_at IS NULL
    ORDER BY h.ends_at, h.name LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT lapsed.dead THEN
        PERFORM pg_advisory_xact_lock(1835102837, hashtext(lapsed.name));   -- those that enter under it now, end first
        UPDATE maru.holders h SET dead = true WHERE h.name = lapsed.name;
    END IF;
    SELECT array_agg(d.channel), array_agg(d.member) INTO due_channels, due_members FROM (
        SELECT e.channel, e.member FROM maru.entries e WHERE e.holder = lapsed.name ORDER BY e.channel, e.member LIMIT most
    ) d;
    holder := lapsed.name;
    IF due_channels IS NULL AND NOT EXISTS (SELECT FROM maru.counted c WHERE c.holder = lapsed.name) THEN
        UPDATE maru.holders h SET reaped_at = now WHERE h.name = lapsed.name;
    END IF;
    PERFORM 1 FROM maru.rosters r WHERE r.channel = ANY (due_channels) ORDER BY r.channel FOR UPDATE;
    DELETE FROM maru.entries e USING unnest(due_channels, due_members) d (channel, member)
    WHERE e.channel = d.channel AND e.member = d.member AND e.holder = lapsed.name;
    RETURN QUERY
    WITH left_ AS (
        DELETE FROM maru.members m USING unnest(due_channels, due_members) d (channel, member)
        WHERE m.channel = d.channel AND m.member = d.member
        AND NOT EXISTS (SELECT FROM maru.entries e WHERE e.channel = m.channel AND e.member = m.member)
        RETURNING m.channel, m.member, m.name, m.since
    ), each AS (
        SELECT l.channel, array_agg(l.member) gone, array_agg(l.name) names, array_agg(l.since) since, count(*)::integer less
        FROM left_ l GROUP BY l.channel
    )
    UPDATE maru.rosters r SET version = r.version + a.less, count = r.count - a.less,
        emptied_at = CASE WHEN r.count = a.less THEN now END
    FROM each a WHERE r.channel = a.channel
    RETURNING r.channel, r.epoch, r.version, r.count, a.gone, a.names, a.since, lapsed.name, 0;
    channel := NULL;
    looked := coalesce(array_length(due_channels, 1), 0);
    RETURN NEXT;
END $$;

-- Set the sessions of users under the first of these names, in place of those under all of them. Returns the users that
-- came online or went offline by that, with their sessions; a single row without a user if the first name is dead.
CREATE OR REPLACE FUNCTION maru.count_sessions(now_ms bigint, holders_ text[], users bytea[], numbers integer[])
RETURNS TABLE (member bytea, sessions integer, at bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint := maru.now_ms(now_ms);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT maru.holds(holders_[1]) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO maru.online AS o SELECT u, 0 FROM unnest(users) u ORDER BY u
    ON CONFLICT (member) DO UPDATE SET sessions = o.sessions;   -- locks each, in one order, against sweeps, too
    DELETE FROM maru.counted c WHERE c.member = ANY (users) AND c.holder = ANY (holders_);
    INSERT INTO maru.counted SELECT g.member, holders_[1], g.number FROM unnest(users, numbers) g (member, number) WHERE g.number > 0;
    RETURN QUERY
    WITH total AS (
        SELECT o.member, o.sessions before, coalesce((
            SELECT sum(c.sessions) FROM maru.counted c WHERE c.member = o.member
        ), 0)::integer after FROM maru.online o WHERE o.member = ANY (users)
    ), set_ AS (
        UPDATE maru.online o SET sessions = t.after FROM total t WHERE o.member = t.member AND t.after > 0 AND t.before <> t.after
    ), gone AS (
        DELETE FROM maru.online o USING total t WHERE o.member = t.member AND t.after = 0
    ), noted AS (
        INSERT INTO maru.seen AS s SELECT t.member, now FROM total t WHERE t.before > 0 AND t.after = 0 ORDER BY t.member
        ON CONFLICT (member) DO UPDATE SET at = greatest(s.at, excluded.at)
    )
    SELECT t.member, t.after, now FROM total t WHERE (t.before > 0) <> (t.after > 0);
END $$;

-- Remove some sessions of a dead holder that no other replica is removing. Returns the users that went offline by that,
-- and a last row without a user, which says how many were looked at.
CREATE OR REPLACE FUNCTION maru.reap_sessions(now_ms bigint, holder_ text, most integer)
RETURNS TABLE (member bytea, looked integer, at bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now bigint := maru.now_ms(now_ms);
    due bytea[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM 1 FROM maru.holders h WHERE h.name = holder_ AND h.dead FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        SELECT array_agg(d.member) INTO due FROM (
            SELECT c.member FROM maru.counted c WHERE c.holder = holder_ ORDER BY c.member LIMIT most
        ) d;
        PERFORM 1 FROM maru.online o WHERE o.member = ANY (due) ORDER BY o.member FOR UPDATE;
        DELETE FROM maru.counted c WHERE c.member = ANY (due) AND c.holder = holder_;
        RETURN QUERY
        WITH total AS (
            SELECT o.member, coalesce((SELECT sum(c.sessions) FROM maru.counted c WHERE c.member = o.member), 0)::integer after
            FROM maru.online o WHERE o.member = ANY (due)
        ), set_ AS (
            UPDATE maru.online o SET sessions = t.after FROM total t WHERE o.member = t.member AND t.after > 0
        ), gone AS (
            DELETE FROM maru.online o USING total t WHERE o.member = t.member AND t.after = 0
        ), noted AS (
            INSERT INTO maru.seen AS s SELECT t.member, now FROM total t WHERE t.after = 0 ORDER BY t.member
            ON CONFLICT (member) DO UPDATE SET at = greatest(s.at, excluded.at)
        )
        SELECT t.member, 0, now FROM total t WHERE t.after = 0;
    END IF;
    member := NULL;
    looked := coalesce(array_length(due, 1), 0);
    RETURN NEXT;
END $$;

-- Forget rosters that have been empty for long, holders that have been dead for as long, and when users were seen long
-- ago: some of each.
CREATE OR REPLACE FUNCTION maru.forget_presence(now_ms bigint, empty_ms bigint, seen_ms bigint, most integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(now_ms);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM maru.rosters r USING (
        SELECT o.channel FROM maru.rosters o WHERE o.emptied_at < now - empty_ms LIMIT most FOR UPDATE SKIP LOCKED
    ) d WHERE r.channel = d.channel;
    DELETE FROM maru.holders h USING (
        SELECT o.name FROM maru.holders o WHERE o.reaped_at < now - empty_ms LIMIT most FOR UPDATE SKIP LOCKED
    ) d WHERE h.name = d.name;
    DELETE FROM maru.seen s USING (
        SELECT o.member FROM maru.seen o WHERE o.at < now - seen_ms LIMIT most FOR UPDATE SKIP LOCKED
    ) d WHERE s.member = d.member;
END $$;
