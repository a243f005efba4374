"""What the gradebook holds of everybody, read from its tables."""

import json
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from projections.gradebook import Gradebook


class Learner(NamedTuple):
    """A row of the gradebook."""

    percent: float | None
    letter: str | None
    is_active: bool
    enrolled_at: datetime
    unenrolled_at: datetime | None
    records: dict[str, float]
    """Points by assessment."""


def gradebook(dsn: str) -> dict[tuple[str, str], Learner]:
    """Everybody's grades by course and name, of those who left too."""
    statement = sql.SQL("""
    SELECT l.course_id, l.username, l.percent, l.letter, l.is_active, l.enrolled_at,
        l.unenrolled_at, o.ordinals, g.records
    FROM {schema}.learners l JOIN {schema}.outlines o USING (course_id)
    LEFT JOIN {schema}.grades g USING (course_id, user_id)
    """).format(schema=sql.Identifier(Gradebook.schema()))
    found = {}
    with psycopg.connect(dsn) as db:
        for course, username, *shown, ordinals, records in db.execute(statement):
            names = [key.rpartition("@")[2] for key in json.loads(ordinals)]
            points = {
                names[n]: record[2]
                for n, record in enumerate(json.loads(records or "[]"))
                if record is not None
            }
            found[course, username] = Learner(*shown, points)
    return found
