-- Read models that are fed from Kafka, in a database whose own log stays empty.

-- One row in such a database, none elsewhere. partitions: of the topic of courses, once it is
-- known; a course stays in its partition only as long as their number does. head: the highest
-- position of the log that is known here. database_id: tells its members from those of other
-- databases that are fed from the same topics, which share nothing with them.
CREATE TABLE kafka_feed (
    id           boolean     PRIMARY KEY DEFAULT true CHECK (id),
    database_id  uuid        NOT NULL DEFAULT gen_random_uuid(),
    topic_prefix text        NOT NULL,
    partitions   integer,
    head         bigint      NOT NULL DEFAULT 0,
    since        timestamptz NOT NULL DEFAULT now()
);

-- Of each read model and partition: whether all that there was has ever been applied, and why
-- it stands still if it does. How far it is stands in kafka_offsets, beside the rows.
CREATE TABLE kafka_feed_partitions (
    schema    text    COLLATE "C",
    topic     text    COLLATE "C",
    partition integer,
    caught_up boolean NOT NULL DEFAULT false,
    error     text,
    PRIMARY KEY (schema, topic, partition)
);

CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this database is fed from Kafka: nothing is written to its log'
        USING ERRCODE = 'read_only_sql_transaction';
END
$$;

-- Lets a database be fed from now on; false if its log holds events already. The trigger is
-- made only here, so that a log that is written pays nothing for it.
CREATE FUNCTION feed_from_kafka(prefix text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7454127093424619623);  -- nobody appends meanwhile
    IF EXISTS (SELECT FROM kafka_feed) THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM events) THEN
        RETURN false;
    END IF;
    INSERT INTO kafka_feed (topic_prefix) VALUES (prefix);
    CREATE TRIGGER events_are_elsewhere BEFORE INSERT ON events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_event();
    RETURN true;
END
$$;
