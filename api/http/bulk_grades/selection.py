"""Which learners and subsections a file of grades shall hold.

The parameters have other names than those of the gradebook and mean nearly the same: a bound of
0 is none, a cohort is named, and nothing is an upper bound that was not given.
"""

import math
from typing import NamedTuple

from api.http.bulk_grades.columns import Column, columns_of
from api.http.calls import Call
from api.http.grades.content import CourseContent
from api.http.grades.errors import invalid_field
from api.http.grades.filters import ANY_ROLE, NOWHERE
from api.http.grades.learners import MASTERS
from api.http.grades.parameters import Parameters, course_in_query
from api.http.reading import ask
from domain.keys import InvalidKeyError, parse_block_key
from projections.gradebook import queries
from projections.gradebook.queries import LearnerFilter

NO_COHORT = -1
"""What no cohort is numbered: who asks for one that is not there finds nobody."""


class Selection(NamedTuple):
    """The rows and columns of a file."""

    where: LearnerFilter
    columns: list[Column]


async def read_selection(
    call: Call, query: Parameters, content: CourseContent, *, intervention: bool = False
) -> Selection:
    """What the query asks for.

    Args:
        call: the request.
        query: its parameters.
        content: the course.
        intervention: of the masters track only, those who have left and the team too.

    Raises:
        ApiError: 400: a value that cannot be understood.
    """
    usage_key = _assignment(query)
    low, high = _bounds(query, "assignmentGradeMin", "assignmentGradeMax")
    course_low, course_high = _bounds(query, "courseGradeMin", "courseGradeMax")
    about_assignment = usage_key is not None and (low is not None or high is not None)
    excluded = query.all("excludedCourseRoles")
    roles = list(excluded) if excluded and excluded[-1] and not intervention else []
    where = LearnerFilter(
        cohort_id=await _cohort(call, query, content),
        mode=MASTERS if intervention else query.text("track") or None,
        without_any_role=ANY_ROLE in roles,
        without_roles=() if ANY_ROLE in roles else tuple(role for role in roles if role),
        ordinal=content.ordinals.get(usage_key or "", NOWHERE) if about_assignment else None,
        grade_min=low,
        grade_max=high,
        course_grade_min=course_low,
        course_grade_max=course_high,
        active_only=not intervention,
    )
    kind = query.text("assignmentType")
    columns = [
        column
        for column in columns_of(content)
        if (usage_key is None or column.usage_key == usage_key)
        and (not kind or column.format == kind)
    ]
    return Selection(where, columns)


def _assignment(query: Parameters) -> str | None:
    given = query.text("assignment")
    if not given:
        return None
    try:
        return str(parse_block_key(course_in_query(given)))
    except InvalidKeyError:
        raise invalid_field("assignment", f"'{given}' is not a valid usage key.") from None


def _bounds(query: Parameters, low: str, high: str) -> tuple[float | None, float | None]:
    """Between which percentages; a lower bound alone has nothing above it, also beyond 100."""
    least, most = query.number(low) or None, query.number(high) or None
    return least, math.inf if least is not None and most is None else most


async def _cohort(call: Call, query: Parameters, content: CourseContent) -> int | None:
    name = query.text("cohort")
    if not name:
        return None
    found = await ask(call, queries.cohort_ids_of(content.course_id))
    return found.value.get(name, NO_COHORT)
