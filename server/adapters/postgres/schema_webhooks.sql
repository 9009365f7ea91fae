-- The debts of channels to the endpoints of webhooks, made by the transaction of the append.
--
-- A place is an offset in a life of the channel: the timeline of PostgreSQL, and how often the channel's log was lost.
-- Order of locks: channels by id, then debts.

-- `starting`, of an endpoint that begins at the start of the logs: the last channel of which it was given the debt, -1 if
-- it has them all. `timeline`: that of the last look; on another one every channel owes a gap. `gaps`, while these are
-- made: the last channel that was looked at.
CREATE TABLE IF NOT EXISTS maru.webhook_endpoints (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE COLLATE "C",
    patterns text[] NOT NULL,
    opened_at bigint NOT NULL,
    starting bigint NOT NULL,
    timeline int NOT NULL,
    gaps bigint NOT NULL DEFAULT -1
);

-- Channels with events that an endpoint has not got: those behind `delivered`, which was in the life (`timeline`,
-- `losses`). If that is over, the endpoint goes on at `begins`, in the life (`begins_timeline`, `begins_losses`).
CREATE TABLE IF NOT EXISTS maru.webhook_debts (
    endpoint_id bigint NOT NULL,
    channel_id bigint NOT NULL,
    delivered bigint NOT NULL,
    timeline int NOT NULL,
    losses int NOT NULL,
    begins bigint,
    begins_timeline int,
    begins_losses int,
    PRIMARY KEY (endpoint_id, channel_id)
) WITH (fillfactor = 70);

-- Events that an endpoint did not take. Ids are given once. `reason` is what the endpoint said.
CREATE TABLE IF NOT EXISTS maru.webhook_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint text NOT NULL COLLATE "C",
    channel text NOT NULL COLLATE "C",
    epoch text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    reason bytea NOT NULL,
    failed_at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS letters ON maru.webhook_letters (endpoint, id);

CREATE TABLE IF NOT EXISTS maru.webhook_leads (
    endpoint text COLLATE "C" PRIMARY KEY,
    replica text NOT NULL COLLATE "C",
    ends_at bigint NOT NULL
);

