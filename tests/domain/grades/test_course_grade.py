"""Entries, averages, drops, percents and letters: the worked examples and the corners."""

from typing import Any

import pytest

from domain.grades.course_grade import (
    CourseGrade,
    course_grade,
    current_grade,
    grade_breakdown,
    round_course_percent,
    section_breakdown,
)
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, read_policy
from tests.domain.grades.given import EXAMPLE_CUTOFFS, EXAMPLE_GRADERS, graded, policy

DEFAULT = read_policy(DEFAULT_GRADERS, DEFAULT_CUTOFFS)
EXAMPLE = read_policy(EXAMPLE_GRADERS, EXAMPLE_CUTOFFS)
EXAMPLE_GRADES = [
    graded("Homework", 5.0, 6.0, "Ohms Law", "hw1"),
    graded("Homework", 10.0, 10.0, "RC", "hw2"),
    graded("Homework", 2.0, 4.0, "RL", "hw3"),
    graded("Final Exam", 7.0, 10.0, "Final", "final"),
]


def lab(**more: Any) -> dict[str, Any]:
    return {"type": "Lab", "min_count": 0, "drop_count": 0, "weight": 1.0, **more}


def labs(*earned: float, of: float = 10.0) -> list[Any]:
    return [graded("Lab", e, of, f"L{i}", f"l{i}") for i, e in enumerate(earned, 1)]


def percent_of(rules: dict[str, Any], *earned: float) -> float:
    return grade_breakdown(policy(rules), labs(*earned))["Lab"]["percent"]  # type: ignore[no-any-return]


def test_the_worked_example_of_a_course() -> None:
    average = (0.8333 + 1.0 + 0.5) / 3
    assert section_breakdown(EXAMPLE, EXAMPLE_GRADES) == [
        {
            "percent": 0.8333,
            "label": "HW 01",
            "detail": "Homework 1 - Ohms Law - 83.33% (5/6)",
            "category": "Homework",
            "sequential_id": "hw1",
        },
        {
            "percent": 1.0,
            "label": "HW 02",
            "detail": "Homework 2 - RC - 100.00% (10/10)",
            "category": "Homework",
            "sequential_id": "hw2",
        },
        {
            "percent": 0.5,
            "label": "HW 03",
            "detail": "Homework 3 - RL - 50.00% (2/4)",
            "category": "Homework",
            "sequential_id": "hw3",
        },
        {
            "percent": 0.0,
            "label": "HW 04",
            "detail": "Homework 4 Unreleased - 0% (?/?)",
            "category": "Homework",
            "sequential_id": None,
            "mark": {"detail": "The lowest 1 Homework scores are dropped."},
        },
        {
            "percent": average,
            "label": "HW Avg",
            "detail": "Homework Average = 77.78%",
            "category": "Homework",
            "prominent": True,
        },
        {
            "percent": 0.7,
            "label": "Final",
            "detail": "Final Exam = 70.00%",
            "category": "Final Exam",
            "prominent": True,
            "sequential_id": "final",
        },
    ]
    assert grade_breakdown(EXAMPLE, EXAMPLE_GRADES) == {
        "Homework": {
            "percent": average * 0.4,
            "detail": "Homework = 31.11% of a possible 40.00%",
            "category": "Homework",
        },
        "Final Exam": {
            "percent": 0.7 * 0.6,
            "detail": "Final Exam = 42.00% of a possible 60.00%",
            "category": "Final Exam",
        },
    }
    assert average == pytest.approx(0.777767, abs=1e-6)
    grade = course_grade(EXAMPLE, EXAMPLE_GRADES)
    assert grade == CourseGrade(percent=0.73, letter="C", passed=True)
    assert current_grade(grade.percent) == 73


def test_the_keys_of_entries_have_an_order() -> None:
    found = [list(entry) for entry in section_breakdown(EXAMPLE, EXAMPLE_GRADES)]
    common = ["percent", "label", "detail", "category"]
    assert found == [
        *[[*common, "sequential_id"]] * 3,
        [*common, "sequential_id", "mark"],
        [*common, "prominent"],
        [*common, "prominent", "sequential_id"],
    ]


