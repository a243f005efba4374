"""Grades that follow from events which meet: nothing is lost, whoever is faster."""

import math
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from domain.grades.application import GRADEBOOK, OverrideRequest
from domain.grades.errors import InvalidPointsError
from domain.grades.structure import Viewer
from infra.log.reader import PostgresLogReader, connect
from infra.vault import Vault
from projections.gradebook import Gradebook
from projections.gradebook.tables import read_records
from projections.rebuild import rebuild
from tests.projections.gradebook.stepwise import Stepwise, stepwise
from tests.school import COURSE, POLICY, SMALL, School, a_course, key, wait_until

POINTS: Any = {"hw1": "p1", "hw2": "p3", "exam": "q1"}

WAITING = """
SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE NOT l.granted AND d.datname = current_database()
"""
"""Whoever waits for a lock here; on the same server other tests wait for theirs."""


@pytest.fixture
def steps(dsn: str) -> Iterator[Stepwise]:
    with stepwise(dsn) as made:
        made.school.publish()
        made.settle()
        yield made


def earned(school: School, username: str) -> dict[str, float]:
    """What is recorded as earned, by subsection."""
    ((ordinals,),) = school.rows("SELECT ordinals::json FROM gradebook_v2.outlines")
    found = school.rows(
        "SELECT g.records FROM gradebook_v2.grades g JOIN gradebook_v2.users u USING (user_id)"
        " WHERE u.username = %s",
        username,
    )
    if not found:
        return {}
    return {
        usage_key.rpartition("@")[2]: record.earned_graded
        for usage_key, record in zip(ordinals, read_records(found[0][0]), strict=False)
        if record is not None
    }


def percent(school: School, username: str) -> float | None:
    found = school.rows("SELECT percent FROM gradebook_v2.learners WHERE username = %s", username)
    return found[0][0] if found else None


def marked(school: School) -> set[tuple[Any, ...]]:
    return set(school.rows("SELECT position, user_id, item_id, reason FROM gradebook_v2.marks"))


def test_scores_that_come_while_the_gradebook_lags_are_all_graded(steps: Stepwise) -> None:
    school = steps.school
    school.register("ann")
    school.enroll("ann")
    steps.settle()
    positions = [school.score("ann", problem, 1, 1) for problem in POINTS.values()]
    for position in positions:
        steps.project(position)
        steps.step()
    steps.settle()
    assert earned(school, "ann") == {"hw1": 1.0, "hw2": 1.0, "exam": 1.0}


def test_a_grader_that_knows_nothing_of_the_last_one_waits_for_the_gradebook(
    steps: Stepwise,
) -> None:
    school = steps.school
    school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.project()
    # Recorded, but neither noted nor folded yet.
    with psycopg.connect(school.dsn) as db:
        (before,) = db.execute("SELECT position FROM gradelog.grading_progress").fetchall()
        steps.step()
        db.execute("UPDATE gradelog.grading_progress SET position = %s", before)
        db.execute(
            "INSERT INTO gradebook_v2.marks SELECT max(position), %s, 1, %s, 'score'"
            " FROM gradelog.events WHERE type = 'submissions.ScoreSet'",
            [COURSE, key("problem", "q1")],
        )
    steps.restart()
    for _ in range(5):
        steps.step()
    assert steps.grader.figures.conflicts == 1
    steps.settle()
    assert len(school.events("grades.GradesCalculated")) == 1
    assert earned(school, "ann") == {"exam": 5.0}


def test_another_mode_right_after_the_first_grade_grades_anew(steps: Stepwise) -> None:
    school = steps.school
    user_id = school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.project()
    steps.step()
    changed = school.enroll("ann", mode="verified")
    steps.project()  # the grade and the change in one batch
    assert (changed, user_id, None, "learner") in marked(school)
    steps.settle()
    assert earned(school, "ann") == {"hw1": 0.0, "hw2": 0.0, "exam": 5.0, "reading": 0.0}


