"""The grade of a whole course: the end of the sum, computed anew for every score."""

import math
from typing import NamedTuple

from domain.grades.graders import Graded, average, grade_breakdown, section_breakdown
from domain.grades.policy import GradingPolicy

__all__ = [
    "CourseGrade",
    "course_grade",
    "current_grade",
    "grade_breakdown",
    "round_course_percent",
    "section_breakdown",
]


class CourseGrade(NamedTuple):
    """What a learner has in a course.

    Attributes:
        percent: whole hundredths; 1.0 is all, weights may add up to more.
        letter: of the highest cut-off reached, or None.
        passed: whether the lowest cut-off above 0 is reached. Stored grades are read another
            way: any letter passes then, also one whose cut-off is 0.
    """

    percent: float
    letter: str | None
    passed: bool


def course_grade(policy: GradingPolicy, grades: Graded) -> CourseGrade:
    """The course grade from the grades of its subsections.

    Args:
        policy: of the course; weights are taken as they are, whatever they add up to.
        grades: of the graded subsections that the learner can see, in course order. Those
            without possible points, or of a type the policy does not know, count nowhere.
    """
    percents: dict[str | None, list[float]] = {grader.type: [] for grader in policy.graders}
    of_type = percents.get
    for subsection, (_, possible, percent, _) in grades:
        if possible > 0 and (found := of_type(subsection.format)) is not None:
            found.append(percent)
    total = 0.0
    for grader in policy.graders:
        total += average(grader, percents[grader.type]) * grader.weight
    return course_grade_of(policy, total)


def course_grade_of(policy: GradingPolicy, total: float) -> CourseGrade:
    """The course grade of a weighted total."""
    percent = round_course_percent(total)
    lowest = policy.lowest_passing
    return CourseGrade(
        percent, policy.letter_for(percent), lowest is not None and percent >= lowest
    )


def round_course_percent(total: float) -> float:
    """Whole hundredths, halves up, after a gift of 0.05 points: 0.4945 is 0.5.

    A total too large for this counts as nothing.
    """
    try:
        return math.floor(total * 100 + 0.05 + 0.5) / 100
    except (OverflowError, ValueError):
        return 0.0


def current_grade(percent: float) -> int:
    """Percents of a stored course grade, cut off in doubles: 0.29 gives 28, as in the peer."""
    try:
        return int(percent * 100)
    except (OverflowError, ValueError):
        return 0
