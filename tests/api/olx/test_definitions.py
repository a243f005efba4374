"""Where definitions are found, which ids blocks get, and what is made of broken ones."""

import io
import re
from typing import Any

import pytest

from api.olx import CourseImportError, ImportedCourse, documents, read_course
from tests.api.olx.archives import course, files, in_unit, pack, unit


def ids(imported: ImportedCourse) -> list[str]:
    """Type and id of what is in the course or, if there is one, in its unit."""
    found = [block["usage_key"].partition("+type@")[2] for block in imported.blocks]
    inside = found.index("vertical+block@v") if "vertical+block@v" in found else 0
    return [one.replace("+block@", "/") for one in found[inside + 1 :]]


def only(imported: ImportedCourse) -> dict[str, Any]:
    assert len(ids(imported)) == 1
    return imported.blocks[-1]


def refusal(source: io.BytesIO) -> str:
    with pytest.raises(CourseImportError) as refused:
        read_course(source)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_pointer_leads_to_a_file() -> None:
    imported = read_course(
        unit(
            '<problem url_name="p"/>',
            **{"problem/p.xml": '<problem display_name="P" url_name="other"/>'},
        )
    )
    assert only(imported)["usage_key"] == "block-v1:O+C+R+type@problem+block@p"
    assert only(imported)["display_name"] == "P"
    assert only(imported)["parent"] == "block-v1:O+C+R+type@vertical+block@v"


def test_a_colon_in_a_pointer_is_a_directory() -> None:
    packed = unit('<html url_name="a:b"/>', **{"html/a/b.xml": '<html display_name="Deep"/>'})
    assert only(read_course(packed))["display_name"] == "Deep"
    assert ids(read_course(unit('<html url_name="a:b" x="y"/>'))) == ["html/a:b"]


@pytest.mark.parametrize(
    "element",
    [
        '<done url_name="d" align="left"/>',
        '<done url_name="d">text</done>',
        '<done url_name="d"><a/></done>',
    ],
)
def test_anything_else_is_its_own_definition(element: str) -> None:
    imported = read_course(unit(element, **{"done/d.xml": '<done display_name="not this"/>'}))
    assert only(imported)["display_name"] == "d"
    assert not any("missing" in line for line in imported.report)


def test_filename_names_the_body_and_the_outer_attributes_win() -> None:
    imported = read_course(
        unit(
            '<problem url_name="p" filename="dir/body" display_name="Outer"/>',
            **{
                "problem/dir/body.xml": '<problem display_name="Inner" weight="3">'
                "<stringresponse><textline/></stringresponse></problem>"
            },
        )
    )
    found = only(imported)
    assert (found["display_name"], found["weight"], found["max_score"]) == ("Outer", 3.0, 1.0)


def test_filename_of_a_page_needs_the_page() -> None:
    packed = unit(
        '<html url_name="a"/><html url_name="b"/>',
        **{
            "html/a.xml": '<html filename="a" display_name="A"/>',
            "html/a.html": "<p>no &nbsp; xml",
            "html/b.xml": '<html filename="b" display_name="B"/>',
        },
    )
    imported = read_course(packed)
    assert [block["display_name"] for block in imported.blocks[-2:]] == ["A", "B"]
    assert imported.report[0] == "html/b: 'html/b.html' is missing; kept without content"


@pytest.mark.parametrize(
    ("attributes", "block_id"),
    [
        ('slug="a-slug" name="N"', "a-slug"),
        ('name="Week 1: Intro  now"', "Week_1_Intro_now"),
        ('display_name="Wie geht es?"', "Wie_geht_es_"),
        ('display_name="数学"', "数学"),
        ('url_name="not ok" slug="s"', "not_ok"),
        ('url_name="" slug="s"', "s"),
    ],
)
def test_an_id_is_taken_from_what_is_there(attributes: str, block_id: str) -> None:
    assert ids(read_course(unit(f"<done {attributes}/>"))) == [f"done/{block_id}"]


def test_a_nameless_block_gets_the_digest_of_its_xml() -> None:
    (block_id,) = ids(read_course(unit("<done>a</done>\n ")))
    assert re.fullmatch(r"done/done_[0-9a-f]{12}", block_id)
    assert ids(read_course(unit("<done>a</done>"))) == [block_id]
    assert ids(read_course(unit("<done>b</done>"))) != [block_id]


