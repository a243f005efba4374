"""The fast way of writing a gradebook says the same as the obvious one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.http.grades.cells import Breakdown, Rows
from domain.grades.policy import read_policy
from domain.grades.scores import Override, Totals, subsection_grade
from domain.grades.structure import LabelledSubsection, read_structure
from projections.gradebook.tables import (
    Record,
    StoredOverride,
    read_overrides,
    read_records,
    text_of,
)
from tests.school import POLICY, a_course

_STRUCTURE = read_structure(
    a_course(
        {
            'a "quoted" name': ("Homework", {"p1": 5, "p2": 1}),
            "größer": ("Homework", {"p3": 10}),
            "other": ("Unknown", {"p4": 3.5}),
            "exam": ("Exam", {}),
            "reading": (None, {"r1": 1}),
        }
    )
)
COLUMNS = _STRUCTURE.gradebook_labels(read_policy(POLICY["graders"], POLICY["cutoffs"]))
# Not in course order, with a subsection that is gone, and one that is not known yet.
ORDINALS = {
    COLUMNS[2].subsection.usage_key: 0,
    "block-v1:gone": 1,
    COLUMNS[0].subsection.usage_key: 2,
    COLUMNS[3].subsection.usage_key: 3,
}

points = st.one_of(
    st.integers(0, 10).map(float),
    st.integers(0, 10),
    st.floats(0, 1e12, allow_subnormal=False),
)
records = st.lists(
    st.none()
    | st.builds(
        Record,
        points,
        points,
        points,
        points,
        st.none() | st.just("2026-11-22T03:15:40.123456+00:00"),
    ),
    max_size=6,
)
override = st.builds(
    StoredOverride,
    st.none() | points,
    st.none() | points,
    st.none() | points,
    st.none() | points,
    st.just(1),
    st.just(2),
    st.just("2026-11-22T03:15:40.123456+00:00"),
)
overrides = st.dictionaries(st.integers(0, 5), override, max_size=3)


def obvious(
    column: LabelledSubsection, record: Record | None, override: StoredOverride | None
) -> dict[str, Any]:
    """One entry as the specification has it."""
    subsection = column.subsection
    zero = Totals(0.0, 0.0, 0.0, sum(p.possible for p in subsection.problems if p.graded))
    attempted = override is not None or (record is not None and record.first_attempted is not None)
    grade = subsection_grade(
        None if record is None else Totals(*record[:4]),
        None,
        None if override is None else Override(*override[:4]),
        zero,
    )
    percent = grade.percent if attempted else 0.0
    earned, possible = (grade.earned, grade.possible) if attempted else (0.0, 0.0)
    return {
        "are_grades_published": True,
        "attempted": attempted,
        "auto_grade": False,
        "category": subsection.format,
        "chapter_name": "One",
        "comment": "",
        "detail": "",
        "displayed_value": f"{percent:.2f}",
        "grade_description": f"({earned:.2f}/{possible:.2f})",
        "is_ag": False,
        "is_average": False,
        "is_manually_graded": False,
        "label": column.label,
        "module_id": subsection.usage_key,
        "percent": percent,
        "score_earned": earned,
        "score_possible": possible,
        "section_block_id": subsection.usage_key,
        "subsection_name": subsection.display_name,
    }


def records_text(found: Sequence[Record | None]) -> str:
    return text_of([None if one is None else list(one) for one in found])


def overrides_text(decided: Mapping[int, StoredOverride]) -> str:
    return text_of({str(ordinal): list(one) for ordinal, one in decided.items()})


def written(
    breakdown: Breakdown, found: Sequence[Record | None], decided: Mapping[int, StoredOverride]
) -> Any:
    parts: list[bytes] = []
    breakdown.write(parts, records_text(found), overrides_text(decided))
    return json.loads(b"[" + b"".join(parts) + b"]")


@settings(deadline=None)
@given(st.lists(st.tuples(records, overrides), min_size=1, max_size=5))
def test_entries_are_those_of_an_obvious_rendering(
    learners: list[tuple[list[Record | None], dict[int, StoredOverride]]],
) -> None:
    breakdown = Breakdown(COLUMNS, ORDINALS, Rows(most=3))
    for found, decided in [*learners, *learners]:  # the second time from what was kept
        assert read_records(records_text(found)) == found
        assert read_overrides(overrides_text(decided)) == decided
        expected = []
        for column in COLUMNS:
            place = ORDINALS.get(column.subsection.usage_key)
            record = found[place] if place is not None and place < len(found) else None
            chosen = None if place is None else decided.get(place)
            expected.append(obvious(column, record, chosen))
        assert written(breakdown, found, decided) == expected


def test_points_are_always_floats() -> None:
    breakdown = Breakdown(COLUMNS, ORDINALS)
    parts: list[bytes] = []
    breakdown.write(parts, text_of([[1, 2, 1, 2, "2026-11-22T03:15:40+00:00"]]), "{}")
    breakdown.write(parts, None, None)
    text = b"".join(parts)
    assert b'"score_earned":1.0,"score_possible":2.0' in text
    assert b'"percent":0.0,"score_earned":0.0,"score_possible":0.0' in text
    assert b'"percent":0.5' in text


def test_a_course_without_subsections_has_empty_rows() -> None:
    parts: list[bytes] = []
    Breakdown([], {}).write(parts, '[[1,2,1,2,"2026"]]', '{"0":[1,2,1,2,1,2,"2026"]}')
    assert b"".join(parts) == b""


def test_two_courses_keep_their_rows_apart() -> None:
    rows = Rows()
    record = [Record(1.0, 2.0, 1.0, 2.0, "2026-11-22T03:15:40+00:00")]
    first = Breakdown(COLUMNS[:1], {COLUMNS[0].subsection.usage_key: 0}, rows)
    second = Breakdown(COLUMNS[1:2], {COLUMNS[1].subsection.usage_key: 0}, rows)
    assert written(first, record, {})[0]["subsection_name"] == 'a "quoted" name'
    assert written(second, record, {})[0]["subsection_name"] == "größer"
