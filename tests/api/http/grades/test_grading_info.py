"""What a gradebook page needs to know of a course before it shows anything."""

import pytest

from tests.api.http.grades.classroom import Classroom, problem

UNKNOWN = "course-v1:Nowhere+None+2026"


def path(room: Classroom) -> str:
    return f"/gradebook/{room.course_id}/grading-info"


def test_all_of_it(physics: Classroom) -> None:
    response = physics.teacher.get(path(physics))
    assert response.status_code == 200

    def subsection(name: str, kind: str | None, label: str | None) -> dict[str, object]:
        return {
            "assignment_type": kind,
            "graded": kind is not None,
            "short_label": label,
            "module_id": physics.cell(name),
            "display_name": name,
        }

    assert response.json() == {
        "grade_cutoffs": {"A": 0.9, "B": 0.7, "Pass": 0.5},
        "assignment_types": {
            "Homework": {
                "type": "Homework",
                "short_label": "HW",
                "min_count": 2,
                "drop_count": 0,
                "weight": 0.4,
            },
            "Exam": {
                "type": "Exam",
                "short_label": "Ex",
                "min_count": 1,
                "drop_count": 0,
                "weight": 0.6,
            },
        },
        "subsections": [
            subsection("hw1", "Homework", "HW 01"),
            subsection("hw2", "Homework", "HW 02"),
            subsection("exam", "Exam", "Ex 01"),
            subsection("reading", None, None),
        ],
        "grades_frozen": False,
        "can_see_bulk_management": False,
    }
    assert list(response.json()["assignment_types"]) == ["Homework", "Exam"]


@pytest.mark.parametrize("value", ["True", "true", "1"])
def test_only_what_is_graded(physics: Classroom, value: str) -> None:
    found = physics.teacher.get(path(physics), graded_only=value).json()["subsections"]
    assert [s["display_name"] for s in found] == ["hw1", "hw2", "exam"]


@pytest.mark.parametrize("value", ["False", "false", "0", ""])
def test_everything(physics: Classroom, value: str) -> None:
    found = physics.teacher.get(path(physics), graded_only=value, all=value)
    assert len(found.json()["subsections"]) == 4


@pytest.mark.parametrize("query", [{"graded_only": "yes"}, {"graded_only": "TRUE"}, {"all": "2"}])
def test_a_flag_that_is_none(physics: Classroom, query: dict[str, str]) -> None:
    found = problem(physics.teacher.get(path(physics), **query))
    assert found == (400, None, "Invalid Boolean Value.")


def test_hidden_subsections_are_left_out_and_not_counted(room: Classroom) -> None:
    room.publish(room.blocks(hw1={"hide_from_toc": True}, exam={"visible_to_staff_only": True}))
    found = room.teacher.get(path(room)).json()["subsections"]
    assert [(s["display_name"], s["short_label"]) for s in found] == [
        ("hw2", "HW 01"),
        ("reading", None),
    ]


def test_the_short_label_is_the_type_where_there_is_none(room: Classroom) -> None:
    room.publish(policy={"graders": [{"type": "Lab", "min_count": 1}], "cutoffs": {"P": 0.5}})
    found = room.teacher.get(path(room)).json()["assignment_types"]
    assert found["Lab"]["short_label"] == "Lab"


def test_a_course_without_an_outline_or_a_policy(room: Classroom) -> None:
    room.publish(room.blocks()[:1], policy=None)
    found = room.teacher.get(path(room)).json()
    assert found["subsections"] == []
    assert found["grade_cutoffs"] == {"Pass": 0.5}
    assert next(iter(found["assignment_types"])) == "Homework"


def test_a_frozen_course(room: Classroom) -> None:
    room.publish(end="2020-01-01T00:00:00Z", flags={"freeze_after_end": True})
    assert room.teacher.get(path(room)).json()["grades_frozen"] is True
    room.publish(end=None, flags={"freeze_after_end": True})
    assert room.teacher.get(path(room)).json()["grades_frozen"] is False


def test_who_sees_bulk_management(room: Classroom) -> None:
    room.publish(flags={"bulk_management": True})
    assert room.teacher.get(path(room)).json()["can_see_bulk_management"] is True
    masters = [{"slug": "masters", "name": "Masters", "expired_at": "2020-01-01T00:00:00Z"}]
    room.publish(flags={"bulk_management": False}, modes=masters)
    assert room.teacher.get(path(room)).json()["can_see_bulk_management"] is True
    room.publish(modes=[{"slug": "audit", "name": "Audit", "expired_at": None}])
    assert room.teacher.get(path(room)).json()["can_see_bulk_management"] is False


def test_refusals(room: Classroom) -> None:
    room.publish(flags={"writable_gradebook": False})
    assert room.teacher.get(path(room)).status_code == 200
    nobody = problem(room.nobody.get(path(room)))
    assert nobody == (401, None, "Authentication credentials were not provided.")
    bad = room.nobody.send("GET", path(room), headers={"Authorization": "JWT x"})
    assert problem(bad)[0] == 401
    ann, root = room.caller("ann"), room.root
    rights = "The requesting user does not have course author permissions."
    assert problem(ann.get(path(room))) == (403, "user_permissions", rights)
    unknown, broken = f"/gradebook/{UNKNOWN}/grading-info", "/gradebook/a+b+c/grading-info"
    assert problem(ann.get(unknown))[1] == "user_permissions"
    assert problem(ann.get(broken))[1] == "user_permissions"
    assert problem(root.get(unknown))[:2] == (404, "course_does_not_exist")
    assert problem(root.get(broken))[:2] == (404, "invalid_course_key")
    assert problem(ann.get(path(room), graded_only="yes"))[0] == 403
