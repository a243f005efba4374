-- How far the event bus of Open edX is written, and who writes. One row, as in `relay`, but
-- `position` is NULL until somebody first writes, who begins with what happens from then on.
CREATE TABLE openedx_relay (
    id         boolean     PRIMARY KEY DEFAULT true CHECK (id),
    position   bigint,
    holder     text,
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    updated_at timestamptz NOT NULL DEFAULT now(),
    error      text
);
INSERT INTO openedx_relay DEFAULT VALUES;
