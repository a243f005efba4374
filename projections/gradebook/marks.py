"""What the grading has to look at, noted beside the rows that made it necessary."""

from collections.abc import Mapping, Sequence
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
OVERRIDE: Final = "override"

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
# Those whose id it is now, and the one whose id it was or has become. A rebuild makes the index
# of scores by student only when it has all of them, so they are joined at once, not looked up
# one by one; where the index is, it shall be used before the server knows how many scores there
# are.
_USE_INDEX: Final = "SET LOCAL enable_seqscan = off"
_USE_ANYTHING: Final = "SET LOCAL enable_seqscan TO DEFAULT"
_OF_IDENTITIES: Final = """
WITH s AS MATERIALIZED (
    SELECT DISTINCT t.position, t.student_id, t.user_id, p.course_id
    FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS t (position, student_id, user_id)
    JOIN problem_scores p ON p.student_id = t.student_id
)
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT DISTINCT s.position, s.course_id, o.user_id, NULL, 'identity'
FROM s
CROSS JOIN LATERAL (
    SELECT s.user_id UNION SELECT i.user_id FROM identities i WHERE i.student_id = s.student_id
) AS o (user_id)
"""
_OF_GRADED: Final = """
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT t.position, t.course_id, t.user_id, NULL, 'learner'
FROM unnest(%b::bigint[], %b::text[], %b::bigint[]) AS t (position, course_id, user_id)
JOIN grades g ON g.course_id = t.course_id AND g.user_id = t.user_id
"""
# One for each learner: many a problem may have been answered before its course was published.
_OF_ITEMS: Final = """
WITH items AS MATERIALIZED (SELECT * FROM unnest(%b::text[]) AS t (item_id)),
students AS MATERIALIZED (
    SELECT DISTINCT s.student_id FROM problem_scores s JOIN items USING (item_id)
    WHERE s.course_id = %b
)
INSERT INTO marks (position, course_id, user_id, item_id, reason)
SELECT %b::bigint, %b, o.user_id, NULL, 'item'
FROM (
    SELECT i.user_id FROM students s
    CROSS JOIN LATERAL (
        SELECT user_id FROM identities i WHERE i.student_id = s.student_id ORDER BY kind LIMIT 1
    ) AS i
    UNION
    SELECT p.user_id FROM problem_states p JOIN items ON items.item_id = p.usage_key
    WHERE p.course_id = %b
) AS o
"""


class Marks:
    """Notes what has to be looked at."""

    def __init__(self, db: Connection[Row]) -> None:
        self._db = db

    def add(self, marks: Sequence[Mark]) -> None:
        """Note it as it is."""
        copy_rows(self._db, _COPY, _TYPES, marks)

    def add_students(self, marks: Sequence[tuple[int, str, str, str, str]]) -> None:
        """By position, course, student id, item, reason; unknown students are left out.

        What they did is looked at when somebody turns out to be known by their id.
        """
        users: dict[str, int] = dict(
            fetch(self._db, _USERS, list({student_id for _, _, student_id, *_ in marks}))
        )
        self.add(
            [
                (position, course_id, users[student_id], item_id, reason)
                for position, course_id, student_id, item_id, reason in marks
                if student_id in users
            ]
        )

    def add_identities(self, marks: Sequence[tuple[int, str, int]]) -> None:
        """By position, student id and user: whose an id is has changed."""
        if marks:
            self._db.execute(_USE_INDEX)
            execute(self._db, _OF_IDENTITIES, *columns(marks))
            self._db.execute(_USE_ANYTHING)

    def add_graded(
        self,
        marks: Sequence[tuple[int, str, int]],
        first_grades: Mapping[tuple[str, int], int],
    ) -> None:
        """By position, course and user: what the learner can see may have changed.

        Those without any grade at that position are left out. ``first_grades`` are the
        positions of the first grades in the batch, which stand in no row yet.
        """
        if not marks:
            return
        now: list[Mark] = []
        before = []
        for position, course_id, user_id in marks:
            if first_grades.get((course_id, user_id), position) < position:
                now.append((position, course_id, user_id, None, LEARNER))
            else:
                before.append((position, course_id, user_id))
        self.add(now)
        if before:
            execute(self._db, _OF_GRADED, *columns(before))

    def add_items(self, position: int, course_id: str, items: Sequence[str]) -> None:
        """Everybody with a score or a state of one of these items, which are new in the course."""
        if items:
            execute(self._db, _OF_ITEMS, list(items), course_id, position, course_id, course_id)


class NoMarks(Marks):
    """Notes nothing: of a copy, which nobody grades."""

    def add(self, marks: Sequence[Mark]) -> None:
        """Nothing."""

    def add_students(self, marks: Sequence[tuple[int, str, str, str, str]]) -> None:
        """Nothing."""

    def add_identities(self, marks: Sequence[tuple[int, str, int]]) -> None:
        """Nothing."""

    def add_graded(
        self,
        marks: Sequence[tuple[int, str, int]],
        first_grades: Mapping[tuple[str, int], int],
    ) -> None:
        """Nothing."""

    def add_items(self, position: int, course_id: str, items: Sequence[str]) -> None:
        """Nothing."""
