"""What problems and subsections are worth to one learner.

A subsection has two pairs of points, earned and possible: over all its problems, and over
those that count for the grade. Grades are made of the second; an override may replace any
of the four numbers.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from domain.grades.structure import Subsection
from domain.grades.visibility import Gate, Viewer, visible


class ProblemScore(NamedTuple):
    """A learner's score for a problem, in the points of its weight."""

    earned: float
    possible: float
    attempted_at: datetime | None


class Totals(NamedTuple):
    """The points of a subsection, computed from problem scores. Not rounded."""

    earned_all: float
    possible_all: float
    earned_graded: float
    possible_graded: float


class Override(NamedTuple):
    """What somebody decided instead; None follows the computed value."""

    earned_all: float | None
    possible_all: float | None
    earned_graded: float | None
    possible_graded: float | None


class SubsectionGrade(NamedTuple):
    """The grade that counts: the graded points after an override."""

    earned: float
    possible: float
    percent: float
    attempted: bool


def weighted(raw_earned: float, raw_possible: float, weight: float | None) -> tuple[float, float]:
    """Points on the scale of the problem's weight.

    A raw possible of 0 cannot be scaled: such points stay as they are.
    """
    if weight is None or raw_possible == 0:
        return float(raw_earned), float(raw_possible)
    return float(raw_earned) * weight / raw_possible, float(weight)


def subsection_totals(
    subsection: Subsection,
    scores: Mapping[str, ProblemScore],
    viewer: Viewer | None,
    now: datetime,
) -> tuple[Totals, datetime | None]:
    """The points of a subsection and the time of the first attempt at any of its problems.

    Args:
        subsection: of the current content.
        scores: by usage key of the problem; a problem without one counts with 0 earned.
        viewer: whose eyes; problems the viewer cannot see do not count. None sees all.
        now: what the start dates are compared with.
    """
    earned_all = possible_all = earned_graded = possible_graded = 0.0
    first_attempted: datetime | None = None
    gates: tuple[Gate, ...] = ()
    seen = True
    for problem in subsection.problems:
        if viewer is not None and problem.gates is not gates:
            gates = problem.gates
            seen = visible(gates, viewer, now)
        if not seen:
            continue
        score = scores.get(problem.usage_key)
        if score is None:
            possible_all += problem.possible
            if problem.graded:
                possible_graded += problem.possible
            continue
        earned, possible, attempted_at = score
        earned_all += earned
        possible_all += possible
        # What was possible when it was answered decides, not what the content says now.
        if problem.graded_by_flag and possible > 0:
            earned_graded += earned
            possible_graded += possible
        if attempted_at is not None and (first_attempted is None or attempted_at < first_attempted):
            first_attempted = attempted_at
    return Totals(earned_all, possible_all, earned_graded, possible_graded), first_attempted


def zero_totals(subsection: Subsection, viewer: Viewer | None, now: datetime) -> Totals:
    """``subsection_totals`` of somebody without scores; mostly without looking at problems."""
    if viewer is None or (subsection.open_inside and visible(subsection.gates, viewer, now)):
        return Totals(0.0, subsection.possible_all, 0.0, subsection.possible_graded)
    return subsection_totals(subsection, {}, viewer, now)[0]


def subsection_grade(
    record: Totals | None,
    first_attempted: datetime | None,
    override: Override | None,
    zero: Totals,
) -> SubsectionGrade:
    """The grade of a subsection as it is read.

    Args:
        record: the stored totals; None if the learner never attempted anything and nothing
            was ever forced.
        first_attempted: as stored with them.
        override: what somebody decided instead.
        zero: what counts without a record: nothing earned of what the learner can see.
    """
    _, _, earned, possible = zero if record is None else record
    if override is not None:
        if override.earned_graded is not None:
            earned = override.earned_graded
        if override.possible_graded is not None:
            possible = override.possible_graded
    return SubsectionGrade(
        earned,
        possible,
        percent_of(earned, possible),
        first_attempted is not None or override is not None,
    )


def percent_of(earned: float, possible: float) -> float:
    """The share earned, rounded to four decimals; 0.0 where nothing is possible.

    Not clamped: 12 of 10 is 1.2. The double is scaled first and halves then go to the even
    neighbour, so that 0.00625 of 1 is 0.0062: ``round(x, 4)`` would decide by the exact
    decimal expansion. A share too large for a double counts as nothing.
    """
    if possible <= 0:
        return 0.0
    try:
        return round(earned / possible * 10_000.0) / 10_000.0
    except (OverflowError, ValueError):
        return 0.0


def filled_override(requested: Mapping[str, float | None], computed: Totals) -> Override:
    """The override to store for what was asked.

    Args:
        requested: by the names of the four components (``earned_all`` …). One that is left out
            takes the computed value of this moment and stays there; None stays None.
        computed: the totals without any override, also without the one this replaces.
    """
    return Override(
        *(
            requested.get(name, value)
            for name, value in zip(Override._fields, computed, strict=True)
        )
    )
