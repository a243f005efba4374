"""The entries that make up course grades."""

from typing import Any

import pytest

from tests.api.http.grades.classroom import Classroom, an_override, problem
from tests.school import a_course

PATH = "/section_grades_breakdown/"


@pytest.fixture
def example(room: Classroom) -> Classroom:
    """The worked example: three homeworks of four, the lowest dropped, and a final exam."""
    blocks = a_course(
        {
            "ohm": ("Homework", {"p1": 6}),
            "RC": ("Homework", {"p2": 10}),
            "RL": ("Homework", {"p3": 4}),
            "final": ("Final Exam", {"p4": 10}),
        },
        room.course_id,
    )
    for block in blocks:
        if block["display_name"] == "ohm":
            block["display_name"] = "Ohms Law"
    graders = [
        {"type": "Homework", "short_label": "HW", "min_count": 4, "drop_count": 1, "weight": 0.4},
        {
            "type": "Final Exam",
            "short_label": "Final",
            "min_count": 1,
            "drop_count": 0,
            "weight": 0.6,
        },
    ]
    room.publish(blocks, policy={"graders": graders, "cutoffs": {"A": 0.9, "B": 0.8, "C": 0.7}})
    room.learner("ann")
    for name, earned, possible in (("p1", 5, 6), ("p2", 10, 10), ("p3", 2, 4), ("p4", 7, 10)):
        room.score("ann", name, earned, possible)
    return room


def test_the_worked_example(example: Classroom) -> None:
    response = example.root.get(PATH, course_id=example.course_id)
    assert response.status_code == 200
    page = response.json()
    assert list(page) == ["next", "previous", "results"]
    (ann,) = page["results"]
    entries = ann.pop("section_breakdown")
    assert ann == {
        "course_id": example.course_id,
        "username": example.name("ann"),
        "passed": True,
        "current_grade": 73,
    }
    assert [(e["label"], e["percent"], e["detail"]) for e in entries[:4]] == [
        ("HW 01", 0.8333, "Homework 1 - Ohms Law - 83.33% (5/6)"),
        ("HW 02", 1.0, "Homework 2 - RC - 100.00% (10/10)"),
        ("HW 03", 0.5, "Homework 3 - RL - 50.00% (2/4)"),
        ("HW 04", 0.0, "Homework 4 Unreleased - 0% (?/?)"),
    ]
    assert entries[3]["mark"] == {"detail": "The lowest 1 Homework scores are dropped."}
    assert entries[3]["sequential_id"] is None
    assert entries[0]["sequential_id"] == example.cell("ohm")
    assert entries[4]["label"] == "HW Avg"
    assert entries[4]["percent"] == pytest.approx(0.77776, abs=1e-5)
    assert entries[4]["prominent"] is True
    assert entries[5] == {
        "percent": 0.7,
        "label": "Final",
        "detail": "Final Exam = 70.00%",
        "category": "Final Exam",
        "prominent": True,
        "sequential_id": example.cell("final"),
    }


def test_percents_are_cut_off_in_doubles(room: Classroom) -> None:
    graders = [{"type": "Exam", "min_count": 1, "weight": 1.0}]
    room.publish(policy={"graders": graders, "cutoffs": {"Pass": 0.5}})
    grades = {}
    for points in (29, 57, 58, 30):
        user_id = room.learner(f"n{points}")
        grades[points] = user_id
    room.teacher.gradebook()
    items = [
        an_override(user_id, room.cell("exam"), earned_graded_override=points / 10)
        for points, user_id in grades.items()
    ]
    assert room.teacher.bulk(*items).status_code == 202
    found = room.root.get(PATH, course_id=room.course_id).json()["results"]
    assert [item["current_grade"] for item in found] == [28, 56, 57, 30]