def test_another_mode_right_before_the_first_grade_forces_nothing(steps: Stepwise) -> None:
    school = steps.school
    school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.project()
    school.enroll("ann", mode="verified")
    steps.step()
    steps.settle()
    assert earned(school, "ann") == {"exam": 5.0}


def test_a_rebuild_between_two_statements_of_the_grader_loses_no_mark(steps: Stepwise) -> None:
    school = steps.school
    school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.project()
    steps.restart()  # nothing is prepared yet
    errors: list[BaseException] = []

    def step() -> None:
        try:
            steps.step()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    with connect(school.dsn) as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE gradebook_v2.marks IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=step)
            thread.start()
            wait_until(lambda: school.rows(WAITING))
            reader = PostgresLogReader(Vault(school.dsn))
            rebuild(lambda: connect(school.dsn), reader, Gradebook, drop_patience=0)
        thread.join()
    steps.restart()
    steps.settle()
    assert earned(school, "ann") == {"exam": 5.0}


def test_an_override_by_a_policy_that_is_over_is_graded_by_the_new_one(steps: Stepwise) -> None:
    school = steps.school
    user_id = school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.settle()
    old = school.version()
    graders = [{**POLICY["graders"][0], "weight": 0.0}, {**POLICY["graders"][1], "weight": 1.0}]
    school.publish(policy={"graders": graders, "cutoffs": POLICY["cutoffs"]})
    steps.settle()
    assert percent(school, "ann") == 0.5
    request = OverrideRequest(
        user_id, key("sequential", "exam"), {"earned_graded": 8.0}, None, Viewer({})
    )
    school.run(
        lambda: school.backend.grades.override(
            old, [request], system=GRADEBOOK, changed_by="prof", changed_by_id=1
        )
    )
    steps.settle()
    assert percent(school, "ann") == 0.8


def test_another_policy_gives_no_grade_to_who_only_teaches(steps: Stepwise) -> None:
    school = steps.school
    for name in ("ann", "prof"):
        school.register(name)
    school.enroll("ann")
    school.run(lambda: school.backend.learners.grant_role("prof", "staff", course_id=COURSE))
    steps.settle()
    school.publish(policy={**POLICY, "cutoffs": {"Pass": 0.4}})
    steps.settle()
    assert percent(school, "ann") == 0.0
    assert percent(school, "prof") is None


def hidden(name: str) -> list[dict[str, Any]]:
    return [
        {**block, "start": "2999-01-01T00:00:00+00:00"}
        if block["usage_key"] == key("sequential", name)
        else block
        for block in SMALL
    ]


def test_what_is_hidden_for_a_time_keeps_its_record(steps: Stepwise) -> None:
    school = steps.school
    school.register("ann")
    school.enroll("ann")
    school.score("ann", "q1", 5, 10)
    steps.settle()
    assert percent(school, "ann") == 0.3
    school.publish(hidden("exam"))
    steps.settle()
    assert percent(school, "ann") == 0.0
    assert earned(school, "ann")["exam"] == 5.0


def test_a_reset_forces_only_where_it_happened(steps: Stepwise) -> None:
    school = steps.school
    school.score("anon-1", "q1", 5, 10)
    school.register("ann", anonymous_ids=["anon-1"])
    school.enroll("ann")
    school.score("ann", "p1", 5, 5)
    school.reset("ann", "p1")
    steps.settle()
    assert earned(school, "ann") == {"exam": 5.0, "hw1": 0.0}


def test_scores_of_a_course_that_comes_later_are_one_mark_a_learner(steps: Stepwise) -> None:
    school, later = steps.school, "course-v1:Uni+Physics+2027"
    user_id = school.register("ann")
    for problem in POINTS.values():
        school.score("ann", problem, 1, 1, course_id=later)
    steps.settle()
    school.publish(
        a_course({"all": ("Exam", dict.fromkeys(POINTS.values(), 1.0))}, later), course_id=later
    )
    steps.project()
    assert [user for _, user, *_ in marked(school) if user is not None] == [user_id]
    steps.settle()
    (calculated,) = school.events("grades.GradesCalculated")
    assert calculated["subsections"][0]["earned_all"] == 3.0


