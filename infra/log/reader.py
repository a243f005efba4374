"""Reads the log in its order for those who follow it: batches without a gap."""

from typing import Final

import psycopg
from psycopg import Connection

from domain.events import Recorded
from infra.log.codec import RECORDED_COLUMNS, decode_rows
from infra.postgres import Row, options, parameters

MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
STATEMENT_TIMEOUT: Final = 300.0
"""Seconds; the longest are the last steps of a rebuild, which make indexes."""

# An event whose predecessors in the batch fill it is left for the next one; the first is
# always taken. Only sizes are added up here, long texts are not fetched for it.
READ: Final = f"""
SELECT {RECORDED_COLUMNS} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
        - octet_length(data) AS bytes_before
    FROM (
        SELECT * FROM gradelog.events WHERE position > %b::bigint
        ORDER BY position LIMIT %b::bigint
    ) AS e
) AS e WHERE bytes_before < %b::bigint
ORDER BY position
"""  # noqa: S608 - a constant

HEAD: Final = "SELECT coalesce(max(position), 0) FROM gradelog.events"


class LogGapError(Exception):
    """A position of the log is missing. It was damaged: nothing ever removes an event."""


class PostgresLogReader:
    """The reader that ``projections.runner`` follows."""

    def read(self, db: Connection[Row], *, after: int, limit: int) -> list[Recorded]:
        """The events that follow a position: at most so many, and not too large together.

        Raises:
            LogGapError: one of them is missing.
            UnknownEventTypeError: a newer version of the code wrote one of them.
        """
        with db.cursor(binary=True) as cursor:
            rows = cursor.execute(READ, (after, limit, MAX_BATCH_BYTES), prepare=True).fetchall()
        if rows and rows[-1][0] != after + len(rows):
            found = {row[0] for row in rows}
            missing = next(n for n in range(after + 1, rows[-1][0]) if n not in found)
            raise LogGapError(f"position {missing} of the log is missing")
        return decode_rows(rows)

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
