"""Problem scores, subsection totals, overrides: the worked examples and the corners."""

from datetime import timedelta
from typing import Any

import pytest

from domain.grades.scores import (
    Override,
    ProblemScore,
    SubsectionGrade,
    Totals,
    filled_override,
    percent_of,
    subsection_grade,
    subsection_totals,
    weighted,
    zero_totals,
)
from domain.grades.structure import Viewer
from tests.domain.grades.given import NOW, block, homework

LEARNER = Viewer(groups={})
NOTHING = Totals(0.0, 0.0, 0.0, 0.0)


def problem(key: str, max_score: float = 1.0, **more: Any) -> dict[str, Any]:
    return block(key, "problem", "v", max_score=max_score, **more)


@pytest.mark.parametrize(
    ("raw_earned", "raw_possible", "weight", "expected"),
    [
        (3, 4, 2, (1.5, 2.0)),
        (3, 4, None, (3.0, 4.0)),
        (0, 0, None, (0.0, 0.0)),
        (0, 0, 5, (0.0, 0.0)),
        (3, 4, 0, (0.0, 0.0)),
        (6, 4, 2, (3.0, 2.0)),
    ],
)
def test_points_are_scaled_to_the_weight(
    raw_earned: float, raw_possible: float, weight: float | None, expected: tuple[float, float]
) -> None:
    assert weighted(raw_earned, raw_possible, weight) == expected


def test_a_homework_as_in_the_worked_example() -> None:
    hw = homework(problem("p1", 5.0), problem("p2"))
    scores = {"p1": ProblemScore(5.0, 5.0, NOW)}
    totals, attempted_at = subsection_totals(hw, scores, LEARNER, NOW)
    assert totals == Totals(5.0, 6.0, 5.0, 6.0)
    assert attempted_at == NOW
    zero = zero_totals(hw, LEARNER, NOW)
    assert zero == Totals(0.0, 6.0, 0.0, 6.0)
    grade = subsection_grade(totals, attempted_at, None, zero)
    assert grade == SubsectionGrade(5.0, 6.0, 0.8333, attempted=True)

    override = filled_override({"earned_graded": 6.0}, totals)
    assert override == Override(5.0, 6.0, 6.0, 6.0)
    overridden = SubsectionGrade(6.0, 6.0, 1.0, attempted=True)
    assert subsection_grade(totals, attempted_at, override, zero) == overridden

    later = subsection_totals(hw, {**scores, "p2": ProblemScore(1.0, 1.0, NOW)}, LEARNER, NOW)
    assert later[0] == Totals(6.0, 6.0, 6.0, 6.0)
    assert subsection_grade(*later, override, zero) == overridden


def test_ungraded_problems_count_for_all_points_only() -> None:
    hw = homework(problem("p", 2.0), problem("practice", 3.0, graded=False))
    scores = {"p": ProblemScore(1.0, 2.0, None), "practice": ProblemScore(3.0, 3.0, NOW)}
    assert subsection_totals(hw, scores, None, NOW) == (Totals(4.0, 5.0, 1.0, 2.0), NOW)
    assert zero_totals(hw, None, NOW) == Totals(0.0, 5.0, 0.0, 2.0)


def test_points_where_none_are_possible_are_not_graded() -> None:
    hw = homework(problem("p", 2.0))
    scores = {"p": ProblemScore(1.0, 0.0, NOW)}
    assert subsection_totals(hw, scores, None, NOW)[0] == Totals(1.0, 0.0, 0.0, 0.0)


def test_what_was_possible_when_it_was_answered_stays_possible() -> None:
    hw = homework(problem("was_worth_more", 0.0), problem("unanswered", 2.0))
    scores = {"was_worth_more": ProblemScore(3.0, 4.0, NOW)}
    assert subsection_totals(hw, scores, None, NOW)[0] == Totals(3.0, 6.0, 3.0, 6.0)


def test_the_first_attempt_is_the_earliest_at_any_problem() -> None:
    hw = homework(problem("p"), problem("practice", graded=False), problem("q"))
    scores = {
        "p": ProblemScore(0.0, 1.0, NOW),
        "practice": ProblemScore(0.0, 1.0, NOW - timedelta(days=1)),
        "q": ProblemScore(1.0, 1.0, None),
        "elsewhere": ProblemScore(1.0, 1.0, NOW - timedelta(days=2)),
    }
    assert subsection_totals(hw, scores, None, NOW)[1] == NOW - timedelta(days=1)


