"""The questions about courses: which there are, and what one consists of, now or then.

Everybody who has a token may ask; what only staff may see is left out for others.
"""

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from api.courses import CourseView, Result, document, summary, view_of_past, view_of_row
from api.http.auth import Caller
from api.http.calls import Call
from api.http.grades.permissions import has_staff_access
from api.http.learner_access import WRITE_COURSES, rights_of
from api.http.log_reads import reached
from api.http.problems import error_at, invalid
from api.http.reading import ask, cursor, page, page_size, result
from domain.courses.course import course_stream
from domain.courses.errors import CourseNotFoundError
from domain.courses.history import course_past
from domain.errors import ForbiddenError
from domain.keys import CourseKey, InvalidKeyError, parse_course_key
from projections.gradebook.queries import course_by_id, courses_page
from projections.gradebook.rows import CourseRow


async def get_courses(call: Call) -> Response:
    """The courses, by their keys."""
    query = call.query()
    size = page_size(query)
    (after,) = cursor(query, str) or (None,)
    found = await ask(call, courses_page(after, size + 1))

    async def render(rows: Sequence[CourseRow]) -> list[Result]:
        return [summary(view_of_row(row)) for row in rows if _reaches(call.caller, row.org)]

    return await page(call, found, size, render, lambda row: [row.course_id])


async def get_course(call: Call) -> Response:
    """One course with its outline."""
    query = call.query()
    key = course_key(call)
    if not _reaches(call.caller, key.org):
        raise ForbiddenError("this token is for courses of other organisations")
    until = await call.past(query)
    view: CourseView | None
    if until is None:
        found = await ask(call, course_by_id(str(key)))
        position = found.position
        view = None if found.value is None else view_of_row(found.value)
    else:
        position = await reached(call, until)
        stream = await call.backend.events.read_recorded_stream(
            course_stream(str(key)), until=position
        )
        view = view_of_past(course_past(recorded.event for recorded in stream))
    if view is None:
        raise CourseNotFoundError(f"no course has the key {key}")
    for_staff = await _is_staff(call, key)
    # Thousands of blocks take their time; others are answered meanwhile.
    return await asyncio.to_thread(
        lambda: result(call, document(view, for_staff=for_staff), position)
    )


def course_key(call: Call) -> CourseKey:
    """The key in the path, without a branch.

    Raises:
        Problem: 400: it is none.
    """
    text = call.path_text("course_id")
    try:
        return parse_course_key(text).without_branch
    except InvalidKeyError as refused:
        error = error_at(str(refused), "key", "path", "course_id")
    raise invalid("the path was refused", error)


async def _is_staff(call: Call, key: CourseKey) -> bool:
    """Whether the caller sees the whole course: by token, or by what is recorded of him."""
    if call.caller.may(WRITE_COURSES, str(key)):
        return True
    return has_staff_access(call.caller, await rights_of(call), key)


def _reaches(caller: Caller, org: str) -> bool:
    return caller.content_orgs is None or org in caller.content_orgs
