"""What the grading has to look at, noted beside the rows that made it necessary."""

from collections.abc import Sequence
from typing import Final

from psycopg import Connection

from projections.bulk import columns, copy_rows, execute, fetch
from projections.read_model import Row

SCORE: Final = "score"
RESET: Final = "reset"
IDENTITY: Final = "identity"
LEARNER: Final = "learner"
POLICY: Final = "policy"
OUTLINE: Final = "outline"
ITEM: Final = "item"

Mark = tuple[int, str, int | None, str | None, str]
"""Position, course, user or None for all, item or None for all, reason."""

_COPY: Final = """
COPY marks (position, course_id, user_id, item_id, reason) FROM STDIN (FORMAT binary)
"""
_TYPES: Final = ("int8", "text", "int8", "text", "text")

_USERS: Final = """
SELECT DISTINCT ON (student_id) student_id, user_id FROM identities
WHERE student_id = ANY (%b::text[]) ORDER BY student_id, kind
"""
# Those whose id it is now, and the one whose id it was or has become.
_OF_IDENTITIES: Final = """
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT DISTINCT t.position, s.course_id, o.user_id, NULL, 'identity'
FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS t (position, student_id, user_id)
CROSS JOIN LATERAL (
    SELECT DISTINCT course_id FROM problem_scores p WHERE p.student_id = t.student_id
) AS s
CROSS JOIN LATERAL (
    SELECT t.user_id UNION SELECT i.user_id FROM identities i WHERE i.student_id = t.student_id
) AS o (user_id)
"""
_OF_GRADED: Final = """
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT t.position, t.course_id, t.user_id, NULL, 'learner'
FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS t (position, course_id, user_id)
JOIN grades g ON g.course_id = t.course_id AND g.user_id = t.user_id
"""
_OF_ITEMS: Final = """
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT %b::bigint, s.course_id, i.user_id, s.item_id, 'item'
FROM problem_scores s
CROSS JOIN LATERAL (
    SELECT user_id FROM identities i WHERE i.student_id = s.student_id ORDER BY kind LIMIT 1
) AS i
WHERE s.course_id = %b AND s.item_id = ANY (%b::text[])
"""


def add(db: Connection[Row], marks: Sequence[Mark]) -> None:
    """Note what has to be looked at."""
    copy_rows(db, _COPY, _TYPES, marks)


def add_students(db: Connection[Row], marks: Sequence[tuple[int, str, str, str, str]]) -> None:
    """The same by position, course, student id, item, reason; unknown students are left out.

    What they did is looked at when somebody turns out to be known by their id.
    """
    users: dict[str, int] = dict(
        fetch(db, _USERS, list({student_id for _, _, student_id, *_ in marks}))
    )
    add(
        db,
        [
            (position, course_id, users[student_id], item_id, reason)
            for position, course_id, student_id, item_id, reason in marks
            if student_id in users
        ],
    )


def add_identities(db: Connection[Row], marks: Sequence[tuple[int, str, int]]) -> None:
    """By position, student id and user: whose an id is has changed."""
    if marks:
        execute(db, _OF_IDENTITIES, *columns(marks))


def add_graded(db: Connection[Row], marks: Sequence[tuple[int, str, int]]) -> None:
    """By position, course and user: what the learner can see may have changed."""
    if marks:
        execute(db, _OF_GRADED, *columns(marks))


def add_items(db: Connection[Row], position: int, course_id: str, items: Sequence[str]) -> None:
    """Everybody who has a score for one of these items, which are new in the course."""
    if items:
        execute(db, _OF_ITEMS, position, course_id, list(items))