-- Say whether one of the patterns covers a channel; none: every channel.
CREATE OR REPLACE FUNCTION maru.covers(patterns text[], channel text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT cardinality(patterns) = 0 OR EXISTS (
        SELECT FROM unnest(patterns) p
        WHERE CASE WHEN right(p, 1) = '*' THEN starts_with(channel, left(p, -1)) ELSE p = channel END
    )
$$;

-- The channels are locked.
CREATE OR REPLACE FUNCTION maru.on_events(channel_ids bigint[], befores bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_on int;
BEGIN
    IF NOT EXISTS (SELECT FROM maru.webhook_endpoints) THEN
        RETURN;
    END IF;
    now_on := maru.timeline();
    INSERT INTO maru.webhook_debts
    SELECT e.id, c.id, CASE WHEN e.starting >= 0 THEN c.floor ELSE p.before END, e.timeline, c.losses,
        CASE WHEN e.timeline <> now_on THEN p.before END, CASE WHEN e.timeline <> now_on THEN now_on END,
        CASE WHEN e.timeline <> now_on THEN c.losses END
    FROM unnest(channel_ids, befores) p (id, before) JOIN maru.channels c ON c.id = p.id
    CROSS JOIN maru.webhook_endpoints e
    WHERE maru.covers(e.patterns, c.name) AND NOT EXISTS (
        SELECT FROM maru.webhook_debts d WHERE d.endpoint_id = e.id AND d.channel_id = c.id
    )
    ORDER BY e.id, c.id ON CONFLICT DO NOTHING;
    -- Debts in a life that is over go on before these events.
    UPDATE maru.webhook_debts d SET begins = least(coalesce(d.begins, d.delivered), p.before),
        begins_timeline = now_on, begins_losses = c.losses
    FROM unnest(channel_ids, befores) p (id, before) JOIN maru.channels c ON c.id = p.id
    CROSS JOIN maru.webhook_endpoints e
    WHERE d.endpoint_id = e.id AND d.channel_id = c.id AND (d.timeline, d.losses) <> (now_on, c.losses)
    AND (d.begins_timeline, d.begins_losses) IS DISTINCT FROM (now_on, c.losses) AND maru.covers(e.patterns, c.name);
END $$;

-- A channel whose log was lost owes that, also if it owed nothing.
CREATE OR REPLACE FUNCTION maru.on_lost() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO maru.webhook_debts SELECT e.id, old.id, old.head, e.timeline, old.losses FROM maru.webhook_endpoints e
    WHERE maru.covers(e.patterns, old.name) ORDER BY e.id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS lost ON maru.channels;
CREATE TRIGGER lost AFTER UPDATE OF losses ON maru.channels
FOR EACH ROW WHEN (old.losses <> new.losses) EXECUTE FUNCTION maru.on_lost();

-- Open an endpoint, or note that it was opened, if its patterns or that are old. Returns whether it is new.
CREATE OR REPLACE FUNCTION maru.open_endpoint(
    own_ms bigint, endpoint text, covered text[], from_start boolean, refresh_ms bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    now bigint := maru.now_ms(own_ms);
    now_on int := maru.timeline();
BEGIN
    INSERT INTO maru.webhook_endpoints (name, patterns, opened_at, starting, timeline)
    VALUES (endpoint, covered, now, CASE WHEN from_start THEN 0 ELSE -1 END, now_on) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    UPDATE maru.webhook_endpoints e SET patterns = covered, opened_at = now
    WHERE e.name = endpoint AND (e.patterns <> covered OR abs(now - e.opened_at) > refresh_ms);
    UPDATE maru.webhook_endpoints e SET gaps = 0 WHERE e.name = endpoint AND e.timeline <> now_on AND e.gaps < 0;
    RETURN false;
END $$;

-- Owe what the next channels keep to an endpoint that begins at the start, or a gap to one that was open before a
-- failover. The channels are locked: an append that does not know the endpoint yet has ended then. Returns whether more is
-- to do.
CREATE OR REPLACE FUNCTION maru.begin_endpoint(endpoint text, step int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    e maru.webhook_endpoints;
    behind bigint;
    ids bigint[];
BEGIN
    SELECT * INTO e FROM maru.webhook_endpoints x WHERE x.name = endpoint;
    IF e.id IS NULL OR e.starting < 0 AND e.gaps < 0 THEN
        RETURN false;
    END IF;
    behind := CASE WHEN e.starting >= 0 THEN e.starting ELSE e.gaps END;
    SELECT array_agg(n.id) INTO ids FROM (
        SELECT c.id FROM maru.channels c WHERE c.id > behind ORDER BY c.id LIMIT step FOR UPDATE
    ) n;
    INSERT INTO maru.webhook_debts
    SELECT e.id, c.id, CASE WHEN e.starting >= 0 THEN c.floor ELSE c.head END, e.timeline, c.losses FROM maru.channels c
    WHERE c.id = ANY (ids) AND c.head > CASE WHEN e.starting >= 0 THEN c.floor ELSE 0 END
    AND maru.covers(e.patterns, c.name) ORDER BY c.id ON CONFLICT DO NOTHING;
    behind := CASE WHEN cardinality(ids) = step THEN ids[step] ELSE -1 END;
    IF e.starting >= 0 THEN
        UPDATE maru.webhook_endpoints x SET starting = behind WHERE x.id = e.id;
    ELSE
        UPDATE maru.webhook_endpoints x SET gaps = behind,
            timeline = CASE WHEN behind < 0 THEN maru.timeline() ELSE x.timeline END WHERE x.id = e.id;
    END IF;
    RETURN behind >= 0 OR e.starting >= 0 AND e.gaps >= 0;
END $$;

-- Move a debt from a place, at which the caller has seen it, to another one of the same channel, which is in the present
-- life. With a `reason`, keep a letter of it. Returns whether it was moved; NULL if the life is another one by now.
CREATE OR REPLACE FUNCTION maru.move_debt(
    endpoint text, to_channel text, known_timeline int, known_losses int,
    from_offset bigint, from_timeline int, from_losses int, to_offset bigint,
    letter_epoch text, letter_first bigint, letter_last bigint, letter_reason bytea, letter_at bigint, letters bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    c maru.channels;
    d maru.webhook_debts;
    most bigint;
BEGIN
    SELECT * INTO c FROM maru.channels x WHERE x.name = to_channel FOR UPDATE;
    IF c.id IS NULL OR c.losses <> known_losses OR maru.timeline() <> known_timeline THEN
        RETURN NULL;
    END IF;
    SELECT x.* INTO d FROM maru.webhook_debts x JOIN maru.webhook_endpoints e ON e.id = x.endpoint_id
    WHERE e.name = endpoint AND x.channel_id = c.id FOR UPDATE OF x;
    IF d.endpoint_id IS NULL OR (d.delivered, d.timeline, d.losses) <> (from_offset, from_timeline, from_losses) THEN
        RETURN false;
    END IF;
    most := c.head;
    IF (d.timeline, d.losses) <> (known_timeline, known_losses) THEN
        -- Out of a life that is over: events that were written since must not be passed over, unless they are gone.
        most := greatest(c.floor, least(c.head, coalesce(d.begins, d.delivered)));
    END IF;
    IF to_offset > most THEN
        RETURN false;
    END IF;
    IF to_offset = c.head THEN
        DELETE FROM maru.webhook_debts x WHERE x.endpoint_id = d.endpoint_id AND x.channel_id = c.id;
    ELSE
        UPDATE maru.webhook_debts x SET delivered = to_offset, timeline = known_timeline, losses = known_losses,
            begins = NULL, begins_timeline = NULL, begins_losses = NULL
        WHERE x.endpoint_id = d.endpoint_id AND x.channel_id = c.id;
    END IF;
    IF letter_reason IS NOT NULL THEN
        INSERT INTO maru.webhook_letters (endpoint, channel, epoch, first, last, reason, failed_at)
        VALUES (endpoint, to_channel, letter_epoch, letter_first, letter_last, letter_reason, letter_at);
        DELETE FROM maru.webhook_letters l WHERE l.endpoint = move_debt.endpoint AND l.id <= (
            SELECT o.id FROM maru.webhook_letters o WHERE o.endpoint = move_debt.endpoint
            ORDER BY o.id DESC LIMIT 1 OFFSET letters
        );
    END IF;
    RETURN true;
END $$;

-- Forget, in steps, an endpoint that nobody has opened for long. Returns whether more is to do.
CREATE OR REPLACE FUNCTION maru.forget_endpoint(own_ms bigint, after_ms bigint, step int) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    e maru.webhook_endpoints;
    removed int;
BEGIN
    SELECT * INTO e FROM maru.webhook_endpoints x WHERE x.opened_at < maru.now_ms(own_ms) - after_ms
    LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF e.id IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM maru.webhook_debts d WHERE d.endpoint_id = e.id AND d.channel_id = ANY (ARRAY (
        SELECT o.channel_id FROM maru.webhook_debts o WHERE o.endpoint_id = e.id LIMIT step FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed = 0 THEN
        DELETE FROM maru.webhook_letters l WHERE l.endpoint = e.name;
        DELETE FROM maru.webhook_leads l WHERE l.endpoint = e.name;
        DELETE FROM maru.webhook_endpoints x WHERE x.id = e.id;
    END IF;
    RETURN true;
END $$;
