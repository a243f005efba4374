"""Whole random courses, graded twice: by the domain and by the slow reading of the rules."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.grades.course_grade import (
    course_grade,
    grade_breakdown,
    round_course_percent,
    section_breakdown,
)
from domain.grades.policy import read_policy
from domain.grades.regrading import CourseVersion, Lens
from domain.grades.scores import (
    ProblemScore,
    percent_of,
    subsection_grade,
    subsection_totals,
    zero_totals,
)
from domain.grades.structure import Viewer, read_structure, visible
from tests.domain.grades import slow_grades
from tests.domain.grades.given import NOW, Chance, chances, graded, is_halfway, sizes
from tests.domain.grades.slow_grades import SlowCourse

thorough = settings(max_examples=300, deadline=None)


@settings(thorough, max_examples=1000)
@given(chances, sizes)
def test_a_course_is_graded_as_the_rules_say(chance: Chance, size: int) -> None:
    blocks = chance.outline(size)
    raw_graders, raw_cutoffs = chance.graders(), chance.cutoffs()
    raw_scores, overrides = chance.scores(blocks), chance.overrides(blocks)
    groups = chance.groups()
    viewer = (
        None
        if groups is None
        else Viewer(groups={name: frozenset(ids) for name, ids in groups.items()})
    )
    scores = {key: ProblemScore(*score) for key, score in raw_scores.items()}
    structure = read_structure(blocks)
    policy = read_policy(raw_graders, raw_cutoffs)
    slow = SlowCourse(blocks)
    grades = []
    slowly: list[slow_grades.Graded] = []

    assert [s.usage_key for s in structure.subsections] == [
        b["usage_key"] for b in slow.sequentials()
    ]
    for subsection in structure.subsections:
        key = subsection.usage_key
        raw = slow.by_key[key]
        seen = viewer is None or visible(subsection.gates, viewer, NOW)
        assert seen == slow.can_see(raw, groups, NOW)
        assert subsection.graded == slow.is_graded_sequential(raw)
        assert subsection.staff_only == slow.for_staff_only(raw)

        totals, attempted_at = subsection_totals(subsection, scores, viewer, NOW)
        assert (totals, attempted_at) == slow.totals(raw, raw_scores, groups, NOW)
        zero = zero_totals(subsection, viewer, NOW)
        assert zero == slow.totals(raw, {}, groups, NOW)[0]

        record = totals if attempted_at is not None or chance.one_in(3) else None
        override = overrides.get(key)
        grade = subsection_grade(record, attempted_at, override, zero)
        assert grade == slow_grades.grade_of(record, attempted_at, override, zero)
        if seen and subsection.graded:
            grades.append((subsection, grade))
            slowly.append((key, raw["display_name"], raw.get("format"), *grade[:3]))

    entries, shares, expected = slow_grades.course_of(raw_graders, raw_cutoffs, slowly)
    assert course_grade(policy, grades) == expected
    assert grade_breakdown(policy, grades) == shares
    assert same_in_order(section_breakdown(policy, grades), entries)


@thorough
@given(chances, sizes)
def test_the_short_way_to_a_course_grade_ends_where_the_long_one_does(
    chance: Chance, size: int
) -> None:
    blocks = chance.outline(size)
    structure = read_structure(blocks)
    policy = read_policy(chance.graders(), chance.cutoffs())
    scores = {key: ProblemScore(*score) for key, score in chance.scores(blocks).items()}
    overrides = chance.overrides(blocks)
    groups = chance.groups()
    viewer = Viewer(
        {name: frozenset(ids) for name, ids in (groups or {}).items()}, is_staff=groups is None
    )
    lens = Lens(CourseVersion("course", structure, policy, "1", None), viewer, NOW)
    records: dict[str, list[Any]] = {}
    grades = []
    for subsection in structure.subsections:
        totals, attempted_at = lens.totals(subsection, scores)
        record = totals if attempted_at is not None or chance.one_in(3) else None
        if record is not None and chance.one_in(9):  # of an outline before
            record = record._replace(earned_graded=chance.points(), possible_graded=chance.points())
        if record is not None:
            records[subsection.usage_key] = [*record, None]
        grade = subsection_grade(
            record, attempted_at, overrides.get(subsection.usage_key), lens.zero(subsection)
        )
        if subsection.graded and lens.sees(subsection):
            grades.append((subsection, grade))
    records["gone"] = [1.0, 1.0, 1.0, 1.0, None]

    assert lens.course_grade(records, overrides) == course_grade(policy, grades)


@thorough
@given(chances, sizes, st.booleans())
def test_subsections_are_numbered_as_the_rules_say(
    chance: Chance, size: int, graded_only: bool
) -> None:
    blocks = chance.outline(size)
    graders = chance.graders()
    structure = read_structure(blocks)
    policy = read_policy(graders, {})
    slow = SlowCourse(blocks)

    labelled = structure.gradebook_labels(policy)
    listed = structure.grading_info_subsections(policy, graded_only=graded_only)

    assert [(s.usage_key, label) for s, label, _ in labelled] == slow.gradebook(graders)
    assert [(s.usage_key, label) for s, label, _ in listed] == slow.grading_info(
        graders, graded_only=graded_only
    )


@thorough
@given(chances, sizes)
def test_a_problem_knows_its_subsections(chance: Chance, size: int) -> None:
    blocks = chance.outline(size)
    structure = read_structure(blocks)
    slow = SlowCourse(blocks)
    expected: dict[str, list[str]] = {}
    for sequential in slow.sequentials():
        for problem in slow.problems(sequential):
            expected.setdefault(problem["usage_key"], []).append(sequential["usage_key"])

    found = {
        key: [s.usage_key for s in subsections]
        for key, subsections in structure.subsections_of.items()
    }

    assert found == expected


@thorough
@given(chances, st.lists(st.integers(0, 4), max_size=9))
def test_equal_entries_are_dropped_from_the_end(chance: Chance, earned: list[int]) -> None:
    """Sevenths, so that the order in which they are added shows in the last bit."""
    graders, cutoffs = chance.graders(), chance.cutoffs()
    kind = graders[0]["type"] if graders else "Homework"
    grades = [graded(kind, n * 7.0, 28.7, f"S{i}", f"s{i}") for i, n in enumerate(earned)]
    slowly: list[slow_grades.Graded] = [
        (s.usage_key, s.display_name, s.format, g.earned, g.possible, g.percent) for s, g in grades
    ]
    policy = read_policy(graders, cutoffs)

    entries, shares, expected = slow_grades.course_of(graders, cutoffs, slowly)

    assert course_grade(policy, grades) == expected
    assert grade_breakdown(policy, grades) == shares
    assert same_in_order(section_breakdown(policy, grades), entries)


def test_shares_are_rounded_as_decimals_of_the_scaled_double() -> None:
    halves = 0
    for possible in [*range(1, 161), 0.3, 0.7, 32.5, 20_000]:
        for quarters in range(4 * 165):
            earned = quarters / 4
            assert percent_of(earned, possible) == slow_grades.share(earned, possible)
            halves += is_halfway(earned / possible * 10_000)
    assert halves > 100


def test_course_percents_are_cut_at_the_same_double() -> None:
    for n in range(12_500):
        total = n / 10_000
        assert round_course_percent(total) == slow_grades.course_percent(total)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_any_total_is_cut_at_the_same_double(total: float) -> None:
    assert round_course_percent(total) == slow_grades.course_percent(total)


def same_in_order(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Equal, also in the order of keys, which readers see in the JSON."""
    assert [list(entry.items()) for entry in found] == [list(entry.items()) for entry in expected]
    return True
