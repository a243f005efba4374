"""A school on a database of its own: everything behind the interfaces, called by its name."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from api.backend import Backend
from domain.grades.application import GRADEBOOK, OverrideRequest
from domain.grades.policy import read_policy
from domain.grades.regrading import CourseVersion
from domain.grades.structure import Viewer, read_structure
from infra.database import prepare
from infra.engine import Engine
from infra.grading import PostgresGradingStatus
from infra.in_process import projecting
from infra.log.postgres_log import PostgresLog
from infra.main import backend
from infra.reads import PostgresReads
from infra.vault import Vault
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow
from projections.gradebook.tables import Record, read_records
from projections.read_model import Query
from projections.registry import READ_MODELS
from tests import looking

T = TypeVar("T")

PATIENCE = 150.0
"""Seconds that commands and questions may take on a machine that is busy with other tests."""

COURSE = "course-v1:Uni+Physics+2026"
POLICY: Mapping[str, Any] = {
    "graders": [
        {"type": "Homework", "short_label": "HW", "min_count": 2, "drop_count": 0, "weight": 0.4},
        {"type": "Exam", "short_label": "Ex", "min_count": 1, "drop_count": 0, "weight": 0.6},
    ],
    "cutoffs": {"A": 0.9, "B": 0.7, "Pass": 0.5},
}


def key(kind: str, name: str, course_id: str = COURSE) -> str:
    """The usage key of a block."""
    return f"{course_id.replace('course-v1:', 'block-v1:')}+type@{kind}+block@{name}"


def a_course(
    subsections: Mapping[str, tuple[str | None, Mapping[str, float]]], course_id: str = COURSE
) -> list[dict[str, Any]]:
    """The blocks of a course: name of each subsection to its format and its problems' points."""
    root, chapter = key("course", "course", course_id), key("chapter", "one", course_id)
    blocks: list[dict[str, Any]] = [
        {"usage_key": root, "type": "course", "parent": None, "display_name": "Physics"},
        {"usage_key": chapter, "type": "chapter", "parent": root, "display_name": "One"},
    ]
    for name, (format_, problems) in subsections.items():
        own = key("sequential", name, course_id)
        block = {"usage_key": own, "type": "sequential", "parent": chapter, "display_name": name}
        if format_ is not None:
            block |= {"graded": True, "format": format_}
        unit = key("vertical", f"{name}-unit", course_id)
        blocks += [
            block,
            {"usage_key": unit, "type": "vertical", "parent": own, "display_name": "Unit"},
        ]
        blocks += [
            {
                "usage_key": key("problem", problem, course_id),
                "type": "problem",
                "parent": unit,
                "display_name": problem,
                "max_score": float(points),
            }
            for problem, points in problems.items()
        ]
    return blocks


SMALL = a_course(
    {
        "hw1": ("Homework", {"p1": 5, "p2": 1}),
        "hw2": ("Homework", {"p3": 10}),
        "exam": ("Exam", {"q1": 10}),
        "reading": (None, {"r1": 1}),
    }
)


