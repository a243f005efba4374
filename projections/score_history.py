"""Every score and every reset, one row each: what counted at any position of the log.

Answers are not kept here. A submission that was deleted since has its answer in the log
only, in the stream of its student item.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, LiteralString
from uuid import UUID

from psycopg import Connection

from domain.events import Event, Recorded
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import ScoreReset, ScoreSet
from projections.bulk import annotations_text, copy_rows, item_key
from projections.read_model import Query, ReadModel, Row, StreamQuery
from projections.submissions import Annotation, Score, parse_annotations, parse_score


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A score or a reset, with when, by whom and through what.

    A reset is 0 of 0 points and belongs to no submission. ``created_at`` is the moment of
    the decision, ``recorded_at`` when the log took it. The reason of each annotation opens
    with ``reason_context(score_id)``.
    """

    position: int
    recorded_at: datetime
    score_id: int
    student_item_id: int
    student_item: StudentItemKey
    submission_uuid: UUID | None
    submission_id: int | None
    points_earned: int
    points_possible: int
    reset: bool
    clear_state: bool
    created_at: datetime
    annotations: tuple[Annotation, ...]
    actor: str | None
    on_behalf_of: str | None
    via: str | None


@dataclass(frozen=True, slots=True)
class TopScore:
    """One of the best scored items at some position of the log.

    The answer stands in the stream ``student_item_stream`` of the key: in its
    SubmissionCreated of this ``submission_uuid``.
    """

    student_item_id: int
    student_item: StudentItemKey
    points_earned: int
    submission_uuid: UUID


class ScoreHistory(ReadModel):
    """Who changed which score when, and what counted then."""

    name: ClassVar[str] = "score_history"
    version: ClassVar[int] = 1
    folds: ClassVar[frozenset[type[Event]]] = frozenset({ScoreSet, ScoreReset})
    tables: ClassVar[LiteralString] = """
    CREATE TABLE score_changes (
        position        bigint      PRIMARY KEY,
        recorded_at     timestamptz NOT NULL,
        score_id        bigint      NOT NULL,
        student_item_id bigint      NOT NULL,
        item_key        uuid        NOT NULL,
        student_id      text        COLLATE "C" NOT NULL,
        course_id       text        COLLATE "C" NOT NULL,
        item_id         text        COLLATE "C" NOT NULL,
        item_type       text        COLLATE "C" NOT NULL,
        submission_uuid uuid,
        submission_id   bigint,
        points_earned   integer     NOT NULL,
        points_possible integer     NOT NULL,
        reset           boolean     NOT NULL,
        clear_state     boolean     NOT NULL,
        created_at      timestamptz NOT NULL,
        annotations     text,
        actor           text,
        on_behalf_of    text,
        via             text
    );
    CREATE INDEX score_changes_of_item
        ON score_changes (item_key, student_item_id, position DESC);
    CREATE INDEX score_changes_of_student
        ON score_changes (course_id, student_id, student_item_id, position DESC);
    """

    def fold(self, db: Connection[Row], events: Iterable[Recorded]) -> None:
        """Add a row for each score and reset."""
        rows: list[Row] = []
        for recorded in events:
            event = recorded.event
            score: Row
            match event:
                case ScoreSet():
                    score = (
                        event.submission_uuid,
                        event.submission_id,
                        event.points_earned,
                        event.points_possible,
                        False,
                        False,
                        event.timestamp,
                        annotations_text(event.annotation),
                    )
                case ScoreReset():
                    score = (None, None, 0, 0, True, event.clear_state, event.timestamp, None)
                case _:
                    continue
            provenance = recorded.provenance
            rows.append(
                (
                    recorded.position,
                    recorded.recorded_at,
                    event.score_id,
                    event.student_item_id,
                    item_key(event.course_id, event.item_id),
                    event.student_id,
                    event.course_id,
                    event.item_id,
                    event.item_type,
                    *score,
                    provenance.actor,
                    provenance.on_behalf_of,
                    provenance.via,
                )
            )
        copy_rows(db, _COPY, _TYPES, rows)


