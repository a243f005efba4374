"""The section breakdown of gradebooks, written as JSON without making objects of it.

A page of 50 learners and 40 subsections is 2,000 entries and a megabyte of text, of which only
a few numbers differ from learner to learner. So each entry is written once for each pair of
points and kept, and so is which entries a learner's records come to: a page is then look-ups
and one join. The tests hold this to an obvious rendering.
"""

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from domain.grades.scores import percent_of
from domain.grades.structure import LabelledSubsection

KEPT_CELLS: Final = 20_000
"""Entries of one course, at half a kilobyte each."""

KEPT_ROWS: Final = 20_000
"""Learners of all courses: the texts of their records, and references to their entries."""

Numbers = tuple[float, float]
"""Graded points earned and possible."""

_NUMBERS: Final = itertools.count(1)


class Rows:
    """The entries of the learners who were shown last, of all courses of this process."""

    def __init__(self, most: int = KEPT_ROWS) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, str, str], tuple[bytes, ...]] = OrderedDict()

    def get(self, key: tuple[int, str, str]) -> tuple[bytes, ...] | None:
        """The entries that were made of these records and overrides of a course."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: tuple[int, str, str], row: tuple[bytes, ...]) -> None:
        """Keep entries in the place of those that were not asked for the longest."""
        self._kept[key] = row
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Breakdown:
    """Writes the entries of one course, for each subsection of its gradebook."""

    def __init__(
        self,
        columns: Sequence[LabelledSubsection],
        ordinals: Mapping[str, int],
        rows: Rows | None = None,
    ) -> None:
        """Prepare what all learners have in common.

        Args:
            columns: the subsections, in course order.
            ordinals: usage key to the place in records.
            rows: where to keep what was made of a learner's records.
        """
        cells = [
            _Cells(column, is_first=number == 0, budget=KEPT_CELLS // len(columns))
            for number, column in enumerate(columns)
        ]
        places = [ordinals.get(column.subsection.usage_key, -1) for column in columns]
        self._columns = list(zip(places, cells, [one.nothing for one in cells], strict=True))
        self._width = max(places, default=-1) + 1
        self._nothing = b"".join([one.nothing for one in cells])
        self._rows = Rows() if rows is None else rows
        self._number = next(_NUMBERS)

    def write(self, parts: list[bytes], records: str | None, overrides: str | None) -> None:
        """Append the entries of one learner, with commas between them.

        Args:
            parts: what to append to.
            records: as the read model keeps them; see ``tables.read_records``.
            overrides: see ``tables.read_overrides``.
        """
        records, overrides = records or "[]", overrides or "{}"
        if records == "[]" and overrides == "{}":
            parts.append(self._nothing)
            return
        key = (self._number, records, overrides)
        row = self._rows.get(key)
        if row is None:
            # A tuple, because the garbage collector has nothing to look for in it.
            row = tuple(self._made(records, overrides))
            self._rows.keep(key, row)
        parts += row

    def _made(self, records: str, overrides: str) -> list[bytes]:
        found: list[Any] = orjson.loads(records)
        if len(found) < self._width:
            found += [None] * (self._width - len(found))
        found.append(None)  # where -1 leads: a subsection that nobody ever had a grade in
        if overrides != "{}":
            return self._overridden(found, orjson.loads(overrides))
        # A record is earned and possible of all, earned and possible of graded, first attempt.
        return [
            nothing
            if (record := found[place]) is None or record[4] is None
            else cells[record[2], record[3]]
            for place, cells, nothing in self._columns
        ]

    def _overridden(
        self, records: Sequence[Any], overrides: Mapping[str, Sequence[Any]]
    ) -> list[bytes]:
        row = []
        for place, cells, nothing in self._columns:
            record, override = records[place], overrides.get(str(place))
            if override is not None:
                row.append(cells[_effective(record, override, cells.zero)])
            elif record is None or record[4] is None:
                row.append(nothing)
            else:
                row.append(cells[record[2], record[3]])
        return row


class _Cells(dict[Numbers, bytes]):
    """The entries of one subsection by graded points, made when they are asked for."""

    def __init__(self, column: LabelledSubsection, *, is_first: bool, budget: int) -> None:
        super().__init__()
        self._before = b"{" if is_first else b",{"
        self._after = orjson.dumps(unchanging(column))[1:]
        self._budget = max(budget, 100)
        self.nothing = self._entry(attempted=False, earned=0.0, possible=0.0)
        self.zero: Numbers = (0.0, column.subsection.possible_graded)

    def __missing__(self, numbers: Numbers) -> bytes:
        if len(self) >= self._budget:
            self.clear()
        earned, possible = numbers
        made = self[numbers] = self._entry(
            attempted=True, earned=float(earned), possible=float(possible)
        )
        return made

    def _entry(self, *, attempted: bool, earned: float, possible: float) -> bytes:
        values = orjson.dumps(changing(attempted=attempted, earned=earned, possible=possible))
        return b"%b%b,%b" % (self._before, values[1:-1], self._after)


def _effective(record: Sequence[Any] | None, override: Sequence[Any], zero: Numbers) -> Numbers:
    """The graded points that count: a component that is left open follows the calculated one."""
    earned, possible = zero if record is None else (record[2], record[3])
    return (
        earned if override[2] is None else override[2],
        possible if override[3] is None else override[3],
    )


def unchanging(column: LabelledSubsection) -> dict[str, Any]:
    """The part of an entry that all learners have in common."""
    subsection = column.subsection
    return {
        "are_grades_published": True,
        "auto_grade": False,
        "category": subsection.format,
        "chapter_name": subsection.chapter_name,
        "comment": "",
        "detail": "",
        "is_ag": False,
        "is_average": False,
        "is_manually_graded": False,
        "label": column.label,
        "module_id": subsection.usage_key,
        "section_block_id": subsection.usage_key,
        "subsection_name": subsection.display_name,
    }


def changing(*, attempted: bool, earned: float, possible: float) -> dict[str, Any]:
    """The part of an entry that a learner's points make."""
    percent = percent_of(earned, possible)
    return {
        "attempted": attempted,
        "displayed_value": f"{percent:.2f}",
        "grade_description": f"({earned:.2f}/{possible:.2f})",
        "percent": percent,
        "score_earned": earned,
        "score_possible": possible,
    }