def test_an_id_that_is_too_long_for_a_key_is_not_used() -> None:
    (block_id,) = ids(read_course(unit(f'<done url_name="{"x" * 250}"/>')))
    assert re.fullmatch(r"done/done_[0-9a-f]{12}", block_id)


def test_ids_are_unique_for_each_type() -> None:
    imported = read_course(
        unit('<done url_name="a" x="1"/><done url_name="a" x="2"/><html url_name="a" x="1"/>')
    )
    first, second, third = ids(imported)
    assert (first, third) == ("done/a", "html/a")
    assert re.fullmatch(r"done/done_[0-9a-f]{12}", second)
    assert f"done/a is there twice: the second one is {second}" in imported.report


def test_the_same_definition_twice_is_read_once() -> None:
    imported = read_course(
        unit(
            '<problem url_name="p"/><problem url_name="p"/><done>x</done><done>x</done>',
            **{"problem/p.xml": "<problem/>"},
        )
    )
    assert len(ids(imported)) == 2
    assert "problem/p is there twice: the second one is skipped" in imported.report


def test_what_is_everywhere_twice_stays_small() -> None:
    levels = {
        f"wrapper/w{n}.xml": f'<wrapper><wrapper url_name="w{n + 1}"/><wrapper url_name="w{n + 1}"/>'
        "</wrapper>"
        for n in range(20)
    }
    imported = read_course(unit('<wrapper url_name="w0"/>', **levels))
    assert len(ids(imported)) == 21


def test_drafts_are_left_out() -> None:
    imported = read_course(
        course(
            '<chapter url_name="a" display_name="A"/>',
            **{"drafts/vertical/x.xml": '<vertical parent_url="…" index_in_children_list="0"/>'},
        )
    )
    assert ids(imported) == ["chapter/a"]
    assert "1 files of unpublished drafts: skipped" in imported.report


def test_definitions_to_which_nothing_leads_are_counted() -> None:
    imported = read_course(
        unit('<done url_name="d"/>', **{"done/d.xml": "<done/>", "done/e.xml": "<done/>"})
    )
    assert "1 definitions belong to no block that is read: skipped" in imported.report


def test_unknown_types_are_kept_without_what_is_in_them() -> None:
    imported = read_course(
        unit(
            '<crossword url_name="a"><problem url_name="b"/></crossword><crossword url_name="c" x="y"/>'
        )
    )
    assert ids(imported) == ["crossword/a", "crossword/c"]
    assert "2 of the unknown type 'crossword': kept without children or score" in imported.report


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (None, "is missing"),
        ("<problem", "is no well-formed XML at line 1, column 0"),
        ("<problem>&nbsp;</problem>", "is no well-formed XML at line 1, column 9"),
        (b'<?xml version="1.0" encoding="klingon"?><problem/>', "is no well-formed XML"),
        (b"<problem>\xff</problem>", "is no well-formed XML"),
        ("", "is no well-formed XML"),
    ],
)
def test_a_broken_leaf_is_kept_and_told(definition: str | bytes | None, why: str) -> None:
    others = {} if definition is None else {"problem/p.xml": definition}
    policy = '{"problem/p": {"display_name": "P"}}'
    imported = read_course(
        unit(
            '<problem url_name="p"/><done url_name="after" x="y"/>',
            **{**others, "policies/R/policy.json": policy},
        )
    )
    assert ids(imported) == ["problem/p", "done/after"]
    assert imported.blocks[-2].keys() == {"usage_key", "type", "parent", "display_name"}
    assert imported.blocks[-2]["display_name"] == "P"
    (line,) = (line for line in imported.report if line.startswith("problem/p: "))
    assert line.startswith(f"problem/p: 'problem/p.xml' {why}")
    assert line.endswith("; kept without content")


def test_a_file_of_another_type_is_told() -> None:
    imported = read_course(unit('<problem url_name="p"/>', **{"problem/p.xml": "<html/>"}))
    assert only(imported)["type"] == "problem"
    assert "problem/p: its file holds 'html'" in imported.report


def test_elements_that_can_be_no_block_are_skipped() -> None:
    imported = read_course(unit('<x:y xmlns:x="urn:z"/><!-- no --><?nor this?>'))
    assert ids(imported) == []
    assert "an element '{urn:z}y' is no block: skipped" in imported.report


