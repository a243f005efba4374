"""Reading an uploaded file of grades: what each row asks for, and what is wrong with it.

A file is read whole before anything is saved. What is wrong with the file itself refuses it;
what is wrong with a row is said in the row, and keeps all of them from being saved.

Source: edx-bulk-grades, ``bulk_grades.api.GradeCSVProcessor``; super-csv, ``CSVProcessor``. The
texts of errors that the peer knows are its own.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from api.http.bulk_grades.columns import LEARNER, NAME, NEW, PREFIXES, names_of
from api.http.grades.parameters import LARGEST_NUMBER

FILE_LIMIT: Final = 2 * 1024 * 1024
"""Bytes."""

QUOTED: Final = 100
"""Characters of a bad value that its error quotes."""

USER, COURSE = "user_id", "course_id"
SUCCESS, FAILURE, NO_ACTION = "Success", "Failure", "No Action"

# Not what Python reads as a number: neither nan nor 1_000 nor digits of other scripts.
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class SheetError(Exception):
    """The file is refused.

    Attributes:
        messages: all that is wrong with it.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = list(messages)


@dataclass(slots=True)
class SheetRow:
    """A row with what becomes of it.

    Attributes:
        cells: those that are kept, by column; empty ones and what all rows share are not.
        user_id: whose row it is, once it is known to be a number.
        grades: new points by usage key.
    """

    cells: dict[str, str]
    user_id: int | None = None
    grades: dict[str, float] = field(default_factory=dict)
    status: str = NO_ACTION
    error: str = ""

    def fail(self, error: str) -> None:
        """Say what is wrong; the first thing counts."""
        if not self.error:
            self.status, self.error = FAILURE, error


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file as it was read. ``columns`` are those that its rows are shown with."""

    columns: Sequence[str]
    rows: Sequence[SheetRow]

    @property
    def failed(self) -> bool:
        """Whether anything is wrong with any row."""
        return any(row.error for row in self.rows)


def read_sheet(raw: bytes, course_id: str, subsections: Mapping[str, str]) -> Sheet:
    """Read a file.

    Args:
        raw: as it was sent.
        course_id: the course that it is sent to.
        subsections: usage keys by the short names of their columns.

    Raises:
        SheetError: it is refused whole.
    """
    if len(raw) > FILE_LIMIT:
        raise SheetError(f"The CSV file must be under {FILE_LIMIT} bytes")
    header, rows = _table(raw)
    places = _places(header)
    new = {name.removeprefix(NEW): place for name, place in places.items() if name.startswith(NEW)}
    touched = [
        short for short in subsections if short in new and any(_at(row, new[short]) for row in rows)
    ]
    shown = {name for name in names_of(PREFIXES, touched) if name in places}
    columns = [name for name in (*LEARNER, *names_of(PREFIXES, touched)) if name in places]
    kept = [
        (name, places[name])
        for name in columns
        if name in LEARNER or (name in shown and not name.startswith(NAME))
    ]
    checks = _Checks(course_id, subsections, places, new, len(header))
    return Sheet(columns, [checks.read(cells, kept) for cells in rows])


def _table(raw: bytes) -> tuple[list[str], list[list[str]]]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SheetError("The CSV file must be UTF-8 text") from None
    if "\0" in text:
        raise SheetError("The CSV file must not hold null characters")
    try:
        # Strict: a quote that is never closed would make one cell of all that follows.
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise SheetError(f"The CSV file cannot be read: {error}") from None
    return ([name.strip() for name in rows[0]], rows[1:]) if rows else ([], [])


def _places(header: Sequence[str]) -> dict[str, int]:
    """Where each column that is read stands."""
    places: dict[str, int] = {}
    repeated: dict[str, None] = {}
    for place, name in enumerate(header):
        if name in LEARNER or name.startswith(PREFIXES):
            if name in places:
                repeated[name] = None
            places[name] = place
    messages = [f"Missing column: {name}" for name in (USER, COURSE) if name not in places]
    messages += [f"Repeated column: {_quotable(name)}" for name in repeated]
    if messages:
        raise SheetError(*messages)
    return places


def _at(row: Sequence[str], place: int) -> str:
    """A cell without the spaces around it; a row that ends early has empty ones."""
    return row[place].strip() if place < len(row) else ""


class _Checks:
    """What a row must be like."""

    def __init__(
        self,
        course_id: str,
        subsections: Mapping[str, str],
        places: Mapping[str, int],
        new: Mapping[str, int],
        width: int,
    ) -> None:
        self._course_id = course_id
        self._user, self._course = places[USER], places[COURSE]
        self._new = [(subsections.get(short), short, place) for short, place in new.items()]
        self._width = width
        self._seen: set[int] = set()

    def read(self, cells: Sequence[str], kept: Sequence[tuple[str, int]]) -> SheetRow:
        found = {name: text for name, place in kept if (text := _at(cells, place))}
        if found.get(COURSE) == self._course_id:
            del found[COURSE]
        row = SheetRow(found)
        if not any(cell.strip() for cell in cells):
            return row  # what spreadsheets leave below a table
        for error in self._errors(cells, row):
            row.fail(error)
            break
        else:
            row.grades = self._grades(cells, row)
        return row

    def _errors(self, cells: Sequence[str], row: SheetRow) -> Iterator[str]:
        if any(cell.strip() for cell in cells[self._width :]):
            # One comma too many moves all that follows to other columns.
            yield "More cells than columns"
        course_id = _at(cells, self._course)
        if course_id != self._course_id:
            yield f"Wrong course id {_quotable(course_id)} != {self._course_id}"
        text = _at(cells, self._user)
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            yield f"Not a user_id: {_quotable(text)}"
        user_id = row.user_id = int(text)
        if user_id > LARGEST_NUMBER:
            yield f"Not a user_id: {text}"
        if user_id in self._seen:
            yield f"Repeated user_id: {user_id}"
        self._seen.add(user_id)

    def _grades(self, cells: Sequence[str], row: SheetRow) -> dict[str, float]:
        grades: dict[str, float] = {}
        for usage_key, short, place in self._new:
            text = _at(cells, place)
            if not text:
                continue
            points = float(text) if _NUMBER.fullmatch(text) else math.nan
            if usage_key is None:
                # Nothing that somebody entered is passed over in silence.
                row.fail(f"No such subsection: {_quotable(NEW + short)}")
            elif not math.isfinite(points):
                row.fail("Grade must be a number")
            elif points < 0:
                row.fail("Grade must not be negative")
            else:
                grades[usage_key] = abs(points)  # without the sign of -0
        return {} if row.error else grades


def _quotable(text: str) -> str:
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


# --- rows that were read before ---------------------------------------------------------------


def stored(row: SheetRow) -> dict[str, Any]:
    """A row as events keep it."""
    return {**row.cells, "status": row.status, **({"error": row.error} if row.error else {})}