@dataclass
class School:
    """Courses, people and scores, written as commands and read from the read models."""

    dsn: str
    backend: Backend
    run: Callable[[Callable[[], Awaitable[Any]]], Any]

    def publish(
        self,
        blocks: Sequence[Mapping[str, Any]] = SMALL,
        *,
        course_id: str = COURSE,
        policy: Mapping[str, Any] | None = POLICY,
        **more: Any,
    ) -> int | None:
        done = self.run(
            lambda: self.backend.courses.publish(
                course_id, display_name="Physics", blocks=blocks, grading_policy=policy, **more
            )
        )
        return done.position  # type: ignore[no-any-return]

    def register(self, username: str, **more: Any) -> int:
        done = self.run(lambda: self.backend.learners.register_user(username, **more))
        return done.result.user_id  # type: ignore[no-any-return]

    def enroll(
        self, username: str, course_id: str = COURSE, mode: str = "audit", **more: Any
    ) -> int:
        done = self.run(
            lambda: self.backend.learners.set_enrollment(username, course_id, mode, **more)
        )
        return done.position  # type: ignore[no-any-return]

    def score(
        self,
        student_id: str,
        problem: str,
        earned: int,
        possible: int,
        *,
        course_id: str = COURSE,
    ) -> int:
        """Hand in an answer for a problem and score it; return the score's position."""
        item = {
            "student_id": student_id,
            "course_id": course_id,
            "item_id": key("problem", problem, course_id),
            "item_type": "problem",
        }

        async def write() -> int | None:
            submissions = self.backend.submissions
            created = await submissions.create_submission(item, "42")
            uuid = created.value.event.submission_uuid
            return (await submissions.set_score(uuid, earned, possible)).position

        return self.run(write)  # type: ignore[no-any-return]

    def scores(self, many: Iterable[tuple[str, str, int, int]]) -> None:
        """The same for many at once: student id, problem, points earned and possible."""

        async def one(student_id: str, problem: str, earned: int, possible: int) -> None:
            submissions = self.backend.submissions
            item = {
                "student_id": student_id,
                "course_id": COURSE,
                "item_id": key("problem", problem),
                "item_type": "problem",
            }
            created = await submissions.create_submission(item, "42")
            await submissions.set_score(created.value.event.submission_uuid, earned, possible)

        async def write() -> None:
            await asyncio.gather(*(one(*score) for score in many))

        self.run(write)

    def reset(self, student_id: str, problem: str, course_id: str = COURSE) -> int:
        done = self.run(
            lambda: self.backend.submissions.reset_score(
                student_id, course_id, key("problem", problem, course_id)
            )
        )
        return done.position  # type: ignore[no-any-return]

    def override(
        self, user_id: int, subsection: str, reason: str | None = None, **requested: float | None
    ) -> Any:
        """Override a cell of ``COURSE`` as its staff would; return the outcome."""
        course = self.version()
        request = OverrideRequest(
            user_id, key("sequential", subsection), requested, reason, Viewer({})
        )
        (outcome,) = self.run(
            lambda: self.backend.grades.override(
                course, [request], system=GRADEBOOK, changed_by="prof", changed_by_id=1
            )
        )
        return outcome

    def version(self, course_id: str = COURSE) -> CourseVersion:
        row = self.ask(queries.course_by_id(course_id))
        assert row is not None
        assert row.version is not None
        return CourseVersion(
            course_id,
            read_structure(row.blocks),
            read_policy(row.graders or [], row.cutoffs or {}),
            row.version,
            row.edited_at,
        )

    def ask(self, query: Query[T], **more: Any) -> T:
        """Ask for the state after everything that is in the log, and what follows from it."""
        more = more or {"latest": True}
        return self.run(lambda: self.backend.reads.ask(query, **more)).value  # type: ignore[no-any-return]

    def learner(self, username: str, course_id: str = COURSE) -> LearnerGradesRow:
        found = self.ask(queries.learner_by_username(course_id, username))
        assert found is not None
        return found

    def record(self, username: str, subsection: str, course_id: str = COURSE) -> Record | None:
        """What is recorded of a subsection."""
        course = self.ask(queries.course_by_id(course_id))
        assert course is not None
        ordinal = course.ordinals.index(key("sequential", subsection, course_id))
        records = read_records(self.learner(username, course_id).records)
        return records[ordinal] if ordinal < len(records) else None

    def graded(self) -> bool:
        """Whether everything that is in the log is graded and shown."""
        (row,) = self.rows(
            """
            SELECT g.position >= (SELECT max(position) FROM gradelog.events WHERE type <> ALL (%s))
                AND m.position >= g.recorded_at_position
                AND NOT EXISTS (
                    SELECT FROM gradelog.recalculations WHERE finished_at IS NULL AND error IS NULL
                )
            FROM gradelog.grading_progress g, gradelog.read_models m WHERE m.name = 'gradebook'
            """,
            ["grades.GradesCalculated", "grades.CoursePassedFirstTime"],
        )
        return bool(row[0])

    def percents(self, course_id: str = COURSE) -> dict[str, float | None]:
        """The course grades by user name."""
        page = self.ask(queries.learners_page(course_id, queries.EVERYBODY, limit=2000))
        return {learner.username: learner.percent for learner in page}

    def rows(self, statement: Any, *arguments: Any) -> list[Any]:
        return looking.rows(self.dsn, statement, *arguments)

    def events(self, *types: str) -> list[dict[str, Any]]:
        """The fields of all events of these types, in order."""
        statement = "SELECT data FROM gradelog.events WHERE type = ANY (%s) ORDER BY position"
        return [json.loads(data) for (data,) in self.rows(statement, list(types))]


@contextmanager
def school(dsn: str, *, projector: bool = True) -> Iterator[School]:
    """Open a school; with a projector and a grader unless it says otherwise."""
    prepare(dsn)
    with ExitStack() as stack:
        # A command waits for a key, a stream, an id and the log, each for so long at most.
        engine = Engine(limit=PATIENCE * 5)
        stack.callback(engine.close)
        opened: list[Backend] = []
        closing: list[Any] = []

        @asynccontextmanager
        async def parts() -> Any:
            log, vault = PostgresLog(dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
            reads = PostgresReads(dsn, timeout=PATIENCE, wait=PATIENCE)
            status = PostgresGradingStatus(dsn, timeout=PATIENCE)
            async with backend(dsn, log, vault, reads, grading=status) as made:
                yield made

        async def enter() -> None:
            context = parts()
            opened.append(await context.__aenter__())
            closing.append(context)

        engine.run(enter)
        stack.callback(lambda: engine.run(lambda: closing[0].__aexit__(None, None, None)))
        if projector:
            stack.enter_context(following(dsn))
        stack.callback(looking.leave, dsn)
        yield School(dsn, opened[0], engine.run)


@contextmanager
def following(dsn: str) -> Iterator[None]:
    """Keep read models up to date and grades recorded, until the end.

    Their tables are made first: nobody waits for what is not there.
    """
    with projecting(dsn):
        wait_for_read_models(dsn)
        yield


def wait_for_read_models(dsn: str) -> None:
    """Wait until somebody who has begun to project has made the tables of all read models."""
    made = "SELECT count(*) FROM gradelog.read_models"
    wait_until(lambda: looking.rows(dsn, made) == [(len(READ_MODELS),)])


def wait_until(reached: Callable[[], Any], *, within: float = PATIENCE) -> None:
    """Look again and again until something is so."""
    never = threading.Event()
    for _ in range(int(within / 0.01)):
        if reached():
            return
        never.wait(0.01)
    raise AssertionError("it did not happen in time")
