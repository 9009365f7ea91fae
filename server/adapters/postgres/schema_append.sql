-- The functions that append. The caller is in a transaction of PostgreSQL's own: a single statement.

-- Refuse to go on if the caller does not know yet that PostgreSQL is another one. Then lock channels, in the order of
-- their ids, so that no two callers wait for each other.
CREATE OR REPLACE FUNCTION maru.enter(known text, ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF maru.life() <> known THEN
        RAISE EXCEPTION 'PostgreSQL is another one' USING ERRCODE = 'MR001';
    END IF;
    PERFORM 1 FROM maru.channels c WHERE c.id = ANY (ids) ORDER BY c.id FOR UPDATE;
END
$$;

-- The store's time, in milliseconds, unless a test has its own.
CREATE OR REPLACE FUNCTION maru.now_ms(own bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(own, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
$$;

-- Drop the events behind `olds` up to `news`, with all that goes with them. The rows of the channels are locked, and
-- their floors are set by the caller.
CREATE OR REPLACE FUNCTION maru.drop_events(ids bigint[], olds bigint[], news bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM maru.events x USING unnest(ids, olds, news) d (id, old, new)
    WHERE x.channel_id = d.id AND x."offset" > d.old AND x."offset" <= d.new;
    DELETE FROM maru.records x USING unnest(ids, olds, news) d (id, old, new)
    WHERE x.channel_id = d.id AND x."offset" > d.old AND x."offset" <= d.new;
    DELETE FROM maru.reacted x USING unnest(ids, olds, news) d (id, old, new)
    WHERE x.channel_id = d.id AND x.created > d.old AND x.created <= d.new;
    DELETE FROM maru.reactions x USING unnest(ids, olds, news) d (id, old, new)
    WHERE x.channel_id = d.id AND x.created > d.old AND x.created <= d.new;
    DELETE FROM maru.erasing x USING unnest(ids, olds, news) d (id, old, new)
    WHERE x.channel_id = d.id AND x.created > d.old AND x.created <= d.new;
    PERFORM maru.on_dropped(ids, news);
END
$$;

-- Let channels have so many events more (`counts`), of which each took `interval_ms` of the rate, if there is one. Over
-- the bound (`keeps`) as many are dropped as were added, and `spare` more: a bound that was lowered is reached in steps.
CREATE OR REPLACE FUNCTION maru.grow(
    at_ms bigint, interval_ms float8, spare int, ids bigint[], befores bigint[], counts bigint[], keeps bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    trimmed bigint[];
    olds bigint[];
    news bigint[];
BEGIN
    SELECT array_agg(g.id), array_agg(c.floor), array_agg(
        least(g.before + g.count - g.keep, c.floor + g.count + spare)
    ) INTO trimmed, olds, news
    FROM unnest(ids, befores, counts, keeps) g (id, before, count, keep) JOIN maru.channels c ON c.id = g.id
    WHERE g.before + g.count - g.keep > c.floor;
    UPDATE maru.channels c SET
        head = g.before + g.count,
        floor = coalesce(t.new, c.floor),
        full_ms = CASE WHEN interval_ms > 0 THEN greatest(c.full_ms, at_ms) + g.count * interval_ms ELSE c.full_ms END
    FROM unnest(ids, befores, counts) g (id, before, count)
    LEFT JOIN unnest(trimmed, news) t (id, new) ON t.id = g.id
    WHERE c.id = g.id;
    IF trimmed IS NOT NULL THEN
        PERFORM maru.drop_events(trimmed, olds, news);
    END IF;
    PERFORM maru.on_events(ids, befores);
END
$$;

-- Append new messages, in their order; all arrays have the same length, `keeps` is the bound of the message's channel.
-- Returns a row for each. `duplicate`: an earlier message has the key, at `place`; its event is `first`, if the log
-- still has it, and if it is not in this call. `wait_ms` above 0: refused for the rate. No row: an unknown channel.
CREATE OR REPLACE FUNCTION maru.append(
    known text, own_ms bigint, key_ms bigint, interval_ms float8, room_ms float8, spare int,
    cids bigint[], keeps bigint[], ids text[], authors text[], keys bytea[], ats bigint[], payloads bytea[],
    marks boolean[], mentions text[]
) RETURNS TABLE (
    n int, place bigint, duplicate boolean, wait_ms float8, losses int, first_id text, first_at bigint, first bytea
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at_ms bigint;
    ords int[];
    places bigint[];
    fresh int[];
    grown bigint[];
    befores bigint[];
    counts bigint[];
    bounds bigint[];
    waits float8[];
    olds bigint[];
    kids text[];
    kats bigint[];
BEGIN
    PERFORM maru.enter(known, cids);
    at_ms := maru.now_ms(own_ms);
    -- A statement of its own: it sees the heads as they were locked.
    WITH d AS MATERIALIZED (
        SELECT t.*, c.head, greatest(c.full_ms, at_ms) AS full_ms
        FROM unnest(cids, authors, keys) WITH ORDINALITY t (cid, author, key, ord)
        JOIN maru.channels c ON c.id = t.cid
    ), r AS MATERIALIZED (
        SELECT d.*, k."offset" AS old, k.message_id AS kid, k.at AS kat,
        CASE WHEN d.key IS NULL THEN d.ord ELSE min(d.ord) OVER (PARTITION BY d.cid, d.author, d.key) END AS leader
        FROM d LEFT JOIN maru.keys k ON k.channel_id = d.cid AND k.author = d.author AND k.key = d.key
        AND NOT k.record AND k.expires_ms > at_ms
    ), f AS MATERIALIZED (
        SELECT r.ord, r.cid, row_number() OVER (PARTITION BY r.cid ORDER BY r.ord) AS nth, r.head, r.full_ms
        FROM r WHERE r.old IS NULL AND r.leader = r.ord
    ), w AS MATERIALIZED (
        SELECT f.ord, f.cid, f.head, f.head + f.nth AS place,
        CASE WHEN interval_ms > 0 THEN greatest(0, f.full_ms + f.nth * interval_ms - at_ms - room_ms) ELSE 0 END AS wait
        FROM f
    )
    SELECT array_agg(r.ord::int ORDER BY r.ord), array_agg(coalesce(r.old, w.place) ORDER BY r.ord),
    array_agg(r.old ORDER BY r.ord), array_agg(coalesce(w.wait, 0) ORDER BY r.ord),
    array_agg(r.kid ORDER BY r.ord), array_agg(r.kat ORDER BY r.ord),
    array_agg(r.ord::int ORDER BY r.ord) FILTER (WHERE w.ord = r.ord AND w.wait = 0)
    INTO ords, places, olds, waits, kids, kats, fresh
    FROM r LEFT JOIN w ON w.ord = r.leader;

    IF fresh IS NOT NULL THEN
        INSERT INTO maru.events (channel_id, "offset", at, written_ms, message_id, state_offset, payload)
        SELECT cids[o], places[i], ats[o], at_ms, ids[o], places[i], payloads[o]
        FROM unnest(ords) WITH ORDINALITY q (o, i) WHERE o = ANY (fresh);
        INSERT INTO maru.keys (channel_id, author, key, record, "offset", message_id, at, expires_ms)
        SELECT cids[o], authors[o], keys[o], false, places[i], ids[o], ats[o], at_ms + key_ms
        FROM unnest(ords) WITH ORDINALITY q (o, i) WHERE o = ANY (fresh) AND keys[o] IS NOT NULL
        ON CONFLICT (channel_id, author, key, record) DO UPDATE SET "offset" = excluded."offset",
        message_id = excluded.message_id, at = excluded.at, expires_ms = excluded.expires_ms;
        PERFORM maru.on_posted(
            array_agg(cids[o]), array_agg(places[i]), array_agg(authors[o]), array_agg(marks[o]), array_agg(mentions[o])
        ) FROM unnest(ords) WITH ORDINALITY q (o, i) WHERE o = ANY (fresh);
        SELECT array_agg(g.cid), array_agg(g.first - 1), array_agg(g.count), array_agg(g.keep)
        INTO grown, befores, counts, bounds FROM (
            SELECT cids[o] AS cid, min(places[i]) AS first, count(*) AS count, min(keeps[o]) AS keep
            FROM unnest(ords) WITH ORDINALITY q (o, i) WHERE o = ANY (fresh) GROUP BY 1
        ) g;
        PERFORM maru.grow(at_ms, interval_ms, spare, grown, befores, counts, bounds);
    END IF;

    RETURN QUERY
    SELECT q.o, q.place, NOT (q.o = ANY (coalesce(fresh, '{}'))) AND q.wait = 0, q.wait, c.losses, q.kid, q.kat, e.payload
    FROM unnest(ords, places, olds, waits, kids, kats) q (o, place, old, wait, kid, kat)
    JOIN maru.channels c ON c.id = cids[q.o]
    LEFT JOIN maru.events e ON e.channel_id = cids[q.o] AND e."offset" = q.old AND q.old > c.floor
    ORDER BY q.o;
END
$$;

-- Erase the edits of deleted messages that are in `erasing`, so many at most; return how many.
CREATE OR REPLACE FUNCTION maru.erase_edits(step int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    done int;
BEGIN
    UPDATE maru.events e SET edit_of = NULL, payload = p.payload FROM (
        SELECT y.channel_id, y."offset", x.payload FROM maru.erasing x
        JOIN maru.events y ON y.channel_id = x.channel_id AND y.edit_of = x.created LIMIT step FOR UPDATE OF y SKIP LOCKED
    ) p WHERE e.channel_id = p.channel_id AND e."offset" = p."offset";
    GET DIAGNOSTICS done = ROW_COUNT;
    DELETE FROM maru.erasing WHERE ctid = ANY (ARRAY (
        SELECT x.ctid FROM maru.erasing x WHERE NOT EXISTS (
            SELECT FROM maru.events e WHERE e.channel_id = x.channel_id AND e.edit_of = x.created
        ) FOR UPDATE SKIP LOCKED
    ));
    RETURN done;
END
$$;

-- Drop what is too old (written before `before_ms`) or over the bound (`keep`) of a channel, so many events at most, unless
-- somebody writes to it now. Returns the new floor; null if there is nothing to drop, or the channel is busy.
CREATE OR REPLACE FUNCTION maru.trim(channel bigint, before_ms bigint, keep bigint, step int) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    c maru.channels;
    kept bigint;
    new bigint;
BEGIN
    SELECT * INTO c FROM maru.channels WHERE id = channel FOR UPDATE SKIP LOCKED;
    IF c.id IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT min(e."offset") INTO kept FROM (
        SELECT e."offset", e.written_ms FROM maru.events e
        WHERE e.channel_id = c.id AND e."offset" > c.floor ORDER BY e."offset" LIMIT step
    ) e WHERE e.written_ms >= before_ms;
    new := greatest(coalesce(kept - 1, least(c.head, c.floor + step)), least(c.head - keep, c.floor + step));
    IF new <= c.floor THEN
        RETURN NULL;
    END IF;
    UPDATE maru.channels SET floor = new WHERE id = c.id;
    PERFORM maru.drop_events(ARRAY[c.id], ARRAY[c.floor], ARRAY[new]);
    RETURN new;
END
$$;
