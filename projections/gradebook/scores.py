"""Folds the scores and states of problems."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from psycopg import Connection

from domain.events import Event, Recorded
from domain.grades.problem_state import ProblemStateSaved
from domain.submissions.student_item import ScoreReset, ScoreSet
from projections.bulk import copy_rows, execute
from projections.gradebook import marks
from projections.read_model import Row

EVENTS: Final[tuple[type[Event], ...]] = (ScoreSet, ScoreReset, ProblemStateSaved)

# Cheaper than to look which are there: the old row is found by its key, the new ones come in
# one stream.
_DELETE: Final = "DELETE FROM problem_scores WHERE stream_id = ANY (%b::uuid[])"
_COPY: Final = """
COPY problem_scores (stream_id, student_id, course_id, item_id, earned, possible, attempted_at)
FROM STDIN (FORMAT binary)
"""
_TYPES: Final = ("uuid", "text", "text", "text", "float8", "float8", "timestamptz")
_COPY_STATES: Final = """
COPY problem_states (state_id, user_id, course_id, usage_key, state, grade, max_grade, saved_at)
FROM STDIN (FORMAT binary)
"""
_STATE_TYPES: Final = ("int8", "int8", "text", "text", "text", "float8", "float8", "timestamptz")

StudentMark = tuple[int, str, str, str, str]


def fold(db: Connection[Row], events: Sequence[Recorded], noted: marks.Marks) -> list[StudentMark]:
    """Keep the score of each item that counts; return what must be graded because of it."""
    counting: dict[UUID, Row | None] = {}
    states: list[Row] = []
    touched: list[StudentMark] = []
    state_marks: list[marks.Mark] = []
    for recorded in events:
        event = recorded.event
        kind = type(event)
        if kind is ScoreSet:
            if not event.points_possible:  # type: ignore[attr-defined]
                continue
            stream_id = event.originator_id
            counting[stream_id] = (
                stream_id,
                event.student_id,  # type: ignore[attr-defined]
                event.course_id,  # type: ignore[attr-defined]
                event.item_id,  # type: ignore[attr-defined]
                float(event.points_earned),  # type: ignore[attr-defined]
                float(event.points_possible),  # type: ignore[attr-defined]
                event.timestamp,
            )
            touched.append(
                (
                    recorded.position,
                    event.course_id,  # type: ignore[attr-defined]
                    event.student_id,  # type: ignore[attr-defined]
                    event.item_id,  # type: ignore[attr-defined]
                    marks.SCORE,
                )
            )
        elif isinstance(event, ScoreReset):
            counting[event.originator_id] = None
            touched.append(
                (recorded.position, event.course_id, event.student_id, event.item_id, marks.RESET)
            )
        elif isinstance(event, ProblemStateSaved):
            states.append(
                (
                    event.state_id,
                    event.user_id,
                    event.course_id,
                    event.usage_key,
                    event.state,
                    event.grade,
                    event.max_grade,
                    event.timestamp,
                )
            )
            state_marks.append(
                (recorded.position, event.course_id, event.user_id, event.usage_key, marks.SCORE)
            )
    if counting:
        execute(db, _DELETE, list(counting))
        copy_rows(db, _COPY, _TYPES, [row for row in counting.values() if row is not None])
    copy_rows(db, _COPY_STATES, _STATE_TYPES, states)
    noted.add(state_marks)
    return touched
