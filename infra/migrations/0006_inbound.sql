-- How far the inbound topics are read, and the messages that were not carried out.

-- next_offset: everything before it is carried out or parked; NULL before the first message.
-- begun: how often somebody began there and got no further. The counts are for operators.
CREATE TABLE inbound_offsets (
    consumer_group text        COLLATE "C" NOT NULL,
    topic          text        COLLATE "C" NOT NULL,
    partition      integer     NOT NULL,
    topic_id       uuid        NOT NULL,
    next_offset    bigint,
    begun          integer     NOT NULL DEFAULT 0,
    carried_out    bigint      NOT NULL DEFAULT 0,
    repeated       bigint      NOT NULL DEFAULT 0,
    rejected       bigint      NOT NULL DEFAULT 0,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
);

-- Messages that met a defect, or may have ended the process that handled them.
CREATE TABLE inbound_attempts (
    topic          text        COLLATE "C" NOT NULL,
    topic_id       uuid        NOT NULL,
    partition      integer     NOT NULL,
    message_offset bigint      NOT NULL,
    attempts       integer     NOT NULL,
    error          text,
    last_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, topic_id, partition, message_offset)
);

-- kind: how the message is read when it is tried again. sent_at: what the broker says, in
-- milliseconds since 1970. A payload that is too large is cut off, and cannot be tried again.
CREATE TABLE inbound_parked (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text        NOT NULL,
    topic          text        COLLATE "C" NOT NULL,
    topic_id       uuid        NOT NULL,
    partition      integer     NOT NULL,
    message_offset bigint      NOT NULL,
    sent_at        bigint      NOT NULL,
    message_id     text,
    source         text,
    type           text,
    key            bytea,
    header_names   text[]      NOT NULL,
    header_values  bytea[]     NOT NULL,
    payload        bytea,
    payload_size   integer     NOT NULL,
    cut_off        boolean     NOT NULL DEFAULT false,
    reason         text        NOT NULL,
    detail         text        NOT NULL,
    attempts       integer     NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT now(),
    tried_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT inbound_parked_once UNIQUE (topic, topic_id, partition, message_offset, sent_at)
);

CREATE INDEX inbound_parked_by_age ON inbound_parked (parked_at);
