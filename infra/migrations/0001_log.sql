-- The log: one append-only table in one total order, the claims that make keys unique
-- across streams, and the ids that results show.

CREATE TABLE events (
    position    bigint      PRIMARY KEY,
    stream_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    type        text        NOT NULL,
    data        text        NOT NULL,
    metadata    text        NOT NULL,
    event_id    uuid        NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT events_stream_version UNIQUE (stream_id, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME;
END
$$;

CREATE TRIGGER events_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- position: of the last event appended together with the claim.
CREATE TABLE claims (
    key        text        COLLATE "C" PRIMARY KEY,
    stream_id  uuid,
    payload    bytea,
    position   bigint      NOT NULL,
    expires_at timestamptz
);

CREATE INDEX claims_expiring ON claims (expires_at) WHERE expires_at IS NOT NULL;

CREATE SEQUENCE student_item_ids;
CREATE SEQUENCE submission_ids;
CREATE SEQUENCE score_ids;
CREATE SEQUENCE team_submission_ids;

-- Appends one batch: the events of several callers, numbered 1, 2, 3, … in `callers`,
-- which rises. Under one lock the events take the positions that follow the head, so that
-- commit order is position order and there is never a gap. The first attempt is
-- optimistic. When a stream version or a claim is taken, a second pass leaves out the
-- callers at fault and stores the rest; it is planned afresh each time, because a plan
-- made while the table was small would be kept. `claim_offsets` says behind which event of
-- the batch a claim stands. A caller may have claims and no events.
--
-- Returns the head before the batch, the time recorded, the callers left out because a
-- stream has moved on, and those left out because a claim is held.
CREATE FUNCTION append_events(
    callers        integer[],
    streams        uuid[],
    versions       integer[],
    types          text[],
    datas          bytea[],
    metadatas      text[],
    event_ids      uuid[],
    claim_callers  integer[],
    claim_offsets  integer[],
    claim_keys     text[],
    claim_streams  uuid[],
    claim_payloads bytea[],
    claim_expiries timestamptz[],
    release_callers integer[],
    release_keys   text[],
    OUT head       bigint,
    OUT at         timestamptz,
    OUT stale      integer[],
    OUT claimed    integer[]
) LANGUAGE plpgsql
-- The head is always found by its index, whatever the planner thinks of a small table.
SET enable_seqscan = off
AS $$
DECLARE
    latest timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(7454127093424619623);
    SELECT e.position, e.recorded_at INTO head, latest
        FROM events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    at := greatest(clock_timestamp(), latest);
    BEGIN
        IF cardinality(release_keys) > 0 THEN
            DELETE FROM claims c WHERE c.key = ANY (release_keys);
        END IF;
        INSERT INTO events
            (position, stream_id, version, type, data, metadata, event_id, recorded_at)
        SELECT head + n, t.stream_id, t.version, t.type, convert_from(t.data, 'UTF8'),
               metadatas[t.caller], t.event_id, at
        FROM unnest(callers, streams, versions, types, datas, event_ids) WITH ORDINALITY
            AS t (caller, stream_id, version, type, data, event_id, n);
        IF cardinality(claim_keys) > 0 THEN
            INSERT INTO claims (key, stream_id, payload, position, expires_at)
            SELECT t.key, t.stream_id, t.payload,
                   head + t.last_event, t.expires_at
            FROM unnest(claim_offsets, claim_keys, claim_streams, claim_payloads, claim_expiries)
                AS t (last_event, key, stream_id, payload, expires_at);
        END IF;
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;
    SELECT s.stale, s.claimed INTO stale, claimed FROM append_events_without_conflicts(
        head, at, callers, streams, versions, types, datas, metadatas, event_ids, claim_callers,
        claim_offsets, claim_keys, claim_streams, claim_payloads, claim_expiries, release_callers, release_keys
    ) AS s;
END
$$;

CREATE FUNCTION append_events_without_conflicts(
    head           bigint,
    at             timestamptz,
    callers        integer[],
    streams        uuid[],
    versions       integer[],
    types          text[],
    datas          bytea[],
    metadatas      text[],
    event_ids      uuid[],
    claim_callers  integer[],
    claim_offsets  integer[],
    claim_keys     text[],
    claim_streams  uuid[],
    claim_payloads bytea[],
    claim_expiries timestamptz[],
    release_callers integer[],
    release_keys   text[],
    OUT stale      integer[],
    OUT claimed    integer[]
) LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_mergejoin = off
SET enable_hashjoin = off
AS $$
BEGIN
    EXECUTE $q$
        SELECT coalesce(array_agg(DISTINCT t.caller), '{}')
        FROM unnest($1, $2, $3) AS t (caller, stream_id, version)
        JOIN events e ON e.stream_id = t.stream_id AND e.version = t.version
    $q$ INTO stale USING callers, streams, versions;

    EXECUTE $q$
        DELETE FROM claims c WHERE c.key = ANY ($1) AND c.expires_at <= $2
    $q$ USING claim_keys, at;

    -- A key that the same caller releases is free for it.
    EXECUTE $q$
        SELECT coalesce(array_agg(DISTINCT t.caller), '{}')
        FROM unnest($1, $2) AS t (caller, key)
        JOIN claims c ON c.key = t.key
        WHERE NOT EXISTS (SELECT FROM unnest($3, $4) AS r (caller, key)
                          WHERE r.caller = t.caller AND r.key = t.key)
    $q$ INTO claimed USING claim_callers, claim_keys, release_callers, release_keys;

    EXECUTE $q$
        DELETE FROM claims c USING unnest($1, $2) AS r (caller, key)
        WHERE c.key = r.key AND NOT r.caller = ANY ($3 || $4)
    $q$ USING release_callers, release_keys, stale, claimed;

    EXECUTE $q$
        WITH kept AS MATERIALIZED (
            SELECT t.*, $1 + row_number() OVER (ORDER BY t.n) AS position
            FROM unnest($2, $3, $4, $5, $6, $7) WITH ORDINALITY
                AS t (caller, stream_id, version, type, data, event_id, n)
            WHERE NOT t.caller = ANY ($8 || $9)
        ), stored AS (
            INSERT INTO events
                (position, stream_id, version, type, data, metadata, event_id, recorded_at)
            SELECT k.position, k.stream_id, k.version, k.type, convert_from(k.data, 'UTF8'),
                   ($10)[k.caller], k.event_id, $11
            FROM kept k ORDER BY k.position
        )
        INSERT INTO claims (key, stream_id, payload, position, expires_at)
        SELECT t.key, t.stream_id, t.payload, coalesce(k.position, $1), t.expires_at
        FROM unnest($17, $12, $13, $14, $15, $16)
            AS t (caller, last_event, key, stream_id, payload, expires_at)
        LEFT JOIN kept k ON k.caller = t.caller AND k.n = t.last_event
        WHERE NOT t.caller = ANY ($8 || $9)
    $q$ USING head, callers, streams, versions, types, datas, event_ids, stale, claimed,
              metadatas, at, claim_offsets, claim_keys, claim_streams, claim_payloads,
              claim_expiries, claim_callers;
END
$$;

-- The last position recorded at or before a moment: recorded_at rises with the position, so
-- the position is found by halving, without an index that every append would pay for.
CREATE FUNCTION position_at(moment timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low  bigint := 0;
    high bigint := coalesce((SELECT max(position) FROM events), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT recorded_at FROM events WHERE position = middle) <= moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- Keys that encrypt what learners wrote. Kept apart from the log: destroying a key makes
-- its learner's words unreadable in every copy of the log. `wrapped_by` names the master
-- key that wraps `key`; NULL when it is not wrapped.
CREATE TABLE learner_keys (
    key_id     uuid        PRIMARY KEY,
    subject    text        COLLATE "C" NOT NULL UNIQUE,
    key        bytea       NOT NULL,
    wrapped_by text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Where each read model stands. A read model lives in a schema of its own, named after it
-- and its version; `state` is building, serving or failed.
CREATE TABLE read_models (
    schema     text        COLLATE "C" PRIMARY KEY,
    name       text        NOT NULL,
    version    integer     NOT NULL,
    position   bigint      NOT NULL DEFAULT 0,
    state      text        NOT NULL,
    error      text,
    failed_at_position bigint,
    updated_at timestamptz NOT NULL DEFAULT now()
);
