"""Courses full of learners and grades, stored as the events that commands would store.

What is measured begins when they are there, so they are made quickly: many events an append,
and the grades of a learner, which the domain calculates here as everywhere, in one event.
"""

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.events import Event, made
from domain.grades.learner_grades import (
    CoursePassedFirstTime,
    GradesCalculated,
    learner_grades_stream,
)
from domain.grades.policy import read_policy
from domain.grades.regrading import CourseVersion, Lens, as_stored
from domain.grades.structure import Viewer, read_structure
from domain.learners.cohort import CohortCreated, cohort_stream
from domain.learners.enrollment import LearnerEnrolled, enrollment_stream
from domain.learners.user import (
    CohortMembershipChanged,
    UserRegistered,
    email_context,
    full_name_context,
    user_stream,
    user_subject,
)
from domain.submissions.student_item import (
    ScoreSet,
    StudentItemRegistered,
    SubmissionCreated,
    student_item_stream,
)
from infra.database import now
from infra.vault import Vault
from tests.school import a_course, key

FORMATS = ("Homework", "Homework", "Homework", "Exam")
FULL = 100
"""Points of each problem: enough for cells to differ."""

COHORTS = 20
SEALED_AT_ONCE = 1000
START = datetime(2026, 3, 2, 12, tzinfo=UTC)

_enrollment_ids = itertools.count(1)
_cohort_ids = itertools.count(1)
_submissions = itertools.count(1)


def policy(homework: float = 0.4) -> dict[str, Any]:
    """A grading policy; another one for each weight of the homework."""
    return {
        "graders": [
            {"type": "Homework", "short_label": "HW", "min_count": 20, "drop_count": 2}
            | {"weight": homework},
            {"type": "Exam", "short_label": "Ex", "min_count": 1, "drop_count": 0}
            | {"weight": 1 - homework},
        ],
        "cutoffs": {"A": 0.9, "B": 0.7, "Pass": 0.5},
    }


@dataclass
class Class:
    """A course whose learners are the users from 1 on."""

    size: int
    subsections: int = 40
    name: str = ""
    enrollments: list[int] = field(default_factory=list)
    cohort_ids: list[int] = field(default_factory=list)

    @property
    def course_id(self) -> str:
        return f"course-v1:Bench+{self.name or self.size}+2026"

    def key(self, kind: str, name: str) -> str:
        return key(kind, name, self.course_id)

    def cell(self, number: int) -> str:
        """The usage key of a subsection."""
        return self.key("sequential", f"s{number}")

    def problem(self, number: int) -> str:
        """The usage key of the one problem of a subsection."""
        return self.key("problem", f"p{number}")

    def blocks(self) -> list[dict[str, Any]]:
        return a_course(
            {
                f"s{n}": (FORMATS[n % len(FORMATS)], {f"p{n}": FULL})
                for n in range(self.subsections)
            },
            self.course_id,
        )


def username(user_id: int) -> str:
    return f"learner-{user_id:06}"


def points(user_id: int, number: int) -> int | None:
    """What a learner has in a subsection, the same in every run; None: nothing was handed in."""
    ability, luck = user_id * 7919 % 101, (user_id * 104729 + number * 7907) % 113
    return None if luck > FULL else (2 * ability + luck) // 3


# --- events -----------------------------------------------------------------------------------


def _event(kind: type[Event], stream_id: UUID, version: int, at: datetime, **fields: Any) -> Event:
    place = {"originator_id": stream_id, "originator_version": version, "timestamp": at}
    return made(kind, {**place, **fields})


async def users(count: int, vault: Vault) -> list[Event]:
    """Registered users with names and addresses."""

    async def one(user_id: int) -> Event:
        subject, name = user_subject(user_id), username(user_id)
        address, full_name = f"{name}@example.org", f"Learner {user_id}"
        return _event(
            UserRegistered,
            user_stream(user_id),
            1,
            now(),
            user_id=user_id,
            username=name,
            email=await vault.seal(subject, address, email_context(user_id)),
            full_name=await vault.seal(subject, full_name, full_name_context(user_id)),
            is_active=True,
            is_staff=False,
            anonymous_ids=[],
        )

    found: list[Event] = []
    for start in range(1, count + 1, SEALED_AT_ONCE):
        window = range(start, min(start + SEALED_AT_ONCE, count + 1))
        found += await asyncio.gather(*(one(user_id) for user_id in window))
    return found


