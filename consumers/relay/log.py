"""The log as the relay reads it: stored texts, ready to be sent, a batch ahead."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import psycopg
from psycopg import Connection

from projections.bulk import collector_paused, fetch
from projections.read_model import Row

BATCH: Final = 4000
MAX_BYTES: Final = 8 * 1024 * 1024

# The server turns everything into the bytes that are sent: its work is done beside ours. An
# event whose predecessors fill the batch is left for the next one; the first is always taken.
_READ: Final = """
SELECT position, stream_id::text::bytea, version, convert_to(type, 'UTF8'),
    convert_to(data, 'UTF8'), metadata, event_id::text::bytea, recorded_at
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM (
        SELECT *, octet_length(data) AS bytes FROM gradelog.events
        WHERE position > %b::bigint ORDER BY position LIMIT %b::bigint
    ) AS e
) AS e
WHERE bytes_before < %b::bigint
ORDER BY position
"""


class LogGapError(Exception):
    """A position of the log is missing. It was damaged: nothing ever removes an event."""


class Outgoing(NamedTuple):
    """An event of the log, in the bytes of its message."""

    position: int
    stream_id: bytes
    version: int
    type: bytes
    data: bytes
    metadata: str
    event_id: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the log without a gap; ``full`` if there is probably more behind it."""

    events: Sequence[Row]
    full: bool


NOTHING: Final = Stretch((), full=False)


def read(db: Connection[Row], *, after: int, limit: int = BATCH) -> Stretch:
    """What follows a position, as rows with the fields of ``Outgoing``.

    Raises:
        LogGapError: one of them is missing.
    """
    with collector_paused():
        rows = fetch(db, _READ, after, limit, MAX_BYTES)
    if not rows:
        return NOTHING
    if rows[-1][0] != after + len(rows):
        found = {row[0] for row in rows}
        missing = next(n for n in range(after + 1, rows[-1][0]) if n not in found)
        raise LogGapError(f"position {missing} of the log is missing")
    return Stretch(rows, len(rows) == limit or sum(len(row[4]) for row in rows) >= MAX_BYTES)


class LogAhead:
    """Reads the next batch while the last one is being sent, if there is one."""

    def __init__(self, connect: Callable[[], Connection[Row]], *, batch: int = BATCH) -> None:
        self._connect = connect
        self._batch = batch
        self._thread: ThreadPoolExecutor | None = None
        self._db: Connection[Row] | None = None
        self._coming: tuple[int, Future[Stretch]] | None = None

    def read(self, db: Connection[Row], *, after: int) -> Stretch:
        """What follows a position; from ``db`` unless it was read ahead.

        Raises:
            LogGapError: one of the events is missing.
        """
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == after:
            found = coming[1].result()
        else:
            found = read(db, after=after, limit=self._batch)
        if found.full:
            self._begin(found.events[-1][0])
        return found

    def close(self) -> None:
        """Stop the thread and give back its connection."""
        self._coming = None
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True, cancel_futures=True)
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def _begin(self, after: int) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gradelog relay read-ahead")
        self._coming = (after, self._thread.submit(self._read, after))

    def _read(self, after: int) -> Stretch:
        if self._db is None:
            self._db = self._connect()
        return read(self._db, after=after, limit=self._batch)