def test_problems_that_the_learner_cannot_see_do_not_count() -> None:
    hw = homework(
        problem("p", 1.0),
        problem("staff", 2.0, visible_to_staff_only=True),
        problem("later", 4.0, start=(NOW + timedelta(days=1)).isoformat()),
        problem("masters", 8.0, group_access={"50": [7]}),
        problem("q", 16.0),
    )
    scores = {"staff": ProblemScore(2.0, 2.0, NOW)}

    def possible(viewer: Viewer | None, days: int = 0) -> float:
        now = NOW + timedelta(days=days)
        totals, _ = subsection_totals(hw, scores, viewer, now)
        assert zero_totals(hw, viewer, now) == totals._replace(earned_all=0.0, earned_graded=0.0)
        return totals.possible_graded

    masters = Viewer(groups={"50": frozenset({7})})
    assert subsection_totals(hw, scores, LEARNER, NOW)[1] is None
    assert possible(LEARNER) == 17.0
    assert possible(LEARNER, days=2) == 21.0
    assert possible(masters) == 25.0
    assert possible(Viewer(groups={}, is_staff=True)) == 31.0
    assert possible(None) == 31.0


def test_in_a_hidden_subsection_nothing_counts() -> None:
    hw = homework(problem("p"), visible_to_staff_only=True)
    assert zero_totals(hw, LEARNER, NOW) == NOTHING
    assert subsection_totals(hw, {}, LEARNER, NOW) == (NOTHING, None)
    assert zero_totals(hw, None, NOW).possible_all == 1.0


def test_without_a_record_the_grade_is_zero_of_what_can_be_seen() -> None:
    zero = Totals(0.0, 6.0, 0.0, 5.0)
    assert subsection_grade(None, None, None, zero) == (0.0, 5.0, 0.0, False)


def test_a_forced_record_is_no_attempt() -> None:
    record = Totals(0.0, 6.0, 0.0, 5.0)
    assert subsection_grade(record, None, None, NOTHING) == (0.0, 5.0, 0.0, False)


def test_an_override_counts_as_an_attempt() -> None:
    override = Override(None, None, None, None)
    record = Totals(1.0, 6.0, 1.0, 5.0)
    assert subsection_grade(record, None, override, NOTHING) == (1.0, 5.0, 0.2, True)


def test_each_component_of_an_override_counts_by_itself() -> None:
    record = Totals(1.0, 6.0, 1.0, 5.0)
    earned = Override(0.0, 0.0, 4.0, None)
    possible = Override(0.0, 0.0, None, 4.0)
    assert subsection_grade(record, NOW, earned, NOTHING) == (4.0, 5.0, 0.8, True)
    assert subsection_grade(record, NOW, possible, NOTHING) == (1.0, 4.0, 0.25, True)


def test_an_override_may_say_zero() -> None:
    rejected = Override(0.0, 6.0, 0.0, 6.0)
    grade = subsection_grade(Totals(5.0, 6.0, 5.0, 6.0), NOW, rejected, NOTHING)
    assert grade == (0.0, 6.0, 0.0, True)


def test_an_override_above_the_possible_is_extra_credit() -> None:
    record = Totals(5.0, 10.0, 5.0, 10.0)
    override = filled_override({"earned_graded": 12.0}, record)
    assert subsection_grade(record, NOW, override, NOTHING).percent == 1.2


def test_what_an_override_leaves_out_is_frozen_and_what_it_sends_as_null_follows() -> None:
    computed = Totals(5.0, 6.0, 3.0, 4.0)
    assert filled_override({}, computed) == Override(*computed)
    bulk = filled_override({"earned_graded": 2.0, "earned_all": None}, computed)
    assert bulk == Override(None, 6.0, 2.0, 4.0)
    rejected = filled_override({"earned_all": 0.0, "earned_graded": 0.0}, computed)
    assert rejected == Override(0.0, 6.0, 0.0, 4.0)


@pytest.mark.parametrize(
    ("earned", "possible", "expected"),
    [
        (5, 6, 0.8333),
        (2, 3, 0.6667),
        (12, 10, 1.2),
        (1, 160, 0.0062),  # 62.5 goes to the even neighbour
        (3, 160, 0.0188),  # 187.5 too
        (1, 32, 0.0312),
        (3, 32, 0.0938),
        (1, 0, 0.0),
        (1, -1, 0.0),
        (-1, 4, -0.25),
        (1e300, 1e-300, 0.0),
        (1e300, 1e-5, 0.0),
    ],
)
def test_a_share_has_four_decimals(earned: float, possible: float, expected: float) -> None:
    assert percent_of(earned, possible) == expected
