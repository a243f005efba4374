-- Whether a key was destroyed is told by its row, which stays without the key and without whose
-- it was. One without a row was lost: in a restore, or it is looked for in a wrong database.
ALTER TABLE learner_keys
    ALTER COLUMN subject DROP NOT NULL,
    ALTER COLUMN key DROP NOT NULL,
    ADD COLUMN destroyed_at timestamptz,
    ADD CONSTRAINT learner_keys_whole_or_destroyed CHECK (
        CASE WHEN destroyed_at IS NULL THEN subject IS NOT NULL AND key IS NOT NULL
        ELSE subject IS NULL AND key IS NULL AND wrapped_by IS NULL END
    );

-- Destroys a learner's key; false if there is none. If the learner writes again, another is made.
CREATE FUNCTION destroy_key(whose text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gradelog.learner_keys
    SET subject = NULL, key = NULL, wrapped_by = NULL, destroyed_at = clock_timestamp()
    WHERE subject = whose;
    RETURN FOUND;
END
$$;

-- Takes the keys for destroyed that the log needs and that are not there, and returns how many
-- they were. A sealed text is '1:' and base64, of which 24 characters hold the id of its key.
CREATE FUNCTION give_up_missing_keys() RETURNS bigint LANGUAGE sql AS $$
    WITH given_up AS (
        INSERT INTO gradelog.learner_keys (key_id, destroyed_at)
        SELECT DISTINCT encode(substring(decode(sealed[1], 'base64') FROM 1 FOR 16), 'hex')::uuid,
            clock_timestamp()
        FROM gradelog.events,
            regexp_matches(data, '"1:([A-Za-z0-9+/]{24})[A-Za-z0-9+/]*={0,2}"', 'g') AS sealed
        ON CONFLICT (key_id) DO NOTHING
        RETURNING key_id
    )
    SELECT count(*) FROM given_up
$$;
