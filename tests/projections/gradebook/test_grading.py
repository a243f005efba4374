"""From scores to grades: the whole way through the log, the read model and the grading."""

from collections.abc import Iterator

import pytest

from projections.gradebook import queries
from tests.school import COURSE, POLICY, SMALL, School, a_course, key, school


@pytest.fixture
def physics(dsn: str) -> Iterator[School]:
    with school(dsn) as opened:
        opened.publish()
        yield opened


def test_a_score_becomes_a_grade(physics: School) -> None:
    physics.register("ann", anonymous_ids=["anon-1"])
    physics.enroll("ann")
    physics.score("anon-1", "p1", 5, 5)
    record = physics.record("ann", "hw1")
    assert record is not None
    assert record[:4] == (5.0, 6.0, 5.0, 6.0)
    assert record.first_attempted is not None
    learner = physics.learner("ann")
    # Homework (0.8333 + 0) / 2 * 0.4 = 0.16666 -> 17 percent
    assert (learner.percent, learner.letter) == (0.17, None)


def test_a_score_records_the_subsections_it_touches_and_nothing_else(physics: School) -> None:
    physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "p1", 5, 5)
    physics.learner("ann")
    physics.score("ann", "q1", 7, 10)
    physics.learner("ann")
    calculated = physics.events("grades.GradesCalculated")
    assert [[s["usage_key"] for s in e["subsections"]] for e in calculated] == [
        [key("sequential", "hw1")],
        [key("sequential", "exam")],
    ]


def test_the_same_score_again_records_nothing(physics: School) -> None:
    physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "p3", 4, 10)
    physics.learner("ann")
    physics.score("ann", "p3", 4, 10)
    physics.learner("ann")
    assert len(physics.events("grades.GradesCalculated")) == 1


def test_a_reset_takes_the_points_back_and_keeps_the_time_of_the_first_attempt(
    physics: School,
) -> None:
    physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "p3", 10, 10)
    before = physics.record("ann", "hw2")
    physics.reset("ann", "p3")
    after = physics.record("ann", "hw2")
    assert before is not None
    assert after is not None
    assert after[:4] == (0.0, 10.0, 0.0, 10.0)
    assert after.first_attempted == before.first_attempted
    assert physics.learner("ann").percent == 0.0


def test_scores_wait_for_their_learner(physics: School) -> None:
    physics.score("anon-9", "q1", 9, 10)
    physics.register("bea", anonymous_ids=["anon-9"])
    physics.enroll("bea")
    assert physics.learner("bea").percent == 0.54


def test_scores_wait_for_their_course(dsn: str) -> None:
    with school(dsn) as opened:
        opened.register("ann")
        opened.enroll("ann")
        opened.score("ann", "q1", 10, 10)
        assert opened.learner("ann").percent is None
        opened.publish()
        assert opened.learner("ann").percent == 0.6


def test_of_two_ids_of_a_learner_the_anonymous_one_counts(physics: School) -> None:
    physics.register("ann", anonymous_ids=["anon-1"])
    physics.enroll("ann")
    physics.score("anon-1", "q1", 5, 10)
    physics.score("ann", "q1", 10, 10)
    assert physics.learner("ann").percent == 0.3


def test_an_anonymous_id_that_is_another_users_name_is_the_first_ones(physics: School) -> None:
    physics.register("17")
    physics.enroll("17")
    physics.score("17", "q1", 5, 10)
    assert physics.learner("17").percent == 0.3
    physics.register("ann", anonymous_ids=["17"])
    physics.enroll("ann")
    assert physics.learner("ann").percent == 0.3
    assert physics.record("17", "exam") is None or physics.learner("17").percent == 0.0


def test_passing_is_told_once(physics: School) -> None:
    physics.register("ann")
    physics.enroll("ann")
    for points in (10, 1, 9):
        physics.score("ann", "q1", points, 10)
        physics.learner("ann")
    assert len(physics.events("grades.CoursePassedFirstTime")) == 1


def test_an_override_counts_at_once_and_outlives_new_scores(physics: School) -> None:
    user_id = physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "p1", 5, 5)
    physics.learner("ann")
    done = physics.override(user_id, "hw1", "late bus", earned_graded=6.0)
    learner = physics.ask(queries.learner_by_username(COURSE, "ann"), at_least=done.position)
    assert learner is not None
    assert learner.percent == 0.2
    physics.score("ann", "p2", 1, 1)
    record = physics.record("ann", "hw1")
    assert record is not None
    assert record[:4] == (6.0, 6.0, 6.0, 6.0)
    (change,) = physics.ask(queries.override_history(COURSE, user_id, key("sequential", "hw1")))
    assert (change.earned_all, change.possible_all) == (5.0, 6.0)
    assert (change.earned_graded, change.possible_graded) == (6.0, 6.0)
    assert (change.changed_by, change.system, change.history_type) == ("prof", "GRADEBOOK", "+")


