"""The Open University Learning Analytics Dataset, as submissions and scores.

Each assessment is an item of its course, each row of ``studentAssessment`` a submission
with its score. All rows are checked before the first one is written. Then each row is one
command under a key of its own, so that an import that was cut off, or is run again, adds
what is missing and nothing else.

Source: J. Kuzilek, M. Hlosta, Z. Zdrahal, "Open University Learning Analytics dataset",
Scientific Data 4:170171 (2017).
"""

import asyncio
import hashlib
import re
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from domain.application import Command, Done, HeldClaim, Idempotency, Work
from domain.errors import DomainError, IdempotencyKeyReusedError
from domain.events import Provenance
from domain.submissions.application import Prepared, Submissions
from infra.imports.tables import Table, TableError

WINDOW: Final = 500
"""Rows that are carried out together."""

WINDOWS: Final = 3
"""Windows under way at a time: one is decided while others wait for the database."""

ITEM_TYPE: Final = "problem"
POINTS_POSSIBLE: Final = 100
CREATOR: Final = "oulad"
PROVENANCE: Final = Provenance(actor="oulad import", via="import")
CARRIED_OVER: Final = "carried over from an earlier presentation"
OWN_RESULT: Final = "result of this presentation"
START_MONTHS: Final = {"B": 2, "J": 10}
KINDS: Final = ("TMA", "CMA", "Exam")
FARTHEST_DAY: Final = 10_000
EXAMPLES: Final = 10
"""Rows named in the report of those that differ from what was imported before."""

_PRESENTATION: Final = re.compile(r"(\d{4})([BJ])")
_MODULE: Final = re.compile(r"[A-Za-z0-9_.~-]{1,50}")
_WHOLE: Final = re.compile(r"(\d{1,3})(?:\.0*)?", re.ASCII)
_DAY: Final = re.compile(r"[+-]?\d{1,5}", re.ASCII)
_ID: Final = re.compile(r"\d{1,20}", re.ASCII)
_EMPTY: Final = frozenset({"", "?"})
"""How a missing value is written; the original files have the question mark."""


@dataclass(frozen=True)
class Assessment:
    """An item of a course: what all its submissions have in common."""

    id: str
    kind: str
    course_id: str
    item_id: str
    start: datetime

    @cached_property
    def told(self) -> str:
        """All of it as text, for the digests of the rows."""
        return f"{self.kind}|{self.course_id}|{self.item_id}|{self.start.isoformat()}"


class Result(NamedTuple):
    """One row of ``studentAssessment``, checked."""

    line: int
    assessment: Assessment
    student_id: str
    day: int
    is_banked: bool
    score: int | None

    key: str
    """What makes the row the same row in another run."""

    @property
    def fingerprint(self) -> bytes:
        """Digest of everything that goes into the events."""
        told = f"{self.assessment.told}|{self.day}|{self.is_banked}|{self.score}"
        return hashlib.blake2b(told.encode(), digest_size=16).digest()

    @property
    def submitted_at(self) -> datetime:
        """Midnight of the day, counted from the start of the presentation."""
        return self.assessment.start + timedelta(days=self.day)


