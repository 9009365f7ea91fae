-- Reading marks, what is unread behind them, the channels that users follow, and the channels in which they wrote. What is
-- unread is counted when it is asked for, and never kept as a number: messages behind an offset, without those that are
-- deleted.

-- `posts`: messages so far.
ALTER TABLE maru.channels ADD COLUMN IF NOT EXISTS posts bigint NOT NULL DEFAULT 0;

CREATE TABLE IF NOT EXISTS maru.reads (
    channel_id bigint NOT NULL,
    "user" text NOT NULL COLLATE "C",
    "offset" bigint NOT NULL,
    PRIMARY KEY (channel_id, "user")
) WITH (fillfactor = 70);
-- So that few rows are counted: the number of messages up to each 64th.
CREATE TABLE IF NOT EXISTS maru.posts (
    channel_id bigint NOT NULL,
    "offset" bigint NOT NULL,
    posts bigint NOT NULL,
    PRIMARY KEY (channel_id, "offset")
);
-- The creations of deleted messages.
CREATE TABLE IF NOT EXISTS maru.gone (
    channel_id bigint NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (channel_id, "offset")
);
-- The creations of messages that name users, until they are deleted.
CREATE TABLE IF NOT EXISTS maru.mentions (
    channel_id bigint NOT NULL,
    "user" text NOT NULL COLLATE "C",
    "offset" bigint NOT NULL,
    PRIMARY KEY (channel_id, "user", "offset")
);
CREATE INDEX IF NOT EXISTS mentioned ON maru.mentions (channel_id, "offset");
-- The channels in which a user has ever written, so that all messages of a user can be found.
CREATE TABLE IF NOT EXISTS maru.authors (
    author text NOT NULL COLLATE "C",
    channel_id bigint NOT NULL,
    PRIMARY KEY (author, channel_id)
);
-- A channel may have no event yet.
CREATE TABLE IF NOT EXISTS maru.follows (
    "user" text NOT NULL COLLATE "C",
    channel text NOT NULL COLLATE "C",
    PRIMARY KEY ("user", channel)
);
CREATE INDEX IF NOT EXISTS followers ON maru.follows (channel, "user");

