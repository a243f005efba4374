"""What may be published as an outline, in the list of blocks and in the tree of callers."""

from typing import Any

import pytest

from domain.courses.blocks import MAX_BLOCKS, MAX_LEVELS, check_outline
from domain.courses.errors import CourseRequestError
from domain.courses.fields import MAX_FAULTS, Faults
from domain.courses.outline import flatten, nest, places
from domain.keys import parse_course_key
from tests.facts import COURSE, block, outline

KEY = parse_course_key(COURSE)
ROOT = block("course", "course")


def checked(blocks: Any, course_id: str = COURSE) -> list[Any]:
    faults = Faults()
    found = check_outline(faults, parse_course_key(course_id), blocks)
    faults.refuse_if_any()
    return list(found.blocks)


def refused(blocks: Any) -> list[tuple[Any, ...]]:
    with pytest.raises(CourseRequestError) as caught:
        checked(blocks)
    return [(fault.loc, fault.kind) for fault in caught.value.faults]


def below(*levels: str, **fields: Any) -> list[Any]:
    """One block in the other, the last with some fields."""
    blocks = [ROOT]
    for number, kind in enumerate(levels):
        blocks.append(block(kind, f"b{number}", blocks[-1]))
    blocks[-1] |= fields
    return blocks


# --- the list ---------------------------------------------------------------------------------


def test_a_good_outline_is_kept_as_it_is() -> None:
    assert checked(outline()) == outline()


def test_a_course_may_be_empty() -> None:
    assert checked([ROOT]) == [ROOT]


def test_the_version_tells_what_the_blocks_hold() -> None:
    faults = Faults()
    versions = {
        check_outline(faults, KEY, blocks).version
        for blocks in (
            outline(),
            [dict(reversed(one.items())) for one in outline()],
            [one | {"hide_from_toc": False, "format": one.get("format")} for one in outline()],
            [one | ({"weight": 2} if one["type"] == "problem" else {}) for one in outline()],
        )
    }
    assert len(versions) == 2
    assert not faults.found


def test_defaults_are_left_out_and_values_have_one_form() -> None:
    *_, problem = checked(
        below(
            "problem",
            graded=False,
            format="",
            weight=2,
            max_score=None,
            due="2026-03-08T01:00:00+01:00",
            start="2026-03-01",
            visible_to_staff_only=False,
            hide_from_toc=True,
            show_correctness="always",
            group_access={"50": [1, 2.0], "51": [], "52": None},
            data="<problem/>",
        )
    )
    assert list(problem.items())[4:] == [
        ("graded", False),
        ("weight", 2.0),
        ("due", "2026-03-08T00:00:00.000000Z"),
        ("start", "2026-03-01T00:00:00.000000Z"),
        ("hide_from_toc", True),
        ("group_access", {"50": [1, 2]}),
        ("data", "<problem/>"),
    ]
    assert isinstance(problem["weight"], float)


@pytest.mark.parametrize(
    "levels",
    [
        ("chapter", "sequential", "vertical", "problem"),
        ("chapter", "sequential", "vertical", "library_content", "problem"),
        ("chapter", "sequential", "vertical", "split_test", "vertical", "problem"),
        ("chapter", "sequential", "problem"),
        ("chapter", "html"),
        ("poll",),
    ],
)
def test_blocks_nest_as_courses_do(levels: tuple[str, ...]) -> None:
    assert len(checked(below(*levels))) == len(levels) + 1


@pytest.mark.parametrize(
    "levels",
    [
        ("sequential",),
        ("vertical",),
        ("course",),
        ("chapter", "chapter"),
        ("chapter", "vertical"),
        ("chapter", "sequential", "sequential"),
        ("chapter", "sequential", "vertical", "sequential"),
        ("chapter", "html", "vertical"),
    ],
)
def test_chapters_sequentials_and_verticals_have_their_place(levels: tuple[str, ...]) -> None:
    assert refused(below(*levels)) == [(("blocks", len(levels)), "nesting")]


def test_nesting_has_an_end() -> None:
    deep = ("chapter", "sequential", "vertical", *["wrapper"] * (MAX_LEVELS - 4))
    checked(below(*deep))
    assert refused(below(*deep, "wrapper")) == [(("blocks", MAX_LEVELS), "nesting")]


@pytest.mark.parametrize("first", [[], [block("chapter", "week")], [block("course", "other")]])
def test_the_first_block_is_the_course(first: list[Any]) -> None:
    assert "root" in [kind for _, kind in refused(first)]


def test_a_block_has_one_key_of_this_course() -> None:
    chapter = block("chapter", "week", ROOT)
    foreign = {**chapter, "usage_key": "block-v1:Other+S1+2026+type@chapter+block@week"}
    assert refused([ROOT, chapter, chapter]) == [(("blocks", 2, "usage_key"), "duplicate")]
    assert refused([ROOT, foreign]) == [(("blocks", 1, "usage_key"), "foreign")]
    assert refused([ROOT, {**chapter, "usage_key": "week"}]) == [
        (("blocks", 1, "usage_key"), "key")
    ]
    assert refused([ROOT, {**chapter, "usage_key": 7}]) == [
        (("blocks", 1, "usage_key"), "string_type")
    ]
    assert refused([ROOT, {**chapter, "type": "vertical"}]) == [(("blocks", 1, "type"), "type")]
    assert refused([ROOT, {"display_name": "x"}])[0] == (("blocks", 1, "usage_key"), "required")


