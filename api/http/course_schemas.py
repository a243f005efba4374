"""The shapes of courses in bodies and answers, as they are described to callers.

Values are checked by the domain, which tells everything that is wrong at once.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.http.schemas import Closed, Moment
from domain.courses.blocks import MAX_DATA
from domain.courses.fields import MAX_NAME, MAX_POINTS, MAX_SLUG

_NO_NULL = r"^[^\u0000]*$"
_NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"

Name = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": _NOT_BLANK}
    ),
]
Title = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": MAX_NAME, "pattern": _NO_NULL})
]
Slug = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": MAX_SLUG, "pattern": _NOT_BLANK}
    ),
]
Label = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": MAX_SLUG, "pattern": _NO_NULL})
]
Source = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": MAX_DATA, "pattern": _NO_NULL})
]
GivenMoment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Number = Annotated[float, Field(ge=0, le=MAX_POINTS)]
Count = Annotated[int, Field(ge=0, le=1000)]
Groups = Annotated[
    dict[str, list[int]],
    WithJsonSchema(
        {
            "type": "object",
            "description": "Id of a partition to the groups of it that see this.",
            "propertyNames": {"pattern": "^[0-9]{1,10}$"},
            "additionalProperties": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            },
        }
    ),
]


# --- bodies -----------------------------------------------------------------------------------


class GivenBlock(Closed):
    """A part of a course.

    It is named by its usage_key, or by its id and type. Chapters hold sequentials, and these
    verticals, which is what a block is taken for that stands there without a type.
    """

    usage_key: Label | None = None
    id: Label | None = None
    type: Label | None = None
    display_name: Title | None = Field(None, description="Made of the id when left out.")
    graded: bool | None = Field(None, description="Inherited when left out.")
    format: Label | None = Field(None, description="The assignment type that this counts as.")
    weight: Number | None = None
    max_score: Number | None = Field(None, description="What has one has a score.")
    due: GivenMoment | None = None
    start: GivenMoment | None = None
    visible_to_staff_only: bool | None = None
    hide_from_toc: bool | None = None
    show_correctness: Label | None = None
    group_access: Groups | None = None
    data: Source | None = Field(None, description="The source of a problem.")
    children: list["GivenBlock"] = Field(default_factory=list)


class GivenGrader(BaseModel):
    """How much the work of one type counts. Other members are kept."""

    model_config = ConfigDict(extra="allow")

    type: Slug
    short_label: Label | None = None
    min_count: Count | None = None
    drop_count: Count | None = None
    weight: Annotated[float, Field(ge=0, le=1_000_000)] | None = None


class GivenPolicy(Closed):
    """How scores become a grade."""

    graders: list[GivenGrader] = Field(max_length=100)
    grade_cutoffs: dict[str, Annotated[float, Field(ge=0, le=1)]]


class GivenFlags(Closed):
    """What the gradebook allows; what is left out stays as it is."""

    writable_gradebook: bool = True
    bulk_management: bool = False
    freeze_after_end: bool = False
    rejected_exam_overrides_grade: bool = False


class GivenMode(Closed):
    """A mode in which the course can be taken."""

    slug: Slug
    name: Slug | None = None
    expired_at: GivenMoment | None = None


class GivenCourse(Closed):
    """A whole course. Flags, modes and policy stay as they are when left out."""

    display_name: Name
    start: GivenMoment | None = None
    end: GivenMoment | None = None
    self_paced: bool = False
    flags: GivenFlags | None = None
    modes: list[GivenMode] | None = Field(None, max_length=50)
    grading_policy: GivenPolicy | None = None
    outline: list[GivenBlock] = Field(description="The chapters, in order.")


class GivenArchive(Closed):
    """A course as Open edX exports it."""

    course: Annotated[
        bytes, WithJsonSchema({"type": "string", "format": "binary", "description": "tar.gz"})
    ]
    course_id: Label | None = Field(None, description="Instead of the key in the archive.")


# --- answers ----------------------------------------------------------------------------------


class PublishedCourse(Closed):
    """What became of a course that was published."""

    course_id: str
    version: str | None = Field(description="Of the outline: a digest of its blocks.")
    changed: list[str] = Field(description="What is written: nothing, when all was the same.")


class ImportedCourse(PublishedCourse):
    """What became of a course that was imported."""

    report: list[str] = Field(description="What could not be taken over as it was.")


class Mode(Closed):
    """A mode in which the course can be taken."""

    slug: str
    name: str
    expired_at: str | None


class CourseSummary(Closed):
    """A course in a list."""

    course_id: str
    org: str
    display_name: str
    start: Moment | None
    end: Moment | None
    self_paced: bool
    modes: list[Mode]
    version: str | None
    edited_at: Moment | None


class Block(Closed):
    """A part of a course; what has its default is left out."""

    usage_key: str
    type: str
    display_name: str
    graded: bool | None = None
    format: str | None = None
    weight: float | None = None
    max_score: float | None = None
    due: str | None = None
    start: str | None = None
    visible_to_staff_only: bool | None = None
    hide_from_toc: bool | None = None
    show_correctness: str | None = None
    group_access: dict[str, list[int]] | None = None
    data: str | None = None
    children: list["Block"]


class Policy(Closed):
    """How scores become a grade."""

    graders: list[dict[str, Any]]
    grade_cutoffs: dict[str, float]
    policy_hash: str
    is_default: bool = Field(description="No policy was published for this course.")


class Flags(Closed):
    """What the gradebook allows."""

    writable_gradebook: bool
    bulk_management: bool
    freeze_after_end: bool
    rejected_exam_overrides_grade: bool


class Course(CourseSummary):
    """A course with its outline."""

    flags: Flags | None = Field(description="Null but for staff.")
    grading_policy: Policy | None = Field(description="Null but for staff.")
    outline: list[Block] = Field(description="The chapters. Learners see less than staff.")


class CoursePage(Closed):
    """A part of a list."""

    next: str | None = Field(description="Address of the page after this one.")
    previous: None = Field(description="Pages go forward only.")
    results: list[CourseSummary]
