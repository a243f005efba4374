"""What each assignment type adds to a course grade, with the entries that learners are shown.

Source: Open edX, the graders of ``xmodule``. Labels, details and the order of keys are contract.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from domain.grades.policy import Grader, GradingPolicy
from domain.grades.scores import SubsectionGrade
from domain.grades.structure import Subsection

Graded = Sequence[tuple[Subsection, SubsectionGrade]]
"""Subsections that the learner can see, in course order, with their grades."""


def average(grader: Grader, percents: Sequence[float]) -> float:
    """The mean of the best entries; what is not released yet counts as 0.

    When all entries are dropped the mean is 0. Runs for every score.

    Args:
        grader: how many there should be, and how many of the lowest do not count.
        percents: of the entries there are, in course order.
    """
    missing = grader.min_count - len(percents)
    if missing > 0:
        percents = [*percents, *([0.0] * missing)]
    drop_count = grader.drop_count
    left = len(percents) - drop_count
    if left <= 0:
        return 0.0
    total = 0.0
    if drop_count:
        rising = sorted(percents)
        highest_dropped = rising[drop_count - 1]
        # Of the entries equal to it the earlier ones may stay. Which of them is added makes a
        # difference in the last bit.
        equals_left = bisect_right(rising, highest_dropped) - drop_count
        for percent in percents:
            if percent > highest_dropped:
                total += percent
            elif equals_left and percent == highest_dropped:
                equals_left -= 1
                total += percent
    else:
        for percent in percents:
            total += percent
    return total / left


def _dropped(grader: Grader, percents: Sequence[float]) -> frozenset[int]:
    """Positions of the lowest entries, of equal ones the later."""
    # Sorting in reverse keeps the order of equals.
    falling = sorted(range(len(percents)), key=percents.__getitem__, reverse=True)
    return frozenset(falling[max(len(falling) - grader.drop_count, 0) :])


def section_breakdown(policy: GradingPolicy, grades: Graded) -> list[dict[str, Any]]:
    """The entries of all assignment types, in the order of the policy.

    Keys: ``percent``, ``label``, ``detail``, ``category``; then ``sequential_id`` (None where
    nothing is released) of an individual entry, ``prominent`` of an average, both where a type
    has one entry only; then ``mark`` of a dropped entry.
    """
    return [entry for grader in policy.graders for entry in _entries(grader, _of(grader, grades))]


def grade_breakdown(policy: GradingPolicy, grades: Graded) -> dict[str, dict[str, Any]]:
    """What each assignment type adds to the course grade, by type."""
    found = {}
    for grader in policy.graders:
        percents = [grade.percent for _, grade in _of(grader, grades)]
        share = average(grader, percents) * grader.weight
        found[grader.type] = {
            "percent": share,
            "detail": f"{grader.type} = {share:.2%} of a possible {grader.weight:.2%}",
            "category": grader.category,
        }
    return found


def _of(grader: Grader, grades: Graded) -> Graded:
    return [
        (subsection, grade)
        for subsection, grade in grades
        if subsection.format == grader.type and grade.possible > 0
    ]


def _entries(grader: Grader, grades: Graded) -> list[dict[str, Any]]:
    percents = [grade.percent for _, grade in grades]
    mean = average(grader, percents)
    percents += [0.0] * (grader.min_count - len(percents))
    if len(percents) == 1:
        return [
            {
                "percent": mean,
                "label": grader.short_label,
                "detail": f"{grader.section_type} = {mean:.2%}",
                "category": grader.category,
                "prominent": True,
                "sequential_id": grades[0][0].usage_key if grades else None,
            }
        ]
    entries: list[dict[str, Any]] = []
    if not grader.show_only_average:
        dropped = _dropped(grader, percents)
        for position, percent in enumerate(percents):
            released = grades[position] if position < len(grades) else None
            entry = _entry(grader, position + grader.starting_index, percent, released)
            if position in dropped:
                lowest = f"The lowest {grader.drop_count} {grader.section_type} scores are dropped."
                entry["mark"] = {"detail": lowest}
            entries.append(entry)
    if not grader.hide_average:
        entries.append(
            {
                "percent": mean,
                "label": f"{grader.short_label} Avg",
                "detail": f"{grader.section_type} Average = {mean:.2%}",
                "category": grader.category,
                "prominent": True,
            }
        )
    return entries


def _entry(
    grader: Grader,
    number: int,
    percent: float,
    released: tuple[Subsection, SubsectionGrade] | None,
) -> dict[str, Any]:
    if released is None:
        detail = f"{grader.section_type} {number} Unreleased - 0% (?/?)"
    else:
        subsection, grade = released
        # Three significant digits; ``g`` is ``n`` without the locale of whoever runs this.
        points = f"{grade.earned:.3g}/{grade.possible:.3g}"
        detail = (
            f"{grader.section_type} {number} - {subsection.display_name} - {percent:.2%} ({points})"
        )
    return {
        "percent": percent,
        "label": f"{grader.short_label} {number:02d}",
        "detail": detail,
        "category": grader.category,
        "sequential_id": None if released is None else released[0].usage_key,
    }
