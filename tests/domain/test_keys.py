"""Keys of courses and blocks: what is one, and that it is written back as it was read."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.keys import CourseKey, InvalidKeyError, parse_block_key, parse_course_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("course-v1:Demo+S1+2026", CourseKey("Demo", "S1", "2026")),
        ("course-v1:Ünï+Ć.1:x+2026~T-1", CourseKey("Ünï", "Ć.1:x", "2026~T-1")),
        ("course-v1:O+C+R+branch@draft-branch", CourseKey("O", "C", "R", "draft-branch")),
        ("Org/Course/Run", CourseKey("Org", "Course", "Run", deprecated=True)),
        ("Org/100%/Run", CourseKey("Org", "100%", "Run", deprecated=True)),
    ],
)
def test_a_course_key_is_read_and_written_back(text: str, key: CourseKey) -> None:
    assert parse_course_key(text) == key
    assert str(key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "foo+bar+baz",
        "course-v1:O+C",
        "course-v1:O+C+R+S",
        "course-v1:O++R",
        "course-v1:O+C+R ",
        "course-v1:O+C+R\n",
        "course-v1:O+C o+R",
        "course-v1:O+C%+R",
        "Course-v1:O+C+R",
        "Org/Course",
        "Org/Course/Run/More",
        "library-v1:Org+Lib",
        "lib:Org:Lib",
        "block-v1:O+C+R+type@course+block@course",
        "course-v1:O+C+" + "R" * 300,
    ],
)
def test_what_is_no_course_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError):
        parse_course_key(text)


def test_a_branch_does_not_make_another_course() -> None:
    draft = parse_course_key("course-v1:O+C+R+branch@draft")
    assert draft.without_branch == parse_course_key("course-v1:O+C+R")


def test_keys_that_differ_in_case_are_two_courses() -> None:
    assert parse_course_key("course-v1:O+C+R") != parse_course_key("course-v1:o+C+R")


def test_a_block_key_knows_its_course() -> None:
    text = "block-v1:O+C+R+type@problem+block@7f:a.b"
    block = parse_block_key(text)
    assert (block.block_type, block.block_id) == ("problem", "7f:a.b")
    assert str(block.course) == "course-v1:O+C+R"
    assert str(block) == text


def test_the_root_block_of_a_course_is_its_course_block() -> None:
    course = parse_course_key("course-v1:O+C+R+branch@b")
    assert str(course.root_block) == "block-v1:O+C+R+branch@b+type@course+block@course"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "block-v1:O+C+R+block@b",
        "block-v1:O+C+R+type@t",
        "block-v1:O+C+R+block@b+type@t",
        "block-v1:O+C+type@t+block@b",
        "i4x://Org/Course/problem/id",
        "course-v1:O+C+R",
    ],
)
def test_what_is_no_block_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError):
        parse_block_key(text)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_key_that_is_written_back_or_refused(text: str) -> None:
    for parse in (parse_course_key, parse_block_key):
        with contextlib.suppress(InvalidKeyError):
            assert str(parse(text)) == text
