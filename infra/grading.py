"""The calculation of grades in a process: a thread that does it, and how far it is."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from psycopg import AsyncConnection

from api.backend import GradingProgress, Recalculation
from domain.application import StreamConflictError
from domain.events import Event, Provenance
from infra.database import now
from infra.engine import Engine
from infra.log.postgres_log import PostgresLog
from infra.log.reader import connect
from infra.postgres import Row, Session, fetch_all
from infra.threads import in_thread
from projections.grading import CHUNK, Append, Grader

AT_A_TIME: Final = 1000
"""Appends that wait in the queue of the log together."""

RECALCULATION: Final = """
SELECT course_id, position, reason, total, done, changed, requested_at, started_at, updated_at,
    finished_at, error
FROM gradelog.recalculations WHERE course_id = %b
"""
PROGRESS: Final = """
SELECT p.position, greatest(h.head - p.position, 0), r.courses, r.learners
FROM gradelog.grading_progress p,
    (SELECT greatest(coalesce(max(position), 0), (SELECT head FROM gradelog.kafka_feed)) AS head
    FROM gradelog.events) AS h,
    (SELECT count(*) AS courses, coalesce(sum(greatest(total - done, 0)), 0)::bigint AS learners
    FROM gradelog.recalculations WHERE finished_at IS NULL) AS r
"""


class PostgresGradingStatus:
    """``api.backend.GradingStatus`` over the tables of the log."""

    def __init__(self, dsn: str, *, timeout: float = 10.0) -> None:
        self._session = Session(dsn, statement_timeout=timeout, application_name="gradelog grading")
        self._timeout = timeout

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def recalculation(self, course_id: str) -> Recalculation | None:
        """The last recalculation of a course; None if there never was one."""

        async def ask(db: AsyncConnection[Row]) -> list[Row]:
            return await fetch_all(db, RECALCULATION, (course_id,))

        rows = await self._session.run(ask, within=self._timeout)
        return Recalculation(*rows[0]) if rows else None

    async def progress(self) -> GradingProgress:
        """How far the calculation of all grades is."""

        async def ask(db: AsyncConnection[Row]) -> list[Row]:
            return await fetch_all(db, PROGRESS, ())

        (row,) = await self._session.run(ask, within=self._timeout)
        return GradingProgress(*row)


class Appending:
    """Appends for a grader, which is a thread: many sequences at once, each by itself."""

    def __init__(self, engine: Engine, log: PostgresLog) -> None:
        self._engine = engine
        self._log = log

    def __call__(self, appends: Sequence[Append]) -> Sequence[int | Exception]:
        """Append all; the last position of each, or that its stream has moved on.

        Raises:
            UnavailableError: one of them was not stored, and cannot be at the moment.
            OutcomeUnknownError: it is not known whether one of them was stored.
        """

        async def one(events: Sequence[Event], provenance: Provenance) -> int | Exception:
            try:
                appended = await self._log.append(events, provenance=provenance)
            except StreamConflictError as conflict:
                return conflict
            return appended.first_position + len(events) - 1

        async def all_of(part: Sequence[Append]) -> list[int | Exception]:
            return await asyncio.gather(*(one(*append) for append in part))

        found: list[int | Exception] = []
        for start in range(0, len(appends), AT_A_TIME):
            part = appends[start : start + AT_A_TIME]
            found += self._engine.run(partial(all_of, part))
        return found


@contextmanager
def grading(
    dsn: str, *, timeout: float = 10.0, queue: int = 10_000, chunk: int = CHUNK
) -> Iterator[Grader]:
    """Calculate and record grades in a thread, until the end.

    ``chunk`` learners of a course are graded anew between two notes of progress.
    """
    engine = Engine(limit=timeout * 2)
    log = PostgresLog(dsn, timeout=timeout, queue=queue)
    grader = Grader(
        lambda: connect(dsn, name="gradelog grader"), Appending(engine, log), now, chunk=chunk
    )
    try:
        with in_thread(grader.run, "gradelog grader"):
            yield grader
    finally:
        engine.run(log.close)
        engine.close()
