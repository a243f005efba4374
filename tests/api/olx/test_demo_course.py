"""The demonstration course of Open edX comes out as it is known to be."""

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.olx import ImportedCourse, read_course

ARCHIVE = Path(__file__).parents[4] / "shared" / "data" / "olx" / "openedx-demo-course.tar.gz"


@pytest.fixture(scope="module")
def demo() -> ImportedCourse:
    if not ARCHIVE.is_file():
        assert os.environ.get("CI") != "true", f"{ARCHIVE} is not there"
        pytest.skip(f"{ARCHIVE} is not there")
    return read_course(ARCHIVE)


def test_the_course(demo: ImportedCourse) -> None:
    assert demo.course_id == "course-v1:OpenedX+DemoX+DemoCourse"
    assert demo.display_name == "Open edX Demo Course"
    assert (demo.start, demo.end) == (datetime(2020, 1, 1, tzinfo=UTC), None)
    assert demo.self_paced is True
    assert demo.blocks[0]["usage_key"] == (
        "block-v1:OpenedX+DemoX+DemoCourse+type@course+block@course"
    )


def test_the_blocks(demo: ImportedCourse) -> None:
    assert demo.counts == {
        "course": 1,
        "chapter": 6,
        "sequential": 17,
        "vertical": 58,
        "html": 266,
        "problem": 29,
        "video": 11,
        "lti": 2,
        "annotatable": 1,
        "library_content": 1,
        "openassessment": 2,
        "drag-and-drop-v2": 1,
        "edx_sga": 1,
        "staffgradedxblock": 1,
        "done": 1,
        "discussion": 1,
        "poll": 1,
        "survey": 1,
    }
    types = {block["usage_key"]: block["type"] for block in demo.blocks}
    in_units = Counter(
        block["type"] for block in demo.blocks if types.get(block["parent"]) == "vertical"
    )
    assert in_units.total() == 313
    assert in_units["problem"] == 23
    assert sum("due" in block for block in demo.blocks) == 0
    assert sum("group_access" in block for block in demo.blocks) == 2


def test_parents_come_first(demo: ImportedCourse) -> None:
    seen = {None}
    for block in demo.blocks:
        assert block["parent"] in seen
        assert block["usage_key"] not in seen
        seen.add(block["usage_key"])


def test_the_graded_sequentials(demo: ImportedCourse) -> None:
    graded = [block for block in demo.blocks if block.get("graded")]
    assert [(block["type"], block["display_name"], block["format"]) for block in graded] == [
        ("sequential", "Basic Assessment Tools", "Basic Assessment Tools"),
        ("sequential", "Intermediate  Assessment Tools", "Intermediate Assessment Tools"),
        ("sequential", "Advanced  Assessment Tools", "Advanced Assessment Tools"),
    ]
    parents = {block["usage_key"]: block["parent"] for block in demo.blocks}
    inside = 0
    for block in demo.blocks:
        key = block["usage_key"]
        while key is not None and key not in {one["usage_key"] for one in graded}:
            key = parents[key]
        inside += block["type"] == "problem" and key is not None
    assert inside == 26


def test_the_scores(demo: ImportedCourse) -> None:
    problems = [block for block in demo.blocks if block["type"] == "problem"]
    maxima = Counter(block["max_score"] for block in problems)
    assert maxima == {1.0: 25, 8.0: 1, 4.0: 1, 2.0: 2}
    assert sum(block["max_score"] for block in problems) == 41
    assert [block["weight"] for block in problems if "weight" in block] == [1.0]
    assert all(block["data"].startswith("<problem>") for block in problems)
    others = {
        (block["type"], block["max_score"], block.get("weight"))
        for block in demo.blocks
        if "max_score" in block and block["type"] != "problem"
    }
    assert others == {
        ("openassessment", 3.0, None),
        ("openassessment", 10.0, None),
        ("drag-and-drop-v2", 1.0, 1.0),
        ("edx_sga", 100.0, 1.0),
        ("staffgradedxblock", 1.0, None),
        ("lti", 1.0, None),
    }


def test_the_grading_policy(demo: ImportedCourse) -> None:
    assert [grader["weight"] for grader in demo.graders] == [0.3, 0.35, 0.35]
    assert {(grader["min_count"], grader["drop_count"]) for grader in demo.graders} == {(1, 0)}
    assert demo.cutoffs == {"Pass": 0.5}


def test_the_report(demo: ImportedCourse) -> None:
    assert demo.report == [
        (
            "library_content/34a4d5e71d974c029cbde1956bd7c820: shows each learner 2 of its 6"
            " children; all are taken as visible"
        )
    ]
    assert "codeboard_secret" not in repr(demo)