def test_a_branch_is_left_out_and_old_keys_hold_new_blocks() -> None:
    branched = block("chapter", "week", ROOT)
    branched["usage_key"] = branched["usage_key"].replace("+type", "+branch@draft+type")
    assert checked([ROOT, branched]) == [ROOT, block("chapter", "week", ROOT)]
    assert checked([ROOT], "Demo/S1/2026") == [ROOT]


def test_parents_come_before_and_are_still_open() -> None:
    one, two = block("chapter", "one", ROOT), block("chapter", "two", ROOT)
    late = block("sequential", "late", one)
    lost = block("sequential", "lost", block("chapter", "nowhere"))
    assert refused([ROOT, one, two, late]) == [(("blocks", 3, "parent"), "order")]
    assert refused([ROOT, lost]) == [(("blocks", 1, "parent"), "parent")]
    assert refused([ROOT, {**one, "parent": None}]) == [(("blocks", 1, "parent"), "required")]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"weight": float("nan")}, "range"),
        ({"weight": float("inf")}, "range"),
        ({"weight": -1}, "range"),
        ({"weight": 10**4000}, "range"),
        ({"max_score": "10"}, "float_type"),
        ({"max_score": True}, "float_type"),
        ({"graded": "yes"}, "bool_type"),
        ({"due": "tomorrow"}, "datetime"),
        ({"due": 5}, "datetime"),
        ({"start": "0001-01-01T00:00:00+14:00"}, "datetime"),
        ({"format": "x" * 256}, "max_length"),
        ({"display_name": None}, "string_type"),
        ({"display_name": "a\0b"}, "null_characters_not_allowed"),
        ({"display_name": "\ud800"}, "surrogate_characters_not_allowed"),
        ({"data": "x" * 1_000_001}, "max_length"),
        ({"group_access": {"all": [1]}}, "key"),
        ({"group_access": []}, "object_type"),
        ({"group_access": {"50": "1"}}, "list_type"),
        ({"group_access": {"50": [1.5]}}, "int_type"),
        ({"wieght": 1}, "unknown"),
    ],
)
def test_values_that_no_grade_can_be_computed_with_are_refused(
    fields: dict[str, Any], kind: str
) -> None:
    (fault,) = refused(below("problem", **fields))
    assert fault[1] == kind
    assert fault[0][:3] == ("blocks", 1, next(iter(fields)))


def test_everything_that_is_wrong_is_told_up_to_a_limit() -> None:
    blocks = [ROOT, *[block("chapter", f"c{n}", ROOT, weight=-1) for n in range(MAX_FAULTS + 50)]]
    found = refused(blocks)
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == ((), "more")


def test_there_are_not_more_blocks_than_anybody_has() -> None:
    assert refused([ROOT] * (MAX_BLOCKS + 1)) == [(("blocks",), "too_long")]
    assert refused("chapter") == [(("blocks",), "list_type")]
    assert refused([7]) == [(("blocks", 0), "object_type")]


# --- the tree ---------------------------------------------------------------------------------

TREE: list[Any] = [
    {
        "id": "week",
        "display_name": "Week",
        "children": [
            {
                "id": "homework",
                "display_name": "Homework",
                "graded": True,
                "format": "Homework",
                "children": [
                    {
                        "id": "unit",
                        "display_name": "Unit",
                        "children": [
                            {"id": "sums", "type": "problem", "max_score": 4},
                            {"usage_key": outline()[-1]["usage_key"], "max_score": 10},
                        ],
                    }
                ],
            }
        ],
    }
]


def test_a_tree_becomes_a_list_in_document_order() -> None:
    flat = flatten(KEY, TREE, display_name="Course")
    assert checked(flat) == [
        {**one, "display_name": name}
        for one, name in zip(
            outline(), ("Course", "Week", "Homework", "Unit", "sums", "essay"), strict=True
        )
    ]
    assert places(TREE)[:3] == [(), (0,), (0, "children", 0)]
    assert places(TREE)[-1] == (*[0, "children"] * 3, 1)


def test_a_list_becomes_the_tree_again() -> None:
    tree = nest(outline())
    assert [node["display_name"] for node in tree] == ["Week"]
    assert checked(flatten(KEY, tree, display_name="Course")) == outline()
    assert nest([]) == []


def test_what_cannot_be_read_is_refused_where_it_stands() -> None:
    tree = [
        7,
        {"id": "a", "children": "none"},
        {"id": "b", "usage_key": "x"},
        {"id": 5},
        {"id": "sp ace"},
        {"id": "d", "type": 4},
        {"display_name": "nameless"},
    ]
    flat = flatten(KEY, tree)
    found = refused(flat)
    assert (("blocks", 1), "object_type") in found
    assert (("blocks", 2, "children"), "list_type") in found
    assert (("blocks", 3, "id"), "invalid") in found
    assert (("blocks", 4, "id"), "invalid") in found
    assert (("blocks", 5, "usage_key"), "key") in found
    assert (("blocks", 6, "usage_key"), "required") in found
    assert (("blocks", 7, "usage_key"), "required") in found


def test_a_tree_of_any_depth_is_read_without_recursion() -> None:
    tree: list[Any] = []
    for number in range(2000):
        tree = [{"id": f"n{number}", "type": "wrapper", "children": tree}]
    assert len(flatten(KEY, tree)) == 2001
    with pytest.raises(CourseRequestError):
        checked(flatten(KEY, tree))
