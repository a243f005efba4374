-- Who may sign in here, who is signed in, and how often somebody has tried. Not events:
-- what is here is meant to be forgotten, and nothing is ever read from it about the past.

CREATE TABLE credentials (
    user_id       bigint      PRIMARY KEY,
    password_hash text        NOT NULL,
    changed_at    timestamptz NOT NULL
);

-- secret_digest: SHA-256 of what the browser holds. Whoever reads this table cannot be
-- anybody. A session ends by being deleted.
CREATE TABLE sessions (
    session_id    uuid        PRIMARY KEY,
    secret_digest bytea       NOT NULL UNIQUE,
    user_id       bigint      NOT NULL,
    username      text        NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiring ON sessions (expires_at);

-- key: digest of a user name or of an address, so that neither is kept.
CREATE TABLE sign_in_attempts (
    key        bytea       PRIMARY KEY,
    attempts   integer     NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX sign_in_attempts_expiring ON sign_in_attempts (expires_at);

-- What the processes of an installation sign with among themselves, made by the first one.
CREATE TABLE signing_keys (
    purpose    text        COLLATE "C" PRIMARY KEY,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
