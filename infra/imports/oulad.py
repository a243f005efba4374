"""The files of the Open University Learning Analytics Dataset, read and checked.

A presentation of a module is a course, each of its assessments an item, each row of
``studentRegistration`` an enrolment, each row of ``studentAssessment`` a submission with its
score. ``oulad_import`` carries out what they say.

Source: J. Kuzilek, M. Hlosta, Z. Zdrahal, "Open University Learning Analytics dataset",
Scientific Data 4:170171 (2017).
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from infra.imports.tables import Table, TableError

POINTS_POSSIBLE: Final = 100
START_MONTHS: Final = {"B": 2, "J": 10}
KINDS: Final = ("TMA", "CMA", "Exam")
FARTHEST_DAY: Final = 10_000

_PRESENTATION: Final = re.compile(r"(\d{4})([BJ])")
_MODULE: Final = re.compile(r"[A-Za-z0-9_.~-]{1,50}")
_WHOLE: Final = re.compile(r"(\d{1,3})(?:\.0*)?", re.ASCII)
_WEIGHT: Final = re.compile(r"\d{1,4}(?:\.\d{0,6})?", re.ASCII)
_DAY: Final = re.compile(r"[+-]?\d{1,5}", re.ASCII)
_ID: Final = re.compile(r"\d{1,20}", re.ASCII)
_EMPTY: Final = frozenset({"", "?"})
"""How a missing value is written; the original files have the question mark."""


@dataclass(frozen=True)
class Assessment:
    """An item of a course: what all its submissions have in common."""

    id: str
    kind: str
    course: "Course" = field(repr=False)
    day: int | None
    """Last day on which it can be handed in, counted from the start of the presentation."""

    weight: float

    @property
    def item_id(self) -> str:
        """Key of the problem."""
        return self.course.key("problem", self.id)

    @cached_property
    def told(self) -> str:
        """What of it goes into the events of a row, as text, for the digests of the rows."""
        course = self.course
        return f"{self.kind}|{course.course_id}|{self.item_id}|{course.start.isoformat()}"


@dataclass(frozen=True, eq=False)
class Course:
    """A presentation of a module."""

    module: str
    presentation: str
    start: datetime
    days: int
    assessments: list[Assessment] = field(default_factory=list, repr=False)

    @property
    def course_id(self) -> str:
        """Key of the course."""
        return f"course-v1:OU+{self.module}+{self.presentation}"

    def key(self, kind: str, name: str) -> str:
        """Key of one of its blocks."""
        return f"block-v1:OU+{self.module}+{self.presentation}+type@{kind}+block@{name}"

    def midnight(self, day: int) -> datetime:
        """The moment at which a day begins, counted from the start of the presentation."""
        return self.start + timedelta(days=day)


class Registration(NamedTuple):
    """One row of ``studentRegistration``, checked."""

    line: int
    course: Course
    student_id: str
    enrolled_at: datetime
    unenrolled_at: datetime | None


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
        return self.assessment.course.midnight(self.day)


R = TypeVar("R", Registration, Result)


class Dataset:
    """The files of a directory."""

    def __init__(self, directory: Path) -> None:
        """Read all tables but the large one, and find that.

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
        courses = _courses(directory)
        self.courses = list(courses.values())
        self._assessments = _assessments(directory, courses)
        self._registrations = _registrations(directory)
        self.registrations = list(_registered(self._registrations, courses))

    def check(self) -> int:
        """Read every result once; return how many registrations and results there are.

        Raises:
            TableError: a result is bad.
        """
        return len(self.registrations) + sum(1 for _ in self.results())

    def results(self) -> Iterator[Result]:
        """The results, one at a time.

        Raises:
            TableError: a row is bad; names file, line and column.
        """
        table, assessments = self._results, self._assessments
        registered = {(row.course, row.student_id) for row in self.registrations}
        for line, (assessment_id, student_id, day, banked, score) in table.rows():
            assessment = assessments.get(assessment_id)
            if assessment is None:
                table.refuse(line, "id_assessment", assessment_id, "one of the assessments")
            if not _ID.fullmatch(student_id):
                table.refuse(line, "id_student", student_id, "a number")
            course = assessment.course
            if (course, student_id) not in registered:
                where = f"registered in {course.module} {course.presentation}"
                table.refuse(line, "id_student", student_id, where)
            number = _day(table, line, "date_submitted", day)
            if banked not in {"0", "1"}:
                table.refuse(line, "is_banked", banked, "0 or 1")
            points = None
            if score not in _EMPTY:
                whole = _WHOLE.fullmatch(score)
                if whole is None or (points := int(whole[1])) > POINTS_POSSIBLE:
                    table.refuse(line, "score", score, "a whole number from 0 to 100")
            key = f"oulad:{assessment_id}:{student_id}"
            yield Result(line, assessment, student_id, number, banked == "1", points, key)

    def part(self, number: int, of: int) -> tuple[list[Registration], list[Result]]:
        """What concerns some of the students: no two parts share one. Student by student.

        In the order of the file, which is that of the assessments, a learner's scores would
        lie far apart, and each of them would be graded by itself.

        Raises:
            TableError: a row is bad.
        """
        registrations = _by_student(self.registrations, number, of)
        return registrations, _by_student(self.results(), number, of)

    def place(self, row: Registration | Result) -> str:
        """Where a row stands, for people."""
        table = self._results if isinstance(row, Result) else self._registrations
        return f"{table.path}, line {row.line}"


