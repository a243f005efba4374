"""Scores, overrides, policies, rebuilds and two graders at once: grades end up right."""

import threading
from random import Random
from typing import Any

import pytest

from domain.errors import DomainError
from domain.grades.application import GRADEBOOK, OverrideRequest
from domain.grades.regrading import Lens, regrade
from domain.grades.structure import Viewer
from infra.database import now
from infra.engine import Engine
from infra.grading import Appending
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.vault import Vault
from projections.gradebook import Gradebook, inputs
from projections.grading import Grader, SchemaReplacedError
from projections.rebuild import rebuild
from tests.school import COURSE, PATIENCE, POLICY, School, key, school, wait_until

pytestmark = pytest.mark.fault

LEARNERS = 12
ROUNDS = 25
PROBLEMS = {"p1": "hw1", "p2": "hw1", "p3": "hw2", "q1": "exam", "r1": "reading"}


@pytest.mark.parametrize("seed", range(2))
def test_grades_are_right_when_the_storm_is_over(dsn: str, seed: int) -> None:
    chance = Random(seed)
    with school(dsn) as physics:
        physics.publish()
        names = [f"learner-{n}" for n in range(LEARNERS)]
        user_ids = [physics.register(name) for name in names]
        for name in names:
            physics.enroll(name)
        version = physics.version()
        stop = threading.Event()
        second = threading.Thread(target=grade_too, args=(dsn, stop))
        second.start()
        newest: dict[tuple[str, str], int] = {}
        try:
            for number in range(ROUNDS):
                scores = [
                    (chance.choice(names), chance.choice(list(PROBLEMS)), chance.randrange(11), 10)
                    for _ in range(chance.randrange(1, 12))
                ]
                scores = list({score[:2]: score for score in scores}.values())
                physics.scores(scores)
                newest |= {(name, problem): points for name, problem, points, _ in scores}
                requests = [
                    OverrideRequest(
                        user_id,
                        key("sequential", chance.choice(["hw1", "hw2", "exam"])),
                        {"earned_graded": chance.choice([None, float(chance.randrange(11))])},
                        None,
                        Viewer({}),
                    )
                    for user_id in chance.sample(user_ids, 3)
                ]
                override(physics, version, requests)
                mode = chance.choice(["audit", "verified"])
                physics.enroll(chance.choice(names), mode=mode)
                if number % 8 == 3:
                    weight = chance.randrange(11) / 10
                    graders = [{**grader, "weight": weight} for grader in POLICY["graders"]]
                    physics.publish(policy={"graders": graders, "cutoffs": POLICY["cutoffs"]})
                if number % 10 == 5:
                    reader = PostgresLogReader(Vault(dsn))
                    rebuild(lambda: connect(dsn), reader, Gradebook, drop_patience=5)
            wait_until(lambda: quiet(physics), within=60)
        finally:
            stop.set()
            second.join()
        assert unsettled(dsn, user_ids) == []
        for (name, problem), points in newest.items():
            record = physics.record(name, PROBLEMS[problem])
            assert record is not None
            of_subsection = [
                n
                for (who, p), n in newest.items()
                if who == name and PROBLEMS[p] == PROBLEMS[problem]
            ]
            assert record.earned_all == sum(of_subsection) >= points


def grade_too(dsn: str, stop: threading.Event) -> None:
    """Grade beside the one that holds the lock, as another version of the code may."""
    engine = Engine(limit=PATIENCE * 2)
    log = PostgresLog(dsn, timeout=PATIENCE)
    grader = Grader(lambda: connect(dsn), Appending(engine, log), now)
    while not stop.is_set():
        with connect(dsn) as db:
            grader.take_over(db)
            try:
                while not stop.wait(0.002):
                    grader.step(db)
            except SchemaReplacedError:
                pass
    engine.run(log.close)
    engine.close()


def override(physics: School, version: Any, requests: list[OverrideRequest]) -> None:
    outcomes = physics.run(
        lambda: physics.backend.grades.override(
            version, requests, system=GRADEBOOK, changed_by="prof", changed_by_id=1
        )
    )
    assert not [one for one in outcomes if isinstance(one, Exception | DomainError)]


def quiet(physics: School) -> bool:
    """Nothing is marked, put off, asked for or on its way."""
    return bool(
        physics.rows(
            """
            SELECT g.position = e.head AND m.position = e.head
                AND NOT EXISTS (SELECT FROM gradelog.recalculations WHERE finished_at IS NULL)
            FROM gradelog.grading_progress g, gradelog.read_models m,
                (SELECT max(position) AS head FROM gradelog.events) AS e
            WHERE m.name = 'gradebook'
            """
        )[0][0]
    )


def unsettled(dsn: str, user_ids: list[int]) -> list[Any]:
    """What a calculation of everything, from the beginning, would record."""
    with connect(dsn) as db:
        db.execute("SET search_path = gradebook_v2, pg_catalog")
        course = inputs.read_course(db, COURSE)
        keys = [(COURSE, user_id) for user_id in user_ids]
        learners = inputs.read_learners(db, keys)
        structures = {COURSE: course.version.structure}
        scores = inputs.read_scores(db, dict.fromkeys(keys), structures)
        return [
            found
            for place, learner in learners.items()
            if (
                found := regrade(
                    Lens(course.version, learner.viewer, now()),
                    inputs.known_of(learner, course.ordinals),
                    course.version.structure.subsections,
                    scores[place],
                )
            )
        ]