def test_the_default_policy_with_nothing_to_score() -> None:
    entries = section_breakdown(DEFAULT, [])
    numbers = range(1, 13)
    assert [entry["label"] for entry in entries] == [
        *(f"HW {n:02d}" for n in numbers),
        "HW Avg",
        *(f"Lab {n:02d}" for n in numbers),
        "Lab Avg",
        "Midterm",
        "Final",
    ]
    dropped = ["HW 11", "HW 12", "Lab 11", "Lab 12"]
    assert [entry["label"] for entry in entries if "mark" in entry] == dropped
    assert {entry["percent"] for entry in entries} == {0.0}
    assert [entry["detail"] for entry in entries[-2:]] == [
        "Midterm Exam = 0.00%",
        "Final Exam = 0.00%",
    ]
    assert entries[-1]["sequential_id"] is None
    assert course_grade(DEFAULT, []) == CourseGrade(0.0, None, passed=False)


def test_the_later_of_equal_entries_is_dropped() -> None:
    entries = section_breakdown(policy(lab(drop_count=2)), labs(5.0, 9.0, 5.0, 5.0))
    assert [entry["label"] for entry in entries if "mark" in entry] == ["Lab 03", "Lab 04"]
    assert percent_of(lab(drop_count=2), 5.0, 9.0, 5.0, 5.0) == pytest.approx(0.7)


def test_what_is_not_released_is_dropped_before_an_earned_zero() -> None:
    entries = section_breakdown(policy(lab(min_count=3, drop_count=1)), labs(0.0, 9.0))
    assert [entry["label"] for entry in entries if "mark" in entry] == ["Lab 03"]


@pytest.mark.parametrize("drop_count", [2, 3])
def test_when_all_is_dropped_the_average_is_zero(drop_count: int) -> None:
    entries = section_breakdown(policy(lab(drop_count=drop_count)), labs(10.0, 9.0))
    assert ["mark" in entry for entry in entries] == [True, True, False]
    assert [entry["percent"] for entry in entries] == [1.0, 0.9, 0.0]
    assert percent_of(lab(drop_count=drop_count), 10.0, 9.0) == 0.0


def test_more_entries_than_asked_for_all_count() -> None:
    assert percent_of(lab(min_count=1), 10.0, 5.0, 0.0) == 0.5


def test_a_type_without_entries_has_an_average_of_zero() -> None:
    assert section_breakdown(policy(lab()), []) == [
        {
            "percent": 0.0,
            "label": "Lab Avg",
            "detail": "Lab Average = 0.00%",
            "category": "Lab",
            "prominent": True,
        }
    ]


def test_a_single_entry_stands_for_its_type() -> None:
    rules = lab(section_type="Sheet", category="Work", short_label="L", starting_index=7)
    only = {
        "percent": 0.5,
        "label": "L",
        "detail": "Sheet = 50.00%",
        "category": "Work",
        "prominent": True,
        "sequential_id": "l1",
    }
    assert section_breakdown(policy(rules), labs(5.0)) == [only]
    hidden = {"show_only_average": True, "hide_average": True}
    assert section_breakdown(policy({**rules, **hidden}), labs(5.0)) == [only]


def test_a_single_entry_that_is_dropped_has_no_mark() -> None:
    (only,) = section_breakdown(policy(lab(drop_count=1)), labs(5.0))
    assert only["percent"] == 0.0
    assert only["sequential_id"] == "l1"
    assert "mark" not in only


@pytest.mark.parametrize(
    ("flags", "labels"),
    [
        ({}, ["Lab 01", "Lab 02", "Lab Avg"]),
        ({"show_only_average": True}, ["Lab Avg"]),
        ({"hide_average": True}, ["Lab 01", "Lab 02"]),
        ({"show_only_average": True, "hide_average": True}, []),
    ],
)
def test_entries_and_average_may_be_hidden_and_still_count(
    flags: dict[str, bool], labels: list[str]
) -> None:
    rules = policy(lab(**flags), Pass=0.5)
    entries = section_breakdown(rules, labs(5.0, 10.0))
    assert [entry["label"] for entry in entries] == labels
    assert course_grade(rules, labs(5.0, 10.0)) == CourseGrade(0.75, "Pass", passed=True)


def test_numbers_begin_where_the_policy_says() -> None:
    rules = lab(starting_index=0, min_count=3, section_type="Sheet")
    entries = section_breakdown(policy(rules), labs(5.0, 10.0))
    assert [entry["label"] for entry in entries[:3]] == ["Lab 00", "Lab 01", "Lab 02"]
    assert [entry["detail"] for entry in entries[:3]] == [
        "Sheet 0 - L1 - 50.00% (5/10)",
        "Sheet 1 - L2 - 100.00% (10/10)",
        "Sheet 2 Unreleased - 0% (?/?)",
    ]


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (5.0, "5"),
        (12.345, "12.3"),
        (1234.0, "1.23e+03"),
        (0.5, "0.5"),
        (0.0, "0"),
        (100.0, "100"),
        (0.00001234, "1.23e-05"),
    ],
)
def test_points_are_shown_with_three_digits(points: float, text: str) -> None:
    entries = section_breakdown(policy(lab(min_count=2)), labs(points, of=10.0))
    assert entries[0]["detail"].endswith(f"({text}/10)")


