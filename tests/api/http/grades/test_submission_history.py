"""Every saved state of the problems of a course."""

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from api.http.grades.errors import ApiError
from api.http.grades.throttling import Throttle
from tests.api.http.grades.classroom import Classroom, problem


@pytest.fixture
def worked(room: Classroom) -> Classroom:
    """Ann has worked at p1, where her system has reported two states, and handed in r1."""
    room.publish(
        room.blocks(
            p1={"data": "<problem>1 + 1?</problem>"},
            p2={"type": "html", "usage_key": room.key("html", "p2")},
        )
    )
    ann = room.learner("ann", anonymous_ids=[f"anon-{room.mark}"])
    room.learner("ben")
    grades = room.school.backend.grades
    for state, grade in (('{"a": 1}', None), ('{"a": "größer"}', 1.0)):
        save = partial(
            grades.save_problem_state,
            ann,
            room.course_id,
            room.key("problem", "p1"),
            state=state,
            grade=grade,
            max_grade=None if grade is None else 2.0,
        )
        room.school.run(save)
    return room


def look(room: Classroom, **query: Any) -> Any:
    response = room.root.get(f"/submission_history/{room.course_id}/", **query)
    assert response.status_code == 200, response.text
    return response.json()


def test_reported_states_newest_first(worked: Classroom) -> None:
    page = look(worked)
    assert list(page) == ["next", "previous", "results"]
    assert page["results"] == [
        {
            "course_id": worked.course_id,
            "course_name": "Physics",
            "user": worked.name("ann"),
            "problems": [
                {
                    "location": worked.key("problem", "p1"),
                    "name": "p1",
                    "submission_history": [
                        {"state": {"a": "größer"}, "grade": 1.0, "max_grade": 2.0},
                        {"state": {"a": 1}, "grade": None, "max_grade": None},
                    ],
                    "data": "<problem>1 + 1?</problem>",
                }
            ],
        },
        {
            "course_id": worked.course_id,
            "course_name": "Physics",
            "user": worked.name("ben"),
            "problems": [],
        },
    ]


def test_what_was_handed_in_here_is_part_of_it(worked: Classroom) -> None:
    service = worked.site.service
    item = {
        "student_id": f"anon-{worked.mark}",
        "course_id": worked.course_id,
        "item_id": worked.key("problem", "p1"),
        "item_type": "problem",
    }
    scored = service.create(item, {"text": "an essay"})
    service.score(scored["uuid"], 3, 4)
    service.create(item, "no object")
    (found,) = look(worked, username=worked.name("ann"))["results"]
    (p1,) = found["problems"]
    assert p1["submission_history"][:2] == [
        {"state": None, "grade": None, "max_grade": None},
        {"state": {"text": "an essay"}, "grade": 3.0, "max_grade": 4.0},
    ]
    assert len(p1["submission_history"]) == 4


def test_only_problems_at_their_usual_place(worked: Classroom) -> None:
    service = worked.site.service
    for kind, name in (("html", "p2"), ("problem", "p3")):
        item = {
            "student_id": worked.name("ben"),
            "course_id": worked.course_id,
            "item_id": worked.key(kind, name),
            "item_type": "problem",
        }
        service.create(item, {"x": name})
    (found,) = look(worked, username=worked.name("ben"))["results"]
    assert [p["name"] for p in found["problems"]] == ["p3"]
    assert found["problems"][0]["data"] == ""


def test_pages(worked: Classroom) -> None:
    first = look(worked, page_size=1)
    assert [item["user"] for item in first["results"]] == [worked.name("ann")]
    second = worked.site.client.get(first["next"], headers=worked.root.site.headers).json()
    assert [item["user"] for item in second["results"]] == [worked.name("ben")]
    assert second["next"] is None


def test_an_unknown_course_is_empty(worked: Classroom) -> None:
    found = worked.root.get("/submission_history/course-v1:No+Such+Course/")
    assert (found.status_code, found.json()) == (
        200,
        {"next": None, "previous": None, "results": []},
    )


def test_anything_may_follow_the_course(worked: Classroom) -> None:
    for path in (
        f"{worked.course_id}/whatever/comes",
        f"{quote(worked.course_id, safe='')}/x/",
        worked.course_id,
    ):
        found = worked.root.get(f"/submission_history/{path}")
        assert len(found.json()["results"]) == 2, path


def test_refusals(worked: Classroom) -> None:
    path = f"/submission_history/{worked.course_id}/"
    refused = (403, None, "You do not have permission to perform this action.")
    assert problem(worked.nobody.get(path))[2] == "Incorrect authentication credentials."
    assert problem(worked.teacher.get(path)) == refused
    assert problem(worked.caller("ann").get("/submission_history/a+b+c/")) == refused
    assert problem(worked.root.get("/submission_history/a+b+c/")) == (
        400,
        "invalid_course_key",
        "The provided course key cannot be parsed.",
    )
    assert problem(worked.root.get("/submission_history/nonsense/"))[0] == 404
    assert problem(worked.root.get(path, cursor="x")) == (404, None, "Invalid cursor")


def test_too_many_requests(worked: Classroom) -> None:
    path = f"/submission_history/{worked.course_id}/"
    busy = worked.caller("busy", staff=True)
    answers = (busy.send("GET", path) for _ in range(2000))
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert problem(refused)[1] is None
    seconds = refused.headers["Retry-After"]
    assert refused.json()["developer_message"] == (
        f"Request was throttled. Expected available in {seconds} seconds."
    )
    assert worked.caller("other", staff=True).send("GET", path).status_code == 200


def test_a_bucket_fills_again() -> None:
    moments = iter([0.0] * 3 + [10.0, 30.0, 30.0])
    throttle = Throttle(2, lambda: next(moments))
    throttle.take("ann")
    throttle.take("ann")
    with pytest.raises(ApiError) as refused:
        throttle.take("ann")
    assert refused.value.headers == {"Retry-After": "30"}
    with pytest.raises(ApiError) as again:
        throttle.take("ann")
    assert again.value.headers == {"Retry-After": "20"}
    throttle.take("ann")
    throttle.take("ben")
