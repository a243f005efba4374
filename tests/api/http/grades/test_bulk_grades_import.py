"""Files of grades that a course team uploads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.http.bulk_grades import imports
from api.http.bulk_grades.schemas import ImportEntry, ImportOutcome
from tests.api.http.grades.classroom import Classroom, problem
from tests.api.http.grades.files_of_grades import get, header, saved, send, table, upload, written


@pytest.fixture
def people(physics: Classroom) -> dict[str, int]:
    return {name: physics.learner(name) for name in ("ann", "ben", "cid")}


def a_file(room: Classroom, *lines: str, columns: str = "new_override-hw1") -> str:
    return "\n".join([f"user_id,course_id,{columns}", *lines]).replace("@", room.course_id) + "\n"


def overrides(room: Classroom) -> list[dict[str, Any]]:
    events = room.school.events("grades.SubsectionOverrideApplied")
    return [event for event in events if event["course_id"] == room.course_id]


def test_a_new_override_replaces_the_graded_points(
    physics: Classroom, people: dict[str, int]
) -> None:
    physics.score("ann", "p1", 3, 5)
    assert table(get(physics.teacher))[0]["original_grade-hw1"] == "3.0"
    answer = saved(physics.teacher, a_file(physics, f"{people['ann']},@,6", f"{people['ben']},@,"))
    ImportOutcome.model_validate(answer)
    operation_id = answer.pop("result_id")
    assert answer == {
        "total": 2,
        "processed": 1,
        "saved": 1,
        "error_rows": [],
        "error_messages": [],
        "percentage": "50.0%",
        "can_commit": True,
        "saved_error_id": None,
        "waiting": False,
    }
    assert int(operation_id) > 0
    (event,) = overrides(physics)
    assert event["usage_key"] == physics.cell("hw1")
    assert (event["earned_graded"], event["earned_all"]) == (6.0, None)
    assert (event["possible_graded"], event["possible_all"]) == (6.0, 6.0)
    assert event["requested"] == {"earned_graded": 6.0, "earned_all": None}
    assert (event["system"], event["changed_by"]) == ("grade-import", physics.name("prof"))
    shown = physics.teacher.send("GET", f"/gradebook/{physics.course_id}/")
    assert shown.json()["results"][0]["section_breakdown"][0]["percent"] == 1.0
    cell = physics.teacher.get(f"/subsection/{physics.cell('hw1')}/", user_id=people["ann"])
    (change,) = cell.json()["history"]
    assert (change["override_reason"], change["system"]) == ("Bulk Grade Import", "grade-import")


def test_the_position_of_the_answer_is_the_last_one(
    physics: Classroom, people: dict[str, int]
) -> None:
    response = upload(physics.teacher, a_file(physics, f"{people['ann']},@,6"))
    assert int(response.headers["x-log-position"]) == physics.site.head()
    assert response.headers["cache-control"] == "no-store"


def test_an_exported_file_comes_back_as_it_was(physics: Classroom, people: dict[str, int]) -> None:
    exported = get(physics.teacher).text
    answer = saved(physics.teacher, exported)
    assert (answer["total"], answer["processed"], answer["error_messages"]) == (3, 0, [])
    assert overrides(physics) == []
    rows = table(get(physics.teacher))
    for number, row in enumerate(rows):
        row["new_override-exam"] = str(number)
    answer = saved(physics.teacher, written(rows))
    assert (answer["saved"], answer["percentage"]) == (3, "100.0%")
    again = table(get(physics.teacher))
    assert [row["grade-exam"] for row in again] == ["0.0", "1.0", "2.0"]
    assert [row["previous_override-exam"] for row in again] == ["0.0", "1.0", "2.0"]
    assert {row["new_override-exam"] for row in again} == {""}


def test_a_learner_may_have_new_points_in_many_subsections(
    physics: Classroom, people: dict[str, int]
) -> None:
    columns = "new_override-hw1,new_override-hw2,new_override-exam"
    answer = saved(physics.teacher, a_file(physics, f"{people['ann']},@,1,2,3", columns=columns))
    assert (answer["total"], answer["saved"]) == (1, 1)
    assert [event["earned_graded"] for event in overrides(physics)] == [1.0, 2.0, 3.0]


def test_any_error_keeps_all_rows_from_being_saved(
    physics: Classroom, people: dict[str, int]
) -> None:
    content = a_file(physics, f"{people['ann']},@,6", f"{people['ben']},@,six", "999999999,@,1")
    answer = saved(physics.teacher, content)
    assert (answer["total"], answer["processed"], answer["saved"]) == (3, 3, 0)
    assert answer["error_messages"] == [
        "Grade must be a number (on line 3)",
        "No such user: 999999999 (on line 4)",
    ]
    assert answer["error_rows"][0] == {
        "user_id": str(people["ben"]),
        "course_id": physics.course_id,
        "new_override-hw1": "six",
        "status": "Failure",
        "error": "Grade must be a number",
    }
    ImportOutcome.model_validate(answer)
    assert answer["saved_error_id"] == int(answer["result_id"])
    assert not answer["can_commit"]
    assert overrides(physics) == []


def test_who_never_was_in_the_course_is_refused_and_who_has_left_is_not(
    physics: Classroom, people: dict[str, int]
) -> None:
    stranger = physics.register("eve")
    answer = saved(physics.teacher, a_file(physics, f"{stranger},@,1"))
    assert answer["error_messages"] == [f"Not enrolled in this course: {stranger} (on line 2)"]
    assert saved(physics.teacher, a_file(physics, f"{stranger},@,"))["error_messages"] == []
    physics.leave("ann")
    assert saved(physics.teacher, a_file(physics, f"{people['ann']},@,1"))["saved"] == 1


def test_what_is_wrong_with_the_file_is_told_and_not_kept(physics: Classroom) -> None:
    for content, message in [
        (b"user_id,new_override-hw1\n1,1\n", "Missing column: course_id"),
        (b"user_id,course_id\n" + b"x" * 2097152, "The CSV file must be under 2097152 bytes"),
        (b"x" * (3 * 1024 * 1024), "The CSV file must be under 2097152 bytes"),
        (b"user_id,course_id\n\xff\xfe,x\n", "The CSV file must be UTF-8 text"),
    ]:
        response = upload(physics.teacher, content)
        assert response.status_code == 200
        answer = response.json()
        assert answer["error_messages"] == [message]
        assert (answer["total"], answer["saved"], answer["result_id"]) == (0, 0, None)
    assert saved(physics.teacher, b"")["error_messages"] == [
        "Missing column: user_id",
        "Missing column: course_id",
    ]
    assert saved(physics.teacher, a_file(physics))["error_messages"] == []
    assert get(physics.teacher, "history/").json() == []


def test_the_history_has_each_upload_once_newest_first(
    physics: Classroom, people: dict[str, int]
) -> None:
    good = saved(physics.teacher, a_file(physics, f"{people['ann']},@,6"), name="C:\\x\\ann.csv")
    bad = saved(physics.root, a_file(physics, f"{people['ben']},@,-1", f"{people['cid']},@,"))
    first, second = get(physics.teacher, "history/").json()
    ImportEntry.model_validate(first)
    assert second.pop("modified").endswith("Z")
    assert second == {
        "id": int(good["result_id"]),
        "class_name": "bulk_grades.api.GradeCSVProcessor",
        "unique_id": physics.course_id,
        "operation": "commit",
        "user": physics.name("prof"),
        "original_filename": "ann.csv",
        "data": {"total_rows": 1, "processed_rows": 1, "saved_rows": 1},
    }
    assert first["id"] == bad["saved_error_id"]
    assert first["data"] == {
        "total_rows": 2,
        "processed_rows": 1,
        "saved_rows": 0,
        "error_message": "Grade must not be negative",
    }
    strange = f"/gradebook/{physics.course_id}/bulk-updatehistory/"
    assert physics.teacher.get(strange).json() == get(physics.teacher, "history/").json()
    assert physics.caller("ann").get(strange).status_code == 403


def test_the_results_of_an_upload_are_a_file(physics: Classroom, people: dict[str, int]) -> None:
    rows = table(get(physics.teacher))
    rows[0]["new_override-exam"], rows[1]["new_override-exam"] = "5", "=1+1"
    answer = saved(physics.teacher, written(rows))
    response = get(physics.teacher, error_id=answer["saved_error_id"])
    assert "-graded-results-" in response.headers["content-disposition"]
    exam = ("name", "grade", "original_grade", "previous_override", "new_override")
    assert header(response) == [
        *("user_id", "username", "student_key", "course_id", "track", "cohort"),
        *(f"{name}-exam" for name in exam),
        *("status", "error"),
    ]
    ann, ben, cid = table(response)
    assert (ann["status"], ann["error"], ann["new_override-exam"]) == ("No Action", "", "5")
    assert (ben["status"], ben["error"]) == ("Failure", "Grade must be a number")
    assert ben["new_override-exam"] == "'=1+1"
    assert cid["status"] == "No Action"
    assert (cid["username"], cid["name-exam"]) == (physics.name("cid"), "exam")
    assert cid["course_id"] == physics.course_id
    rows[1]["new_override-exam"] = "2"
    good = saved(physics.teacher, written(rows))
    again = table(get(physics.teacher, error_id=good["result_id"]))
    assert [row["status"] for row in again] == ["Success", "Success", "No Action"]


def test_the_same_answer_can_be_asked_for_again(physics: Classroom, people: dict[str, int]) -> None:
    for line in (f"{people['ann']},@,6", f"{people['ann']},@,x"):
        answer = saved(physics.teacher, a_file(physics, line))
        asked = {"result_id": answer["result_id"]}
        assert send(physics.teacher, "POST", data=asked).json() == answer
        in_parts = {"result_id": (None, answer["result_id"])}
        assert send(physics.teacher, "POST", files=in_parts).json() == answer


def test_uploads_to_other_courses_are_not_shown(physics: Classroom) -> None:
    ann = physics.learner("ann")
    answer = saved(physics.teacher, a_file(physics, f"{ann},@,6"))
    other = Classroom(physics.school, physics.site)
    other.publish()
    assert get(other.teacher, error_id=answer["result_id"]).status_code == 403
    asked = {"result_id": answer["result_id"]}
    assert send(other.teacher, "POST", data=asked).status_code == 403
    for unknown in ("999999999", "x", "9" * 30):
        assert get(other.teacher, error_id=unknown).status_code == 404
        assert send(other.teacher, "POST", data={"result_id": unknown}).status_code == 404
    assert get(other.teacher, "history/").json() == []


def test_an_answer_that_takes_long_begins_with_spaces(
    physics: Classroom, people: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PROMPT", 0.0)
    response = upload(physics.teacher, a_file(physics, f"{people['ann']},@,6"))
    assert response.text.startswith(" {")
    assert response.headers["content-type"] == "application/json"
    assert (response.json()["saved"], response.json()["waiting"]) == (1, False)
    assert len(overrides(physics)) == 1


def test_more_overrides_than_are_written_at_once(
    physics: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 3)
    monkeypatch.setattr(imports, "LOOKED_UP", 2)
    numbers = [physics.learner(f"learner{n}") for n in range(5)]
    lines = [f"{number},@,1,2" for number in numbers]
    content = a_file(physics, *lines, columns="new_override-hw1,new_override-exam")
    assert saved(physics.teacher, content)["saved"] == 5
    assert {(event["user_id"], event["earned_graded"]) for event in overrides(physics)} == {
        (number, points) for number in numbers for points in (1.0, 2.0)
    }


def test_frozen_grades_stay(room: Classroom) -> None:
    room.publish(
        flags={"freeze_after_end": True}, end=(datetime.now(UTC) - timedelta(days=31)).isoformat()
    )
    ann = room.learner("ann")
    response = upload(room.teacher, a_file(room, f"{ann},@,6"))
    assert problem(response)[:2] == (403, "grades_frozen")
    assert overrides(room) == []


def test_only_the_team_may_upload(physics: Classroom, people: dict[str, int]) -> None:
    content = a_file(physics, f"{people['ann']},@,6")
    assert problem(upload(physics.caller("ann"), content))[:2] == (403, "user_permissions")
    assert upload(physics.nobody, content).status_code == 401
    assert overrides(physics) == []


def test_what_is_no_form_is_refused(physics: Classroom) -> None:
    teacher = physics.teacher
    raw = {"content-type": "text/csv"}
    assert problem(send(teacher, "POST", content=b"a,b", headers=raw))[0] == 415
    assert problem(send(teacher, "POST", files={"file": ("x.csv", b"a")}))[0] == 400
    assert problem(send(teacher, "POST", data={"csv": "a"}))[0] == 400
    parts = {"content-type": "multipart/form-data; boundary=x"}
    assert problem(send(teacher, "POST", content=b"--y\r\n", headers=parts))[0] == 400
    bare = {"content-type": "multipart/form-data"}
    assert problem(send(teacher, "POST", content=b"--y\r\n", headers=bare))[0] == 400
    huge = {"csv": ("x.csv", b"x" * (17 * 1024 * 1024))}
    assert problem(send(teacher, "POST", files=huge))[0] == 413
    assert problem(send(teacher, "PUT"))[2] == 'Method "PUT" not allowed.'