def test_names_are_shown_as_they_are() -> None:
    grades = [graded("Lab", 1.0, 2.0, "{index} % \N{GREEK CAPITAL LETTER OMEGA}", "l1")]
    detail = section_breakdown(policy(lab(min_count=2)), grades)[0]["detail"]
    assert detail == "Lab 1 - {index} % \N{GREEK CAPITAL LETTER OMEGA} - 50.00% (1/2)"


def test_subsections_without_possible_points_or_of_unknown_types_count_nowhere() -> None:
    grades = [
        *labs(10.0),
        graded("Lab", 5.0, 0.0),
        graded("Lab", 5.0, -1.0),
        graded("Essay", 0.0, 9.0),
        graded(None, 0.0, 9.0),
    ]
    rules = policy(lab(), Pass=0.5)
    assert len(section_breakdown(rules, grades)) == 1
    assert course_grade(rules, grades) == CourseGrade(1.0, "Pass", passed=True)


def test_extra_credit_and_weights_may_add_up_to_more_than_all() -> None:
    rules = policy(lab(weight=1.5), Pass=0.5)
    assert course_grade(rules, labs(12.0)) == CourseGrade(1.8, "Pass", passed=True)


def test_weights_of_nothing_give_nothing() -> None:
    rules = policy(lab(weight=0), {"type": "Exam"}, Pass=0.5)
    grades = [*labs(10.0), graded("Exam", 1.0, 1.0)]
    assert course_grade(rules, grades) == CourseGrade(0.0, None, passed=False)
    assert grade_breakdown(rules, grades)["Lab"]["detail"] == "Lab = 0.00% of a possible 0.00%"


def test_a_policy_without_types_gives_nothing() -> None:
    assert course_grade(policy(Pass=0.5), labs(10.0)) == CourseGrade(0.0, None, passed=False)
    assert section_breakdown(policy(), labs(10.0)) == []


def test_a_type_that_stands_twice_counts_twice() -> None:
    """It cannot be published; what is stored is graded all the same."""
    rules = policy(lab(weight=0.5, min_count=4), lab(weight=0.25), Pass=0.5)
    assert course_grade(rules, labs(10.0, 10.0)) == CourseGrade(0.5, "Pass", passed=True)


def test_a_cutoff_of_zero_gives_a_letter_and_no_pass() -> None:
    rules = policy(lab(), A=0.9, F=0)
    assert course_grade(rules, labs(1.0)) == CourseGrade(0.1, "F", passed=False)
    assert course_grade(rules, labs(9.0)) == CourseGrade(0.9, "A", passed=True)
    assert course_grade(policy(lab(), F=0), labs(9.0)) == CourseGrade(0.9, "F", passed=False)


def test_without_cutoffs_nobody_passes() -> None:
    assert course_grade(policy(lab()), labs(10.0)) == CourseGrade(1.0, None, passed=False)


def test_the_rounded_percent_decides_about_the_letter() -> None:
    rules = policy(lab(), Pass=0.5)
    assert course_grade(rules, labs(494.4, of=1000.0)) == CourseGrade(0.49, None, passed=False)
    assert course_grade(rules, labs(494.5, of=1000.0)) == CourseGrade(0.5, "Pass", passed=True)


@pytest.mark.parametrize(
    ("total", "percent"),
    [
        (0.4944, 0.49),
        (0.4945, 0.50),
        (0.8245, 0.83),
        (0.9945, 1.0),
        (0.731107, 0.73),
        (0.0, 0.0),
        (1.0, 1.0),
        (1.2, 1.2),
        (float("inf"), 0.0),
        (1e307, 0.0),
        (float("nan"), 0.0),
    ],
)
def test_course_percents_are_whole_hundredths(total: float, percent: float) -> None:
    assert round_course_percent(total) == percent


@pytest.mark.parametrize(
    ("percent", "current"),
    [(0.29, 28), (0.57, 56), (0.58, 57), (0.73, 73), (0.0, 0), (1.0, 100), (1.2, 120)],
)
def test_the_current_grade_is_cut_off_in_doubles(percent: float, current: int) -> None:
    assert current_grade(percent) == current
