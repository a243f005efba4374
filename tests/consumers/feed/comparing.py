"""Compares read models that were fed from Kafka with those that were fed from the log."""

import threading
import time
from collections.abc import Sequence

from domain.grades.learner_grades import CoursePassedFirstTime, GradesCalculated
from infra.log.reader import connect
from projections.positions import SERVING
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from tests.projections.support import rows

Rows = dict[str, list[str]]
"""The rows of each table, as the server writes them."""

WORK = "marks"
"""Of the gradebook: what is to be graded is noted only where the log is."""


def rows_of(dsn: str, models: Sequence[type[ReadModel]] = READ_MODELS) -> Rows:
    """Every row of every table of these read models."""
    with connect(dsn, name="gradelog tests") as db, db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return {
            f"{model.name}.{table}": found
            for model in models
            for table, found in rows(db, model.schema()).items()
            if table != WORK
        }


def differences(expected: Rows, found: Rows) -> list[str]:
    """What is in one and not in the other, a line each."""
    told = []
    for table in sorted({*expected, *found}):
        ours, theirs = expected.get(table), found.get(table)
        if ours is None or theirs is None:
            told.append(f"{table}: only {'from the topics' if ours is None else 'from the log'}")
            continue
        told += [f"{table}, only from the log: {row}" for row in sorted(set(ours) - set(theirs))]
        told += [f"{table}, only from the topics: {row}" for row in sorted(set(theirs) - set(ours))]
        if len(ours) != len(theirs):
            told.append(f"{table}: {len(ours)} rows from the log, {len(theirs)} from the topics")
    return told


def assert_same_rows(
    log: str, copy: str, models: Sequence[type[ReadModel]] = READ_MODELS, *, empty: bool = False
) -> None:
    """Both databases have the same rows, and (unless ``empty``) some in each read model."""
    expected = rows_of(log, models)
    assert empty or all(
        any(found for table, found in expected.items() if table.startswith(f"{model.name}."))
        for model in models
    )
    told = differences(expected, rows_of(copy, models))
    assert not told, "\n".join(told[:20])


# What was calculated is not calculated again. Whole courses are graded anew in their own time.
_AT_REST = """
SELECT l.head, bool_and(m.position >= l.head) AND g.position >= l.to_grade
    AND NOT EXISTS (SELECT FROM gradelog.recalculations WHERE finished_at IS NULL)
FROM (SELECT coalesce(max(position), 0) AS head,
        coalesce(max(position) FILTER (WHERE type <> ALL (%s)), 0) AS to_grade
    FROM gradelog.events) AS l, gradelog.grading_progress g, gradelog.read_models m
GROUP BY l.head, l.to_grade, g.position
"""
_STANDING = """
SELECT schema, position, state, error FROM gradelog.read_models WHERE schema = ANY (%s) ORDER BY 1
"""


def wait_until_fed(
    log: str,
    copy: str,
    models: Sequence[type[ReadModel]] = READ_MODELS,
    *,
    within: float = 60.0,
) -> int:
    """Wait until all is graded beside the log and shown there and by a copy; return the position.

    Nobody may write meanwhile.
    """
    deadline, never = time.monotonic() + within, threading.Event()
    wanted = [model.schema() for model in models]
    results = [GradesCalculated.TOPIC, CoursePassedFirstTime.TOPIC]
    with connect(log, name="gradelog tests") as here, connect(copy, name="gradelog tests") as there:
        while True:
            ((head, at_rest),) = here.execute(_AT_REST, [results]).fetchall()
            standing = there.execute(_STANDING, [wanted]).fetchall()
            if (
                at_rest
                and len(standing) == len(wanted)
                and all(row[1] >= head and row[2] == SERVING for row in standing)
            ):
                return int(head)
            told = f"not at {head} in time: {standing}; at rest beside the log: {at_rest}"
            assert time.monotonic() < deadline, told
            never.wait(0.02)
