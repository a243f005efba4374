"""Reads the log in its order for those who follow it: batches without a gap."""

from collections.abc import Set as AbstractSet
from typing import Final

import psycopg
from psycopg import Connection

from domain.events import Event, event_type
from infra.log.codec import decode_rows
from infra.log.personal import with_personal
from infra.postgres import Row, options, parameters
from infra.vault import Vault
from projections.log import Batch

MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
STATEMENT_TIMEOUT: Final = 300.0
"""Seconds; the longest are the last steps of a rebuild, which make indexes."""

# An event whose predecessors in the batch fill it is left for the next one; the first is
# always taken. Only sizes are added up for that, and texts that nobody wants are not fetched.
READ: Final = """
SELECT position, stream_id, version, type, CASE WHEN wanted THEN data END, metadata, event_id,
    recorded_at
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM (
        SELECT *, wanted::int * octet_length(data) AS bytes
        FROM (
            SELECT *, type = ANY (%b::text[]) AS wanted FROM gradelog.events
            WHERE position > %b::bigint ORDER BY position LIMIT %b::bigint
        ) AS e
    ) AS e
) AS e
WHERE bytes_before < %b::bigint
ORDER BY position
"""

HEAD: Final = "SELECT coalesce(max(position), 0) FROM gradelog.events"


class LogGapError(Exception):
    """A position of the log is missing. It was damaged: nothing ever removes an event."""


class PostgresLogReader:
    """The reader that ``projections.runner`` follows."""

    def __init__(self, vault: Vault | None = None) -> None:
        """Make a reader.

        Args:
            vault: opens what identifies people, so that they can be found by it. Without it,
                and of people who were erased, it reads as None.
        """
        self._vault = vault

    def read(
        self, db: Connection[Row], *, after: int, limit: int, types: AbstractSet[type[Event]]
    ) -> Batch:
        """What follows a position: at most so many events, and not too large together.

        Raises:
            LogGapError: one of them is missing.
            UnknownEventTypeError: a newer version of the code wrote one of them.
        """
        topics = [type_.TOPIC for type_ in types]
        with db.cursor(binary=True) as cursor:
            arguments = (topics, after, limit, MAX_BATCH_BYTES)
            rows = cursor.execute(READ, arguments, prepare=True).fetchall()
        if not rows:
            return Batch(after, after, ())
        end = rows[-1][0]
        if end != after + len(rows):
            found = {row[0] for row in rows}
            missing = next(n for n in range(after + 1, end) if n not in found)
            raise LogGapError(f"position {missing} of the log is missing")
        # What nobody folds is passed over, but only if this code knows what it is.
        for topic in {row[3] for row in rows}.difference(topics):
            event_type(topic)
        recorded = decode_rows([row for row in rows if row[4] is not None])
        return Batch(after, end, with_personal(db, recorded, self._vault))

    def head(self, db: Connection[Row]) -> int:
        """The last position of the log; 0 when it is empty."""
        with db.cursor(binary=True) as cursor:
            row = cursor.execute(HEAD, prepare=True).fetchone()
        assert row is not None
        return int(row[0])


def connect(dsn: str, *, name: str = "gradelog projector") -> Connection[Row]:
    """A connection for a runner or a rebuild.

    Commits do not wait for the disk: the rows of a read model and its position are in one
    transaction, so after a crash of the server both are as old as each other.
    """
    return psycopg.connect(
        dsn,
        autocommit=True,
        **parameters(
            options=options(statement_timeout=STATEMENT_TIMEOUT) + " -c synchronous_commit=off",
            application_name=name,
        ),
    )
