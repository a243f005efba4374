"""How many points a block can bring."""

from typing import Any

import pytest

from api.olx import blocks, read_course
from tests.api.olx.archives import unit


def problem(content: str, attributes: str = "") -> dict[str, Any]:
    return read_course(unit(f'<problem url_name="p" {attributes}>{content}</problem>')).blocks[-1]


@pytest.mark.parametrize(
    ("content", "points"),
    [
        ("<stringresponse><textline/></stringresponse>", 1),
        ("<customresponse><p><textline/></p>" + "<textline/>" * 3 + "</customresponse>", 4),
        ("<div><text><customresponse><jsinput/></customresponse></text></div>", 1),
        ('<stringresponse><textline points="3"/></stringresponse>', 3),
        ("<stringresponse><textline/></stringresponse>" * 2, 2),
        ("<annotationresponse><annotationinput/></annotationresponse>", 2),
        (("<multiplechoiceresponse><choicegroup><choice/><choice/></choicegroup>"
         "</multiplechoiceresponse>"), 1),
        ("<choiceresponse><checkboxgroup><choice/></checkboxgroup></choiceresponse>", 1),
        ("<stringresponse><label/><solution/></stringresponse>", 0),
        ("<textline/><p>no response</p>", 0),
        ("", 0),
    ],
)  # fmt: skip
def test_a_problem_is_worth_the_points_of_its_inputs(content: str, points: float) -> None:
    found = problem(content, 'display_name="P"')
    assert found["max_score"] == points
    assert type(found["max_score"]) is float


def test_the_weight_stands_beside_the_raw_maximum() -> None:
    found = problem("<stringresponse><textline/><textline/></stringresponse>", 'weight="7"')
    assert (found["max_score"], found["weight"]) == (2.0, 7.0)


@pytest.mark.parametrize("points", ["many", "-1", "1.5", "9" * 30])
def test_points_that_are_no_number_count_as_one(points: str) -> None:
    content = f'<stringresponse><textline points="{points}"/></stringresponse>'
    imported = read_course(unit(f'<problem url_name="p">{content}</problem>'))
    assert imported.blocks[-1]["max_score"] == 1.0
    assert imported.report[0] == (
        "problem/p: the points of a textline are no whole number; they count as 1"
    )


RUBRIC = """<title>Essay</title><rubric>
<criterion><option points="0"/><option points="5"/><option points="3"/></criterion>
<criterion><option points="2"/></criterion><criterion/></rubric>"""


@pytest.mark.parametrize(
    ("element", "score", "weight"),
    [
        (f'<openassessment url_name="x">{RUBRIC}</openassessment>', 7.0, None),
        ('<edx_sga url_name="x" showanswer="never"/>', 100.0, None),
        ('<edx_sga url_name="x" points="20" weight="1.0"/>', 20.0, 1.0),
        ('<staffgradedxblock url_name="x" instructions=""/>', 1.0, None),
        ('<staffgradedxblock url_name="x" weight="5"/>', 5.0, 5.0),
        ('<drag-and-drop-v2 url_name="x" data="{}"/>', 1.0, None),
        ('<drag-and-drop-v2 url_name="x" weight="4"/>', 1.0, 4.0),
        ('<lti url_name="x" has_score="true"/>', 1.0, None),
        ('<lti url_name="x" has_score="true" weight="2"/>', 2.0, 2.0),
        ('<lti_consumer url_name="x" has_score="true"/>', 1.0, None),
        ('<lti url_name="x" has_score="false"/>', None, None),
        ('<lti url_name="x" launch_url=""/>', None, None),
        ('<html url_name="x" a="b"/>', None, None),
        ('<video url_name="x" a="b"/>', None, None),
        ('<poll url_name="x" a="b"/>', None, None),
        ('<done url_name="x" a="b"/>', None, None),
        ('<unheard-of url_name="x" weight="3"/>', None, 3.0),
    ],
)
def test_other_types_have_their_own_rules(
    element: str, score: float | None, weight: float | None
) -> None:
    block = read_course(unit(element)).blocks[-1]
    assert (block.get("max_score"), block.get("weight")) == (score, weight)


def test_an_open_assessment_is_called_by_its_title() -> None:
    element = f'<openassessment url_name="x">{RUBRIC}</openassessment>'
    assert read_course(unit(element)).blocks[-1]["display_name"] == "Essay"


def test_all_children_of_a_lottery_are_there() -> None:
    imported = read_course(
        unit(
            '<library_content url_name="l" max_count="1">'
            "<problem><p>a</p></problem><problem><p>b</p></problem></library_content>"
        )
    )
    assert imported.counts["problem"] == 2
    assert {block["parent"] for block in imported.blocks[-2:]} == {
        "block-v1:O+C+R+type@library_content+block@l"
    }
    assert imported.report[0] == (
        "library_content/l: shows each learner 1 of its 2 children; all are taken as visible"
    )


def test_the_source_of_a_problem_is_kept_without_its_settings() -> None:
    found = problem("\n <p>a &lt; b &amp; ü</p>tail\n", 'display_name="P" markdown="secret"')
    assert found["data"] == "<problem>\n <p>a &lt; b &amp; ü</p>tail\n</problem>"
    assert "data" not in read_course(unit('<html url_name="h">text</html>')).blocks[-1]


def test_a_large_source_is_left_out() -> None:
    imported = read_course(unit(f'<problem url_name="p">{"x" * 100_001}</problem>'))
    assert "data" not in imported.blocks[-1]
    assert "problem/p: its source of 100,020 bytes is too large and left out" in imported.report


def test_sources_that_are_large_together_are_left_out() -> None:
    many = "".join(f'<problem url_name="p{n}">{"x" * 99_000}</problem>' for n in range(171))
    imported = read_course(unit(many))
    size = sum(len(block.get("data", "")) for block in imported.blocks)
    assert blocks.ALL_DATA_LIMIT - 100_000 < size <= blocks.ALL_DATA_LIMIT
    assert imported.report[-3] == (
        "problem/p170: its source is left out, because those of the others are large"
    )
