"""Files of grades that a course team downloads."""

import re
from typing import Any

import pytest

from tests.api.http.grades.classroom import Classroom, problem
from tests.api.http.grades.files_of_grades import get, header, saved, send, table

ALL = ("name-{0}", "grade-{0}", "original_grade-{0}", "previous_override-{0}", "new_override-{0}")
LEARNER = ["user_id", "username", "student_key", "course_id", "track", "cohort"]


def columns(*shorts: str) -> list[str]:
    return [name.format(short) for short in shorts for name in ALL]


@pytest.fixture
def graded(physics: Classroom) -> Classroom:
    """Ann has passed, Ben has tried, Cid has not."""
    for name in ("ann", "ben", "cid"):
        physics.learner(name)
    physics.score("ann", "q1", 9, 10)
    physics.score("ann", "p3", 10, 10)
    physics.score("ben", "p3", 1, 10)
    return physics


def names(rows: list[dict[str, str]]) -> list[str]:
    return [row["username"].rpartition("-")[0] for row in rows]


def test_each_active_learner_has_a_row_with_the_points_of_each_subsection(
    graded: Classroom,
) -> None:
    user_id = table(get(graded.teacher))[1]["user_id"]
    content = f"user_id,course_id,new_override-hw2\n{user_id},{graded.course_id},7.5\n"
    saved(graded.teacher, content)
    response = get(graded.teacher)
    assert header(response) == [*LEARNER, *columns("hw1", "hw2", "exam")]
    assert response.text.count("\r\n") == response.text.count("\n") == 4
    ann, ben, cid = table(response)
    assert [ann["username"], ann["track"]] == [graded.name("ann"), "audit"]
    assert ann["course_id"] == graded.course_id
    assert [ann[name] for name in columns("hw2")] == ["hw2", "10.0", "10.0", "", ""]
    assert [ann[name] for name in columns("hw1")] == ["hw1", "", "", "", ""]
    assert [ben[name] for name in columns("hw2")] == ["hw2", "7.5", "1.0", "7.5", ""]
    assert {cid[name] for name in columns("hw2", "exam") if not name.startswith("name")} == {""}


def test_the_file_is_named_after_the_course_and_the_time(physics: Classroom) -> None:
    response = get(physics.teacher)
    pattern = (
        rf'attachment; filename="{re.escape(physics.course_id)}-\d{{4}}-\d\d-\d\dT[\d:.]+\.csv"'
    )
    assert re.fullmatch(pattern, response.headers["content-disposition"])
    assert int(response.headers["x-log-position"]) > 0
    assert table(response) == []
    assert header(response)[:6] == LEARNER


def test_who_has_left_is_not_in_it(graded: Classroom) -> None:
    graded.leave("ann")
    assert names(table(get(graded.teacher))) == ["ben", "cid"]


def test_keys_of_students_are_for_the_masters_track(physics: Classroom) -> None:
    keys = {physics.course_id: "K-1"}
    physics.learner("mia", "masters", external_user_keys=keys)
    physics.learner("abe", external_user_keys={physics.course_id: "K-2"})
    mia, abe = table(get(physics.teacher))
    assert (mia["student_key"], mia["track"]) == ("K-1", "masters")
    assert (abe["student_key"], abe["track"]) == ("", "audit")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"track": "audit"}, ["ann", "ben", "cid"]),
        ({"track": "masters"}, []),
        ({"courseGradeMin": 50}, ["ann"]),
        ({"courseGradeMin": 0, "courseGradeMax": 50}, ["ben", "cid"]),
        ({"courseGradeMax": 0}, ["ann", "ben", "cid"]),
        ({"courseGradeMin": "", "courseGradeMax": ""}, ["ann", "ben", "cid"]),
        ({"assignment": "hw2", "assignmentGradeMin": 50}, ["ann"]),
        ({"assignment": "hw2", "assignmentGradeMax": 50}, ["ben"]),
        ({"assignment": "hw2", "assignmentGradeMin": 0}, ["ann", "ben", "cid"]),
        ({"assignment": "gone", "assignmentGradeMin": 1}, []),
        ({"assignmentGradeMin": 99}, ["ann", "ben", "cid"]),
        ({"cohort": "nobody's"}, []),
    ],
)
def test_filters(graded: Classroom, query: dict[str, Any], found: list[str]) -> None:
    if "assignment" in query:
        query = query | {"assignment": graded.cell(str(query["assignment"]))}
    assert names(table(get(graded.teacher, **query))) == found


def test_a_cohort_is_named(graded: Classroom) -> None:
    graded.cohort("the late ones", "ben")
    (ben,) = table(get(graded.teacher, cohort="the late ones"))
    assert ben["cohort"] == "the late ones"


