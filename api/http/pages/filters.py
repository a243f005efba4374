"""The form above the gradebook: which learners to show, and what is wrong with what was typed.

The names of its fields are those of the grades interface and mean the same, but for the search
box, which looks through full names as well: they are what the table shows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from api.http.grades.content import CourseContent
from api.http.grades.parameters import Parameters, course_in_query
from projections.gradebook.queries import LearnerFilter
from projections.gradebook.rows import CohortRow

TEXTS: Final = ("user_contains", "cohort_id", "enrollment_mode", "assignment")
BOUNDS: Final = (
    "assignment_grade_min",
    "assignment_grade_max",
    "course_grade_min",
    "course_grade_max",
)
INCLUDE_STAFF: Final = "include_staff"
SHOW: Final = "show"
POINTS: Final = "points"
PAGE_SIZE: Final = "page_size"
PAGE_SIZES: Final = (25, 50, 100, 200)
CURSOR: Final = "cursor"


@dataclass(frozen=True, slots=True)
class FilterForm:
    """What was asked for.

    Attributes:
        typed: the fields as they came, for the form.
        errors: what is wrong, by field.
        where: which learners; nobody knows while there are errors.
    """

    typed: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    where: LearnerFilter = field(default_factory=LearnerFilter)

    @property
    def everybody(self) -> LearnerFilter:
        """Whom an empty form shows; with staff if they are asked for."""
        return LearnerFilter(without_any_role=self.where.without_any_role)

    @property
    def in_points(self) -> bool:
        """Whether cells show points instead of percentages."""
        return self.typed[SHOW] == POINTS

    @property
    def page_size(self) -> int:
        """Learners on a page."""
        size = self.typed[PAGE_SIZE]
        return int(size) if size in map(str, PAGE_SIZES) else PAGE_SIZES[0]

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the search box leaves somebody out."""
        return any(self.typed[name] for name in (*TEXTS[1:], *BOUNDS, INCLUDE_STAFF))

    @property
    def is_active(self) -> bool:
        """Whether not everybody is shown."""
        return self.is_narrowed or bool(self.typed["user_contains"])


def place_of(query: Parameters) -> str:
    """The filters and the page as a query, to come back to; empty when there is none."""
    names = (*TEXTS, *BOUNDS, INCLUDE_STAFF, SHOW, PAGE_SIZE, CURSOR)
    found = {name: text for name in names if (text := query.text(name))}
    return f"?{urlencode(found)}" if found else ""


def read_form(
    query: Parameters, content: CourseContent, cohorts: Sequence[CohortRow]
) -> FilterForm:
    """What a query asks for. Whatever is not understood is an error of its field."""
    names = (*TEXTS, *BOUNDS, INCLUDE_STAFF, SHOW, PAGE_SIZE)
    typed = {name: query.text(name).strip() for name in names}
    typed["assignment"] = course_in_query(typed["assignment"])
    errors: dict[str, str] = {}
    numbers = {name: _number(name, typed[name], errors) for name in BOUNDS}
    for what in ("assignment_grade", "course_grade"):
        low, high = numbers[f"{what}_min"], numbers[f"{what}_max"]
        if low is not None and high is not None and low > high:
            errors[f"{what}_max"] = "This is less than the other end of the range."
    cohort_ids = {str(cohort.cohort_id): cohort.cohort_id for cohort in cohorts}
    if typed["cohort_id"] and typed["cohort_id"] not in cohort_ids:
        errors["cohort_id"] = "There is no such cohort in this course."
    bounded = numbers["assignment_grade_min"], numbers["assignment_grade_max"]
    ordinal = content.ordinals.get(typed["assignment"])
    if typed["assignment"] and ordinal is None:
        errors["assignment"] = "There is no such assignment in this course."
    elif bounded != (None, None) and ordinal is None:
        errors["assignment"] = "Choose the assignment that the range is about."
    where = LearnerFilter(
        person_contains=typed["user_contains"] or None,
        cohort_id=cohort_ids.get(typed["cohort_id"]),
        mode=typed["enrollment_mode"] or None,
        without_any_role=not typed[INCLUDE_STAFF],
        ordinal=None if bounded == (None, None) else ordinal,
        grade_min=bounded[0],
        grade_max=bounded[1],
        course_grade_min=numbers["course_grade_min"],
        course_grade_max=numbers["course_grade_max"],
    )
    return FilterForm(typed, errors, where)


def _number(name: str, text: str, errors: dict[str, str]) -> float | None:
    if not text:
        return None
    try:
        value = float(text.removesuffix("%").strip())
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        errors[name] = "Enter a percentage such as 50."
        return None
    return value