@dataclass(slots=True)
class Report:
    """What an import did."""

    rows: int = 0
    submissions: int = 0
    scores: int = 0
    unscored: int = 0
    present: int = 0
    events: int = 0
    position: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Add what another part of the same import did."""
        self.rows += other.rows
        self.submissions += other.submissions
        self.scores += other.scores
        self.unscored += other.unscored
        self.present += other.present
        self.events += other.events
        self.position = max(self.position, other.position)
        self.differing += other.differing
        self.examples = [*self.examples, *other.examples][:EXAMPLES]


class ClaimReader(Protocol):
    """The part of the log that tells which rows are there already."""

    def find_claims(self, keys: Sequence[str]) -> Awaitable[Mapping[str, HeldClaim]]:
        """Return those of the keys that are held."""


class Dataset:
    """The files of a directory."""

    def __init__(self, directory: Path) -> None:
        """Read the small tables and find the large one.

        Raises:
            TableError: a file is missing or bad; names file, line and column.
        """
        if not directory.is_dir():
            raise TableError(f"{directory}: is not a directory")
        self._results = Table(
            directory,
            "studentAssessment",
            ("id_assessment", "id_student", "date_submitted", "is_banked", "score"),
        )
        self.assessments = _assessments(directory, _starts(directory))

    def check(self) -> int:
        """Read every row once and count them.

        Raises:
            TableError: one of them is bad.
        """
        return sum(1 for _ in self.results())

    def results(self) -> Iterator[Result]:
        """The rows, one at a time.

        Raises:
            TableError: a row is bad; names file, line and column.
        """
        table, assessments = self._results, self.assessments
        for line, (assessment_id, student_id, day, banked, score) in table.rows():
            assessment = assessments.get(assessment_id)
            if assessment is None:
                table.refuse(line, "id_assessment", assessment_id, "one of the assessments")
            if not _ID.fullmatch(student_id):
                table.refuse(line, "id_student", student_id, "a number")
            if not _DAY.fullmatch(day) or abs(number := int(day)) > FARTHEST_DAY:
                table.refuse(line, "date_submitted", day, "a whole number of days")
            if banked not in {"0", "1"}:
                table.refuse(line, "is_banked", banked, "0 or 1")
            points = None
            if score not in _EMPTY:
                whole = _WHOLE.fullmatch(score)
                if whole is None or (points := int(whole[1])) > POINTS_POSSIBLE:
                    table.refuse(line, "score", score, "a whole number from 0 to 100")
            key = f"oulad:{assessment_id}:{student_id}"
            yield Result(line, assessment, student_id, number, banked == "1", points, key)

    def part(self, number: int, of: int) -> Iterator[Result]:
        """The rows of some of the students: no two parts share one.

        Raises:
            TableError: a row is bad.
        """
        for result in self.results():
            if of == 1 or zlib.crc32(result.student_id.encode()) % of == number:
                yield result

    def place(self, result: Result) -> str:
        """Where a row stands, for people."""
        return f"{self._results.path}, line {result.line}"


async def import_results(
    dataset: Dataset,
    submissions: Submissions,
    log: ClaimReader,
    progress: Callable[[int], None] = lambda _: None,
    *,
    part: tuple[int, int] = (0, 1),
) -> Report:
    """Carry out a command for each row that is not there yet.

    Args:
        dataset: the rows.
        submissions: carries out the commands.
        log: tells which rows are there.
        progress: called with the number of rows that are done since the last call.
        part: which part of how many, when several processes share the work.

    Raises:
        TableError: a row is bad.
        UnavailableError: the database cannot store now; what was stored stays.
        OutcomeUnknownError: the database was gone; the next run settles what is stored.
    """
    report = Report()
    importing = _Importing(dataset, submissions, log, report)
    under_way: deque[asyncio.Task[int]] = deque()
    try:
        for window in _windows(dataset.part(*part)):
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
                "course_id": assessment.course_id,
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
            report.events += outcome.value
            report.position = max(report.position, outcome.position or 0)

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


def _in_turn(steps: Sequence[Command[Any]]) -> Callable[[Work], Awaitable[int]]:
    """Decide one after the other; the result is how many events they made."""

    async def decide(work: Work) -> int:
        before = work.pending()
        for step in steps:
            await step.decide(work)
        return work.pending() - before

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


def _starts(directory: Path) -> dict[tuple[str, str], datetime]:
    """The first day of each presentation."""
    columns = ("code_module", "code_presentation", "module_presentation_length")
    table = Table(directory, "courses", columns)
    starts = {}
    for line, (module, presentation, _) in table.rows():
        if not _MODULE.fullmatch(module):
            table.refuse(line, "code_module", module, "the code of a module")
        match = _PRESENTATION.fullmatch(presentation)
        if match is None or match[1] == "0000":
            table.refuse(line, "code_presentation", presentation, "a year and B or J, as in 2013J")
        starts[module, presentation] = datetime(
            int(match[1]), START_MONTHS[match[2]], 1, tzinfo=UTC
        )
    return starts


def _assessments(
    directory: Path, starts: Mapping[tuple[str, str], datetime]
) -> dict[str, Assessment]:
    columns = (
        "code_module",
        "code_presentation",
        "id_assessment",
        "assessment_type",
        "date",
        "weight",
    )
    table = Table(directory, "assessments", columns)
    found: dict[str, Assessment] = {}
    for line, (module, presentation, assessment_id, kind, _, _) in table.rows():
        start = starts.get((module, presentation))
        if start is None:
            table.refuse(
                line, "code_presentation", f"{module} {presentation}", "one of the courses"
            )
        if not _ID.fullmatch(assessment_id):
            table.refuse(line, "id_assessment", assessment_id, "a number")
        if kind not in KINDS:
            table.refuse(line, "assessment_type", kind, f"one of {', '.join(KINDS)}")
        if assessment_id in found:
            table.refuse(line, "id_assessment", assessment_id, "unique: it is there twice")
        run = f"OU+{module}+{presentation}"
        found[assessment_id] = Assessment(
            assessment_id,
            kind,
            f"course-v1:{run}",
            f"block-v1:{run}+type@problem+block@{assessment_id}",
            start,
        )
    return found
