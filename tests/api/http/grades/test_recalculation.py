"""How far a course is graded anew, as its staff and operators ask for it."""

from datetime import UTC, datetime, timedelta

import pytest

from api.backend import Recalculation
from tests.api.http.grades.classroom import Caller, Classroom
from tests.school import wait_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ask(caller: Caller, course_id: str | None = None) -> tuple[int, dict[str, object]]:
    course = caller.room.course_id if course_id is None else course_id
    response = caller.site.client.get(
        f"{caller.site.url}/api/courses/v1/courses/{course}/recalculation/",
        headers={**caller.site.headers, "X-Min-Log-Position": str(caller.site.head())},
    )
    return response.status_code, response.json()


def test_a_course_that_was_graded_anew(physics: Classroom) -> None:
    physics.learner("ann")
    physics.score("ann", "q1", 9, 10)
    policy = {"graders": [{"type": "Exam", "min_count": 1, "weight": 1.0}], "cutoffs": {"P": 0.5}}
    physics.publish(policy=policy)
    head = physics.site.head()

    def is_over() -> bool:
        _, found = ask(physics.teacher)
        return found.get("finished_at") is not None and found["reason"] == "policy"

    wait_until(is_over)
    status, found = ask(physics.teacher)
    assert status == 200
    assert found["course_id"] == physics.course_id
    assert (found["total"], found["done"], found["changed"]) == (1, 1, 1)
    assert (found["fraction"], found["seconds_left"]) == (1.0, 0.0)
    assert 0 < int(str(found["position"])) <= head
    assert str(found["finished_at"]).endswith("Z")


def test_only_staff_of_the_course_may_ask(physics: Classroom) -> None:
    assert ask(physics.caller("ann"))[0] == 403
    assert ask(physics.nobody)[0] == 401
    for claims in ({"staff": True}, {"scopes": ["courses:write"]}):
        assert ask(physics.caller("ann", **claims))[0] in (200, 404)


def test_a_course_that_never_was(room: Classroom) -> None:
    status, found = ask(room.teacher)
    assert status == 404
    assert found["detail"] == "the grades of this course never were recalculated"
    assert ask(room.teacher, "nonsense")[0] == 400


@pytest.mark.parametrize(
    ("total", "done", "started", "finished", "fraction", "left"),
    [
        (10, 0, False, False, 0.0, None),
        (0, 0, True, False, 0.0, None),
        (10, 4, True, False, 0.4, 90.0),
        (3, 4, True, False, 1.0, 0.0),
        (10, 9, True, True, 1.0, 0.0),
    ],
)
def test_how_long_it_takes(
    total: int, done: int, started: bool, finished: bool, fraction: float, left: float | None
) -> None:
    found = Recalculation(
        course_id="course-v1:A+B+C",
        position=1,
        reason="policy",
        total=total,
        done=done,
        changed=0,
        requested_at=NOON,
        started_at=NOON if started else None,
        updated_at=NOON + timedelta(seconds=60),
        finished_at=NOON if finished else None,
    )
    assert (found.fraction, found.seconds_left) == (fraction, left)


def test_metrics_say_how_far_grading_is(physics: Classroom) -> None:
    site = physics.site
    physics.teacher.gradebook()  # everything is graded
    text = site.client.get(f"{site.url}/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(figures["gradelog_grading_position"]) > 0
    for name in ("grading_lag", "recalculation_courses", "recalculation_learners_left"):
        assert float(figures[f"gradelog_{name}"]) >= 0
