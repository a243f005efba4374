"""Which learners a gradebook shows: the filters of its query, as queries understand them.

An empty value means that a filter is not given. What the peer fails at with a 500 is refused.
"""

from typing import Final

from api.http.calls import Call
from api.http.grades.content import CourseContent
from api.http.grades.errors import ApiError, invalid_field
from api.http.grades.parameters import Parameters, course_in_query, whole_number
from api.http.reading import ask
from domain.keys import InvalidKeyError, parse_block_key
from projections.gradebook import queries
from projections.gradebook.queries import LearnerFilter

ANY_ROLE: Final = "all"
NOWHERE: Final = 2_000_000
"""An ordinal that no subsection has: nobody has grades there, so nobody is found."""


async def read_filter(call: Call, query: Parameters, content: CourseContent) -> LearnerFilter:
    """What the query asks for.

    Raises:
        ApiError: 400 or 404: a value that cannot be understood, or a cohort that is not there.
    """
    excluded = query.all("excluded_course_roles")
    roles = list(excluded) if excluded and excluded[-1] else []
    ordinal, low, high = _assignment(query, content)
    return LearnerFilter(
        user_contains=query.text("user_contains") or None,
        username_contains=query.text("username_contains") or None,
        cohort_id=await _cohort(call, query, content),
        mode=query.text("enrollment_mode") or None,
        without_any_role=ANY_ROLE in roles,
        without_roles=() if ANY_ROLE in roles else tuple(role for role in roles if role),
        ordinal=ordinal,
        grade_min=low,
        grade_max=high,
        course_grade_min=query.number("course_grade_min"),
        course_grade_max=query.number("course_grade_max"),
    )


async def _cohort(call: Call, query: Parameters, content: CourseContent) -> int | None:
    text = query.text("cohort_id")
    if not text:
        return None
    cohort_id = whole_number(text)
    found = await ask(call, queries.cohort_ids_of(content.course_id))
    if cohort_id not in found.value.values():
        raise ApiError(404, "CourseUserGroup matching query does not exist.")
    return cohort_id


def _assignment(
    query: Parameters, content: CourseContent
) -> tuple[int | None, float | None, float | None]:
    """The place of a subsection in records, and between which percentages its grades shall lie.

    Each of both means nothing without the other.
    """
    assignment = query.text("assignment")
    if not assignment:
        return None, None, None
    low, high = query.number("assignment_grade_min"), query.number("assignment_grade_max")
    if low is None and high is None:
        return None, None, None
    usage_key = course_in_query(assignment)
    try:
        parse_block_key(usage_key)
    except InvalidKeyError:
        raise invalid_field("assignment", f"'{assignment}' is not a valid usage key.") from None
    return content.ordinals.get(usage_key, NOWHERE), low, high
