"""What a course and its blocks say, and where."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from api.olx import CourseImportError, read_course
from domain.keys import InvalidKeyError
from tests.api.olx.archives import course, files, pack, unit

DEFAULTS = [
    "no graders in the archive: those of the default policy are taken",
    "no cut-offs in the archive: those of the default policy are taken",
]


def told(attributes: str, policy: object = None) -> tuple[dict[str, Any], list[str]]:
    """What a block says with these attributes, beyond what all say; and the report."""
    others = {} if policy is None else {"policies/R/policy.json": json.dumps({"html/h": policy})}
    imported = read_course(unit(f'<html url_name="h" {attributes} x="y"/>', **others))
    block = imported.blocks[-1]
    common = ("usage_key", "type", "parent")
    report = [line for line in imported.report if line not in DEFAULTS]
    return {name: value for name, value in block.items() if name not in common}, report


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        ('display_name="Two  spaces "', "display_name", "Two  spaces "),
        ('display_name="&quot;Quoted&quot;"', "display_name", "Quoted"),
        ('display_name="2024"', "display_name", "2024"),
        ('display_name="true"', "display_name", "true"),
        ('display_name="[1]"', "display_name", "[1]"),
        ('display_name="null"', "display_name", "Text"),
        ('display_name=""', "display_name", "Text"),
        ('graded="true"', "graded", True),
        ('graded="True"', "graded", True),
        ('graded="false"', "graded", False),
        ('graded="1"', "graded", True),
        ('weight="2.5"', "weight", 2.5),
        ('weight="0"', "weight", 0.0),
        ('weight="&quot;3&quot;"', "weight", 3.0),
        ('format="Homework"', "format", "Homework"),
        ('due="2030-02-03"', "due", "2030-02-03T00:00:00.000000Z"),
        ('due="&quot;2030-02-03T04:05&quot;"', "due", "2030-02-03T04:05:00.000000Z"),
        ('due="2030-02-03T04:05:06+02:00"', "due", "2030-02-03T02:05:06.000000Z"),
        ('start="0"', "start", "1970-01-01T00:00:00.000000Z"),
        ('visible_to_staff_only="true"', "visible_to_staff_only", True),
        ('hide_from_toc="true"', "hide_from_toc", True),
        ('show_correctness="past_due"', "show_correctness", "past_due"),
        (
            'group_access="{&quot;50&quot;: [1, 2], &quot;51&quot;: []}"',
            "group_access",
            {"50": [1, 2]},
        ),
    ],
)
def test_values_are_read_as_their_fields_want_them(
    attributes: str, field: str, value: object
) -> None:
    block, report = told(attributes)
    assert block[field] == value
    assert type(block[field]) is type(value)
    assert report == []


@pytest.mark.parametrize(
    "attributes",
    [
        'weight="null" due="null" graded="null" format="null" start="" show_correctness=""',
        'visible_to_staff_only="false" hide_from_toc="false" group_access="{}" format="" due=""',
        'graceperiod="" max_attempts="5" user_partitions="[{}]"',
    ],
)
def test_what_is_not_set_or_the_default_is_left_out(attributes: str) -> None:
    assert told(attributes) == ({"display_name": "Text"}, [])


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ('weight="heavy"', "weight 'heavy' is no number of points and left out"),
        ('weight="-1"', "weight '-1' is no number of points and left out"),
        ('weight="NaN"', "weight 'NaN' is no number of points and left out"),
        ('weight="1e300"', "weight '1e+300' is no number of points and left out"),
        ('due="next week"', "due 'next week' is no time and left out"),
        ('due="true"', "due 'True' is no time and left out"),
        ('start="1e30"', "start '1e+30' is no time and left out"),
        (
            'start="0001-01-01T00:00+14:00"',
            "start '0001-01-01T00:00+14:00' is no time and left out",
        ),
        ('graded="maybe"', "graded 'maybe' is neither true nor false and left out"),
        ('group_access="[1]"', "group_access '[1]' is no groups by partition and left out"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_told(attributes: str, line: str) -> None:
    assert told(attributes) == ({"display_name": "Text"}, [f"html/h: {line}"])


def test_a_long_name_is_cut() -> None:
    block, report = told(f'display_name="{"x" * 20_000}"')
    assert block["display_name"] == "x" * 1000
    assert report == ["html/h: display_name is cut to 1,000 characters"]


def test_the_policy_counts_before_the_attributes() -> None:
    attributes = 'display_name="XML" graded="true" weight="2" due="2030-01-01" format="A"'
    policy = {
        "display_name": "Policy",
        "graded": False,
        "weight": 1,
        "due": None,
        "start": "2031-01-01T00:00:00Z",
    }
    assert told(attributes, policy) == (
        {
            "display_name": "Policy",
            "graded": False,
            "format": "A",
            "weight": 1.0,
            "start": "2031-01-01T00:00:00.000000Z",
        },
        [],
    )


def test_nothing_is_copied_down() -> None:
    policy = {
        "course/R": {"graded": True, "start": "2030-01-01", "visible_to_staff_only": True},
        "chapter/c": {"graded": False},
    }
    imported = read_course(unit("<done/>", **{"policies/R/policy.json": json.dumps(policy)}))
    own = [
        block.keys() - {"usage_key", "type", "parent", "display_name"} for block in imported.blocks
    ]
    assert own == [{"graded", "start", "visible_to_staff_only"}, {"graded"}, set(), set(), set()]


def test_the_older_place_of_the_policy() -> None:
    older = {"policies/R.json": '{"course/R": {"display_name": "Older"}}'}
    assert read_course(course(**older)).display_name == "Older"
    newer = {"policies/R/policy.json": '{"course/R": {"display_name": "Newer"}}'}
    assert read_course(course(**older, **newer)).display_name == "Newer"


def test_a_course_says_when_it_runs() -> None:
    imported = read_course(
        course(
            attributes='display_name="XML" start="&quot;2020-01-01T00:00:00Z&quot;" self_paced="true"',
            **{"policies/R/policy.json": '{"course/R": {"end": "2021-06-01T12:00:00+02:00"}}'},
        )
    )
    assert imported.display_name == "XML"
    assert imported.start == datetime(2020, 1, 1, tzinfo=UTC)
    assert imported.end == datetime(2021, 6, 1, 10, tzinfo=UTC)
    assert imported.self_paced is True
    assert imported.blocks[0] == {
        "usage_key": "block-v1:O+C+R+type@course+block@course",
        "type": "course",
        "parent": None,
        "display_name": "XML",
        "start": "2020-01-01T00:00:00.000000Z",
    }


def test_a_course_that_says_nothing() -> None:
    packed = pack(
        {
            "course.xml": '<course url_name="Spring_1" course="C"/>',
            "course/Spring_1.xml": "<course/>",
        }
    )
    imported = read_course(packed)
    assert imported.course_id == "course-v1:edx+C+Spring_1"
    assert imported.display_name == "Spring 1"
    assert (imported.start, imported.end, imported.self_paced) == (None, None, False)
    assert imported.report == [
        "the course names no organisation: it is taken to be edx",
        *DEFAULTS,
    ]


def test_a_course_in_one_file() -> None:
    imported = read_course(
        pack(
            {
                "course.xml": '<course org="O" course="C" url_name="R"><chapter url_name="a" x="y"/></course>'
            }
        )
    )
    assert imported.counts == {"course": 1, "chapter": 1}


def test_another_key_can_be_given() -> None:
    imported = read_course(unit("<done/>"), course_id="course-v1:A+B+C+branch@draft")
    assert imported.course_id == "course-v1:A+B+C"
    assert all(block["usage_key"].startswith("block-v1:A+B+C+type@") for block in imported.blocks)
    with pytest.raises(InvalidKeyError):
        read_course(unit("<done/>"), course_id="A+B+C")


@pytest.mark.parametrize(
    "head",
    [
        '<course url_name="R" org="O"/>',
        '<course url_name="R" org="O O" course="C"/>',
        '<course url_name="R" org="O+X" course="C"/>',
        '<course url_name="R" org="O" course="C+R+branch@X"/>',
        f'<course url_name="R" org="{"O" * 250}" course="C"/>',
        '<library url_name="R" org="O" course="C"/>',
        f'<course url_name="{"R" * 256}" org="O" course="C"/>',
        '<course url_name="other" org="O" course="C"/>',
        "<course",
    ],
)
def test_a_course_that_cannot_be_named_or_read_is_refused(head: str) -> None:
    with pytest.raises(CourseImportError):
        read_course(pack({**files(), "course.xml": head}))


# --- the grading policy ---------------------------------------------------------------------------

GRADERS = [{"type": "Lab", "min_count": 3, "weight": 1, "whatever": "kept"}]
POLICY = json.dumps({"GRADER": GRADERS, "GRADE_CUTOFFS": {"A": 0.9, "B": 0.5}})


@pytest.mark.parametrize("name", ["policies/R/grading_policy.json", "grading_policy.json"])
def test_the_grading_policy_is_kept_as_it_is(name: str) -> None:
    imported = read_course(course(**{name: POLICY}))
    assert imported.graders == GRADERS
    assert imported.cutoffs == {"A": 0.9, "B": 0.5}
    assert imported.report == []


def test_the_grading_policy_of_the_run_comes_first() -> None:
    imported = read_course(
        course(
            **{
                "policies/R/grading_policy.json": POLICY,
                "grading_policy.json": '{"GRADER": [], "GRADE_CUTOFFS": {}}',
                "policies/other/grading_policy.json": "no JSON",
            }
        )
    )
    assert imported.graders == GRADERS


def test_what_the_grading_policy_does_not_say_is_the_default() -> None:
    imported = read_course(course(**{"grading_policy.json": json.dumps({"GRADER": GRADERS})}))
    assert imported.graders == GRADERS
    assert imported.cutoffs == {"Pass": 0.5}
    assert imported.report == DEFAULTS[1:]
    imported = read_course(course())
    assert [grader["type"] for grader in imported.graders] == [
        "Homework",
        "Lab",
        "Midterm Exam",
        "Final Exam",
    ]


@pytest.mark.parametrize("name", ["policies/R/policy.json", "grading_policy.json"])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": "\xe9"}', "is not in UTF-8"),
        ('{"a": 1'.encode("utf-16"), "is not in UTF-8"),
        (b'{"a": ', "is no JSON at line 1, column"),
        (b'{"a": NaN}', "is no JSON"),
        (b'{"a": 1e999}', "is no JSON"),
        (b'{"a": "\\ud800"}', "is no JSON"),
        (b'{"a": "\\u0000"}', "holds no JSON object of plain values"),
        (b"[]", "holds no JSON object"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_a_broken_policy_is_refused(name: str, data: bytes, why: str) -> None:
    with pytest.raises(CourseImportError, match=f"'{name}' {why}"):
        read_course(pack({**files(), name: data}))


@pytest.mark.parametrize("data", ['{"GRADER": {}}', '{"GRADE_CUTOFFS": []}', '{"GRADER": null}'])
def test_a_grading_policy_of_another_form_is_refused(data: str) -> None:
    with pytest.raises(CourseImportError, match="is no grading policy"):
        read_course(course(**{"grading_policy.json": data}))


def test_secrets_are_not_told() -> None:
    secret = "hush-hush-0123456789"
    policy = {"course/R": {"lti_passports": [f"a:b:{secret}"], "weight": "x"}}
    imported = read_course(
        course(
            attributes=f'lti_passports="[&quot;a:b:{secret}&quot;]" start="never"',
            **{"policies/R/policy.json": json.dumps(policy)},
        )
    )
    assert len(imported.report) == 4
    assert secret not in repr(imported)
