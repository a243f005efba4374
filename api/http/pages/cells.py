"""The cells of the table: each is made once for all learners who have the same in a column.

A page of 200 learners and 40 assignments is 8,000 cells, and few of them differ in anything
but their addresses. Making each with the template takes a second, in which nobody else would
be answered.
"""

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from api.http.calls import Call
from api.http.grades.content import CourseContent
from api.http.pages.rendering import macro, path
from domain.grades.scores import Override, Totals, subsection_grade
from projections.gradebook.rows import LearnerGradesRow
from projections.gradebook.tables import Record, StoredOverride, read_overrides, read_records

_ADDRESS: Final = "address-of-the-cell"
"""Stands in a cell for its address while it is nobody's."""


class Cells:
    """Makes the cells of one page."""

    def __init__(self, call: Call, content: CourseContent, place: str, *, in_points: bool) -> None:
        """Prepare what all rows have in common.

        Args:
            call: the request.
            content: of the course.
            place: query that leads back from a cell to this page.
            in_points: points are shown instead of percentages.
        """
        home = path(call)
        self._now = call.now()
        self._columns = [
            (
                content.ordinals.get(column.subsection.usage_key, -1),
                column.subsection,
                str(escape(path(call, column.subsection.usage_key).removeprefix(home) + place)),
            )
            for column in content.columns
        ]
        self._prefix = escape(path(call, content.course_id, "learners"))
        self._draw = macro("cells.html", "cell")
        self._options = {
            "in_points": in_points,
            "passing": min((one for one in content.cutoffs.values() if one > 0), default=0.0),
        }
        self._made: dict[tuple[int, Any, Any], tuple[str, str]] = {}

    def of(self, learner: LearnerGradesRow) -> Markup:
        """The cells of one learner, in the order of the columns."""
        records, overrides = read_records(learner.records), read_overrides(learner.overrides)
        parts: list[str] = []
        for number, (ordinal, _, suffix) in enumerate(self._columns):
            record = records[ordinal] if 0 <= ordinal < len(records) else None
            override = overrides.get(ordinal)
            key = (number, record, override)
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = self._cell(number, record, override)
            parts += (made[0], f"{self._prefix}{learner.user_id}/{suffix}", made[1])
        return Markup("".join(parts))  # noqa: S704 - of a template, and of what was escaped

    def _cell(
        self, number: int, record: Record | None, override: StoredOverride | None
    ) -> tuple[str, str]:
        """What stands before and after the address."""
        subsection = self._columns[number][1]
        attempted = record is not None and record.first_attempted is not None
        grade = subsection_grade(
            None if record is None else Totals(*record[:4]),
            self._now if attempted else None,
            None if override is None else Override(*override[:4]),
            Totals(0.0, subsection.possible_all, 0.0, subsection.possible_graded),
        )
        text = self._draw(grade, override is not None, _ADDRESS, **self._options)
        before, _, after = str(text).partition(_ADDRESS)
        return before, after


def lines(cells: Cells, rows: Sequence[LearnerGradesRow]) -> list[tuple[LearnerGradesRow, Markup]]:
    """Learners with their cells."""
    return [(row, cells.of(row)) for row in rows]
