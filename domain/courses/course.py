"""One run of a course: what of it grades depend on.

Each part is an event of its own, which holds the whole of that part, so that whoever reads
one needs none before it. State holds what tells whether a part changed: of the outline and
the policy only their digests, because an outline may have fifty thousand blocks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

E = TypeVar("E", bound="CourseEvent")

_NAMESPACE = UUID("b60f4f6c-5b0b-5a1c-9a53-6f5b5e0d1c77")


def course_stream(course_id: str) -> UUID:
    """The stream of a course, by its key without a branch."""
    return uuid5(_NAMESPACE, course_id)


class Details(NamedTuple):
    """What a course is called and when it runs."""

    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool


class Flags(NamedTuple):
    """What the gradebook of a course allows, as long as nobody says otherwise."""

    writable_gradebook: bool = True
    bulk_management: bool = False
    freeze_after_end: bool = False
    rejected_exam_overrides_grade: bool = False


class Outline(NamedTuple):
    """All blocks of a course in document order, and the digest of them."""

    version: str
    blocks: Sequence[Mapping[str, Any]]


class Policy(NamedTuple):
    """How scores become a grade, and the digest of it."""

    graders: Sequence[Mapping[str, Any]]
    cutoffs: Mapping[str, float]
    policy_hash: str


class CourseEvent(OpeningEvent):
    """What happens to a course names it."""

    TOPIC = "courses.CourseEvent"
    course_id: str


class CourseRegistered(CourseEvent):
    """A course was published for the first time."""

    TOPIC = "courses.CourseRegistered"
    org: str
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool

    def apply(self, aggregate: "Course") -> None:
        aggregate.details = Details(self.display_name, self.start, self.end, self.self_paced)


class CourseDetailsChanged(CourseEvent):
    """A course has another name, other dates or another pace. All of them are given."""

    TOPIC = "courses.CourseDetailsChanged"
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool

    def apply(self, aggregate: "Course") -> None:
        aggregate.details = Details(self.display_name, self.start, self.end, self.self_paced)


class CourseFlagsChanged(CourseEvent):
    """The gradebook of a course allows something else. All flags are given.

    Until it first happens the gradebook is writable and the other flags are off.
    """

    TOPIC = "courses.CourseFlagsChanged"
    writable_gradebook: bool
    bulk_management: bool
    freeze_after_end: bool
    rejected_exam_overrides_grade: bool

    def apply(self, aggregate: "Course") -> None:
        aggregate.flags = Flags(
            self.writable_gradebook,
            self.bulk_management,
            self.freeze_after_end,
            self.rejected_exam_overrides_grade,
        )


class CourseModesChanged(CourseEvent):
    """A course can be taken in other modes.

    ``modes`` holds all of them, each with ``slug``, ``name`` and ``expired_at``.
    """

    TOPIC = "courses.CourseModesChanged"
    modes: list[dict[str, Any]]

    def apply(self, aggregate: "Course") -> None:
        aggregate.modes = self.modes


class CourseOutlinePublished(CourseEvent):
    """A version of what a course consists of was published; it replaces the one before.

    ``blocks`` are in document order, a parent before what it holds; the first is the course
    itself. Each has ``usage_key``, ``type``, ``parent`` and ``display_name``, and, where it
    is not the default, ``graded`` (its own value), ``format``, ``weight``, ``max_score``,
    ``due``, ``start``, ``visible_to_staff_only``, ``hide_from_toc``, ``show_correctness``,
    ``group_access`` (partition to groups) and ``data`` (the source of a problem).
    ``version`` is a digest of the blocks.
    """

    TOPIC = "courses.CourseOutlinePublished"
    version: str
    blocks: list[dict[str, Any]]

    def apply(self, aggregate: "Course") -> None:
        aggregate.version_published = self.version


class GradingPolicyChanged(CourseEvent):
    """Scores become a grade in another way. Until it first happens the default policy counts.

    ``graders`` are in order, with the keys they were given; ``cutoffs`` is letter to the
    lowest fraction that earns it. ``policy_hash`` is base64 of the SHA-1 of the policy.
    """

    TOPIC = "courses.GradingPolicyChanged"
    graders: list[dict[str, Any]]
    cutoffs: dict[str, float]
    policy_hash: str

    def apply(self, aggregate: "Course") -> None:
        aggregate.policy_hash = self.policy_hash


register(
    CourseRegistered,
    CourseDetailsChanged,
    CourseFlagsChanged,
    CourseModesChanged,
    CourseOutlinePublished,
    GradingPolicyChanged,
)


class Course(EventSourced):
    """One run of a course."""

    Event = events.Event

    details: Details | None
    flags: Flags
    modes: Sequence[Mapping[str, Any]] | None
    version_published: str | None
    policy_hash: str | None

    def __init__(self) -> None:
        self.details = None
        self.flags = Flags()
        self.modes = None
        self.version_published = None
        self.policy_hash = None

    def describe(self, course_id: str, org: str, details: Details, *, at: datetime) -> str | None:
        """Register the course, or change what it is called and when it runs.

        Returns:
            What changed, if anything did.
        """
        if self.details is None:
            self.happened(CourseRegistered, at, course_id=course_id, org=org, **details._asdict())
            return "registered"
        if details == self.details:
            return None
        self.happened(CourseDetailsChanged, at, course_id=course_id, **details._asdict())
        return "details"

    def set_flags(self, course_id: str, given: Mapping[str, bool], *, at: datetime) -> str | None:
        """Change some flags; the others stay as they are."""
        flags = self.flags._replace(**given)
        if flags == self.flags:
            return None
        self.happened(CourseFlagsChanged, at, course_id=course_id, **flags._asdict())
        return "flags"

    def set_modes(self, course_id: str, modes: list[dict[str, Any]], *, at: datetime) -> str | None:
        """Say in which modes the course can be taken, all of them."""
        if modes == (self.modes or []):
            return None
        self.happened(CourseModesChanged, at, course_id=course_id, modes=modes)
        return "modes"

    def publish_outline(self, course_id: str, outline: Outline, *, at: datetime) -> str | None:
        """Replace what the course consists of."""
        if outline.version == self.version_published:
            return None
        self.happened(CourseOutlinePublished, at, course_id=course_id, **outline._asdict())
        return "outline"

    def change_policy(self, course_id: str, policy: Policy, *, at: datetime) -> str | None:
        """Let scores become a grade in another way."""
        if policy.policy_hash == self.policy_hash:
            return None
        self.happened(GradingPolicyChanged, at, course_id=course_id, **policy._asdict())
        return "grading_policy"


CourseEvent.OPENS = Course
