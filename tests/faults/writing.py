"""Somebody who goes on writing through real commands, and remembers what was acknowledged."""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import psycopg

from domain.errors import DomainError, OutcomeUnknownError, UnavailableError
from tests.school import POLICY, School, a_course, key

COURSES: Final = tuple(f"course-v1:Uni+Subject{n}+2026" for n in range(10))
LEARNERS: Final = 60
POINTS: Final = {"p1": 5, "p2": 1, "p3": 10, "q1": 10}
SUBSECTIONS: Final = {
    "hw1": ("Homework", {"p1": 5.0, "p2": 1.0}),
    "hw2": ("Homework", {"p3": 10.0}),
    "exam": ("Exam", {"q1": 10.0}),
}
AT_A_TIME: Final = 12
"""Commands that are under way together."""

PATIENCE: Final = 300.0
"""Seconds that those under way may take to their end on a machine that is busy."""

UNAVAILABLE: Final = (UnavailableError, OutcomeUnknownError, psycopg.OperationalError)
"""How a command fails while the database is away."""


class Acknowledged(NamedTuple):
    """A write that was answered: where it stands, and what its event holds."""

    position: int
    holds: str


class Took(NamedTuple):
    """When a command was answered, and after how many seconds."""

    at: float
    seconds: float


class Writer:
    """Carries out commands of every kind, so many a second, until told to stop."""

    def __init__(self, school: School, chance: random.Random, *, a_second: float) -> None:
        self._school = school
        self._chance = chance
        self._pause = AT_A_TIME / a_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._submissions: deque[str] = deque(maxlen=200)
        self._failure: BaseException | None = None
        self.acknowledged: list[Acknowledged] = []
        self.took: list[Took] = []
        self.refused = 0
        self.unanswered = 0

    def __enter__(self) -> Self:
        for course_id in COURSES:
            self._school.publish(a_course(SUBSECTIONS, course_id), course_id=course_id)
        for n in range(LEARNERS):
            anonymous = [f"anonymous-{n}"] if n % 3 == 0 else []
            self._school.register(f"learner{n}", full_name=f"L {n}", anonymous_ids=anonymous)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def since(self, begin: float) -> list[float]:
        """How long the commands took that were answered since then (monotonic)."""
        return [took.seconds for took in self.took if begin <= took.at]

    # --- inside -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._school.run(self._some)
                self._stop.wait(max(0.0, began + self._pause - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - raised where it is seen
            self._failure = error

    async def _some(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(AT_A_TIME)))

    async def _one(self) -> None:
        try:
            await self._choose()()
        except DomainError:
            self.refused += 1
        except UNAVAILABLE:
            self.unanswered += 1

    async def _do(self, command: Awaitable[Any], holds: Callable[[Any], str] = lambda _: "") -> Any:
        began = time.monotonic()
        done = await command
        now = time.monotonic()
        self.took.append(Took(now, now - began))
        if done.position is not None:
            self.acknowledged.append(Acknowledged(done.position, holds(done)))
        return done

    def _choose(self) -> Callable[[], Awaitable[None]]:
        kinds: dict[Callable[[], Awaitable[None]], float] = {
            self._submit: 50,
            self._rescore: 20,
            self._reset: 8,
            self._enroll: 10,
            self._rename: 5,
            self._register: 2,
            self._role: 5,
            self._team: 2,
            self._publish: 0.3,
        }
        return self._chance.choices(list(kinds), list(kinds.values()))[0]

    def _learner(self) -> str:
        return f"learner{self._chance.randrange(LEARNERS)}"

    def _course(self) -> str:
        return self._chance.choice(COURSES)

    async def _submit(self) -> None:
        course_id, problem = self._course(), self._chance.choice(list(POINTS))
        number = self._chance.randrange(LEARNERS)
        anonymous = number % 3 == 0 and self._chance.random() < 0.5
        item = {
            "student_id": f"anonymous-{number}" if anonymous else f"learner{number}",
            "course_id": course_id,
            "item_id": key("problem", problem, course_id),
            "item_type": "problem",
        }
        submissions = self._school.backend.submissions
        done = await self._do(submissions.create_submission(item, "42"), _submission)
        uuid = _submission(done)
        self._submissions.append(uuid)
        earned = self._chance.randint(0, POINTS[problem])
        await self._do(submissions.set_score(uuid, earned, POINTS[problem]), lambda _: uuid)

    async def _rescore(self) -> None:
        if self._submissions:
            uuid = self._chance.choice(self._submissions)
            command = self._school.backend.submissions.set_score(
                uuid, self._chance.randint(0, 10), 10
            )
            await self._do(command, lambda _: uuid)

    async def _reset(self) -> None:
        course_id, problem = self._course(), self._chance.choice(list(POINTS))
        await self._do(
            self._school.backend.submissions.reset_score(
                self._learner(), course_id, key("problem", problem, course_id)
            )
        )

    async def _enroll(self) -> None:
        course_id = self._course()
        mode = self._chance.choice(["audit", "verified"])
        is_active = self._chance.random() < 0.9
        await self._do(
            self._school.backend.learners.set_enrollment(
                self._learner(), course_id, mode, is_active=is_active
            ),
            lambda _: course_id,
        )

    async def _rename(self) -> None:
        await self._do(
            self._school.backend.learners.register_user(
                self._learner(), full_name=f"Renamed {self._chance.random()}"
            )
        )

    async def _register(self) -> None:
        name = f"late{self._chance.getrandbits(32):x}"
        await self._do(self._school.backend.learners.register_user(name))

    async def _role(self) -> None:
        learners, name, course_id = self._school.backend.learners, self._learner(), self._course()
        if self._chance.random() < 0.5:
            role = self._chance.choice(["staff", "instructor", "beta_testers"])
            await self._do(
                learners.grant_role(name, role, course_id=course_id), lambda _: course_id
            )
        else:
            await self._do(learners.grant_role(name, "staff", org="Uni"))

    async def _team(self) -> None:
        course_id, name = self._course(), f"team{self._chance.getrandbits(32):x}"
        await self._do(
            self._school.backend.submissions.create_submission_for_team(
                course_id, key("problem", "essay", course_id), name, 1, [self._learner()], "ours"
            )
        )

    async def _publish(self) -> None:
        course_id = self._course()
        cutoffs = {"Pass": self._chance.choice([0.3, 0.4, 0.5, 0.6])}
        await self._do(
            self._school.backend.courses.publish(
                course_id,
                display_name="Physics",
                blocks=a_course(SUBSECTIONS, course_id),
                grading_policy={**POLICY, "cutoffs": cutoffs},
            )
        )


def _submission(done: Any) -> str:
    return str(done.value.event.submission_uuid)
