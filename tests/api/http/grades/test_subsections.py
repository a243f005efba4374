"""One cell of the gradebook, with the history of its override."""

import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from domain.grades.structure import Viewer
from tests.api.http.grades.classroom import Classroom, an_override, problem

UNAVAILABLE = "Cannot override subsection grade: subsection is not available for target learner."


def look(room: Classroom, user_id: Any, name: str = "hw1", **query: Any) -> httpx.Response:
    return room.teacher.get(f"/subsection/{room.cell(name)}/", user_id=user_id, **query)


def points(*values: float | None) -> dict[str, float | None]:
    names = ("earned_all", "possible_all", "earned_graded", "possible_graded")
    return dict(zip(names, values, strict=True))


def test_a_calculated_grade(physics: Classroom) -> None:
    ann = physics.learner("ann")
    physics.score("ann", "p1", 5, 5)
    response = look(physics, ann)
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "subsection_id": physics.cell("hw1"),
        "user_id": ann,
        "course_id": physics.course_id,
        "original_grade": points(5.0, 6.0, 5.0, 6.0),
        "override": None,
        "history": [],
    }
    assert list(response.json()) == [
        *("success", "subsection_id", "user_id", "course_id", "original_grade", "override"),
        "history",
    ]


def test_an_override_with_its_history(physics: Classroom) -> None:
    ann, prof = physics.learner("ann"), physics.register("prof")
    physics.score("ann", "p1", 5, 5)
    physics.teacher.gradebook()
    cell = physics.cell("hw1")
    physics.teacher.bulk(an_override(ann, cell, earned_graded_override=6, comment="Oral exam"))
    physics.teacher.bulk(an_override(ann, cell, earned_all_override=1, earned_graded_override=2))
    found = look(physics, ann).json()
    assert found["original_grade"] == points(5.0, 6.0, 5.0, 6.0)
    assert found["override"] == {
        "earned_all_override": 1.0,
        "possible_all_override": 6.0,
        "earned_graded_override": 2.0,
        "possible_graded_override": 6.0,
    }
    first, second = found["history"]
    assert first == {
        "created": first["created"],
        "grade_id": first["grade_id"],
        "history_id": first["history_id"],
        "earned_all_override": 5.0,
        "earned_graded_override": 6.0,
        "override_reason": "Oral exam",
        "system": "GRADEBOOK",
        "history_date": first["history_date"],
        "history_type": "+",
        "history_user": physics.name("prof"),
        "history_user_id": prof,
        "id": first["id"],
        "possible_all_override": 6.0,
        "possible_graded_override": 6.0,
        "user": physics.name("prof"),
        "comments": "Oral exam",
        "feature": "GRADEBOOK",
        "action": "CREATEORUPDATE",
    }
    assert list(first)[:14] == [
        *("created", "grade_id", "history_id", "earned_all_override", "earned_graded_override"),
        *("override_reason", "system", "history_date", "history_type", "history_user"),
        *("history_user_id", "id", "possible_all_override", "possible_graded_override"),
    ]
    assert second["history_type"] == "~"
    assert second["override_reason"] is None
    assert second["created"] == first["created"]
    assert (second["id"], second["grade_id"]) == (first["id"], first["grade_id"])
    assert second["history_id"] > first["history_id"]
    assert second["history_date"] > first["history_date"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", first["history_date"])
    assert datetime.fromisoformat(first["created"]).tzinfo is not None


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        *(("1", [3]), ("2", [2, 3]), ("99", [1, 2, 3]), ("9" * 30, [1, 2, 3])),
        *(("0", []), ("x", []), ("", []), ("-1", [])),
    ],
)
def test_the_newest_changes(physics: Classroom, limit: str, shown: list[int]) -> None:
    ann, cell = physics.learner("ann"), physics.cell("hw1")
    physics.teacher.gradebook()
    for earned in (1, 2, 3):
        physics.teacher.bulk(an_override(ann, cell, earned_graded_override=earned))
    found = look(physics, ann, history_record_limit=limit).json()
    assert [change["earned_graded_override"] for change in found["history"]] == shown
    assert found["override"] is not None


def test_an_override_that_is_gone_has_no_history(physics: Classroom) -> None:
    ann, cell = physics.learner("ann"), physics.cell("hw1")
    physics.teacher.gradebook()
    physics.teacher.bulk(an_override(ann, cell, earned_graded_override=1))
    version = physics.school.version(physics.course_id)
    grades = physics.school.backend.grades
    physics.school.run(
        lambda: grades.remove_override(version, ann, cell, Viewer({}), system="PROCTORING")
    )
    found = look(physics, ann).json()
    assert (found["override"], found["history"]) == (None, [])
    physics.teacher.bulk(an_override(ann, cell, earned_graded_override=2))
    found = look(physics, ann).json()
    assert [change["history_type"] for change in found["history"]] == ["+"]


def test_without_a_record_it_is_calculated_and_not_kept(physics: Classroom) -> None:
    ann = physics.learner("ann")
    found = look(physics, ann).json()
    assert found["success"] is True
    assert found["original_grade"] == points(0.0, 6.0, 0.0, 6.0)
    assert look(physics, ann, "reading").json()["original_grade"] == points(0.0, 1.0, 0.0, 1.0)
    head = physics.site.head()
    look(physics, ann)
    assert physics.site.head() == head


