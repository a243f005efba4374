-- Who feeds which read model of a database that is fed from Kafka, as each has said last. Who
-- says nothing for a while is gone. messages_left: in the partitions that it reads, null while
-- that is not known. trouble: why it gets no further although no event is at fault.
CREATE TABLE kafka_feed_members (
    schema        text        COLLATE "C",
    member        uuid,
    partitions    integer     NOT NULL,
    messages_left bigint,
    trouble       text,
    seen_at       timestamptz NOT NULL,
    PRIMARY KEY (schema, member)
);
