"""What of a learner's grades a recalculation changes.

A calculation starts from what is recorded: the totals of subsections, the overrides, the
course grade. What it finds is recorded only if it differs, so doing it twice changes
nothing, and doing it for one subsection touches no other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from domain.grades.course_grade import CourseGrade, course_grade_of
from domain.grades.graders import average
from domain.grades.policy import Grader, GradingPolicy
from domain.grades.scores import (
    Override,
    ProblemScore,
    Totals,
    percent_of,
    subsection_grade,
    subsection_totals,
    zero_totals,
)
from domain.grades.structure import CourseStructure, Subsection, Viewer, visible

ZERO: Final = Totals(0.0, 0.0, 0.0, 0.0)


Record = Sequence[Any]
"""The totals of a subsection as recorded, and when its first problem was attempted.

``earned_all``, ``possible_all``, ``earned_graded``, ``possible_graded`` and
``first_attempted``: ISO 8601 or None, set once and never moved. A list as it stands in a row:
forty of them are read for every score.
"""


@dataclass(slots=True)
class Known:
    """What is recorded of a learner in a course, by usage key of the subsection."""

    records: Mapping[str, Record] = field(default_factory=dict)
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

    __slots__ = ("_parts", "_place", "_zeros", "course", "now", "viewer")

    def __init__(self, course: CourseVersion, viewer: Viewer, now: datetime) -> None:
        self.course = course
        self.viewer = viewer
        self.now = now
        seen = [s for s in course.structure.subsections if s.graded and self.sees(s)]
        # The subsections of each grader stand together, in course order.
        self._place: dict[str, int] = {}
        self._zeros: list[Totals] = []
        self._parts: list[tuple[Grader, int, int]] = []
        for grader in course.policy.graders:
            start = len(self._zeros)
            for subsection in seen:
                if subsection.format == grader.type:
                    self._place[subsection.usage_key] = len(self._zeros)
                    self._zeros.append(self.zero(subsection))
            self._parts.append((grader, start, len(self._zeros)))

    def sees(self, subsection: Subsection) -> bool:
        """Whether it is open to the learner."""
        return self.course.structure.uniform or visible(subsection.gates, self.viewer, self.now)

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
        self, records: Mapping[str, Record], overrides: Mapping[str, Override]
    ) -> CourseGrade:
        """The course grade of these records and overrides.

        The same as ``course_grade`` of the grades of all subsections, without making them:
        only what is recorded differs from nothing earned.
        """
        percents: list[float | None] = [0.0 if zero[3] > 0 else None for zero in self._zeros]
        place_of = self._place.get
        for key, record in records.items():
            place = place_of(key)
            if place is not None:
                possible = record[3]
                percents[place] = percent_of(record[2], possible) if possible > 0 else None
        for key, override in overrides.items():
            place = place_of(key)
            if place is not None:
                totals = records.get(key) or self._zeros[place]
                _, possible, percent, _ = subsection_grade(
                    Totals(*totals[:4]), None, override, ZERO
                )
                percents[place] = percent if possible > 0 else None
        total = 0.0
        for grader, start, end in self._parts:
            found = [percent for percent in percents[start:end] if percent is not None]
            total += average(grader, found) * grader.weight
        return course_grade_of(self.course.policy, total)


class Lenses:
    """What learners see of a course at one moment, worked out once for all who see the same."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._of: dict[tuple[str, Viewer | None], Lens] = {}

    def of(self, course: CourseVersion, viewer: Viewer) -> Lens:
        """What this learner sees."""
        key = (course.course_id, None if course.structure.uniform else viewer)
        found = self._of.get(key)
        if found is None:
            found = self._of[key] = Lens(course, viewer, self.now)
        return found


def regrade(
    lens: Lens,
    known: Known,
    subsections: Sequence[Subsection],
    scores: Mapping[str, ProblemScore],
    *,
    forced: bool = False,
    deleted: Collection[str] = (),
) -> Regraded | None:
    """Calculate some subsections of a learner anew, and the course grade from all.

    What the learner cannot see keeps its record: it may be shown again, and nothing would
    tell that its points have to be counted anew.

    Args:
        lens: what the learner sees.
        known: what is recorded.
        subsections: those to calculate; none to calculate the course grade alone.
        scores: of their problems, as they count now.
        forced: record subsections that were never attempted, too.
        deleted: usage keys of those to be recorded in any case, because a score in them was
            just taken away.

    Returns:
        What has to be recorded; None if all of it is already.
    """
    changed: list[dict[str, Any]] = []
    new: dict[str, Record] = {}
    for subsection in subsections:
        if not lens.sees(subsection):
            continue
        key = subsection.usage_key
        totals, first = lens.totals(subsection, scores)
        before = known.records.get(key)
        if before is None and first is None and not (forced or key in deleted):
            continue
        first_attempted = before[4] if before is not None else None
        if first_attempted is None and first is not None:
            first_attempted = first.isoformat()
        after = [*totals, first_attempted]
        if before is not None and after == list(before):
            continue
        new[key] = after
        changed.append(as_stored(key, after))
    records = {**known.records, **new} if new else known.records
    grade = lens.course_grade(records, known.overrides)
    if not changed:
        # Somebody who never attempted anything has no course grade until one is forced.
        nothing_to_grade = known.course_grade is None and not (forced or deleted)
        if nothing_to_grade or grade == known.course_grade:
            return None
    return Regraded(changed, grade)


def as_stored(usage_key: str, record: Record) -> dict[str, Any]:
    """A record as events hold it."""
    return {
        "usage_key": usage_key,
        "earned_all": record[0],
        "possible_all": record[1],
        "earned_graded": record[2],
        "possible_graded": record[3],
        "first_attempted": record[4],
    }


def from_stored(found: Mapping[str, Any]) -> Record:
    """A record of an event."""
    return [
        found["earned_all"],
        found["possible_all"],
        found["earned_graded"],
        found["possible_graded"],
        found["first_attempted"],
    ]
