"""Carries out what the Open University Learning Analytics Dataset says.

Courses come first, then learners and their enrolments, then submissions and scores. All
rows are checked before anything is written. Then each is one command that says what shall
be so, or that has a key of its own: an import that was cut off, or is run again, adds what
is missing and nothing else.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

from domain.application import Command, Done, HeldClaim, Idempotency, Work
from domain.courses.application import Courses
from domain.errors import DomainError, IdempotencyKeyReusedError
from domain.events import Provenance
from domain.learners.application import Learners
from domain.submissions.application import Prepared, Submissions
from infra.imports.oulad import POINTS_POSSIBLE, Dataset, Result
from infra.imports.oulad_courses import publish
from infra.imports.oulad_people import import_people
from infra.imports.tables import TableError

WINDOW: Final = 500
"""Results that are carried out together."""

WINDOWS: Final = 3
"""Windows under way at a time: one is decided while others wait for the database."""

ITEM_TYPE: Final = "problem"
CREATOR: Final = "oulad"
PROVENANCE: Final = Provenance(actor="oulad import", via="import")
CARRIED_OVER: Final = "carried over from an earlier presentation"
OWN_RESULT: Final = "result of this presentation"
EXAMPLES: Final = 10
"""Rows named in the report of those that differ from what was imported before."""


@dataclass(slots=True)
class Report:
    """What an import did."""

    courses: int = 0
    learners: int = 0
    enrollments: int = 0
    rows: int = 0
    submissions: int = 0
    scores: int = 0
    unscored: int = 0
    present: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Add what another part of the same import did."""
        self.courses += other.courses
        self.learners += other.learners
        self.enrollments += other.enrollments
        self.rows += other.rows
        self.submissions += other.submissions
        self.scores += other.scores
        self.unscored += other.unscored
        self.present += other.present
        self.differing += other.differing
        self.examples = [*self.examples, *other.examples][:EXAMPLES]


class ClaimReader(Protocol):
    """The part of the log that tells which rows are there already."""

    def find_claims(self, keys: Sequence[str]) -> Awaitable[Mapping[str, HeldClaim]]:
        """Return those of the keys that are held."""


async def import_courses(dataset: Dataset, courses: Courses) -> Report:
    """Publish every course that is not published so yet.

    Raises:
        TableError: one of them was refused.
    """
    report = Report()
    for course in dataset.courses:
        try:
            done = await publish(courses, course, PROVENANCE)
        except DomainError as refusal:
            raise TableError(f"{course.course_id}: {refusal}") from refusal
        report.courses += done.position is not None
    return report


async def import_part(
    dataset: Dataset,
    learners: Learners,
    submissions: Submissions,
    log: ClaimReader,
    progress: Callable[[int], None] = lambda _: None,
    *,
    part: tuple[int, int] = (0, 1),
) -> Report:
    """Carry out a command for each student, registration and result that is not there yet.

    Args:
        dataset: the rows.
        learners: carries out the commands about people.
        submissions: carries out the commands about results.
        log: tells which results are there.
        progress: called with the number of rows that are done since the last call.
        part: which part of how many, when several processes share the work.

    Raises:
        TableError: a row is bad.
        UnavailableError: the database cannot store now; what was stored stays.
        OutcomeUnknownError: the database was gone; the next run settles what is stored.
    """
    registrations, results = dataset.part(*part)
    report = Report()
    report.learners, report.enrollments = await import_people(
        dataset, registrations, learners, PROVENANCE, progress
    )
    importing = _Importing(dataset, submissions, log, report)
    under_way: deque[asyncio.Task[int]] = deque()
    try:
        for window in _windows(results):
            if len(under_way) == WINDOWS:
                progress(await under_way.popleft())
            under_way.append(asyncio.create_task(importing.carry_out(window)))
            await asyncio.sleep(0)
        while under_way:
            progress(await under_way.popleft())
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return report


