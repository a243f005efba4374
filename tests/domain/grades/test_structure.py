"""Outlines: what is inherited, what is numbered, who sees what."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, read_policy
from domain.grades.structure import (
    ENROLLMENT_TRACK_PARTITION,
    GROUP_OF_MODE,
    Gate,
    Viewer,
    read_structure,
    visible,
)
from tests.domain.grades.given import NOW, block, course, homework

DEFAULT = read_policy(DEFAULT_GRADERS, DEFAULT_CUTOFFS)
ANYBODY = Viewer(groups={})


def sequential(key: str, parent: str = "chapter", **more: Any) -> dict[str, Any]:
    return block(key, "sequential", parent, **more)


def graded(key: str, kind: str | None = "Homework", **more: Any) -> dict[str, Any]:
    return sequential(key, graded=True, **({"format": kind} if kind else {}), **more)


def problem(key: str, parent: str = "v", **more: Any) -> dict[str, Any]:
    return block(key, "problem", parent, **{"max_score": 1.0, **more})


def test_an_outline_without_blocks_is_an_empty_course() -> None:
    structure = read_structure([])
    assert structure.subsections == ()
    assert not structure.has("course")
    assert structure.uniform


def test_a_subsection_tells_what_it_is() -> None:
    structure = read_structure(
        [
            block("course", "course", None, display_name="Circuits"),
            block("chapter", "chapter", "course", display_name="Week 1"),
            graded("hw", display_name="Ohm", due="2026-05-01T00:00:00Z"),
        ]
    )
    (hw,) = structure.subsections
    assert structure.display_name == "Circuits"
    assert structure.by_key == {"hw": hw}
    assert (hw.display_name, hw.format, hw.graded) == ("Ohm", "Homework", True)
    assert (hw.chapter_key, hw.chapter_name) == ("chapter", "Week 1")
    assert hw.due == datetime(2026, 5, 1, tzinfo=UTC)
    assert structure.has("chapter")
    assert not structure.has("elsewhere")


def test_subsections_come_chapter_by_chapter() -> None:
    structure = read_structure(
        [
            block("course", "course", None),
            block("one", "chapter", "course"),
            sequential("a", "one"),
            block("two", "chapter", "course"),
            sequential("b", "two"),
            sequential("late", "one"),
        ]
    )
    assert [s.usage_key for s in structure.subsections] == ["a", "late", "b"]


def test_a_sequential_is_a_subsection_wherever_it_hangs_below_a_chapter() -> None:
    structure = course(
        block("v", "vertical", "chapter"),
        sequential("deep", "v"),
        sequential("inner", "deep"),
        problem("p", "inner"),
        sequential("stray", "course"),
    )
    assert list(structure.by_key) == ["deep", "inner"]
    assert [s.usage_key for s in structure.subsections_of["p"]] == ["deep", "inner"]


def test_blocks_without_a_way_to_the_course_are_not_in_it() -> None:
    structure = course(
        sequential("lost", "nowhere"), sequential("a", "b"), block("b", "vertical", "a")
    )
    assert structure.subsections == ()
    assert not structure.has("lost")
    assert not structure.has("a")


def test_a_block_named_twice_stands_where_it_came_first() -> None:
    structure = course(sequential("hw"), block("v", "vertical", "hw"), sequential("hw", "course"))
    assert [s.chapter_key for s in structure.subsections] == ["chapter"]


def test_nothing_limits_how_deep_blocks_nest() -> None:
    blocks = [sequential("hw"), block("v0", "vertical", "hw")]
    blocks += [block(f"v{n + 1}", "vertical", f"v{n}") for n in range(5000)]
    structure = course(*blocks, problem("p", "v5000"))
    assert list(structure.subsections_of) == ["p"]


@pytest.mark.parametrize(
    ("of_course", "of_chapter", "own", "expected"),
    [
        (None, None, None, False),
        (True, None, None, True),
        (True, False, None, False),
        (False, True, None, True),
        (True, True, False, False),
        (None, False, True, True),
    ],
)
def test_a_subsection_inherits_whether_it_is_graded(
    of_course: bool | None, of_chapter: bool | None, own: bool | None, expected: bool
) -> None:
    def flag(value: bool | None) -> dict[str, Any]:
        return {} if value is None else {"graded": value}

    structure = read_structure(
        [
            block("course", "course", None, **flag(of_course)),
            block("chapter", "chapter", "course", **flag(of_chapter)),
            sequential("hw", **flag(own)),
        ]
    )
    assert structure.by_key["hw"].graded is expected


def test_a_problem_does_not_ask_the_flag_of_its_subsection() -> None:
    structure = course(sequential("hw", graded=False), block("v", "vertical", "hw"), problem("p"))
    assert [p.graded for p in structure.by_key["hw"].problems] == [True]


def test_a_problem_takes_the_nearest_flag_below_its_subsection() -> None:
    hw = homework(
        problem("plain"),
        block("w", "vertical", "v", graded=False),
        problem("inherits", "w"),
        problem("insists", "w", graded=True),
    )
    assert {p.usage_key: p.graded for p in hw.problems} == {
        "plain": True,
        "inherits": False,
        "insists": True,
    }


def test_the_flag_of_a_subsection_in_a_subsection_counts_for_the_outer_one() -> None:
    structure = course(
        sequential("outer"), sequential("inner", "outer", graded=False), problem("p", "inner")
    )
    flags = {s.usage_key: s.problems[0].graded for s in structure.subsections}
    assert flags == {"outer": False, "inner": True}


@pytest.mark.parametrize(
    ("given", "possible", "counts"),
    [
        ({"max_score": 4.0}, 4.0, True),
        ({"max_score": 4.0, "weight": 2.0}, 2.0, True),
        ({"max_score": 4.0, "weight": 0.0}, 0.0, False),
        ({"max_score": 0.0}, 0.0, False),
        ({"max_score": 0.0, "weight": 3.0}, 0.0, False),
    ],
)
def test_a_problem_is_worth_its_weight(
    given: dict[str, Any], possible: float, counts: bool
) -> None:
    (found,) = homework(problem("p", **given)).problems
    assert (found.possible, found.graded, found.graded_by_flag) == (possible, counts, True)
    assert (found.max_score, found.weight) == (given["max_score"], given.get("weight"))


def test_problems_come_after_what_is_in_them_and_only_if_they_have_a_score() -> None:
    hw = homework(
        problem("outer"),
        problem("inner", "outer"),
        block("html", "html", "v"),
        block("unscored", "problem", "v"),
        problem("last"),
    )
    assert [p.usage_key for p in hw.problems] == ["inner", "outer", "last"]


def test_a_subsection_is_no_problem_of_its_own() -> None:
    assert [p.usage_key for p in homework(problem("p"), max_score=5.0).problems] == ["p"]


def test_a_direct_problem_stands_in_a_unit_of_a_subsection_of_a_chapter() -> None:
    structure = course(
        graded("hw"),
        problem("loose", "hw"),
        block("v", "vertical", "hw"),
        problem("direct", data="<problem/>"),
        block("ora", "openassessment", "v", max_score=1.0),
        block("library", "library_content", "v"),
        problem("in_library", "library"),
        block("w", "vertical", "chapter"),
        sequential("deep", "w"),
        block("x", "vertical", "deep"),
        problem("too_deep", "x"),
    )
    found = {p.usage_key: p for s in structure.subsections for p in s.problems}
    assert [key for key, p in found.items() if p.direct] == ["direct"]
    assert found["direct"].data == "<problem/>"
    assert found["ora"].type == "openassessment"


def test_the_gradebook_numbers_each_type_and_leaves_out_what_is_for_staff() -> None:
    structure = course(
        graded("a"),
        graded("lab", "Lab"),
        sequential("ungraded", format="Homework"),
        graded("secret", visible_to_staff_only=True),
        graded("hidden", hide_from_toc=True),
        graded("unknown", "Essay"),
        graded("none", None),
        graded("b"),
        block("staff", "chapter", "course", visible_to_staff_only=True),
        sequential("inherits", "staff", graded=True, format="Homework"),
    )
    found = structure.gradebook_labels(DEFAULT)
    assert [(s.usage_key, label, short_label) for s, label, short_label in found] == [
        ("a", "HW 01", "HW"),
        ("lab", "Lab 01", "Lab"),
        ("hidden", "HW 02", "HW"),
        ("unknown", None, None),
        ("none", None, None),
        ("b", "HW 03", "HW"),
    ]
    assert [s for s, _, _ in found] == list(structure.graded_subsections())


def test_grading_info_numbers_only_what_it_lists() -> None:
    structure = course(
        graded("a"),
        graded("hidden", hide_from_toc=True),
        sequential("ungraded", format="Homework"),
        graded("secret", visible_to_staff_only=True),
        graded("b"),
        block("hidden_chapter", "chapter", "course", hide_from_toc=True),
        sequential("in_hidden", "hidden_chapter", graded=True, format="Homework"),
        block("staff", "chapter", "course", visible_to_staff_only=True),
        sequential("in_staff", "staff", graded=True, format="Homework"),
    )
    everything = structure.grading_info_subsections(DEFAULT)
    assert [(s.usage_key, label) for s, label, _ in everything] == [
        ("a", "HW 01"),
        ("ungraded", None),
        ("b", "HW 02"),
    ]
    only_graded = structure.grading_info_subsections(DEFAULT, graded_only=True)
    assert [(s.usage_key, label) for s, label, _ in only_graded] == [("a", "HW 01"), ("b", "HW 02")]


def test_the_flags_of_the_contents_are_those_of_chapter_and_subsection_alone() -> None:
    structure = read_structure(
        [
            block("course", "course", None, visible_to_staff_only=True, hide_from_toc=True),
            block("chapter", "chapter", "course"),
            sequential("hw"),
        ]
    )
    hw = structure.by_key["hw"]
    assert (hw.listed, hw.hidden_from_toc, hw.staff_only) == (True, False, True)


def test_a_hundredth_homework_has_three_digits() -> None:
    structure = course(*(graded(f"hw{n}") for n in range(100)))
    assert structure.gradebook_labels(DEFAULT)[99].label == "HW 100"


def test_gates_are_those_of_a_block_and_of_all_above_it() -> None:
    start = NOW.isoformat()
    structure = read_structure(
        [
            block("course", "course", None, start=start),
            block("chapter", "chapter", "course", start=start),
            sequential("hw", group_access={"50": [2], "7": []}),
            block("v", "vertical", "hw"),
            problem("p", visible_to_staff_only=True),
            problem("q"),
        ]
    )
    hw = structure.by_key["hw"]
    of_course = Gate(NOW, staff_only=False, group_access={})
    of_hw = Gate(None, staff_only=False, group_access={"50": frozenset({2})})
    assert hw.gates == (of_course, of_hw)
    p, q = hw.problems
    assert p.gates == (*hw.gates, Gate(None, staff_only=True, group_access={}))
    assert q.gates == hw.gates
    assert not hw.open_inside
    assert not structure.uniform


@pytest.mark.parametrize(
    "given",
    [
        {"start": "2020-01-01T00:00:00Z"},
        {"visible_to_staff_only": True},
        {"group_access": {"50": [1]}},
    ],
)
def test_one_gate_anywhere_makes_a_course_uneven(given: dict[str, Any]) -> None:
    assert not course(block("html", "html", "chapter", **given)).uniform
    assert course(graded("hw", group_access={"50": []}, hide_from_toc=True)).uniform


@pytest.mark.parametrize(
    ("start", "expected"),
    [(timedelta(0), False), (timedelta(microseconds=-1), True), (timedelta(days=1), False)],
)
def test_a_start_is_passed_when_it_lies_in_the_past(start: timedelta, expected: bool) -> None:
    gate = Gate(NOW + start, staff_only=False, group_access={})
    assert visible([gate], ANYBODY, NOW) is expected


def test_a_learner_needs_a_group_of_every_partition_asked_for() -> None:
    track = ENROLLMENT_TRACK_PARTITION
    verified = GROUP_OF_MODE["verified"]
    gate = Gate(
        None,
        staff_only=False,
        group_access={track: frozenset({verified, 7}), "9": frozenset({1})},
    )
    both = Viewer(groups={track: frozenset({verified}), "9": frozenset({1, 2})})
    one = Viewer(groups={track: frozenset({verified})})
    other = Viewer(groups={track: frozenset({1}), "9": frozenset({1})})
    assert visible([gate], both, NOW)
    assert not visible([gate], one, NOW)
    assert not visible([gate], other, NOW)
    assert not visible([gate], ANYBODY, NOW)


def test_staff_see_everything() -> None:
    gate = Gate(NOW + timedelta(1), staff_only=True, group_access={"9": frozenset({1})})
    assert not visible([gate], ANYBODY, NOW)
    assert visible([gate], Viewer(groups={}, is_staff=True), NOW)


def test_a_time_without_a_zone_is_in_utc() -> None:
    (gate,) = homework(start="2026-03-01T12:00:00").gates
    assert gate.start == NOW
