"""What messages may say, as types; their JSON Schemas are published in ``docs/schemas``.

Strict: a text is no number, and a member that nobody knows is an error, not a wish that is
silently not granted. What values mean is left to the commands, which check them anyway.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

PREFIX: Final = "gradelog.inbound."

_RFC_3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _whole(value: object) -> object:
    """A whole number, also where it is written with a point: JSON knows no difference."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(value: object) -> object:
    """A moment as JSON Schema has it; other texts that would do are somebody's mistake."""
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value.upper()) if _RFC_3339.fullmatch(value) else None
    except ValueError:  # there is no such day or hour; its text quotes what was given
        found = None
    if found is None:
        raise ValueError("a moment is needed such as 2026-03-01T12:00:00Z")
    return found


Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Points = Annotated[int, Field(ge=0, le=2_147_483_647), BeforeValidator(_whole)]
UserId = Annotated[int, Field(ge=1, le=2**53 - 1), BeforeValidator(_whole)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Person = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
]
Username = Annotated[str, StringConstraints(min_length=1, max_length=150)]


class Closed(BaseModel):
    """An object without further members."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# --- scores -----------------------------------------------------------------------------------


class StudentItem(Closed):
    """Whose work at what."""

    student_id: Text
    course_id: Text
    item_id: Text
    item_type: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Annotation(Closed):
    """Why a score is what it is."""

    creator: Text = Field(description="Opaque id of who gives the reason.")
    annotation_type: Text
    reason: Annotated[str, StringConstraints(max_length=102_400)] = Field(
        "", description="Kept encrypted with the learner's key."
    )


class ScoreReported(Closed):
    """A grader has decided what a submission is worth."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["submission_uuid"],
                    "properties": {
                        "submission_uuid": {"type": "string"},
                        "student_item": {"type": "null"},
                        "create_submission": {"const": False},
                    },
                },
                {
                    "required": ["student_item"],
                    "properties": {
                        "submission_uuid": {"type": "null"},
                        "student_item": {"type": "object"},
                    },
                },
            ]
        }
    )

    submission_uuid: UUID | None = Field(None, description="The submission; or by student_item.")
    student_item: StudentItem | None = Field(
        None, description="Its latest active submission is meant."
    )
    create_submission: bool = Field(
        False,
        description=(
            "With student_item: where nothing was handed in, also record a submission that says"
            " who reported the score; otherwise such a score is rejected."
        ),
    )
    points_earned: Points = Field(description="More than possible is extra credit.")
    points_possible: Points
    annotation: Annotation | None = None
    scored_by: Person | None = Field(
        None, description="Opaque id of the person who scored, if it was one; never a name."
    )

    @model_validator(mode="after")
    def _names_one_submission(self) -> Self:
        if (self.submission_uuid is None) == (self.student_item is None):
            raise ValueError("either submission_uuid or student_item is needed")
        if self.create_submission and self.student_item is None:
            raise ValueError("create_submission goes with student_item")
        return self


class Somebody(Closed):
    """A registered user, by name or by number."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["username"], "properties": {"username": {"type": "string"}}},
                {"required": ["user_id"], "properties": {"user_id": {"type": "integer"}}},
            ]
        }
    )

    username: Username | None = None
    user_id: UserId | None = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.username is None and self.user_id is None:
            raise ValueError("username or user_id is needed")
        return self

    @property
    def about(self) -> str:
        """Who it is, as the message says it."""
        return self.username if self.username is not None else f"#{self.user_id}"


class ProblemStateSaved(Somebody):
    """How a learner's work at a problem stands in the system that runs it."""

    course_id: Text
    usage_key: Text
    state: JsonValue = Field(None, description="Kept encrypted with the learner's key.")
    grade: float | None = Field(None, description="Raw points; null when it was not graded.")
    max_grade: float | None = Field(None, description="Raw points possible then.")


class ExamAttemptRejected(Somebody):
    """A proctor has rejected a learner's attempt at an exam: it counts nothing from now on."""

    course_id: Text
    usage_key: Text = Field(description="Of the subsection that is the exam.")


class ExamAttemptVerified(ExamAttemptRejected):
    """A proctor has accepted an attempt after all: what was calculated counts again.

    Only in courses that have the flag ``rejected_exam_overrides_grade``.
    """


# --- people -----------------------------------------------------------------------------------


class ExternalUserKey(Closed):
    """Under which key a programme knows a user in a course."""

    course_id: Text
    external_user_key: Annotated[str, StringConstraints(max_length=255)]
    status: Literal["active", "inactive"] = "active"


class UserChanged(Closed):
    """A user is registered, or changed; what is left out or null stays as it is."""

    username: Username
    user_id: UserId | None = Field(None, description="Never changes.")
    email: Annotated[str, StringConstraints(max_length=254)] | None = Field(
        None, description="Empty for none."
    )
    full_name: Annotated[str, StringConstraints(max_length=255)] | None = Field(
        None, description="Empty for none."
    )
    anonymous_ids: Annotated[list[Text], Field(max_length=1000)] | None = Field(
        None, description="All ids under which the user's work is stored."
    )
    external_user_keys: Annotated[list[ExternalUserKey], Field(max_length=1000)] | None = Field(
        None, description="Those of other courses stay."
    )
    is_staff: bool | None = Field(None, description="May do everything.")
    is_active: bool | None = None


class EnrollmentChanged(Somebody):
    """A user is enrolled in a course, changes the track, or leaves.

    The course need not be published yet; the user must be registered.
    """

    course_id: Text
    mode: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="The track; stays, or is audit, when left out."
    )
    is_active: bool | None = Field(None, description="False ends the enrolment.")
    enrolled_at: Moment | None = Field(None, description="For a new enrolment.")
    unenrolled_at: Moment | None = Field(None, description="For one that ends.")


class CourseRoleGranted(Closed):
    """A user has got a role in the team of a course."""

    username: Username
    course_id: Text
    role: Text


class CourseRoleRevoked(CourseRoleGranted):
    """A user has lost a role in the team of a course."""


SCORES: Final[tuple[type[Closed], ...]] = (
    ScoreReported,
    ProblemStateSaved,
    ExamAttemptRejected,
    ExamAttemptVerified,
)
ROSTER: Final[tuple[type[Closed], ...]] = (
    UserChanged,
    EnrollmentChanged,
    CourseRoleGranted,
    CourseRoleRevoked,
)


def type_of(model: type[Closed]) -> str:
    """The ``type`` of the messages that a model is for."""
    return PREFIX + model.__name__


def schemas() -> Mapping[str, dict[str, Any]]:
    """The JSON Schema of the data of each type of message."""
    return {
        type_of(model): {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(),
        }
        for model in (*SCORES, *ROSTER)
    }
