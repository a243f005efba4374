"""Carries the demonstration out: what is not done yet, at its simulated time."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.application import Done, Idempotency, Outcome
from domain.courses.application import Courses
from domain.events import Provenance
from domain.grades.application import GRADEBOOK, Grades, OverrideRequest
from domain.grades.learner_grades import (
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
    learner_grades_stream,
)
from domain.grades.regrading import CourseVersion
from domain.grades.structure import Viewer
from domain.learners.application import Learners
from domain.submissions.application import CreatedSubmission, Submissions
from domain.submissions.fields import StudentItemKey
from infra.demo import course, people
from infra.demo.course import BEGIN, COURSE
from infra.demo.decisions import Decision
from infra.demo.people import INSTRUCTOR
from infra.demo.work import Step
from infra.log.postgres_log import PostgresLog
from infra.vault import Vault

T = TypeVar("T")

VIA: Final = "demo"
OFFICE: Final = Provenance(actor="student-office", via=VIA)
TEACHER: Final = Provenance(actor=INSTRUCTOR, via=VIA)

TURN: Final = timedelta(hours=12)
"""Work that lies within this time is carried out side by side."""

TOGETHER: Final = 100
"""People in one command. Commands follow each other, so that numbers are always the same."""

OVERRIDDEN: Final = (SubsectionOverrideApplied, SubsectionOverrideRemoved)
EVERYTHING: Final = Viewer({})
"""Everybody sees all of this course."""

_moment: ContextVar[datetime] = ContextVar("simulated moment")


def simulated_now() -> datetime:
    """The clock of the demonstration: each step has its own time."""
    return _moment.get()


class Demonstration:
    """The commands of all contexts, told the time by ``simulated_now``."""

    def __init__(self, log: PostgresLog, vault: Vault) -> None:
        self._log = log
        self._submissions = Submissions(log, simulated_now, vault)
        self._courses = Courses(log, simulated_now)
        self._learners = Learners(log, simulated_now, vault)
        self._grades = Grades(log, simulated_now, vault)
        self._uuids: dict[tuple[StudentItemKey, int], UUID] = {}

    # --- the course and its people ------------------------------------------------------------

    async def publish(self) -> None:
        """Publish the course and register everybody."""
        _moment.set(course.PUBLISHED)
        await self._courses.publish(
            COURSE,
            display_name=course.TITLE,
            start=BEGIN,
            end=course.END,
            blocks=course.blocks(),
            grading_policy=course.POLICY,
            modes=list(course.MODES),
            provenance=TEACHER,
        )
        _moment.set(people.REGISTERED)
        for some in _portions([one.as_user() for one in people.learners()] + people.staff()):
            _all_done(await self._learners.register_users(some, provenance=OFFICE))

    async def enroll(self) -> None:
        """Put everybody into the course, and learners into the groups of its lab."""
        everybody = people.learners()
        _moment.set(people.REGISTERED)
        for username, role in people.ROLES.items():
            await self._learners.grant_role(username, role, course_id=COURSE, provenance=OFFICE)
        await self._learners.set_cohorting(COURSE, True, provenance=TEACHER)
        for some in _portions(everybody):
            _moment.set(some[-1].enrolled_at)
            enrollments = [
                {
                    "username": one.username,
                    "course_id": COURSE,
                    "mode": one.mode,
                    "enrolled_at": one.enrolled_at,
                }
                for one in some
            ]
            _all_done(await self._learners.set_enrollments(enrollments, provenance=OFFICE))
        for name in people.COHORTS:
            created = await self._learners.create_cohort(COURSE, name, provenance=TEACHER)
            members = [one.username for one in everybody if one.cohort == name]
            cohort_id = created.value.cohort_id
            await self._learners.assign_to_cohort(COURSE, cohort_id, members, provenance=TEACHER)

    # --- work ---------------------------------------------------------------------------------

    async def work(
        self, steps: Sequence[Step], progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Carry out the steps that are not done yet."""
        keys = [f"demo:{COURSE}:{number}" for number in range(len(steps))]
        if len(await self._log.find_claims(keys)) == len(keys):
            progress(len(steps))
            return
        keyed = zip(keys, steps, strict=True)
        for _, turn in groupby(keyed, key=lambda entry: (entry[1].at - BEGIN) // TURN):
            by_item: dict[StudentItemKey, list[tuple[str, Step]]] = {}
            for key, step in turn:
                by_item.setdefault(step.student_item, []).append((key, step))
            await asyncio.gather(*(self._one_after_the_other(mine) for mine in by_item.values()))
            progress(sum(map(len, by_item.values())))

    async def _one_after_the_other(self, steps: Sequence[tuple[str, Step]]) -> None:
        for key, step in steps:
            _moment.set(step.at)
            await self._step(key, step)

    async def _step(self, key: str, step: Step) -> None:
        submissions, item = self._submissions, step.student_item
        by = Provenance(actor=step.actor, via=VIA)
        match step.what:
            case "create":
                done = await submissions.create_submission(
                    item.as_dict(),
                    {"parts": [{"text": step.answer}]},
                    provenance=by,
                    idempotency=_once(key, step, _uuid_of),
                )
                self._uuids[item, step.attempt] = _created(done)
            case "clear":
                await submissions.reset_score(
                    *item[:3],
                    clear_state=True,
                    provenance=by,
                    idempotency=_once(key, step, _nothing),
                )
            case _:
                await self._score(key, step, by)

    async def _score(self, key: str, step: Step, by: Provenance) -> None:
        submissions, item = self._submissions, step.student_item
        if step.what == "override":
            # As Open edX does: the old score is taken back silently, the new one is news.
            await submissions.reset_score(
                *item[:3],
                emit_signal=False,
                provenance=by,
                idempotency=_once(f"{key}:reset", step, _nothing),
            )
        await submissions.set_score(
            self._uuids[item, step.attempt],
            step.points,
            step.item.points,
            step.actor if step.reason else None,
            "staff_defined" if step.reason else None,
            step.reason or None,
            provenance=by,
            idempotency=_once(key, step, _nothing),
        )

    # --- decisions ----------------------------------------------------------------------------

    async def left(self, decisions: Sequence[Decision]) -> list[Decision]:
        """The decisions that were not taken yet.

        Overriding twice is two changes, so they are counted, whatever others did since.
        """
        numbers = await self._numbers()
        taken: dict[tuple[str, str], int] = {}
        for student_id in dict.fromkeys(one.student_id for one in decisions):
            number = numbers.get(student_id)
            if number is None:
                return list(decisions)
            stream_id = learner_grades_stream(number, COURSE)
            for recorded in await self._log.read_recorded_stream(stream_id):
                event = recorded.event
                if isinstance(event, OVERRIDDEN) and recorded.provenance.via == VIA:
                    cell = (student_id, event.usage_key)
                    taken[cell] = taken.get(cell, 0) + 1
        found = []
        for decision in decisions:
            cell = (decision.student_id, decision.item.subsection)
            if taken.get(cell, 0):
                taken[cell] -= 1
            else:
                found.append(decision)
        return found

    async def decide(self, version: CourseVersion, decisions: Sequence[Decision]) -> None:
        """Take decisions. All that was worked for has to be graded by now."""
        numbers = await self._numbers()
        for decision in decisions:
            _moment.set(decision.at)
            number, usage_key = numbers[decision.student_id], decision.item.subsection
            by: dict[str, Any] = {
                "system": GRADEBOOK,
                "changed_by": decision.by,
                "changed_by_id": numbers[decision.by],
                "provenance": Provenance(actor=decision.by, via=VIA),
            }
            if decision.points is None:
                await self._grades.remove_override(version, number, usage_key, EVERYTHING, **by)
                continue
            requested = {"earned_graded": float(decision.points)}
            request = OverrideRequest(number, usage_key, requested, decision.reason, EVERYTHING)
            _all_done(await self._grades.override(version, [request], **by))

    async def _numbers(self) -> Mapping[str, int]:
        """The numbers of users, by student id of learners and user name of staff."""
        names = {one.username: one.student_id for one in people.learners()}
        names |= {username: username for username in people.ROLES}
        found = await self._learners.find_users(list(names))
        return {names[username]: number for username, number in found.items()}


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + TOGETHER] for start in range(0, len(values), TOGETHER))


def _all_done(outcomes: Iterable[Outcome[Any] | BaseException]) -> None:
    """Raise the first refusal, if there is one."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _once(key: str, step: Step, render: Callable[[Any], bytes]) -> Idempotency[Any]:
    digest = hashlib.blake2b(repr(step).encode(), digest_size=16).digest()
    return Idempotency(key, digest, render)


def _uuid_of(created: CreatedSubmission) -> bytes:
    return created.event.submission_uuid.bytes


def _created(done: Done[CreatedSubmission]) -> UUID:
    if done.replay is not None:
        return UUID(bytes=done.replay)
    return done.value.event.submission_uuid


def _nothing(_: object) -> bytes:
    return b""
