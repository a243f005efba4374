"""One good example of each event, any field overridable, and how it stands in the log."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import psycopg

from domain.events import NOBODY, Event, Provenance, Recorded
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import (
    ScoreReset,
    ScoreSet,
    StudentItem,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from domain.submissions.team_submission import (
    TeamScoreSet,
    TeamScoresReset,
    TeamSubmission,
    TeamSubmissionCreated,
    TeamSubmissionDeleted,
)
from infra.log.codec import encode_event, encode_provenance

E = TypeVar("E", bound=Event)

COURSE = "course-v1:Demo+S1+2026"
ITEM = "block-v1:Demo+S1+2026+type@openassessment+block@essay"
TYPE = "openassessment"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """Some minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def uuid(n: int) -> UUID:
    """The uuid of the n-th submission."""
    return uuid5(NAMESPACE_OID, f"submission {n}")


def team_uuid(n: int) -> UUID:
    """The uuid of the n-th team submission."""
    return uuid5(NAMESPACE_OID, f"team submission {n}")


def student(item: int) -> str:
    """Whose the n-th student item is."""
    return {1: "anna", 2: "ben", 3: "cleo"}.get(item, f"student-{item}")


def key(student_id: str = "anna", **fields: str) -> StudentItemKey:
    """A student's key for the item of all examples."""
    return StudentItemKey(
        **{
            "student_id": student_id,
            "course_id": COURSE,
            "item_id": ITEM,
            "item_type": TYPE,
            **fields,
        }
    )


def student_item_registered(item: int = 1, **fields: Any) -> StudentItemRegistered:
    return _of_student_item(
        StudentItemRegistered, item, originator_topic=StudentItem.TOPIC, **fields
    )


def submission_created(n: int = 1, *, item: int = 1, **fields: Any) -> SubmissionCreated:
    return _of_student_item(
        SubmissionCreated,
        item,
        **{
            "submission_uuid": uuid(n),
            "submission_id": n,
            "attempt_number": 1,
            "submitted_at": at(n),
            "answer": f"1:sealed answer {n}",
            "answer_size": 20,
            "team_submission_uuid": None,
            **fields,
        },
    )


def score_set(score_id: int = 1, *, n: int = 1, item: int = 1, **fields: Any) -> ScoreSet:
    return _of_student_item(
        ScoreSet,
        item,
        **{
            "score_id": score_id,
            "submission_uuid": uuid(n),
            "submission_id": n,
            "points_earned": 5,
            "points_possible": 10,
            "annotation": None,
            "team_submission_uuid": None,
            **fields,
        },
    )


def score_reset(score_id: int = 1, *, item: int = 1, **fields: Any) -> ScoreReset:
    return _of_student_item(
        ScoreReset,
        item,
        **{"score_id": score_id, "clear_state": False, "emit_signal": True, **fields},
    )


def submission_deleted(n: int = 1, *, item: int = 1, **fields: Any) -> SubmissionDeleted:
    return _of_student_item(
        SubmissionDeleted,
        item,
        **{
            "submission_uuid": uuid(n),
            "submission_id": n,
            "cause": "clear_state",
            **fields,
        },
    )


def team_submission_created(n: int = 1, **fields: Any) -> TeamSubmissionCreated:
    return _of_team(
        TeamSubmissionCreated,
        n,
        **{
            "originator_topic": TeamSubmission.TOPIC,
            "team_submission_id": n,
            "item_type": TYPE,
            "team_id": "team-1",
            "submitted_by": None,
            "attempt_number": 1,
            "submitted_at": at(n),
            "answer": f"1:sealed team answer {n}",
            "answer_size": 20,
            "member_submissions": [],
            "skipped_members": [],
            **fields,
        },
    )


def team_score_set(n: int = 1, **fields: Any) -> TeamScoreSet:
    return _of_team(
        TeamScoreSet, n, **{"points_earned": 5, "points_possible": 10, "score_ids": [], **fields}
    )


def team_scores_reset(n: int = 1, **fields: Any) -> TeamScoresReset:
    return _of_team(TeamScoresReset, n, **{"clear_state": False, "score_ids": [], **fields})


def team_submission_deleted(n: int = 1, **fields: Any) -> TeamSubmissionDeleted:
    return _of_team(TeamSubmissionDeleted, n, **fields)


def annotation(**fields: str) -> dict[str, str]:
    return {"creator": "staff", "annotation_type": "staff_defined", "reason": "1:sealed", **fields}


def _of_student_item(kind: type[E], item: int, **fields: Any) -> E:
    given = {name: fields.pop(name) for name in StudentItemKey._fields if name in fields}
    whose = key(**{"student_id": student(item), **given})
    return kind(
        **{
            "originator_id": student_item_stream(whose.student_id, whose.course_id, whose.item_id),
            "originator_version": 1,
            "timestamp": NOON,
            "student_item_id": item,
            **whose.as_dict(),
            **fields,
        }
    )


def _of_team(kind: type[E], n: int, **fields: Any) -> E:
    return kind(
        **{
            "originator_id": team_uuid(n),
            "originator_version": 1,
            "timestamp": NOON,
            "team_submission_uuid": team_uuid(n),
            "course_id": COURSE,
            "item_id": ITEM,
            **fields,
        }
    )


# --- in the log -----------------------------------------------------------------------------


def recorded(
    events: Iterable[Event], *, after: int = 0, provenance: Provenance = NOBODY
) -> list[Recorded]:
    """Events as they stand in the log above a position."""
    return [
        Recorded(
            position, event, event.TOPIC, uuid5(NAMESPACE_OID, str(position)), NOON, provenance
        )
        for position, event in enumerate(events, after + 1)
    ]


APPEND = """
INSERT INTO gradelog.events
    (position, stream_id, version, type, data, metadata, event_id, recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def store(
    db: psycopg.Connection, events: Iterable[Event], *, provenance: Provenance = NOBODY
) -> int:
    """Put events into the log of a test database; return its head.

    For tests of those who read the log. What is stored need not make sense as a history, so
    each event gets the version that is free in its stream.
    """
    with db.transaction():
        db.execute("LOCK TABLE gradelog.events IN SHARE ROW EXCLUSIVE MODE")
        (head,) = db.execute("SELECT coalesce(max(position), 0) FROM gradelog.events").fetchone()
        new = recorded(events, after=head, provenance=provenance)
        with db.cursor() as cursor:
            cursor.executemany(
                APPEND,
                [
                    (
                        one.position,
                        one.event.originator_id,
                        one.position,  # rises within the stream too
                        one.type,
                        encode_event(one.event).decode(),
                        encode_provenance(one.provenance),
                        one.event_id,
                        one.recorded_at,
                    )
                    for one in new
                ],
            )
    return head + len(new)