def test_states_of_problems_count_from_the_first_and_wait_for_their_course(
    steps: Stepwise,
) -> None:
    school, later = steps.school, "course-v1:Uni+Physics+2028"
    user_id = school.register("ann")  # and never enrolled

    def save(grade: float | None) -> None:
        school.run(
            lambda: school.backend.grades.save_problem_state(
                user_id,
                later,
                key("problem", "p", later),
                state=None,
                grade=grade,
                max_grade=None if grade is None else 4.0,
            )
        )

    save(None)
    save(3.0)
    steps.settle()
    school.publish(a_course({"all": ("Exam", {"p": 4.0})}, later), course_id=later)
    steps.settle()
    (calculated,) = school.events("grades.GradesCalculated")
    (found,) = calculated["subsections"]
    assert (found["earned_graded"], found["possible_graded"]) == (3.0, 4.0)
    first, _ = school.rows("SELECT saved_at FROM gradebook_v2.problem_states ORDER BY state_id")
    assert datetime.fromisoformat(found["first_attempted"]) == first[0]


def test_grades_of_a_course_without_subsections_can_be_cleared(steps: Stepwise) -> None:
    school = steps.school
    user_id = school.register("ann")
    school.enroll("ann")
    school.publish(SMALL[:2])
    school.publish(SMALL[:2], policy={**POLICY, "cutoffs": {"Pass": 0.4}})
    steps.settle()
    assert percent(school, "ann") == 0.0
    school.run(lambda: school.backend.grades.clear(user_id, COURSE))
    steps.settle()
    assert percent(school, "ann") is None


def save_state(school: School, user_id: int, grade: float, max_grade: float) -> None:
    """Report the state of q1."""
    school.run(
        lambda: school.backend.grades.save_problem_state(
            user_id, COURSE, key("problem", "q1"), state=None, grade=grade, max_grade=max_grade
        )
    )


@pytest.mark.parametrize("points", [math.nan, math.inf, -math.inf, 1e10])
def test_points_that_would_stop_all_grading_are_refused(steps: Stepwise, points: float) -> None:
    for grade, max_grade in ((points, 1.0), (1.0, points)):
        with pytest.raises(InvalidPointsError):
            save_state(steps.school, 1, grade, max_grade)
    assert steps.school.events("grades.ProblemStateSaved") == []


def test_points_of_next_to_nothing_can_be_graded(steps: Stepwise) -> None:
    school = steps.school
    user_id = school.register("ann")
    school.enroll("ann")
    school.publish(
        [
            {**block, "weight": 10.0} if block["usage_key"] == key("problem", "q1") else block
            for block in SMALL
        ]
    )
    save_state(school, user_id, 1.0, 1e-308)
    steps.settle()
    assert earned(school, "ann") == {"exam": 0.0}


def test_who_is_known_by_another_id_is_found_among_many_scores(steps: Stepwise) -> None:
    school = steps.school
    user_id = school.register("ann", anonymous_ids=["anon-1"])
    school.scores((f"somebody-{n}", "q1", 1, 10) for n in range(200))
    school.score("anon-2", "q1", 5, 10)
    steps.settle()
    school.register("ann", anonymous_ids=["anon-1", "anon-2"])
    school.register("somebody-7", anonymous_ids=["somebody-8"])
    steps.project()
    found = {(user, reason) for _, user, _, reason in marked(school)}
    assert {reason for _, reason in found} == {"identity"}
    assert user_id in {user for user, _ in found}
    assert len(found) == 2
    steps.settle()
    assert earned(school, "ann") == {"exam": 5.0}
