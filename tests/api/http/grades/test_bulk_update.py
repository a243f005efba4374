"""Overriding cells of the gradebook, alone and by the thousand."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.http.grades.classroom import Classroom, an_override, problem

NO_USER = "User matching query does not exist."


@pytest.fixture
def graded(physics: Classroom) -> Classroom:
    """Ann has 5 of 6 for the first homework."""
    physics.ann = physics.learner("ann")  # type: ignore[attr-defined]
    physics.score("ann", "p1", 5, 5)
    physics.teacher.gradebook()
    return physics


def ann_of(room: Classroom) -> int:
    return int(room.ann)  # type: ignore[attr-defined]


def entry(room: Classroom, name: str, subsection: str) -> dict[str, Any]:
    """What somebody who reads at once finds in a cell."""
    response = room.teacher.send("GET", f"/gradebook/{room.course_id}/?username={room.name(name)}")
    found = response.json()["section_breakdown"]
    return next(e for e in found if e["module_id"] == room.cell(subsection))


def test_an_edit_as_the_gradebook_page_sends_it(graded: Classroom) -> None:
    ann, cell = ann_of(graded), graded.cell("hw1")
    response = graded.teacher.bulk(
        an_override(ann, cell, comment="good reasons", earned_graded_override="6")
    )
    assert response.status_code == 202
    assert response.json() == [{"user_id": ann, "usage_id": cell, "success": True, "reason": None}]
    found = entry(graded, "ann", "hw1")
    assert (found["percent"], found["score_earned"], found["score_possible"]) == (1.0, 6.0, 6.0)
    assert found["attempted"]
    (event,) = [
        data
        for kind, data, _ in graded.site.events(0)
        if kind == "grades.SubsectionOverrideApplied" and data["user_id"] == ann
    ]
    assert event["requested"] == {"earned_graded": 6.0}
    assert (event["earned_all"], event["possible_all"]) == (5.0, 6.0)
    assert event["system"] == "GRADEBOOK"
    assert event["changed_by"] == graded.name("prof")
    assert "good reasons" not in json.dumps(event)


def test_the_course_grade_follows_at_once(graded: Classroom) -> None:
    graded.teacher.bulk(an_override(ann_of(graded), graded.cell("exam"), earned_graded_override=10))
    path = f"/gradebook/{graded.course_id}/?username={graded.name('ann')}"
    found = graded.teacher.send("GET", path).json()
    assert (found["percent"], found["letter_grade"], found["passed"]) == (0.77, "B", True)


def test_the_answer_names_its_position(graded: Classroom) -> None:
    before = graded.site.head()
    response = graded.teacher.bulk(
        an_override(ann_of(graded), graded.cell("hw1"), earned_graded_override=1)
    )
    assert int(response.headers["X-Log-Position"]) > before


@pytest.mark.parametrize("body", [b"", b" \n", b"[]"])
def test_nothing_to_do(graded: Classroom, body: bytes) -> None:
    response = graded.teacher.bulk(content=body)
    assert (response.status_code, response.json()) == (202, [])


def test_a_body_without_a_type_may_be_empty(graded: Classroom) -> None:
    response = graded.teacher.send("POST", f"/gradebook/{graded.course_id}/bulk-update/")
    assert (response.status_code, response.json()) == (202, [])


def test_each_item_fails_alone(graded: Classroom) -> None:
    ann, cell = ann_of(graded), graded.cell("hw1")
    zoe = graded.register("zoe")
    elsewhere = "block-v1:Other+Course+2026+type@sequential+block@hw1"
    problem_key = graded.key("problem", "p1")
    response = graded.teacher.bulk(
        an_override(ann, cell, earned_graded_override=4),
        an_override(987654321, cell, earned_graded_override=4),
        an_override(0, cell, earned_graded_override=4),
        an_override(None, cell, earned_graded_override=4),
        an_override("", cell, earned_graded_override=4),
        an_override(-1, "nonsense", earned_graded_override=4),
        an_override(zoe, "nonsense", earned_graded_override=4),
        an_override(ann, "nonsense", earned_graded_override=4),
        an_override(ann, elsewhere, earned_graded_override=4),
        an_override(ann, problem_key, earned_graded_override=4),
        an_override(str(ann), graded.cell("reading"), earned_all_override="0.5"),
    )
    assert response.status_code == 422
    found = response.json()
    bad_key = "<class 'opaque_keys.edx.locator.BlockUsageLocator'>: nonsense"
    assert [item["reason"] for item in found] == [
        None,
        *[NO_USER] * 5,
        "CourseEnrollment matching query does not exist.",
        bad_key,
        f"usage_key {elsewhere} does not exist in this course.",
        f"usage_key {problem_key} does not exist in this course.",
        None,
    ]
    assert [item["success"] for item in found] == [True, *[False] * 9, True]
    assert [item["user_id"] for item in found][2:5] == [0, None, ""]
    assert found[10]["user_id"] == ann
    assert found[5]["usage_id"] == "nonsense"
    assert entry(graded, "ann", "hw1")["score_earned"] == 4.0


def test_who_has_left_can_still_be_graded(graded: Classroom) -> None:
    graded.leave("ann")
    graded.teacher.gradebook()
    response = graded.teacher.bulk(
        an_override(ann_of(graded), graded.cell("hw1"), earned_graded_override=2)
    )
    assert response.status_code == 202


def test_of_two_items_about_one_cell_the_later_wins(graded: Classroom) -> None:
    ann, cell = ann_of(graded), graded.cell("hw2")
    response = graded.teacher.bulk(
        an_override(ann, cell, earned_graded_override=3),
        an_override(ann, cell, earned_graded_override=7, possible_graded_override=8),
    )
    assert response.status_code == 202
    found = entry(graded, "ann", "hw2")
    assert (found["score_earned"], found["score_possible"]) == (7.0, 8.0)


def test_a_null_follows_what_is_calculated(graded: Classroom) -> None:
    ann, cell = ann_of(graded), graded.cell("hw1")
    graded.teacher.bulk(an_override(ann, cell, earned_graded_override=1))
    graded.teacher.bulk(an_override(ann, cell, earned_graded_override=None))
    assert entry(graded, "ann", "hw1")["score_earned"] == 5.0
    graded.score("ann", "p2", 1, 1)
    graded.teacher.gradebook()
    found = entry(graded, "ann", "hw1")
    assert (found["score_earned"], found["score_possible"]) == (6.0, 6.0)


def test_unknown_keys_of_a_grade_are_ignored(graded: Classroom) -> None:
    response = graded.teacher.bulk(
        an_override(
            ann_of(graded), graded.cell("hw1"), system="PROCTORING", earned_graded_override=1, x=[]
        )
    )
    assert response.status_code == 202
    events = graded.site.events(0)
    assert [d["system"] for t, d, _ in events if t == "grades.SubsectionOverrideApplied"][
        -1
    ] == "GRADEBOOK"


def bad_items(room: Classroom) -> list[Any]:
    ann, cell = ann_of(room), room.cell("hw1")
    return [
        {"usage_id": cell, "grade": {}},
        {"user_id": ann, "grade": {}},
        {"user_id": ann, "usage_id": cell},
        {"user_id": ann, "usage_id": 5, "grade": {}},
        {"user_id": ann, "usage_id": cell, "grade": []},
        {"user_id": "ann", "usage_id": cell, "grade": {}},
        {"user_id": 1.5, "usage_id": cell, "grade": {}},
        {"user_id": True, "usage_id": cell, "grade": {}},
        {"user_id": [ann], "usage_id": cell, "grade": {}},
        an_override(ann, cell, earned_graded_override="many"),
        an_override(ann, cell, earned_graded_override=""),
        an_override(ann, cell, earned_graded_override=True),
        an_override(ann, cell, earned_graded_override="nan"),
        an_override(ann, cell, earned_graded_override="1e999"),
        an_override(ann, cell, earned_graded_override=int("9" * 400)),
        an_override(ann, cell, earned_graded_override=[1]),
        an_override(ann, cell, comment="x" * 301),
        an_override(ann, cell, comment=5),
        an_override(ann, cell, comment="a\0b"),
        an_override(ann, cell, comment="\ud800"),
        "text",
        None,
        [],
    ]


@pytest.mark.parametrize("number", range(23))
def test_what_cannot_be_understood_changes_nothing_at_all(graded: Classroom, number: int) -> None:
    good = an_override(ann_of(graded), graded.cell("hw1"), earned_graded_override=1)
    before = graded.site.head()
    response = graded.teacher.bulk(good, bad_items(graded)[number])
    status, code, message = problem(response)
    assert (status, code) == (400, None)
    assert message
    assert message.startswith("Item 1 ")
    assert graded.site.head() == before


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1,]", b"\xff", b"[NaN]", b"{}", b'"x"', b"null", b"[" * 100_000, b"1" * 5000],
)
def test_a_body_that_is_no_list(graded: Classroom, body: bytes) -> None:
    status, _, message = problem(graded.teacher.bulk(content=body))
    assert status == 400
    assert message


def test_broken_json_is_told_in_the_peers_words(graded: Classroom) -> None:
    _, _, message = problem(graded.teacher.bulk(content=b"x"))
    assert message == "JSON parse error - Expecting value: line 1 column 1 (char 0)"


def test_another_format(graded: Classroom) -> None:
    found = graded.teacher.bulk(content=b"a=b", headers={"Content-Type": "text/plain"})
    assert problem(found) == (415, None, 'Unsupported media type "text/plain" in request.')


def test_rights_and_frozen_come_before_the_body(room: Classroom) -> None:
    room.publish(
        end="2020-01-01T00:00:00Z", flags={"writable_gradebook": True, "freeze_after_end": True}
    )
    room.learner("ann")
    room.teacher.gradebook()
    assert problem(room.nobody.bulk(content=b"x"))[:2] == (401, None)
    assert problem(room.caller("ann").bulk(content=b"x"))[1] == "user_permissions"
    assert problem(room.teacher.bulk(content=b"x")) == (
        403,
        "grades_frozen",
        "Grades are frozen for this course.",
    )
    room.publish(flags={"writable_gradebook": False})
    room.root.get(f"/courses/{room.course_id}/")
    assert problem(room.teacher.bulk(content=b"x"))[1] == "feature_not_enabled"
    room.publish(flags={"writable_gradebook": True, "freeze_after_end": False})
    room.teacher.gradebook()
    assert problem(room.teacher.bulk(content=b"x"))[0] == 400


def test_a_month_after_the_end_of_a_course_is_not_frozen_yet(room: Classroom) -> None:
    end = datetime.now(UTC) - timedelta(days=29)
    room.publish(end=end, flags={"freeze_after_end": True})
    room.teacher.gradebook()
    assert room.teacher.bulk().status_code == 202


def test_ten_thousand_items_at_once(graded: Classroom) -> None:
    names = [f"learner{n}-{graded.mark}" for n in range(100)]
    backend = graded.school.backend

    async def come() -> list[int]:
        made = await backend.learners.register_users([{"username": name} for name in names])
        await backend.learners.set_enrollments(
            [{"username": name, "course_id": graded.course_id} for name in names]
        )
        return [done.value.user_id for done in made]  # type: ignore[union-attr]

    ids = graded.school.run(come)
    graded.teacher.gradebook()
    cells = [graded.cell(name) for name in ("hw1", "hw2", "exam", "reading")]
    items = [
        an_override(user_id, cells[n % 4], earned_graded_override=n % 7, comment=f"round {n}")
        for n in range(100)
        for user_id in ids
    ]
    response = graded.teacher.bulk(*items, timeout=120)
    assert response.status_code == 202, response.text[:500]
    assert len(response.json()) == 10_000
    found = entry(graded, "learner7", "exam")
    assert found["score_earned"] == float(98 % 7)
    assert problem(graded.teacher.bulk(*items, items[0]))[0] == 413
    assert problem(graded.teacher.bulk(content=b" " * (10 * 1024 * 1024 + 1)))[0] == 413


def test_of_two_who_edit_one_cell_at_the_same_time_both_are_recorded(graded: Classroom) -> None:
    ann, cell = ann_of(graded), graded.cell("hw1")
    body = json.dumps([an_override(ann, cell, earned_graded_override=2, comment="x")])
    path = f"{graded.site.url}/api/grades/v1/gradebook/{graded.course_id}/bulk-update"
    headers = {**graded.teacher.site.headers, "Content-Type": "application/json"}
    together = threading.Barrier(8)
    answers: list[httpx.Response] = []

    def edit() -> None:
        with httpx.Client(timeout=30) as client:
            together.wait()
            answers.append(client.post(path, content=body, headers=headers))

    threads = [threading.Thread(target=edit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 8
    events = [
        data
        for kind, data, _ in graded.site.events(0)
        if kind == "grades.SubsectionOverrideApplied" and data["user_id"] == ann
    ]
    assert [event["history_type"] for event in events] == ["+", *"~" * 7]
    assert len({event["history_id"] for event in events}) == 8
    assert len({event["override_id"] for event in events}) == 1


def test_items_without_any_user(graded: Classroom) -> None:
    response = graded.teacher.bulk(an_override(0, graded.cell("hw1")))
    assert (response.status_code, response.json()[0]["reason"]) == (422, NO_USER)


def test_what_is_echoed_is_json(graded: Classroom) -> None:
    body = json.dumps([an_override(int("9" * 30), "\ud800", earned_graded_override=1)])
    response = graded.teacher.bulk(content=body)
    assert response.status_code == 422
    assert response.json()[0]["user_id"] == "9" * 30