@dataclass(frozen=True, slots=True)
class _Importing:
    dataset: Dataset
    submissions: Submissions
    log: ClaimReader
    report: Report
    known: set[str] = field(default_factory=set)

    async def carry_out(self, window: Sequence[Result]) -> int:
        held = await self.log.find_claims([result.key for result in window])
        new: list[Result] = []
        for result in window:
            before = held.get(result.key)
            if before is None:
                new.append(result)
            else:
                self._count_present(result, same=before.payload == result.fingerprint)
        if new:
            prepared = await self._all_prepared(new)
            outcomes = await self.submissions.execute_all(prepared, provenance=PROVENANCE)
            for result, outcome in zip(new, outcomes, strict=True):
                self._count(result, outcome)
        self.report.rows += len(window)
        return len(window)

    async def _all_prepared(self, results: Sequence[Result]) -> list[Prepared]:
        first = {result.student_id: result for result in results}
        unknown = [r for student_id, r in first.items() if student_id not in self.known]
        # Side by side, so that the keys of all new learners are made together; the rest
        # needs nobody's answer and no task.
        made = await asyncio.gather(*(self._prepared(result) for result in unknown))
        prepared = {r.key: one for r, one in zip(unknown, made, strict=True)}
        self.known.update(first)
        return [prepared.get(r.key) or await self._prepared(r) for r in results]

    async def _prepared(self, result: Result) -> Prepared:
        """The submission of a row and its score as one decision, so that both are stored or none."""
        assessment = result.assessment
        created = await self.submissions.prepare_create_submission(
            {
                "student_id": result.student_id,
                "course_id": assessment.course.course_id,
                "item_id": assessment.item_id,
                "item_type": ITEM_TYPE,
            },
            {
                "assessment": int(assessment.id),
                "assessment_type": assessment.kind,
                "date_submitted": result.day,
                "is_banked": result.is_banked,
            },
            result.submitted_at,
        )
        steps = [created.command]
        if result.score is not None:
            scored = await self.submissions.prepare_set_score(
                created.submission_uuid,
                result.score,
                POINTS_POSSIBLE,
                CREATOR,
                assessment.kind,
                CARRIED_OVER if result.is_banked else OWN_RESULT,
                stream_id=created.stream_ids[0],
            )
            steps.append(scored.command)
        command = Command(_in_turn(steps), Idempotency(result.key, result.fingerprint, _nothing))
        return Prepared(created.stream_ids, command, created.submission_uuid)

    def _count(self, result: Result, outcome: object) -> None:
        report = self.report
        if isinstance(outcome, IdempotencyKeyReusedError):
            self._count_present(result, same=False)
        elif isinstance(outcome, DomainError):
            raise TableError(f"{self.dataset.place(result)}: {outcome}") from outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        elif isinstance(outcome, Done) and outcome.replay is not None:
            self._count_present(result, same=True)
        elif isinstance(outcome, Done):
            report.submissions += 1
            report.scores += result.score is not None
            report.unscored += result.score is None

    def _count_present(self, result: Result, *, same: bool) -> None:
        """A row that was there before, in another run or higher up in the same file."""
        report = self.report
        if same:
            report.present += 1
            return
        report.differing += 1
        if len(report.examples) < EXAMPLES:
            report.examples.append(
                f"{self.dataset.place(result)}: the result of student {result.student_id} in"
                f" assessment {result.assessment.id} was imported before with other values;"
                " it stays as it was"
            )


def _in_turn(steps: Sequence[Command[Any]]) -> Callable[[Work], Awaitable[None]]:
    """Decide one after the other."""

    async def decide(work: Work) -> None:
        for step in steps:
            await step.decide(work)

    return decide


def _nothing(_: object) -> bytes:
    """No answer is kept: the key alone tells that the row is there."""
    return b""


def _windows(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Cut into windows in which no key is twice: the second one must find the first stored."""
    rest = iter(results)
    again: list[Result] = []
    while window := [*again, *islice(rest, WINDOW - len(again))]:
        again = []
        unique: dict[str, Result] = {}
        for result in window:
            if unique.setdefault(result.key, result) is not result:
                again.append(result)
        yield list(unique.values())
