"""Policies: how what was published is read, and which letter it gives."""

import base64
import hashlib
from typing import Any

import pytest

from domain.grades.policy import (
    DEFAULT_CUTOFFS,
    DEFAULT_GRADERS,
    Grader,
    policy_hash,
    read_policy,
)
from tests.domain.grades.given import policy

GOOD: dict[str, Any] = {"type": "Homework", "min_count": 2, "drop_count": 1, "weight": 1.0}


def test_what_is_left_out_is_filled_from_the_type() -> None:
    (grader,) = policy({"type": "Lab", "min_count": 12.0, "unknown": {"kept": True}}).graders
    assert grader == Grader(
        type="Lab",
        short_label="Lab",
        min_count=12,
        drop_count=0,
        weight=0.0,
        category="Lab",
        section_type="Lab",
        show_only_average=False,
        hide_average=False,
        starting_index=1,
    )


def test_what_is_given_is_taken() -> None:
    raw = {
        "type": "Homework",
        "short_label": "HW",
        "min_count": 3,
        "drop_count": 1,
        "weight": 0.25,
        "category": "Work",
        "section_type": "Sheet",
        "show_only_average": True,
        "hide_average": True,
        "starting_index": 0,
    }
    (grader,) = policy(raw).graders
    assert {name: getattr(grader, name) for name in raw} == raw


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_label_of_nothing_is_the_type(nothing: str | None) -> None:
    (grader,) = policy({"type": "Lab", "short_label": nothing, "min_count": None}).graders
    assert (grader.short_label, grader.min_count) == ("Lab", 0)


def test_cutoffs_are_read_from_the_highest_to_the_lowest() -> None:
    found = policy(C=0.5, A=0.9, F=0, B=0.7)
    assert list(found.cutoffs.items()) == [("A", 0.9), ("B", 0.7), ("C", 0.5), ("F", 0.0)]


def test_a_cutoff_of_zero_passes_nobody() -> None:
    assert policy(A=0.9, F=0).lowest_passing == 0.9
    assert policy(F=0).lowest_passing is None
    assert policy().lowest_passing is None


@pytest.mark.parametrize(
    ("percent", "letter"),
    [(1.2, "A"), (0.9, "A"), (0.89, "B"), (0.7, "B"), (0.69, None), (0.0, None)],
)
def test_the_letter_is_the_highest_cutoff_reached(percent: float, letter: str | None) -> None:
    assert policy(B=0.7, A=0.9).letter_for(percent) == letter


def test_of_equal_cutoffs_the_first_gives_the_letter() -> None:
    assert policy(Pass=0.5, Good=0.5).letter_for(0.5) == "Pass"


def test_policies_can_be_told_apart_and_kept_in_sets() -> None:
    assert {policy(GOOD, A=0.9), policy(GOOD, A=0.9), policy(A=0.9)} == {
        policy(GOOD, A=0.9),
        policy(A=0.9),
    }


def test_the_hash_is_that_of_the_policy_as_given() -> None:
    text = '{"GRADER":[{"min_count":1,"type":"\\u00dcbung"}],"GRADE_CUTOFFS":{"A":0.9,"B":0.5}}'
    digest = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
    assert policy_hash([{"type": "Übung", "min_count": 1}], {"B": 0.5, "A": 0.9}) == digest
    assert read_policy([{"min_count": 1, "type": "Übung"}], {"A": 0.9, "B": 0.5}).hash == digest


def test_the_hash_of_the_default_policy_is_stored_with_grades_and_never_changes() -> None:
    assert policy_hash(DEFAULT_GRADERS, DEFAULT_CUTOFFS) == "ChVp0lHGQGCevD0t4njna/C44zQ="
