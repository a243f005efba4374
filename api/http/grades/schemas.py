"""The shapes of what the grades interface takes and answers, as they are described to callers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel, WithJsonSchema

from api.http.schemas import Closed

Address = Annotated[str, WithJsonSchema({"type": "string", "format": "uri-reference"})]
Moment = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
Number = Annotated[
    float | str | None,
    WithJsonSchema(
        {
            "type": ["number", "string", "null"],
            "description": "Points, as a number or as text that is one; null follows what is"
            " calculated.",
        }
    ),
]


class FieldRefusal(Closed):
    """What is wrong with one parameter."""

    developer_message: str


class GradesError(Closed):
    """A refusal."""

    developer_message: str = Field("", description="What is wrong; left out with field_errors.")
    error_code: str = Field("", description="Of errors that are this interface's own.")
    field_errors: dict[str, FieldRefusal] = Field({}, description="Which parameters are wrong.")


class Page(Closed):
    """One page of a list."""

    next: Address | None
    previous: Address | None


class CourseGrade(Closed):
    """What one learner got in a course."""

    username: str
    email: str = Field(description="Of learners of the masters track, in lists; else empty.")
    course_id: str
    passed: bool
    percent: float = Field(description="In whole hundredths; 1.0 is all.")
    letter_grade: str | None


class CourseGradePage(Page):
    """A page of learners."""

    results: list[CourseGrade]


class GraderPolicy(Closed):
    """One assignment type. What the policy does not say is null."""

    assignment_type: str | None
    count: int | None
    dropped: int | None
    weight: float | None


class SubsectionEntry(Closed):
    """What a learner has in one subsection. Most keys that say nothing are for old clients."""

    are_grades_published: Literal[True]
    attempted: bool = Field(description="A graded problem was attempted, or it was overridden.")
    auto_grade: Literal[False]
    category: str | None = Field(description="The assignment type.")
    chapter_name: str
    comment: Literal[""]
    detail: Literal[""]
    displayed_value: str
    grade_description: str
    is_ag: Literal[False]
    is_average: Literal[False]
    is_manually_graded: Literal[False]
    label: str | None
    module_id: str
    percent: float
    score_earned: float
    score_possible: float
    section_block_id: str
    subsection_name: str


class GradebookEntry(BaseModel):
    """One learner's row of a gradebook."""

    user_id: int
    username: str
    full_name: str = Field(description="Of learners of the masters track; else empty.")
    email: str = Field(description="Of learners of the masters track, in lists; else empty.")
    external_user_key: str = Field("", description="Left out where there is none.")
    percent: float
    section_breakdown: list[SubsectionEntry]
    profile_name: str | None
    course_id: str
    passed: bool
    letter_grade: str | None
    progress_page_url: Address


class GradebookPage(Page):
    """A page of a gradebook."""

    results: list[GradebookEntry]
    total_users_count: int = Field(description="Active enrolments.")
    filtered_users_count: int = Field(description="Those of them that the filters leave.")


class AssignmentType(Closed):
    """One assignment type of a course."""

    type: str
    short_label: str
    min_count: int
    drop_count: int
    weight: float


class InfoSubsection(Closed):
    """One subsection in the table of contents."""

    assignment_type: str | None
    graded: bool
    short_label: str | None
    module_id: str
    display_name: str


class GradingInfo(Closed):
    """What a gradebook page needs to know of a course."""

    grade_cutoffs: dict[str, float]
    assignment_types: dict[str, AssignmentType]
    subsections: list[InfoSubsection]
    grades_frozen: bool
    can_see_bulk_management: bool


class Points(Closed):
    """What was calculated."""

    earned_all: float
    possible_all: float
    earned_graded: float
    possible_graded: float


class OverriddenPoints(Closed):
    """What somebody decided instead; null follows what is calculated."""

    earned_all_override: float | None
    possible_all_override: float | None
    earned_graded_override: float | None
    possible_graded_override: float | None


class OverrideChange(OverriddenPoints):
    """One change of an override. The last four keys are for clients of old releases."""

    created: Moment = Field(description="When the override was made that this changed.")
    grade_id: int
    history_id: int
    override_reason: str | None
    system: str | None
    history_date: Moment
    history_type: Literal["+", "~", "-"]
    history_user: str | None
    history_user_id: int | None
    id: int
    user: str | None
    comments: str | None
    feature: str | None
    action: Literal["CREATEORUPDATE", "DELETE"]


class SubsectionGrade(BaseModel):
    """One learner's grade in one subsection."""

    success: bool = Field(description="False where the learner cannot see the subsection.")
    error_message: str = Field("", description="Only where success is false.")
    subsection_id: str
    user_id: int
    course_id: str
    original_grade: Points
    override: OverriddenPoints | None
    history: list[OverrideChange]


class GraderEntry(BaseModel):
    """One entry or average of an assignment type."""

    percent: float
    label: str
    detail: str
    category: str


class LearnerBreakdown(Closed):
    """What makes up a learner's course grade."""

    course_id: str
    username: str
    passed: bool
    current_grade: int
    section_breakdown: list[GraderEntry]


class LearnerBreakdownPage(Page):
    """A page of learners."""

    results: list[LearnerBreakdown]


class SavedState(Closed):
    """One saved state of a problem."""

    state: dict[str, Any] | None
    grade: float | None
    max_grade: float | None


class ProblemHistory(Closed):
    """The saved states of one problem, newest first."""

    location: str
    name: str
    submission_history: list[SavedState]
    data: str


class LearnerHistory(Closed):
    """The problems at which a learner has worked."""

    course_id: str
    course_name: str
    user: str
    problems: list[ProblemHistory]


class LearnerHistoryPage(Page):
    """A page of learners."""

    results: list[LearnerHistory]


class OverrideOutcome(Closed):
    """What became of one item."""

    user_id: int | str | None
    usage_id: str | None
    success: bool
    reason: str | None


class RequestedGrade(BaseModel):
    """What is decided; what is left out is frozen at what is calculated now."""

    earned_all_override: Number = None
    possible_all_override: Number = None
    earned_graded_override: Number = None
    possible_graded_override: Number = None
    comment: str | None = Field(None, max_length=300)


class RequestedOverride(BaseModel):
    """One cell to be overridden."""

    user_id: int
    usage_id: str
    grade: RequestedGrade


class RequestedOverrides(RootModel[list[RequestedOverride]]):
    """Cells to be overridden, one after another; at most 10,000."""
