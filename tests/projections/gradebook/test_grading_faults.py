"""A grader that is killed at any moment loses nothing and records nothing twice."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.school import COURSE, POLICY, School, school, wait_until

pytestmark = pytest.mark.fault

LEARNERS = 600
STEP = 250
"""Most learners that are graded anew before the next kill."""


@contextmanager
def grader(dsn: str, *, most: int = 10 * LEARNERS) -> Iterator[None]:
    """A projector with a grader, which records so much at most; killed at the end."""
    program = "tests.projections.gradebook.grading_process"
    arguments = [sys.executable, "-m", program, dsn, str(most)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def points(number: int) -> int:
    return number % 11


@pytest.mark.parametrize("seed", range(2))
def test_a_recalculation_goes_on_where_it_was_killed(dsn: str, seed: int) -> None:
    chance = Random(seed)
    with school(dsn, projector=False) as physics:
        physics.publish()
        names = [f"learner-{n}" for n in range(LEARNERS)]
        people(physics, names)
        with grader(dsn):
            wait_until(physics.graded, within=60)
        graders = [{**POLICY["graders"][0], "weight": 0.1}, {**POLICY["graders"][1], "weight": 0.9}]
        changed_at = physics.publish(policy={"graders": graders, "cutoffs": POLICY["cutoffs"]})
        assert changed_at is not None
        kills = 0
        while not finished(physics, changed_at):
            goal = regraded(physics, changed_at) + chance.randint(STEP // 5, STEP)
            # However late it is killed, the first does not do all that the second should find.
            with grader(dsn, most=LEARNERS // 2):
                wait_until(
                    lambda goal=goal: (
                        regraded(physics, changed_at) >= goal or finished(physics, changed_at)
                    ),
                    within=60,
                )
            kills += 1
            # Scores go on meanwhile.
            physics.score(f"learner-{kills}", "p3", 10, 10)
        assert kills > 1  # the last one came when all was done
        with grader(dsn):
            wait_until(physics.graded, within=60)
            found = physics.percents()
        expected = {
            name: round(points(n) * 9) / 100 if n not in range(1, kills + 1) else None
            for n, name in enumerate(names)
        }
        assert {n: p for n, p in found.items() if expected[n] is not None} == {
            n: p for n, p in expected.items() if p is not None
        }
        for n in range(1, kills + 1):
            assert found[names[n]] == round(points(n) * 9 + 5 + 0.01) / 100
        recorded = Counter(
            event["user_id"]
            for event in physics.events("grades.GradesCalculated")
            if event["forced"]
        )
        assert max(recorded.values()) == 1
        assert len(recorded) == LEARNERS


def people(physics: School, names: list[str]) -> None:
    async def register() -> None:
        learners = physics.backend.learners
        await learners.register_users([{"username": name} for name in names])
        await learners.set_enrollments(
            [{"username": name, "course_id": COURSE, "mode": "audit"} for name in names]
        )

    physics.run(register)
    physics.scores((name, "q1", points(n), 10) for n, name in enumerate(names))


def regraded(physics: School, position: int) -> int:
    """How many learners were graded since a position."""
    statement = (
        "SELECT count(*) FROM gradelog.events"
        " WHERE type = 'grades.GradesCalculated' AND position > %s"
    )
    ((count,),) = physics.rows(statement, position)
    return int(count)


def finished(physics: School, position: int) -> bool:
    found = physics.run(lambda: physics.backend.grading.recalculation(COURSE))
    return bool(found and found.finished_at and found.position >= position)
