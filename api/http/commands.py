"""The commands of the submissions interface as they come over HTTP, alone or in bulk.

Only the form of a body is checked here: which members it has and which it must have. What
the values may be is told by the domain, with the texts that clients match.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from uuid import UUID

from api import rendering
from api.http.auth import WRITE_SUBMISSIONS, Caller
from api.http.idempotency import Sealed, Written
from api.http.problems import Locations
from api.http.responses import fragment
from domain.errors import ForbiddenError
from domain.submissions import fields
from domain.submissions.application import CreatedSubmission, answer_context, reason_context
from domain.submissions.errors import (
    FieldMessage,
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
)
from domain.submissions.fields import FieldError, Form
from domain.submissions.student_item import ScoreReset, ScoreSet

PREFIX: Final = "/api/submissions/v1"

Body = Mapping[str, Any]
REQUIRED: Final = fields.REQUIRED

_NOT_A_BOOLEAN: Final = FieldMessage("Must be a valid boolean.", "invalid")
_ITEM_FIELDS: Final = ("student_id", "course_id", "item_id")

IN_STUDENT_ITEM: Final = Locations(
    others=dict.fromkeys((*_ITEM_FIELDS, "item_type", "non_field_errors"), ("body", "student_item"))
)
"""Where the fields of a submission stand."""


# --- form -------------------------------------------------------------------------------------


def submission_arguments(body: Body) -> tuple[Any, ...]:
    """The arguments of ``create_submission``.

    Raises:
        SubmissionRequestError: the student item or the answer is missing.
    """
    if missing := _missing(body, ("student_item", "answer")):
        raise SubmissionRequestError(field_errors=missing)
    return (
        body["student_item"],
        body["answer"],
        body.get("submitted_at"),
        body.get("attempt_number"),
        body.get("team_submission_uuid"),
    )


def score_arguments(body: Body) -> tuple[Any, ...]:
    """The arguments of ``set_score`` after the submission's uuid.

    Raises:
        SubmissionInternalError: points are missing.
    """
    if missing := _missing(body, ("points_earned", "points_possible")):
        raise SubmissionInternalError(missing)
    return (
        body["points_earned"],
        body["points_possible"],
        body.get("annotation_creator"),
        body.get("annotation_type"),
        body.get("annotation_reason"),
    )


def reset_arguments(body: Body) -> tuple[str, str, str, bool]:
    """The arguments of ``reset_score``.

    Raises:
        SubmissionRequestError: a field is missing or bad.
    """
    form = Form()
    form.errors.update(_missing(body, _ITEM_FIELDS))
    rule = fields.limited_text(255)
    student_id, course_id, item_id = (
        form.check(name, rule, body[name]) if name in body else None for name in _ITEM_FIELDS
    )
    clear_state = form.check("clear_state", _boolean, body.get("clear_state", False))
    form.refuse_if_bad()
    assert student_id is not None
    assert course_id is not None
    assert item_id is not None
    return student_id, course_id, item_id, bool(clear_state)


def submission_uuid(value: object) -> UUID:
    """The uuid of a submission in any form that Python's parser takes.

    Raises:
        SubmissionRequestError: no uuid.
    """
    try:
        return fields.submission_uuid(value)
    except ValueError:
        raise SubmissionRequestError(f"“{value}” is not a valid UUID.") from None


def _missing(body: Body, names: Collection[str]) -> dict[str, list[FieldMessage]]:
    return {name: [fields.REQUIRED] for name in names if name not in body}


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise FieldError(_NOT_A_BOOLEAN)


# --- rights -----------------------------------------------------------------------------------


def refuse_unless_writer(caller: Caller) -> None:
    """Turn away those who may write in no course at all, whatever they ask for.

    Raises:
        ForbiddenError: such a caller.
    """
    if not caller.may_somewhere(WRITE_SUBMISSIONS):
        raise ForbiddenError("writing submissions and scores is for services and staff")


def refuse_in_course(caller: Caller, course_id: str) -> None:
    """Turn away those who may not write in this course.

    Raises:
        ForbiddenError: such a caller.
    """
    if not caller.may_write_course(course_id):
        raise ForbiddenError("writing is not allowed in this course")


def refuse_submission(caller: Caller, student_item: object) -> None:
    """Turn away those who may not hand in for this student item.

    Raises:
        SubmissionRequestError: the student item is bad.
        ForbiddenError: no right in its course.
    """
    if not caller.may_everywhere(WRITE_SUBMISSIONS):
        refuse_in_course(caller, fields.student_item(student_item).course_id)


def refuse_score(caller: Caller, course_id: str | None, given: object) -> None:
    """Turn away those who may not score a submission of this course.

    A deleted submission is no reason here: the command may be the repeat of an earlier one.

    Raises:
        SubmissionNotFoundError: there never was one, so it has no course.
        ForbiddenError: no right in its course.
    """
    if course_id is None:
        raise SubmissionNotFoundError(f"No submission matching uuid {given}")
    refuse_in_course(caller, course_id)


# --- answers ----------------------------------------------------------------------------------


def created(result: CreatedSubmission) -> Written:
    """The submission that was stored."""
    row = rendering.submission_row(result.event)
    body = rendering.submission(row, fragment(result.answer_text))
    return Written(
        201,
        body,
        f"{PREFIX}/submissions/{body['uuid']}/",
        lambda: Sealed("answer", row.answer, answer_context(row.submission_uuid)),
    )


def scored(body: Body) -> Callable[[ScoreSet], Written]:
    """The score that was given, with the reason as it was sent."""
    reason = body.get("annotation_reason")
    plain = "" if reason is None else str(reason)

    def render(event: ScoreSet) -> Written:
        row = rendering.score_row(event)
        body = rendering.score(row, [plain for _ in row.annotations])
        location = f"{PREFIX}/submissions/{body['submission_uuid']}/score/"
        if not row.annotations or not row.annotations[0].reason:
            return Written(201, body, location)
        sealed = row.annotations[0].reason
        return Written(
            201,
            body,
            location,
            lambda: Sealed("reason", sealed, reason_context(row.score_id)),
        )

    return render


def reset(_: ScoreReset | None) -> Written:
    """Nothing to say but that it is done."""
    return Written(204)
