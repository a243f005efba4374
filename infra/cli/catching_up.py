"""Waiting until everything that is in the log, and what follows from it, can be read."""

import time
from collections.abc import Sequence
from typing import Final

import psycopg

from infra.cli.output import CommandError, progress
from infra.log.reader import PostgresLogReader, connect
from projections.registry import READ_MODELS

PAUSE: Final = 0.1
PATIENCE: Final = 120.0
"""Seconds without any progress after which something must be wrong."""

STANDINGS: Final = """
SELECT schema, position, state, error FROM gradelog.read_models WHERE schema = ANY (%s)
"""
GRADED: Final = """
SELECT p.position, coalesce(r.unfinished, 0), coalesce(r.done, 0)
FROM gradelog.grading_progress p LEFT JOIN (
    SELECT count(*) FILTER (WHERE finished_at IS NULL) AS unfinished, sum(done) AS done
    FROM gradelog.recalculations WHERE course_id = ANY (%s)) AS r ON true
"""


def wait_for_read_models(dsn: str) -> None:
    """Return when every read model has applied the log as it is now, and serves.

    Raises:
        CommandError: one of them has failed, or nothing moves.
    """
    wanted = [model.schema() for model in READ_MODELS]
    with connect(dsn, name="gradelog waiting") as db:
        head = PostgresLogReader().head(db)
        begin = _slowest(db, wanted)[0]
        with progress("bringing read models up to date", head - begin, "events") as advance:
            position, moved = begin, time.monotonic()
            while True:
                now_at, ready = _slowest(db, wanted)
                if now_at > position:
                    advance(now_at - position)
                    position, moved = now_at, time.monotonic()
                if ready and position >= head:
                    return
                if time.monotonic() - moved > PATIENCE:
                    raise CommandError(
                        f"the read models have been standing at position {position:,} of"
                        f" {head:,} for {PATIENCE:.0f} seconds; gradelog projections status"
                        " tells more"
                    )
                time.sleep(PAUSE)


def wait_for_grades(dsn: str, course_ids: Sequence[str] = ()) -> None:
    """Return when the grades of all that is in the log now are recorded and can be read.

    Args:
        dsn: of the database.
        course_ids: courses that are to be graded as a whole, if they have to be, by then.

    Raises:
        CommandError: a read model has failed, or nothing moves.
    """
    courses = list(course_ids)
    with connect(dsn, name="gradelog waiting") as db:
        head = PostgresLogReader().head(db)
        reached, unfinished, done = _graded(db, courses)
        moved = time.monotonic()
        with progress("grading", head - reached, "events") as advance:
            while reached < head or unfinished:
                if time.monotonic() - moved > PATIENCE:
                    raise CommandError(
                        f"the grading has been standing at position {reached:,} of {head:,} for"
                        f" {PATIENCE:.0f} seconds; the log of the projector tells more"
                    )
                time.sleep(PAUSE)
                before = reached, done
                reached, unfinished, done = _graded(db, courses)
                if (reached, done) != before:
                    advance(reached - before[0])
                    moved = time.monotonic()
    wait_for_read_models(dsn)


def _graded(db: psycopg.Connection[tuple[object, ...]], course_ids: list[str]) -> tuple[int, ...]:
    """How far the grading is, how many of the courses it is grading anew, learners done in them."""
    (row,) = db.execute(GRADED, (course_ids,)).fetchall()
    return tuple(int(str(figure)) for figure in row)


def _slowest(db: psycopg.Connection[tuple[object, ...]], wanted: list[str]) -> tuple[int, bool]:
    """The lowest position of all, and whether all of them serve."""
    positions, serving = [], 0
    for schema, position, state, error in db.execute(STANDINGS, (wanted,)).fetchall():
        if error is not None:
            raise CommandError(f"the read model {schema} stands still: {error}")
        positions.append(int(str(position)))
        serving += state == "serving"
    if len(positions) < len(wanted):
        return 0, False
    return min(positions), serving == len(wanted)
