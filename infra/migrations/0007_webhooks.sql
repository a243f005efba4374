-- Where events are delivered to over HTTP. Not events themselves: they say nothing about
-- grades, and what failed an hour ago is meant to be forgotten.

-- types, course_id: which events; none of both means all of them.
-- secret, old_secret: which master key wraps it, `:`, base64; `bare:` when there is none.
-- position: every event up to here is delivered or was not asked for.
-- pending_until: where the batch ends that was sent last and is not delivered yet, so that
-- it is sent again as it was. holder, turn, leased_until: who delivers at the moment; `turn`
-- rises each time, so that whoever lost it cannot save any more.
CREATE TABLE webhooks (
    webhook_id       uuid        PRIMARY KEY,
    url              text        NOT NULL,
    types            text[]      NOT NULL DEFAULT '{}',
    course_id        text        COLLATE "C",
    description      text        NOT NULL DEFAULT '',
    state            text        NOT NULL DEFAULT 'active'
                                 CHECK (state IN ('active', 'paused', 'disabled')),
    reason           text,
    secret           text        NOT NULL,
    old_secret       text,
    old_secret_until timestamptz,
    position         bigint      NOT NULL,
    pending_until    bigint,
    failures         integer     NOT NULL DEFAULT 0,
    failing_since    timestamptz,
    retry_at         timestamptz NOT NULL DEFAULT now(),
    last_attempt_at  timestamptz,
    last_seconds     real        NOT NULL DEFAULT 0,
    last_success_at  timestamptz,
    last_error       text,
    attempts         bigint      NOT NULL DEFAULT 0,
    holder           uuid,
    turn             bigint      NOT NULL DEFAULT 0,
    turn_at          timestamptz NOT NULL DEFAULT now(),
    leased_until     timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    created_by       text        NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    updated_by       text        NOT NULL
) WITH (fillfactor = 50);

-- The last attempts of each webhook. `slot` is the attempt's number modulo how many are
-- kept, so a new one takes the place of the oldest.
CREATE TABLE webhook_deliveries (
    webhook_id uuid        NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    slot       integer     NOT NULL,
    number     bigint      NOT NULL,
    at         timestamptz NOT NULL,
    message_id text        NOT NULL,
    kind       text        NOT NULL,
    after      bigint,
    until      bigint,
    events     integer     NOT NULL,
    delivered  boolean     NOT NULL,
    status     integer,
    seconds    real        NOT NULL,
    error      text,
    PRIMARY KEY (webhook_id, slot)
) WITH (fillfactor = 50);
