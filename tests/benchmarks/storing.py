"""Stores the events of courses full of learners, and waits until they are shown and graded."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import uvloop

from domain.courses.application import Courses
from domain.events import Event
from infra.database import now
from infra.grading import grading
from infra.log.appender import EncodedEvent, new_event_id
from infra.log.codec import encode_event
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.vault import Vault
from projections.gradebook import Gradebook
from projections.runner import Runner
from tests.benchmarks.classes import Class, cohorts, enrollments, grades, policy, users

EVENTS_AT_ONCE = 2000
BYTES_AT_ONCE = 4 * 1024 * 1024
PATIENCE = 1800.0
"""Seconds until what is waited for is given up."""


async def _append(log: PostgresLog, events: Iterable[Event]) -> None:
    window: list[EncodedEvent] = []
    size = 0
    for event in events:
        data = encode_event(event)
        window.append(
            EncodedEvent(
                event.originator_id, event.originator_version, event.TOPIC, data, new_event_id()
            )
        )
        size += len(data)
        if len(window) == EVENTS_AT_ONCE or size > BYTES_AT_ONCE:
            await log.append_encoded(window)
            window, size = [], 0
    if window:
        await log.append_encoded(window)


def store(dsn: str, *several: Iterable[Event]) -> None:
    """Append events in their order, many at a time."""

    async def run() -> None:
        log = PostgresLog(dsn, timeout=120)
        for events in several:
            await _append(log, events)
        await log.close()

    uvloop.run(run())


def store_users(dsn: str, count: int) -> None:
    """Register the users from 1 on."""

    async def run() -> None:
        log, vault = PostgresLog(dsn, timeout=120), Vault(dsn, timeout=120)
        await _append(log, await users(count, vault))
        await log.close()
        await vault.close()

    uvloop.run(run())


def publish(dsn: str, of: Class, weights: Mapping[str, Any]) -> None:
    """Publish a course, or change its policy."""

    async def run() -> None:
        log = PostgresLog(dsn)
        await Courses(log, now).publish(
            of.course_id, display_name="Bench", blocks=of.blocks(), grading_policy=weights
        )
        await log.close()

    uvloop.run(run())


# --- following --------------------------------------------------------------------------------

BY_GRADING = ["grades.GradesCalculated", "grades.CoursePassedFirstTime"]
GRADED = """
SELECT g.position >= %s AND m.position >= greatest(g.recorded_at_position, %s)
    AND NOT EXISTS (SELECT FROM gradelog.recalculations WHERE finished_at IS NULL)
FROM gradelog.grading_progress g, gradelog.read_models m WHERE m.name = 'gradebook'
"""


def head(dsn: str) -> int:
    with psycopg.connect(dsn) as db:
        row = db.execute("SELECT coalesce(max(position), 0) FROM gradelog.events").fetchone()
    return int(row[0])


def wait_until_graded(dsn: str, position: int | None = None) -> None:
    """Return when all up to a position is graded and shown; all that there is by default."""
    position = head(dsn) if position is None else position
    wait_until(dsn, GRADED, position, position)


def wait_until(dsn: str, statement: str, *arguments: Any) -> None:
    """Return when a statement answers with true.

    Raises:
        RuntimeError: it does not for longer than any measure takes.
    """
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(dsn, autocommit=True) as db:
        while not all(db.execute(statement, arguments, prepare=True).fetchone() or (False,)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not true in {PATIENCE:.0f} s: {statement}")
            time.sleep(0.01)


@contextmanager
def following(dsn: str, *, grader: bool = True) -> Iterator[Runner]:
    """Keep the gradebook alone up to date, and grades recorded, in threads of this process."""
    reader = PostgresLogReader(Vault(dsn))
    runner = Runner(lambda: connect(dsn), reader, [Gradebook])
    stop = threading.Event()
    thread = threading.Thread(target=runner.run, args=(stop,))
    thread.start()
    try:
        if grader:
            with grading(dsn):
                yield runner
        else:
            yield runner
    finally:
        stop.set()
        thread.join()


def fill(dsn: str, classes: Sequence[Class]) -> None:
    """Courses, users, enrolments and grades; the first course is the largest and has cohorts."""
    with following(dsn):
        for one in classes:
            publish(dsn, one, policy())
        # A course that is looked at after its learners have come grades them all again.
        wait_until_graded(dsn)
        store_users(dsn, classes[0].size)
        store(
            dsn,
            cohorts(classes[0]),
            *(enrollments(one) for one in classes),
            *(grades(one, policy()) for one in classes),
        )
        wait_until_graded(dsn)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("VACUUM ANALYZE")