def enrollments(of: Class) -> Iterator[Event]:
    at = now()
    for user_id in range(1, of.size + 1):
        number = next(_enrollment_ids)
        of.enrollments.append(number)
        yield _event(
            LearnerEnrolled,
            enrollment_stream(user_id, of.course_id),
            1,
            at,
            enrollment_id=number,
            user_id=user_id,
            course_id=of.course_id,
            mode="audit",
            enrolled_at=at,
        )


def cohorts(of: Class) -> Iterator[Event]:
    """Every learner in one of a few; for one course only, as these are of the users' streams."""
    at = now()
    for number in range(COHORTS):
        cohort_id = next(_cohort_ids)
        of.cohort_ids.append(cohort_id)
        yield _event(
            CohortCreated,
            cohort_stream(cohort_id),
            1,
            at,
            cohort_id=cohort_id,
            course_id=of.course_id,
            name=f"Group {number}",
            assignment_type="manual",
            user_partition_id=None,
            group_id=None,
        )
    for user_id in range(1, of.size + 1):
        yield _event(
            CohortMembershipChanged,
            user_stream(user_id),
            2,
            at,
            user_id=user_id,
            course_id=of.course_id,
            cohort_id=of.cohort_ids[user_id % COHORTS],
            previous_cohort_id=None,
        )


def grades(of: Class, weights: Mapping[str, Any]) -> Iterator[Event]:
    """What the grading would have recorded of everybody's points under a policy."""
    at, first = now(), START.isoformat()
    rules = read_policy(weights["graders"], weights["cutoffs"])
    course = CourseVersion(of.course_id, read_structure(of.blocks()), rules, "version", at)
    lens = Lens(course, Viewer({}), at)
    cells = [of.cell(number) for number in range(of.subsections)]
    for user_id in range(1, of.size + 1):
        found = {
            cells[number]: [float(earned), float(FULL), float(earned), float(FULL), first]
            for number in range(of.subsections)
            if (earned := points(user_id, number)) is not None
        }
        grade = lens.course_grade(found, {})
        stream = learner_grades_stream(user_id, of.course_id)
        whose = {"user_id": user_id, "course_id": of.course_id}
        yield _event(
            GradesCalculated,
            stream,
            1,
            at,
            **whose,
            subsections=[as_stored(cell, record) for cell, record in found.items()],
            **grade._asdict(),
            **course.facts(forced=False),
        )
        if grade.passed:
            yield _event(CoursePassedFirstTime, stream, 2, at, **whose)


def _item(of: Class, user_id: int, number: int) -> dict[str, Any]:
    return {
        "student_item_id": user_id * 1000 + number,
        "student_id": username(user_id),
        "course_id": of.course_id,
        "item_id": of.problem(number),
        "item_type": "problem",
    }


def submissions(of: Class, work: Iterable[tuple[int, int]]) -> Iterator[Event]:
    """Learners (user id, problem) hand in something."""
    at = now()
    for user_id, number in work:
        item = _item(of, user_id, number)
        stream = student_item_stream(item["student_id"], of.course_id, item["item_id"])
        submission = next(_submissions)
        yield _event(StudentItemRegistered, stream, 1, at, **item)
        yield _event(
            SubmissionCreated,
            stream,
            2,
            at,
            **item,
            submission_uuid=UUID(int=submission),
            submission_id=submission,
            attempt_number=1,
            submitted_at=at,
            answer="sealed",
            answer_size=6,
            team_submission_uuid=None,
        )


def scores(of: Class, work: Iterable[tuple[int, int]]) -> Iterator[Event]:
    """What was handed in is scored, by somebody who knows nothing but the item."""
    at = now()
    for number, (user_id, problem) in enumerate(work, 1):
        item = _item(of, user_id, problem)
        yield _event(
            ScoreSet,
            student_item_stream(item["student_id"], of.course_id, item["item_id"]),
            3,
            at,
            **item,
            score_id=number,
            submission_uuid=UUID(int=number),
            submission_id=number,
            points_earned=random.randrange(FULL + 1),
            points_possible=FULL,
            annotation=None,
            team_submission_uuid=None,
        )