def test_containers_in_the_wrong_place_are_skipped() -> None:
    imported = read_course(
        course(
            '<wiki slug="w"/><chapter url_name="c"><vertical url_name="v"><done/></vertical>'
            '<course url_name="x"/></chapter><sequential url_name="s"/>'
        )
    )
    assert ids(imported) == ["chapter/c"]
    assert imported.report[:3] == [
        "vertical/v stands in no sequential: skipped with what is in it",
        "course/x stands in a course: skipped with what is in it",
        "sequential/s stands in no chapter: skipped with what is in it",
    ]


# --- hostile definitions --------------------------------------------------------------------------

LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<problem>&b;</problem>"
)
ELSEWHERE = '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]><problem>&a;</problem>'


@pytest.mark.parametrize(
    "definition", [LAUGHS, ELSEWHERE, "<!DOCTYPE html><problem/>"], ids=["laughs", "file", "type"]
)
def test_declarations_are_refused(definition: str) -> None:
    packed = unit('<problem url_name="p"/>', **{"problem/p.xml": definition})
    assert refusal(packed) == "'problem/p.xml' declares a document type or entities of its own"
    root = files()
    root["course.xml"] = definition
    assert "declares a document type" in refusal(pack(root))


@pytest.mark.parametrize(
    "others",
    [
        {"wrapper/a.xml": '<wrapper><wrapper url_name="a"/></wrapper>'},
        {
            "wrapper/a.xml": '<wrapper><wrapper url_name="b"/></wrapper>',
            "wrapper/b.xml": '<wrapper><wrapper url_name="a"/></wrapper>',
        },
        {
            "wrapper/a.xml": '<wrapper filename="b"/>',
            "wrapper/b.xml": '<wrapper><wrapper filename="b"/></wrapper>',
        },
    ],
    ids=["itself", "each other", "filename"],
)
def test_a_block_that_contains_itself_is_refused(others: dict[str, str]) -> None:
    assert "contains itself" in refusal(unit('<wrapper url_name="a"/>', **others))


def test_a_unit_that_contains_itself_is_refused() -> None:
    packed = course(
        '<chapter url_name="c"><sequential url_name="s"><vertical url_name="v"/></sequential></chapter>',
        **{
            "vertical/v.xml": '<vertical><wrapper url_name="w"><vertical url_name="v"/></wrapper></vertical>'
        },
    )
    assert refusal(packed) == "vertical/v contains itself"


def test_blocks_that_are_nested_too_deep_are_refused() -> None:
    inside = "".join(f'<wrapper url_name="w{n}">' for n in range(51)) + "</wrapper>" * 51
    assert refusal(unit(inside)) == "blocks are nested more than 30 levels deep"
    pointers = {
        f"wrapper/w{n}.xml": f'<wrapper><wrapper url_name="w{n + 1}"/></wrapper>' for n in range(51)
    }
    assert "nested" in refusal(unit('<wrapper url_name="w0"/>', **pointers))


def test_elements_that_are_nested_too_deep_are_refused() -> None:
    deep = f"<problem>{'<b>' * 100_000}{'</b>' * 100_000}</problem>"
    packed = unit('<problem url_name="p"/>', **{"problem/p.xml": deep})
    assert refusal(packed) == "'problem/p.xml' has more than 200 elements inside each other"


@pytest.mark.slow
def test_too_many_elements_are_refused() -> None:
    many = f"<problem>{'<b/>' * documents.MOST_NODES}</problem>"
    packed = unit('<problem url_name="p"/>', **{"problem/p.xml": many})
    assert refusal(packed) == "the definitions have more than 1,000,000 elements"


@pytest.mark.slow
def test_a_large_file_that_is_named_often_is_refused() -> None:
    large = f"<problem>{' ' * 2**21}</problem>"
    many = "".join(f'<problem url_name="p{n}" filename="body"/>' for n in range(200))
    packed = pack(in_unit(many, **{"problem/body.xml": large}))
    assert refusal(packed) == "more than 256 MiB of definitions to read"


def test_names_of_files_lead_nowhere() -> None:
    imported = read_course(unit('<problem url_name="p" filename="../../../etc/passwd"/>'))
    assert imported.report == [
        "problem/p: 'problem/../../../etc/passwd.xml' is missing; kept without content",
        "no graders in the archive: those of the default policy are taken",
        "no cut-offs in the archive: those of the default policy are taken",
    ]


def test_a_long_report_is_cut() -> None:
    imported = read_course(unit("".join(f'<html url_name="h{n}"/>' for n in range(600))))
    assert len(imported.report) == 501
    assert imported.report[-1] == "and 102 more"