_A_COURSE: Final = "one of the courses"


def _by_student(rows: Iterable[R], number: int, of: int) -> list[R]:
    some = (row for row in rows if zlib.crc32(row.student_id.encode()) % of == number)
    return sorted(rows if of == 1 else some, key=attrgetter("student_id"))


def _day(table: Table, line: int, column: str, value: str) -> int:
    if not _DAY.fullmatch(value) or abs(number := int(value)) > FARTHEST_DAY:
        table.refuse(line, column, value, "a whole number of days")
    return number


def _registrations(directory: Path) -> Table:
    return Table(
        directory,
        "studentRegistration",
        (
            *("code_module", "code_presentation", "id_student"),
            *("date_registration", "date_unregistration"),
        ),
    )


def _registered(table: Table, courses: Mapping[tuple[str, str], Course]) -> Iterator[Registration]:
    known: set[tuple[Course, str]] = set()
    for line, (module, presentation, student_id, begin, end) in table.rows():
        course = courses.get((module, presentation))
        if course is None:
            table.refuse(line, "code_presentation", f"{module} {presentation}", _A_COURSE)
        if not _ID.fullmatch(student_id):
            table.refuse(line, "id_student", student_id, "a number")
        if (course, student_id) in known:
            table.refuse(line, "id_student", student_id, "unique in its course")
        known.add((course, student_id))
        last = None if end in _EMPTY else _day(table, line, "date_unregistration", end)
        # Who has no day of registration came on the first day, or on the day of leaving.
        first = 0 if last is None else min(0, last)
        if begin not in _EMPTY:
            first = _day(table, line, "date_registration", begin)
        gone = None if last is None else course.midnight(last)
        yield Registration(line, course, student_id, course.midnight(first), gone)


def _courses(directory: Path) -> dict[tuple[str, str], Course]:
    columns = ("code_module", "code_presentation", "module_presentation_length")
    table = Table(directory, "courses", columns)
    found: dict[tuple[str, str], Course] = {}
    for line, (module, presentation, length) in table.rows():
        if not _MODULE.fullmatch(module):
            table.refuse(line, "code_module", module, "the code of a module")
        match = _PRESENTATION.fullmatch(presentation)
        if match is None or match[1] == "0000":
            table.refuse(line, "code_presentation", presentation, "a year and B or J, as in 2013J")
        if (module, presentation) in found:
            told = f"{module} {presentation}"
            table.refuse(line, "code_presentation", told, "unique: it is there twice")
        days = _day(table, line, "module_presentation_length", length)
        start = datetime(int(match[1]), START_MONTHS[match[2]], 1, tzinfo=UTC)
        found[module, presentation] = Course(module, presentation, start, days)
    return found


def _assessments(
    directory: Path, courses: Mapping[tuple[str, str], Course]
) -> dict[str, Assessment]:
    columns = (
        *("code_module", "code_presentation", "id_assessment"),
        *("assessment_type", "date", "weight"),
    )
    table = Table(directory, "assessments", columns)
    found: dict[str, Assessment] = {}
    for line, (module, presentation, assessment_id, kind, day, weight) in table.rows():
        course = courses.get((module, presentation))
        if course is None:
            table.refuse(line, "code_presentation", f"{module} {presentation}", _A_COURSE)
        if not _ID.fullmatch(assessment_id):
            table.refuse(line, "id_assessment", assessment_id, "a number")
        if kind not in KINDS:
            table.refuse(line, "assessment_type", kind, f"one of {', '.join(KINDS)}")
        if assessment_id in found:
            table.refuse(line, "id_assessment", assessment_id, "unique: it is there twice")
        if not _WEIGHT.fullmatch(weight):
            table.refuse(line, "weight", weight, "a number of percent")
        last = None if day in _EMPTY else _day(table, line, "date", day)
        assessment = Assessment(assessment_id, kind, course, last, float(weight))
        course.assessments.append(assessment)
        found[assessment_id] = assessment
    return found
