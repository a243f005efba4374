"""The columns of files of grades, and what stands in their cells.

A subsection is named by the first characters of its block id. Where two begin alike the first one
in the course has the columns and the other has none, whatever a file was asked to hold: which
subsection a column is about must not depend on the filters of the export it came from.

Source: edx-bulk-grades, ``bulk_grades.api.GradedSubsectionMixin``.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from api.http.grades.content import CourseContent
from api.http.grades.filters import NOWHERE
from domain.keys import parse_block_key

NAME: Final = "name-"
NEW: Final = "new_override-"
PREFIXES: Final = (NAME, "grade-", "original_grade-", "previous_override-", NEW)

LEARNER: Final = ("user_id", "username", "student_key", "course_id", "track", "cohort")
"""The columns before those of subsections."""

SHORT: Final = 8
"""Characters of a block id."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_HARMLESS: Final = frozenset("+-@._ ")
_SPECIAL: Final = frozenset(',"\r\n')


class Column(NamedTuple):
    """A subsection as files of grades name it. ``ordinal`` is its place in records."""

    short: str
    usage_key: str
    name: str
    format: str | None
    ordinal: int


def columns_of(content: CourseContent) -> list[Column]:
    """The subsections of a course that have columns, in course order."""
    found: dict[str, Column] = {}
    for subsection, _, _ in content.columns:
        key = subsection.usage_key
        short = parse_block_key(key).block_id[:SHORT]
        ordinal = content.ordinals.get(key, NOWHERE)
        column = Column(short, key, subsection.display_name, subsection.format, ordinal)
        found.setdefault(short, column)
    return list(found.values())


def names_of(prefixes: Iterable[str], shorts: Iterable[str]) -> list[str]:
    """The names of all columns of some subsections."""
    kinds = tuple(prefixes)
    return [prefix + short for short in shorts for prefix in kinds]


# --- cells ------------------------------------------------------------------------------------


def guarded(text: str | None) -> str:
    """A text that no spreadsheet takes for a formula.

    It gets an apostrophe in front when it could be one. A name such as ``@anna`` or ``-5``
    cannot do anything and stays as it is, so that files still say who is meant; the columns
    that an import reads never need any.
    """
    if not text:
        return ""
    if not text.startswith(_FORMULA):
        return text
    if text[0] in "+-@" and all(c.isalnum() or c in _HARMLESS for c in text):
        return text
    return "'" + text


def quoted(text: str) -> str:
    """A cell as it stands in a file."""
    if _SPECIAL.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def number_text(value: float | None) -> str:
    """Points as the peer writes them."""
    return "" if value is None else repr(float(value))


class _Echo:
    @staticmethod
    def write(text: str) -> str:
        return text


_WRITER: Final = csv.writer(_Echo())


def line(cells: Sequence[Any]) -> str:
    """Cells as a line with its end."""
    return str(_WRITER.writerow(cells))


class Cells(dict[tuple[float | None, float | None], str]):
    """What stands in the columns of one subsection, by calculated and overridden points.

    Learners differ in few of them, so each pair is written once. Begins with a comma.
    """

    KEPT: Final = 1000

    def __init__(self, column: Column, *, all_columns: bool = True) -> None:
        """Prepare what all learners have in common.

        Args:
            column: the subsection.
            all_columns: those of ``PREFIXES``, or only the first two.
        """
        super().__init__()
        self.ordinal = column.ordinal
        self._name = quoted(guarded(column.name))
        self._all = all_columns

    def __missing__(self, points: tuple[float | None, float | None]) -> str:
        if len(self) >= self.KEPT:
            self.clear()
        computed, overridden = points
        counts = number_text(computed if overridden is None else overridden)
        text = f",{self._name},{counts}"
        if self._all:
            text += f",{number_text(computed)},{number_text(overridden)},"
        self[points] = text
        return text


def points_of(
    cells: Sequence[Cells],
    records: Sequence[Any],
    overrides: Mapping[str, Sequence[Any]],
) -> str:
    """The columns of all subsections of one learner.

    Args:
        cells: of the subsections.
        records: as the read model keeps them, by ordinal; see ``tables.Record``.
        overrides: see ``tables.StoredOverride``.
    """
    count = len(records)
    if not overrides:
        return "".join(
            [
                one[
                    None
                    if (n := one.ordinal) >= count or (record := records[n]) is None
                    else record[2],
                    None,
                ]
                for one in cells
            ]
        )
    found = []
    for one in cells:
        record = records[one.ordinal] if one.ordinal < count else None
        override = overrides.get(str(one.ordinal))
        computed = None if record is None else record[2]
        found.append(one[computed, None if override is None else override[2]])
    return "".join(found)