-- The channels are locked. A new message is the furthest that its author can have read.
CREATE OR REPLACE FUNCTION maru.on_posted(
    channel_ids bigint[], offsets bigint[], authors text[], marks boolean[], mentions text[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH counted AS (
        UPDATE maru.channels c SET posts = c.posts + n.count
        FROM (SELECT i.id, count(*) AS count FROM unnest(channel_ids) i (id) GROUP BY i.id) n
        WHERE c.id = n.id RETURNING c.id, c.posts - n.count AS before
    )
    INSERT INTO maru.posts SELECT n.id, n.place, n.nth FROM (
        SELECT p.id, p.place, c.before + row_number() OVER (PARTITION BY p.id ORDER BY p.place) AS nth
        FROM unnest(channel_ids, offsets) p (id, place) JOIN counted c ON c.id = p.id
    ) n WHERE n.nth % 64 = 0;
    INSERT INTO maru.reads AS r
    SELECT p.id, p.author, max(p.place) FROM unnest(channel_ids, offsets, authors, marks) p (id, place, author, marks)
    WHERE p.marks GROUP BY p.id, p.author ORDER BY p.id, p.author
    ON CONFLICT (channel_id, "user") DO UPDATE SET "offset" = excluded."offset";
    INSERT INTO maru.authors
    SELECT DISTINCT p.author, p.id FROM unnest(channel_ids, authors) p (id, author)
    WHERE NOT EXISTS (SELECT FROM maru.authors a WHERE a.author = p.author AND a.channel_id = p.id);
    IF array_remove(mentions, NULL) <> '{}' THEN
        INSERT INTO maru.mentions
        SELECT p.id, m.named, p.place FROM unnest(channel_ids, offsets, mentions) p (id, place, mentions),
        LATERAL json_array_elements_text(p.mentions::json) m (named)
        WHERE p.mentions IS NOT NULL ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION maru.on_deleted(channel_ids bigint[], offsets bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO maru.gone SELECT * FROM unnest(channel_ids, offsets) ON CONFLICT DO NOTHING;
    DELETE FROM maru.mentions m USING unnest(channel_ids, offsets) d (id, place)
    WHERE m.channel_id = d.id AND m."offset" = d.place;
$$;

CREATE OR REPLACE FUNCTION maru.on_dropped(channel_ids bigint[], floors bigint[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM maru.posts x USING unnest(channel_ids, floors) d (id, floor)
    WHERE x.channel_id = d.id AND x."offset" <= d.floor;
    DELETE FROM maru.gone x USING unnest(channel_ids, floors) d (id, floor)
    WHERE x.channel_id = d.id AND x."offset" <= d.floor;
    DELETE FROM maru.mentions x USING unnest(channel_ids, floors) d (id, floor)
    WHERE x.channel_id = d.id AND x."offset" <= d.floor;
$$;

-- Move a mark, at most to the head, never back. Returns whether it was further back.
CREATE OR REPLACE FUNCTION maru.mark(channel text, reader text, place bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    c maru.channels;
BEGIN
    SELECT * INTO c FROM maru.channels x WHERE x.name = channel;
    IF FOUND AND least(place, c.head) > 0 THEN
        INSERT INTO maru.reads AS r VALUES (c.id, reader, least(place, c.head))
        ON CONFLICT (channel_id, "user") DO UPDATE SET "offset" = excluded."offset"
        WHERE least(r."offset", c.head) < excluded."offset";
        RETURN FOUND;
    END IF;
    RETURN false;
END $$;

-- Return the marks of a user in channels, in their order; without a head, the channel is unknown. A log that came back
-- older may have a head before the mark. Messages are counted from the mark to the next row of `posts`, and from there by
-- subtraction: 64 rows of an index at most. `mentions_counted` is the bound of those.
CREATE OR REPLACE FUNCTION maru.marks_of(names text[], reader text, mentions_counted bigint)
RETURNS TABLE (life text, name text, id bigint, head bigint, losses int, mark bigint, unread bigint, mentions bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    now_in text := maru.life();
BEGIN
    RETURN QUERY
    SELECT now_in, n.name, c.id, c.head, c.losses, c.mark, coalesce((
        SELECT c.posts - p.posts + (
            SELECT count(*) FROM maru.events e WHERE e.channel_id = c.id AND e.message_id IS NOT NULL
            AND e."offset" > c.behind AND e."offset" <= p."offset"
        ) FROM maru.posts p WHERE p.channel_id = c.id AND p."offset" > c.behind ORDER BY p."offset" LIMIT 1
    ), (
        SELECT count(*) FROM maru.events e
        WHERE e.channel_id = c.id AND e.message_id IS NOT NULL AND e."offset" > c.behind
    )) - (
        SELECT count(*) FROM maru.gone g WHERE g.channel_id = c.id AND g."offset" > c.behind
    ), (
        SELECT count(*) FROM (
            SELECT DISTINCT m."offset" FROM maru.mentions m
            WHERE m.channel_id = c.id AND m."user" IN (reader, '*') AND m."offset" > c.behind LIMIT mentions_counted
        ) named
    )
    FROM unnest(names) WITH ORDINALITY n (name, n) LEFT JOIN LATERAL (
        SELECT x.id, x.head, x.losses, x.posts, least(coalesce(r."offset", 0), x.head) AS mark,
        greatest(coalesce(r."offset", 0), x.floor) AS behind
        FROM maru.channels x LEFT JOIN maru.reads r ON r.channel_id = x.id AND r."user" = reader WHERE x.name = n.name
    ) c ON true ORDER BY n.n;
END $$;

-- Follow a channel, with a mark at its head if there is none. Returns whether that is new; NULL if `most` are followed.
CREATE OR REPLACE FUNCTION maru.follow(follower text, to_channel text, most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1835102839, hashtext(follower));
    IF EXISTS (SELECT FROM maru.follows f WHERE f."user" = follower AND f.channel = to_channel) THEN
        RETURN false;
    END IF;
    IF (SELECT count(*) FROM maru.follows f WHERE f."user" = follower) >= most THEN
        RETURN NULL;
    END IF;
    INSERT INTO maru.follows VALUES (follower, to_channel);
    INSERT INTO maru.reads SELECT c.id, follower, c.head FROM maru.channels c WHERE c.name = to_channel AND c.head > 0
    ON CONFLICT DO NOTHING;
    RETURN true;
END $$;