def test_the_team_is_left_out_when_asked_for(graded: Classroom) -> None:
    graded.role("ann", "staff")
    graded.role("ben", "beta_testers")
    export = graded.teacher
    assert names(table(get(export, excludedCourseRoles="all"))) == ["cid"]
    assert names(table(get(export, excludedCourseRoles="staff"))) == ["ben", "cid"]
    assert names(table(get(export, excludedCourseRoles=["staff", ""]))) == ["ann", "ben", "cid"]


def test_only_the_columns_of_a_subsection_or_a_type(graded: Classroom) -> None:
    export = graded.teacher
    assert header(get(export, assignment=graded.cell("hw2")))[6:] == columns("hw2")
    assert header(get(export, assignmentType="Exam"))[6:] == columns("exam")
    assert header(get(export, assignmentType="Exam", assignment=graded.cell("hw2")))[6:] == []


def test_of_two_names_that_begin_alike_the_first_has_the_columns(room: Classroom) -> None:
    blocks = room.blocks()
    for block in blocks:
        for name in ("hw1", "hw2"):
            for field in ("usage_key", "parent"):
                if block[field] == room.cell(name):
                    block[field] = room.cell(f"homework-{name}")
    room.publish(blocks)
    assert header(get(room.teacher))[6:] == columns("homework", "exam")
    second = get(room.teacher, assignment=room.cell("homework-hw2"))
    assert header(second)[6:] == []


def test_nothing_in_it_is_a_formula(room: Classroom) -> None:
    room.publish(room.blocks(hw1={"display_name": '=HYPERLINK("http://x","y")'}))
    room.learner("@ann")
    room.cohort("+1+cmd|'/C calc'!A0", "@ann")
    (ann,) = table(get(room.teacher))
    assert ann["name-hw1"] == '\'=HYPERLINK("http://x","y")'
    assert ann["cohort"] == "'+1+cmd|'/C calc'!A0"
    assert ann["username"] == room.name("@ann")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"courseGradeMin": "much"}, "courseGradeMin"),
        ({"courseGradeMax": "nan"}, "courseGradeMax"),
        ({"assignment": "homework"}, "assignment"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    physics: Classroom, query: dict[str, str], field: str
) -> None:
    response = get(physics.teacher, **query)
    assert response.status_code == 400
    assert list(response.json()["field_errors"]) == [field]


@pytest.mark.parametrize("part", ["", "history/", "intervention/"])
def test_only_the_team_may_read(physics: Classroom, part: str) -> None:
    physics.learner("ann")
    physics.learner("deb")
    physics.role("deb", "limited_staff")
    denied = "The requesting user does not have course author permissions."
    assert problem(get(physics.caller("ann"), part)) == (403, "user_permissions", denied)
    assert get(physics.caller("deb"), part).status_code == 200
    assert get(physics.root, part).status_code == 200
    assert get(physics.nobody, part).status_code == 401
    unknown = send(physics.root, "GET", part, course_id="course-v1:No+Such+Course")
    assert problem(unknown)[:2] == (404, "course_does_not_exist")
    assert problem(send(physics.root, "GET", part, course_id="a+b+c"))[:2] == (
        404,
        "invalid_course_key",
    )


def test_what_teachers_of_the_masters_track_look_at(physics: Classroom) -> None:
    keys = {physics.course_id: "K-1"}
    physics.learner(
        "mia", "masters", full_name="Mia, M.", email="mia@example.org", external_user_keys=keys
    )
    physics.learner("max", "masters")
    physics.learner("abe")
    physics.leave("max")
    physics.score("mia", "q1", 9, 10)
    response = get(physics.teacher, "intervention/", track="audit", assignmentType="Exam")
    assert header(response) == [
        *("user_id", "username", "email", "student_key", "full_name", "course_id", "track"),
        "cohort",
        *("number of videos overall", "number of videos last week"),
        *("number of problems overall", "number of problems last week"),
        *("number of correct problems overall", "number of correct problems last week"),
        *("number of problem attempts overall", "number of problem attempts last week"),
        *("number of forum posts overall", "number of forum posts last week"),
        *("date last active", "name-exam", "grade-exam"),
        *("course grade letter", "course grade numeric"),
    ]
    mia, left = table(response)
    assert mia["full_name"] == "Mia, M."
    assert mia["email"] == "mia@example.org"
    assert mia["student_key"] == "K-1"
    assert mia["number of problems overall"] == "0"
    assert mia["grade-exam"] == "9.0"
    assert (mia["course grade letter"], mia["course grade numeric"]) == ("Pass", "0.54")
    assert left["username"] == physics.name("max")
    assert (left["grade-exam"], left["course grade numeric"]) == ("", "0.0")