_TYPES: Final = (
    *("int8", "timestamptz", "int8", "int8", "uuid", "text", "text", "text", "text"),
    *("uuid", "int8", "int4", "int4", "bool", "bool", "timestamptz", "text"),
    *("text", "text", "text"),
)
_COPY: Final = """
COPY score_changes (
    position, recorded_at, score_id, student_item_id, item_key, student_id, course_id, item_id,
    item_type, submission_uuid, submission_id, points_earned, points_possible, reset,
    clear_state, created_at, annotations, actor, on_behalf_of, via)
FROM STDIN (FORMAT binary)
"""

# --- queries --------------------------------------------------------------------------------

_CHANGE: Final = """
position, recorded_at, score_id, student_item_id, student_id, course_id, item_id, item_type,
submission_uuid, submission_id, points_earned, points_possible, reset, clear_state, created_at,
annotations, actor, on_behalf_of, via
"""
_OF_STUDENT_ITEM: Final = f"""
SELECT {_CHANGE} FROM score_changes
WHERE course_id = %b AND student_id = %b AND item_id = %b ORDER BY position
"""
_OF_ITEM: Final = f"""
SELECT {_CHANGE} FROM score_changes
WHERE item_key = %b AND position > %b::bigint ORDER BY position LIMIT %b::bigint
"""
_TOP_AS_OF: Final = """
SELECT student_item_id, student_id, course_id, item_id, item_type, points_earned, submission_uuid
FROM (
    SELECT DISTINCT ON (student_item_id) * FROM score_changes
    WHERE item_key = %b AND item_type = %b AND position <= %b::bigint
    ORDER BY student_item_id, position DESC
) AS latest
WHERE points_earned > 0
ORDER BY points_earned DESC, student_item_id LIMIT %b::bigint
"""
_SCORES_AS_OF: Final = """
SELECT score_id, student_item_id, submission_uuid, submission_id, points_earned,
    points_possible, created_at, annotations, item_id
FROM (
    SELECT DISTINCT ON (student_item_id) * FROM score_changes
    WHERE course_id = %b AND student_id = %b AND position <= %b::bigint
    ORDER BY student_item_id, position DESC
) AS latest
WHERE points_possible > 0
ORDER BY student_item_id
"""


def score_changes_of_student_item(key: StudentItemKey) -> Query[list[ScoreChange]]:
    """All scores and resets of one student for one item, oldest first."""
    arguments = (key.course_id, key.student_id, key.item_id)
    return Query(ScoreHistory, _OF_STUDENT_ITEM, arguments, _changes)


def score_changes_of_item(
    course_id: str, item_id: str, *, after: int = 0, limit: int | None = None
) -> Query[list[ScoreChange]]:
    """The scores and resets of all students for an item above a log position, oldest first."""
    arguments = (item_key(course_id, item_id), after, limit)
    return Query(ScoreHistory, _OF_ITEM, arguments, _changes)


def all_score_changes_of_item(course_id: str, item_id: str) -> StreamQuery[ScoreChange]:
    """The same, of any number of students."""
    return StreamQuery(ScoreHistory, _OF_ITEM, (item_key(course_id, item_id), 0, None), _change)


def top_submissions_as_of(
    course_id: str, item_id: str, item_type: str, n: int, position: int
) -> Query[list[TopScore]]:
    """What ``submissions.top_submissions`` answered when the log ended at a position."""
    arguments = (item_key(course_id, item_id), item_type, position, n)
    return Query(ScoreHistory, _TOP_AS_OF, arguments, _top_scores)


def scores_of_student_as_of(
    course_id: str, student_id: str, position: int
) -> Query[dict[str, Score]]:
    """What ``submissions.scores_of_student`` answered when the log ended at a position."""
    return Query(ScoreHistory, _SCORES_AS_OF, (course_id, student_id, position), _scores_by_item)


def _change(row: Row) -> ScoreChange:
    values = [*row[:4], StudentItemKey._make(row[4:8]), *row[8:]]
    values[12] = parse_annotations(values[12])
    return ScoreChange(*values)


def _changes(rows: list[Row]) -> list[ScoreChange]:
    return [_change(row) for row in rows]


def _top_scores(rows: list[Row]) -> list[TopScore]:
    return [TopScore(row[0], StudentItemKey._make(row[1:5]), row[5], row[6]) for row in rows]


def _scores_by_item(rows: list[Row]) -> dict[str, Score]:
    return {row[8]: parse_score(row) for row in rows}
