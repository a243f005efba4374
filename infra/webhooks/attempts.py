"""What is sent, and what is put on record about it."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import orjson

from infra.webhooks.pages import Entry, Wanted

MOST_EVENTS: Final = 50
MOST_BYTES: Final = 512 * 1024
"""Of one batch, but for its first event, which may be as large as it is."""

KEPT_ATTEMPTS: Final = 100
PING: Final = "gradelog.webhooks.Ping"

_KEPT: Final = """
INSERT INTO gradelog.webhook_deliveries AS d (webhook_id, slot, number, at, message_id, kind,
    after, until, events, delivered, status, seconds, error)
SELECT webhook_id, attempts %% 100, attempts, now(), %(message_id)s, %(kind)s, %(after)s::bigint,
    %(until)s::bigint, %(events)s, %(delivered)s, %(status)s::integer, %(seconds)s, %(error)s
FROM counted
ON CONFLICT (webhook_id, slot) DO UPDATE SET number = excluded.number, at = excluded.at,
    message_id = excluded.message_id, kind = excluded.kind, after = excluded.after,
    until = excluded.until, events = excluded.events, delivered = excluded.delivered,
    status = excluded.status, seconds = excluded.seconds, error = excluded.error
RETURNING number, at, message_id, kind, after, until, events, delivered, status, seconds, error
"""

RECORD: Final = f"""
WITH counted AS (
    UPDATE gradelog.webhooks SET attempts = attempts + 1 WHERE webhook_id = %(webhook_id)s
    RETURNING webhook_id, attempts
)
{_KEPT}
"""  # noqa: S608 - put together from constants
"""An attempt that changes nothing but this record."""

OF_TURN: Final = f"""
WITH counted AS (
    UPDATE gradelog.webhooks SET
        attempts = attempts + 1,
        last_attempt_at = now(),
        last_seconds = %(seconds)s,
        position = CASE WHEN %(delivered)s THEN %(until)s ELSE position END,
        pending_until = CASE WHEN %(delivered)s THEN NULL ELSE pending_until END,
        failures = CASE WHEN %(delivered)s THEN 0 ELSE failures + 1 END,
        failing_since = CASE WHEN %(delivered)s THEN NULL ELSE coalesce(failing_since, now()) END,
        last_success_at = CASE WHEN %(delivered)s THEN now() ELSE last_success_at END,
        last_error = CASE WHEN %(delivered)s THEN last_error ELSE %(error)s END,
        retry_at = CASE WHEN %(delivered)s THEN retry_at ELSE now() + %(delay)s END,
        state = CASE
            WHEN state = 'active' AND NOT %(delivered)s AND (
                %(final)s OR (
                    failing_since <= now() - %(give_up)s::interval
                    AND failures + 1 >= %(least_failures)s
                )
            ) THEN 'disabled' ELSE state END,
        reason = CASE
            WHEN state <> 'active' OR %(delivered)s THEN reason
            WHEN %(final)s THEN 'the target wants no more events (410 Gone)'
            WHEN failing_since <= now() - %(give_up)s::interval
                AND failures + 1 >= %(least_failures)s
            THEN 'nothing was delivered since '
                || to_char(failing_since, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                || ', in ' || failures + 1 || ' attempts' END,
        holder = CASE WHEN %(release)s THEN NULL ELSE holder END,
        leased_until = CASE WHEN %(release)s THEN now() ELSE now() + %(lease)s END
    WHERE webhook_id = %(webhook_id)s AND holder = %(holder)s AND turn = %(turn)s
    RETURNING webhook_id, attempts, state, failures
), recorded AS ({_KEPT})
SELECT c.state, c.failures FROM counted c, recorded
"""  # noqa: S608
"""An attempt of whoever has the turn; nothing if he has lost it."""


def message_id(webhook_id: UUID, wanted: Wanted, after: int, until: int) -> str:
    """What a batch is sent under: the same each time the same events are sent."""
    parts = [webhook_id.hex, str(after), str(until), wanted.course_id or "", *sorted(wanted.types)]
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def body_of(entries: Sequence[Entry], *, source: str) -> bytes:
    """A batch of CloudEvents."""
    return b"[" + b",".join([entry.text(source) for entry in entries]) + b"]"


def ping(webhook_id: UUID, *, source: str) -> tuple[str, bytes]:
    """A message that says that somebody wanted to try, and its id."""
    event_id = uuid4()
    event = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": source,
        "type": PING,
        "time": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "subject": str(webhook_id),
        "datacontenttype": "application/json",
        "data": {"webhook_id": str(webhook_id)},
    }
    return f"msg_{event_id.hex}", orjson.dumps([event])
