"""What of a learner's grades a recalculation changes.

A calculation starts from what is recorded: the totals of subsections, the overrides, the
course grade. What it finds is recorded only if it differs, so doing it twice changes
nothing, and doing it for one subsection touches no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from domain.grades.course_grade import CourseGrade, course_grade
from domain.grades.policy import GradingPolicy
from domain.grades.scores import (
    Override,
    ProblemScore,
    SubsectionGrade,
    Totals,
    subsection_grade,
    subsection_totals,
    zero_totals,
)
from domain.grades.structure import CourseStructure, Subsection, Viewer, visible


class Recorded(NamedTuple):
    """The totals of a subsection as recorded, and when its first problem was attempted."""

    totals: Totals
    first_attempted: str | None
    """ISO 8601; set once and never moved."""


@dataclass(slots=True)
class Known:
    """What is recorded of a learner in a course, by usage key of the subsection."""

    records: Mapping[str, Recorded] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    course_grade: CourseGrade | None = None
    has_passed: bool = False


@dataclass(frozen=True, slots=True)
class Regraded:
    """What a calculation found.

    ``subsections`` are those whose record changes, as events hold them.
    """

    subsections: list[dict[str, Any]]
    course_grade: CourseGrade


class CourseVersion(NamedTuple):
    """A course as it stands: what it consists of and how scores become a grade."""

    course_id: str
    structure: CourseStructure
    policy: GradingPolicy
    version: str
    edited_at: datetime | None

    def facts(self, forced: bool) -> dict[str, Any]:
        """What an event says of the course that it was calculated with."""
        return {
            "policy_hash": self.policy.hash,
            "course_version": self.version,
            "course_edited_at": self.edited_at,
            "forced": forced,
        }


class Lens:
    """The graded subsections of a course that one learner sees, and what they are worth.

    Learners who see the same at the same time may share one.
    """

    __slots__ = ("course", "graded", "now", "viewer")

    def __init__(self, course: CourseVersion, viewer: Viewer, now: datetime) -> None:
        self.course = course
        self.viewer = viewer
        self.now = now
        all_seen = course.structure.uniform
        self.graded: list[tuple[Subsection, Totals, SubsectionGrade]] = []
        for subsection in course.structure.subsections:
            if subsection.graded and (all_seen or visible(subsection.gates, viewer, now)):
                zero = self.zero(subsection)
                self.graded.append((subsection, zero, subsection_grade(None, None, None, zero)))

    def zero(self, subsection: Subsection) -> Totals:
        """The totals of a subsection without any score."""
        viewer = None if self.course.structure.uniform else self.viewer
        return zero_totals(subsection, viewer, self.now)

    def totals(
        self, subsection: Subsection, scores: Mapping[str, ProblemScore]
    ) -> tuple[Totals, datetime | None]:
        """The totals of a subsection and the time of the first attempt."""
        viewer = None if self.course.structure.uniform else self.viewer
        return subsection_totals(subsection, scores, viewer, self.now)

    def course_grade(
        self, records: Mapping[str, Recorded], overrides: Mapping[str, Override]
    ) -> CourseGrade:
        """The course grade of these records and overrides."""
        grades = []
        for subsection, zero, without in self.graded:
            key = subsection.usage_key
            record, override = records.get(key), overrides.get(key)
            if record is None and override is None:
                grades.append((subsection, without))
                continue
            totals = None if record is None else record.totals
            grades.append((subsection, subsection_grade(totals, None, override, zero)))
        return course_grade(self.course.policy, grades)


def regrade(
    lens: Lens,
    known: Known,
    subsections: Sequence[Subsection],
    scores: Mapping[str, ProblemScore],
    *,
    forced: bool = False,
    deleted: bool = False,
) -> Regraded | None:
    """Calculate some subsections of a learner anew, and the course grade from all.

    Args:
        lens: what the learner sees.
        known: what is recorded.
        subsections: those to calculate; none to calculate the course grade alone.
        scores: of their problems, as they count now.
        forced: record subsections that were never attempted, too.
        deleted: the same, because a score was just taken away.

    Returns:
        What has to be recorded; None if all of it is already.
    """
    changed: list[dict[str, Any]] = []
    new: dict[str, Recorded] = {}
    for subsection in subsections:
        totals, first = lens.totals(subsection, scores)
        before = known.records.get(subsection.usage_key)
        if before is None and first is None and not (forced or deleted):
            continue
        first_attempted = before.first_attempted if before is not None else None
        if first_attempted is None and first is not None:
            first_attempted = first.isoformat()
        after = Recorded(totals, first_attempted)
        if after == before:
            continue
        new[subsection.usage_key] = after
        changed.append(as_stored(subsection.usage_key, after))
    records = {**known.records, **new} if new else known.records
    grade = lens.course_grade(records, known.overrides)
    if not changed and grade == known.course_grade:
        return None
    return Regraded(changed, grade)


def as_stored(usage_key: str, record: Recorded) -> dict[str, Any]:
    """A record as events hold it."""
    return {
        "usage_key": usage_key,
        **record.totals._asdict(),
        "first_attempted": record.first_attempted,
    }


def from_stored(found: Mapping[str, Any]) -> Recorded:
    """A record of an event."""
    totals = Totals(
        found["earned_all"],
        found["possible_all"],
        found["earned_graded"],
        found["possible_graded"],
    )
    return Recorded(totals, found["first_attempted"])
