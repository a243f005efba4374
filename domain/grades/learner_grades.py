"""A learner's grades in one course: what was calculated, what was overridden, and by whom.

Calculated grades are facts: they say what the learner saw, and stay what they were when
the policy, the outline or this code changes later. One event holds all that a calculation
changed, because a learner sees it change at once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register
from domain.streams import deriving

_derived = deriving(UUID("b6a2b51e-5d0f-5a0c-9a39-5fd1b8f5c6e2"))

CREATED = "+"
CHANGED = "~"
REMOVED = "-"


def learner_grades_stream(user_id: int, course_id: str) -> UUID:
    """The stream of a learner's grades in a course."""
    return _derived(f"{course_id}\0{user_id}")


class LearnerGradesEvent(OpeningEvent):
    """What happens to grades names whose they are, in which course."""

    TOPIC = "grades.LearnerGradesEvent"
    user_id: int
    course_id: str


class GradesCalculated(LearnerGradesEvent):
    """Scores, policy or outline made other grades of a learner.

    ``subsections`` are those whose totals changed: ``usage_key``, ``earned_all``,
    ``possible_all``, ``earned_graded``, ``possible_graded`` (points) and
    ``first_attempted`` (ISO 8601, None when nothing was attempted). The rest is the course
    grade, with overrides: ``percent`` in whole hundredths, ``letter`` None below the
    lowest cut-off. ``forced``: not because of a score of this learner.
    """

    TOPIC = "grades.GradesCalculated"
    subsections: list[dict[str, Any]]
    percent: float
    letter: str | None
    passed: bool
    policy_hash: str
    course_version: str
    course_edited_at: datetime | None
    forced: bool

    def apply(self, aggregate: "LearnerGrades") -> None:
        for found in self.subsections:
            aggregate.records[found["usage_key"]] = found
        aggregate.course_grade = (self.percent, self.letter, self.passed)


class CoursePassedFirstTime(LearnerGradesEvent):
    """The learner's course grade reached a passing one for the first time."""

    TOPIC = "grades.CoursePassedFirstTime"

    def apply(self, aggregate: "LearnerGrades") -> None:
        aggregate.has_passed = True


class SubsectionOverrideApplied(LearnerGradesEvent):
    """Somebody put other points in the place of the calculated ones.

    The four components are points, None where the calculated value goes on counting;
    ``requested`` holds those that were asked for, the others were frozen at what was
    calculated. ``reason`` is encrypted with the key of ``user:{user_id}``. ``system`` is
    the feature: GRADEBOOK, PROCTORING or grade-import. ``history_type`` is ``+`` for a new
    override and ``~`` for a changed one, whose components were ``previous``.
    """

    TOPIC = "grades.SubsectionOverrideApplied"
    usage_key: str
    override_id: int
    grade_id: int
    history_id: int
    earned_all: float | None
    possible_all: float | None
    earned_graded: float | None
    possible_graded: float | None
    requested: dict[str, float | None]
    reason: str | None
    system: str
    history_type: str
    changed_by: str | None
    changed_by_id: int | None
    previous: dict[str, float | None] | None

    def apply(self, aggregate: "LearnerGrades") -> None:
        aggregate.overrides[self.usage_key] = Overridden(
            self.override_id,
            self.grade_id,
            self.earned_all,
            self.possible_all,
            self.earned_graded,
            self.possible_graded,
            self.system,
        )


class SubsectionOverrideRemoved(LearnerGradesEvent):
    """The calculated points count again; history keeps what they were overridden with."""

    TOPIC = "grades.SubsectionOverrideRemoved"
    usage_key: str
    override_id: int
    grade_id: int
    history_id: int
    system: str
    changed_by: str | None
    changed_by_id: int | None
    previous: dict[str, float | None]

    def apply(self, aggregate: "LearnerGrades") -> None:
        aggregate.overrides.pop(self.usage_key, None)


class LearnerGradesCleared(LearnerGradesEvent):
    """All grades and overrides of the learner in this course are gone."""

    TOPIC = "grades.LearnerGradesCleared"

    def apply(self, aggregate: "LearnerGrades") -> None:
        aggregate.records.clear()
        aggregate.overrides.clear()
        aggregate.course_grade = None


register(
    GradesCalculated,
    CoursePassedFirstTime,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
    LearnerGradesCleared,
)


@dataclass(frozen=True, slots=True)
class Overridden:
    """The override of one subsection as it stands."""

    override_id: int
    grade_id: int
    earned_all: float | None
    possible_all: float | None
    earned_graded: float | None
    possible_graded: float | None
    system: str

    def components(self) -> dict[str, float | None]:
        """The four components, by name."""
        return {
            "earned_all": self.earned_all,
            "possible_all": self.possible_all,
            "earned_graded": self.earned_graded,
            "possible_graded": self.possible_graded,
        }


class LearnerGrades(EventSourced):
    """The grades of one learner in one course."""

    Event = events.Event

    records: dict[str, dict[str, Any]]
    overrides: dict[str, Overridden]
    course_grade: tuple[float, str | None, bool] | None
    has_passed: bool

    def __init__(self) -> None:
        self.records = {}
        self.overrides = {}
        self.course_grade = None
        self.has_passed = False


LearnerGradesEvent.OPENS = LearnerGrades
