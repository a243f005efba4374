"""Questions to the gradebook that are easily asked wrongly."""

from collections.abc import Iterator

import pytest

from projections.gradebook import queries
from projections.gradebook.queries import LearnerFilter
from tests.school import COURSE, School, key, school


@pytest.fixture
def physics(dsn: str) -> Iterator[School]:
    with school(dsn) as opened:
        opened.publish()
        yield opened


def test_a_question_about_nobody_is_answered(physics: School) -> None:
    assert physics.ask(queries.users_by_ids([])) == {}
    assert physics.ask(queries.courses_by_ids([])) == []
    assert physics.ask(queries.learners_by_ids(COURSE, [])) == {}
    assert physics.ask(queries.users_by_ids([1])) == {}


def found(physics: School, **conditions: object) -> list[str]:
    where = LearnerFilter(**conditions)  # type: ignore[arg-type]
    page = physics.ask(queries.learners_page(COURSE, where, limit=100))
    counts = physics.ask(queries.learner_counts(COURSE, where))
    assert counts.filtered == len(page)
    assert counts.total == 4
    return [learner.username for learner in page]


def test_filters(physics: School) -> None:
    for name in ("ann", "ben", "cleo", "dan"):
        physics.register(name, email=f"{name}@Example.org")
        physics.enroll(name, mode="masters" if name == "dan" else "audit")
    physics.register("ann", external_user_keys={COURSE: "X-77"})
    physics.score("ann", "q1", 10, 10)
    physics.score("ben", "q1", 5, 10)
    physics.score("cleo", "p3", 10, 10)
    grant = physics.backend.learners.grant_role
    physics.run(lambda: grant("ben", "staff", course_id=COURSE))
    course = physics.ask(queries.course_by_id(COURSE))
    assert course is not None
    exam = next(n for n, k in enumerate(course.ordinals) if k.endswith("exam"))
    assert found(physics) == ["ann", "ben", "cleo", "dan"]
    assert found(physics, user_contains="EXAMPLE") == ["ann", "ben", "cleo", "dan"]
    assert found(physics, user_contains="x-7") == ["ann"]
    assert found(physics, username_contains="N") == ["ann", "ben", "dan"]
    assert found(physics, mode="masters") == ["dan"]
    assert found(physics, without_any_role=True) == ["ann", "cleo", "dan"]
    assert found(physics, without_roles=["staff"]) == ["ann", "cleo", "dan"]
    assert found(physics, without_roles=["instructor"]) == ["ann", "ben", "cleo", "dan"]
    assert found(physics, ordinal=exam, grade_min=0) == ["ann", "ben"]
    assert found(physics, ordinal=exam, grade_max=50) == ["ben"]
    assert found(physics, course_grade_min=30) == ["ann", "ben"]
    assert found(physics, course_grade_max=30) == ["ben", "cleo", "dan"]
    assert found(physics, course_grade_min=1, course_grade_max=30) == ["ben", "cleo"]


def test_pages_go_both_ways(physics: School) -> None:
    for n in range(7):
        physics.register(f"u{n}")
        physics.enroll(f"u{n}")
    physics.run(
        lambda: physics.backend.learners.set_enrollment("u3", COURSE, "audit", is_active=False)
    )
    everybody = queries.EVERYBODY
    first = physics.ask(queries.learners_page(COURSE, everybody, limit=3))
    assert [learner.username for learner in first] == ["u0", "u1", "u2"]
    after = first[-1].enrollment_id
    second = physics.ask(queries.learners_page(COURSE, everybody, after=after, limit=3))
    assert [learner.username for learner in second] == ["u4", "u5", "u6"]
    before = second[0].enrollment_id
    back = physics.ask(queries.learners_page(COURSE, everybody, before=before, limit=2))
    assert [learner.username for learner in back] == ["u2", "u1"]
    assert physics.ask(queries.learner_counts(COURSE, everybody)) == (6, 6)


@pytest.mark.parametrize(("earned", "percent"), [(7, 7), (29, 29), (57, 57)])
def test_bounds_of_course_grades_are_inclusive_whatever_doubles_make_of_them(
    physics: School, earned: int, percent: int
) -> None:
    for name in ("ann", "ben", "cleo", "dan"):
        physics.register(name)
        physics.enroll(name)
    graders = [{"type": "Exam", "min_count": 1, "weight": 1.0}]
    physics.publish(policy={"graders": graders, "cutoffs": {}})
    physics.score("ann", "q1", earned, 100)
    assert physics.learner("ann").percent == percent / 100
    assert found(physics, course_grade_min=percent, course_grade_max=percent) == ["ann"]


def test_without_a_highest_course_grade_nobody_is_too_good(physics: School) -> None:
    for name in ("ann", "ben", "cleo", "dan"):
        physics.register(name)
        physics.enroll(name)
    physics.score("ann", "q1", 20, 10)
    assert physics.learner("ann").percent == 1.2
    assert found(physics, course_grade_min=90) == ["ann"]


def test_changes_of_an_override_are_in_the_order_in_which_they_happened(physics: School) -> None:
    user_id = physics.register("ann")
    physics.enroll("ann")
    for points in (1.0, 2.0, 3.0):
        physics.override(user_id, "exam", earned_graded=points)
    changes = physics.ask(queries.override_history(COURSE, user_id, key("sequential", "exam"), 2))
    assert [change.earned_graded for change in changes] == [3.0, 2.0]