def test_an_override_of_somebody_who_never_attempted_makes_a_record(physics: School) -> None:
    user_id = physics.register("ann")
    physics.enroll("ann")
    physics.override(user_id, "exam", earned_graded=8.0)
    record = physics.record("ann", "exam")
    assert record is not None
    assert tuple(record) == (0.0, 10.0, 0.0, 10.0, None)
    assert physics.learner("ann").percent == 0.48


def test_overrides_of_one_cell_at_once_are_all_kept(physics: School) -> None:
    import asyncio

    from domain.grades.application import GRADEBOOK, OverrideRequest
    from domain.grades.structure import Viewer

    user_id = physics.register("ann")
    physics.enroll("ann")
    course = physics.version()
    usage_key = key("sequential", "exam")

    async def all_at_once() -> None:
        await asyncio.gather(
            *(
                physics.backend.grades.override(
                    course,
                    [OverrideRequest(user_id, usage_key, {"earned_graded": n}, None, Viewer({}))],
                    system=GRADEBOOK,
                    changed_by=f"prof {n}",
                    changed_by_id=n,
                )
                for n in range(10)
            )
        )

    physics.run(all_at_once)
    history = physics.ask(queries.override_history(COURSE, user_id, usage_key))
    assert sorted(change.changed_by_id for change in history) == list(range(10))
    newest = max(history, key=lambda change: change.position)
    cell = physics.ask(queries.cell(COURSE, user_id, 2))
    assert cell.override is not None
    assert cell.override.earned_graded == newest.earned_graded


def test_another_policy_grades_everybody_anew(physics: School) -> None:
    for n in range(30):
        physics.register(f"learner-{n}")
        physics.enroll(f"learner-{n}")
        physics.score(f"learner-{n}", "q1", n % 11, 10)
    assert physics.learner("learner-10").percent == 0.6
    graders = [{**POLICY["graders"][0], "weight": 0.0}, {**POLICY["graders"][1], "weight": 1.0}]
    physics.publish(policy={"graders": graders, "cutoffs": POLICY["cutoffs"]})
    recalculated(physics)
    assert [physics.learner(f"learner-{n}").percent for n in (0, 5, 10)] == [0.0, 0.5, 1.0]
    # Forced: what nobody attempted is recorded with nothing earned.
    record = physics.record("learner-0", "hw2")
    assert record is not None
    assert tuple(record) == (0.0, 10.0, 0.0, 10.0, None)


def test_another_outline_grades_everybody_anew(physics: School) -> None:
    physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "q1", 10, 10)
    physics.score("ann", "extra", 4, 10)
    assert physics.learner("ann").percent == 0.6
    blocks = a_course(
        {"exam": ("Exam", {"q1": 10, "extra": 10}), "hw1": ("Homework", {"p1": 5, "p2": 1})}
    )
    physics.publish(blocks)
    recalculated(physics)
    assert physics.learner("ann").percent == 0.42
    record = physics.record("ann", "exam")
    assert record is not None
    assert record[:2] == (14.0, 20.0)


def test_the_same_course_again_grades_nobody(physics: School) -> None:
    physics.register("ann")
    physics.enroll("ann")
    physics.score("ann", "q1", 10, 10)
    physics.learner("ann")
    assert physics.publish(SMALL) is None
    assert len(physics.events("grades.GradesCalculated")) == 1


def recalculated(physics: School) -> None:
    from tests.school import wait_until

    def over() -> bool:
        found = physics.run(lambda: physics.backend.grading.recalculation(COURSE))
        head = physics.rows(
            "SELECT max(position) FROM gradelog.events WHERE type LIKE 'courses.%'"
        )[0][0]
        return bool(found and found.finished_at and found.position >= head)

    wait_until(over)


def test_a_course_that_cannot_be_graded_stops_no_other_and_is_told(physics: School) -> None:
    other = "course-v1:Uni+Chemistry+2026"
    physics.publish(a_course({"exam": ("Exam", {"q1": 10})}, other), course_id=other)
    for name in ("ann", "bea"):
        physics.register(name)
    physics.enroll("ann")
    physics.enroll("bea", other)
    physics.learner("ann")
    # What only a defect could bring about: an outline that says nothing of its subsections.
    broken = (
        "UPDATE gradebook_v2.outlines SET blocks = replace(blocks, '\"max_score\":10.0',"
        ' \'"max_score":"ten"\') WHERE course_id = %s RETURNING 1'
    )
    assert physics.rows(broken, COURSE)
    physics.rows(
        "UPDATE gradebook_v2.courses SET layout_position = layout_position + 1"
        " WHERE course_id = %s RETURNING 1",
        COURSE,
    )
    physics.score("ann", "q1", 10, 10)
    physics.score("bea", "q1", 10, 10, course_id=other)
    assert physics.learner("bea", other).percent == 0.6
    found = physics.run(lambda: physics.backend.grading.recalculation(COURSE))
    assert found.finished_at is None
    assert "ten" in found.error
