-- How far the log is published to Kafka, and who publishes it. One row: every event up to
-- and including `position` is stored by Kafka. `holder` works until `expires_at`, by the
-- clock of this server; each holder has a higher `epoch`, and only the last may save.
CREATE TABLE relay (
    id         boolean     PRIMARY KEY DEFAULT true CHECK (id),
    position   bigint      NOT NULL DEFAULT 0,
    holder     text,
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    updated_at timestamptz NOT NULL DEFAULT now(),
    error      text
);
INSERT INTO relay DEFAULT VALUES;

-- The topics that it was published to. One made anew under the same name has another id and
-- is empty: then everything is published again.
CREATE TABLE relay_topics (
    topic      text    COLLATE "C" PRIMARY KEY,
    topic_id   uuid,
    partitions integer NOT NULL
);

-- position: of the last event in this partition, of those up to the relay's position.
CREATE TABLE relay_partitions (
    topic     text    COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    position  bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
);