def test_a_user_who_is_not_in_the_course_sees_what_everybody_sees(physics: Classroom) -> None:
    zoe = physics.register("zoe")
    assert look(physics, zoe).json()["original_grade"] == points(0.0, 6.0, 0.0, 6.0)


def test_what_the_learner_cannot_see_is_not_available(room: Classroom) -> None:
    room.publish(
        room.blocks(
            hw1={"start": "2999-01-01T00:00:00Z"},
            hw2={"visible_to_staff_only": True},
            exam={"group_access": {"7": [1]}},
        )
    )
    ann, bea = room.learner("ann"), room.learner("bea")
    room.cohort("one", "bea", user_partition_id=7, group_id=1)
    for name in ("hw1", "hw2", "exam"):
        response = look(room, ann, name)
        assert response.status_code == 200
        assert response.json() == {
            "success": False,
            "error_message": UNAVAILABLE,
            "subsection_id": room.cell(name),
            "user_id": ann,
            "course_id": room.course_id,
            "original_grade": points(0.0, 0.0, 0.0, 0.0),
            "override": None,
            "history": [],
        }
    assert look(room, bea, "exam").json()["success"] is True
    room.role("ann", "staff")
    assert look(room, ann, "hw1").json()["success"] is True


def test_a_subsection_that_is_not_in_the_course(physics: Classroom) -> None:
    ann = physics.learner("ann")
    assert look(physics, ann, "elsewhere").json()["error_message"] == UNAVAILABLE
    unknown = "block-v1:No+Such+Course+type@sequential+block@x"
    found = physics.root.get(f"/subsection/{unknown}", user_id=ann).json()
    assert (found["success"], found["course_id"]) == (False, "course-v1:No+Such+Course")


def test_a_course_of_the_old_form(room: Classroom) -> None:
    old = f"{room.org}/Physics/2026"
    room.school.publish(room.blocks(), course_id=old)
    ann, cell = room.register("ann"), room.cell("hw1")
    room.school.enroll(room.name("ann"), old)
    teacher = room.caller("prof", course_roles={"staff": [old]})
    response = teacher.get(f"/subsection/{cell}/", user_id=ann)
    assert response.status_code == 200
    assert response.json()["course_id"] == old
    assert response.json()["original_grade"] == points(0.0, 6.0, 0.0, 6.0)
    overrides = [an_override(ann, cell, earned_graded_override=4)]
    done = teacher.send("POST", f"/gradebook/{old}/bulk-update", json=overrides)
    assert done.status_code == 202
    found = teacher.get(f"/subsection/{cell}/", user_id=ann).json()
    assert found["override"]["earned_graded_override"] == 4.0
    assert len(found["history"]) == 1
    assert problem(room.teacher.get(f"/subsection/{cell}/", user_id=ann))[0] == 403


def test_refusals_in_their_order(physics: Classroom) -> None:
    ann, cell = physics.learner("ann"), physics.cell("hw1")
    learner = physics.caller("ann")
    assert problem(physics.nobody.get(f"/subsection/{cell}/")) == (
        401,
        None,
        "Incorrect authentication credentials.",
    )
    for text in ("nonsense", "block-v1:a/b", "i4x://a/b/c/d"):
        found = problem(learner.get(f"/subsection/{text}/"))
        assert found == (404, "invalid_usage_key", "Invalid UsageKey")
    found = problem(learner.get(f"/subsection/{cell}/", user_id="x"))
    assert found[:2] == (403, "user_permissions")
    for user_id in ("x", "", "1.5", "9" * 30):
        assert problem(look(physics, user_id)) == (404, "invalid_user_id", "Invalid UserID")
    assert problem(physics.teacher.get(f"/subsection/{cell}/"))[1] == "invalid_user_id"
    gone = (404, None, "User matching query does not exist.")
    assert problem(look(physics, 987654321)) == gone
    assert problem(look(physics, 987654321, "elsewhere")) == gone
    assert look(physics, ann).status_code == 200


def test_the_gradebook_need_not_be_writable(room: Classroom) -> None:
    room.publish(flags={"writable_gradebook": False})
    ann = room.learner("ann")
    assert look(room, ann).status_code == 200


def test_current_scores_count_where_nothing_is_recorded(room: Classroom) -> None:
    """Before the grading has come by, what is asked for is calculated on the spot."""
    room.publish()
    ann = room.learner("ann")
    room.teacher.gradebook()
    grades = room.school.backend.grades
    room.school.run(
        lambda: grades.save_problem_state(
            ann, room.course_id, room.key("problem", "r1"), state="{}", grade=1.0, max_grade=2.0
        )
    )
    room.school.run(
        lambda: grades.save_problem_state(
            ann, room.course_id, room.key("problem", "r1"), state="{}", grade=1.0, max_grade=4.0
        )
    )
    assert look(room, ann, "reading").json()["original_grade"] == points(1.0, 4.0, 1.0, 4.0)