def test_some_learners_of_some_courses(example: Classroom) -> None:
    other = Classroom(example.school, example.site)
    other.publish()
    example.learner("ben")
    example.school.enroll(example.name("ann"), other.course_id)
    names = f"{example.name('ben')},{example.name('ann')},nobody"

    def ask(**query: Any) -> list[tuple[str, str]]:
        found = example.root.get(PATH, **query).json()["results"]
        return [(item["course_id"], item["username"].rpartition("-")[0]) for item in found]

    both = [(example.course_id, "ann"), (example.course_id, "ben")]
    assert ask(username=names) == [*both, (other.course_id, "ann")]
    assert ask(username=example.name("ann"), course_id=other.course_id) == [
        (other.course_id, "ann")
    ]
    assert ask(course_id=example.course_id) == both
    assert ask(course_key=example.course_id, course_id="nonsense") == both
    assert ask(username="nobody") == []
    assert ask(course_id="course-v1:No+Such+Course") == []
    assert ask(username=names, page_size=1) == both[:1]


def test_items_are_grouped_by_course_and_pages_are_not(example: Classroom) -> None:
    other = Classroom(example.school, example.site)
    other.publish()
    example.school.enroll(example.name("ann"), other.course_id)
    example.learner("ben")
    names = f"{example.name('ann')},{example.name('ben')}"
    page = example.root.get(PATH, username=names, page_size=2).json()
    assert [item["course_id"] for item in page["results"]] == [
        example.course_id,
        other.course_id,
    ]
    following = example.site.client.get(page["next"], headers=example.root.site.headers).json()
    assert [item["username"] for item in following["results"]] == [example.name("ben")]
    whole = example.root.get(PATH, username=names).json()["results"]
    assert [item["course_id"] for item in whole] == [
        *[example.course_id] * 2,
        other.course_id,
    ]


def test_what_a_learner_cannot_see_is_not_listed(room: Classroom) -> None:
    room.publish(room.blocks(hw1={"group_access": {"50": [2]}}))
    room.learner("ann", "audit")
    room.learner("bea", "verified")
    found = room.root.get(PATH, course_id=room.course_id).json()["results"]
    details = [item["section_breakdown"][0]["detail"] for item in found]
    assert details == ["Homework 1 - hw2 - 0.00% (0/10)", "Homework 1 - hw1 - 0.00% (0/6)"]


def test_who_has_left_is_not_listed(example: Classroom) -> None:
    example.leave("ann")
    assert example.root.get(PATH, course_id=example.course_id).json()["results"] == []


def test_refusals(example: Classroom) -> None:
    refused = (403, None, "You do not have permission to perform this action.")
    assert problem(example.nobody.get(PATH))[2] == "Incorrect authentication credentials."
    assert problem(example.teacher.get(PATH)) == refused
    assert problem(example.teacher.get(PATH, course_id="nonsense")) == refused
    response = example.root.get(PATH, course_id="nonsense")
    assert problem(response)[0] == 400
    assert response.json() == {
        "field_errors": {"course_id": {"developer_message": "'nonsense' is not a valid course id."}}
    }
    assert list(example.root.get(PATH, username="a b").json()["field_errors"]) == ["username"]
    assert example.root.get(PATH, username="a,,b").status_code == 400
    many = ",".join(f"u{n}" for n in range(101))
    response = example.root.get(PATH, username=many)
    assert response.json()["field_errors"]["username"]["developer_message"] == (
        "Too many usernames in a single request - 101. A maximum of 100 is allowed"
    )
    assert example.root.get(PATH, username=many.rpartition(",")[0]).status_code == 200


def test_a_closed_account_may_ask_with_jwt_alone(example: Classroom) -> None:
    example.register("boss", is_staff=True, is_active=False)
    token = example.site.token(example.name("boss"))
    for path in (PATH, f"/submission_history/{example.course_id}/"):
        closed = example.caller("boss").get(path)
        assert problem(closed) == (401, None, "Incorrect authentication credentials.")
        headers = {"Authorization": f"JWT {token}"}
        assert example.nobody.send("GET", path, headers=headers).status_code == 200


def test_recorded_global_staff_may_ask(example: Classroom) -> None:
    example.register("boss", is_staff=True)
    assert example.caller("boss").get(PATH, course_id=example.course_id).status_code == 200
