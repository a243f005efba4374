"""The result dicts of the submissions interface: their keys and the order of them.

Nothing here knows where a result goes. In process it holds datetimes and the answer as a
Python value; over HTTP the same dict is written as JSON. An answer or a reason whose
learner was erased is None.

Source: edx-submissions, the serializers of its results.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from domain.errors import KeyDestroyedError
from domain.submissions.application import answer_context, reason_context
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import ScoreSet, SubmissionCreated
from projections.submissions import Annotation, Score, Submission, TopSubmission

Result = dict[str, Any]


class Vault(Protocol):
    """Opens what was sealed, with keys that were loaded before."""

    def open(self, sealed: str, context: str) -> str:
        """The text that was sealed with this context.

        Raises:
            KeyDestroyedError: the learner was erased.
        """


# --- results ----------------------------------------------------------------------------------


def student_item(key: StudentItemKey) -> Result:
    """Whose work at what."""
    return {
        "student_id": key.student_id,
        "course_id": key.course_id,
        "item_id": key.item_id,
        "item_type": key.item_type,
    }


def submission(row: Submission, answer: Any) -> Result:
    """A submission with the id of its student item."""
    team = row.team_submission_uuid
    return {
        "uuid": str(row.submission_uuid),
        "student_item": row.student_item_id,
        "attempt_number": row.attempt_number,
        "submitted_at": row.submitted_at,
        "created_at": row.created_at,
        "answer": answer,
        "team_submission_uuid": None if team is None else str(team),
    }


def submission_with_student(row: Submission, answer: Any) -> Result:
    """A submission with its student item."""
    return submission(row, answer) | {"student_item": student_item(row.student_item)}


def submission_with_student_id(row: Submission, answer: Any) -> Result:
    """A submission with the id of its student."""
    return submission(row, answer) | {"student_id": row.student_item.student_id}


def unannotated_score(row: Score) -> Result:
    """A score without the reasons for it."""
    return {
        "student_item": row.student_item_id,
        "submission": row.submission_id,
        "points_earned": row.points_earned,
        "points_possible": row.points_possible,
        "created_at": row.created_at,
        "submission_uuid": None if row.submission_uuid is None else str(row.submission_uuid),
    }


def score(row: Score, reasons: Sequence[str | None]) -> Result:
    """A score; ``reasons`` are those of its annotations, in their order."""
    return unannotated_score(row) | {
        "annotations": [
            {
                "creator": annotation.creator,
                "reason": reason,
                "annotation_type": annotation.annotation_type,
            }
            for annotation, reason in zip(row.annotations, reasons, strict=True)
        ]
    }


def top_entry(row: TopSubmission, answer: Any) -> Result:
    """One of the best scored answers."""
    return {"score": row.points_earned, "content": answer}


# --- events as rows: what was written just now, or stood so in the past -----------------------


def submission_row(event: SubmissionCreated) -> Submission:
    """The submission that somebody handed in."""
    return Submission(
        event.submission_uuid,
        event.submission_id,
        event.student_item_id,
        StudentItemKey(event.student_id, event.course_id, event.item_id, event.item_type),
        event.attempt_number,
        event.submitted_at,
        event.timestamp,
        event.answer,
        event.team_submission_uuid,
    )


def score_row(event: ScoreSet) -> Score:
    """The score that somebody gave."""
    return Score(
        event.score_id,
        event.student_item_id,
        event.submission_uuid,
        event.submission_id,
        event.points_earned,
        event.points_possible,
        event.timestamp,
        () if event.annotation is None else (Annotation(**event.annotation),),
    )


# --- what is sealed ---------------------------------------------------------------------------


def sealed_reasons(rows: Iterable[Score]) -> Iterator[str]:
    """The reasons whose keys have to be loaded before they can be opened."""
    return (
        annotation.reason for row in rows for annotation in row.annotations if annotation.reason
    )


def opened_answer(vault: Vault, row: Submission | TopSubmission) -> str | None:
    """The JSON text of an answer whose key was loaded; None when there is none any more."""
    if row.submission_uuid is None or row.answer is None:
        return None
    return _opened(vault, row.answer, answer_context(row.submission_uuid))


def opened_reasons(vault: Vault, row: Score) -> list[str | None]:
    """The reasons of a score's annotations, whose keys were loaded."""
    context = reason_context(row.score_id)
    return [
        _opened(vault, annotation.reason, context) if annotation.reason else ""
        for annotation in row.annotations
    ]


def _opened(vault: Vault, sealed: str, context: str) -> str | None:
    try:
        return vault.open(sealed, context)
    except KeyDestroyedError:
        return None
