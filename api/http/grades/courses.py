"""What learners got in a course, and by which policy."""

from typing import Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import standing
from api.http.grades.content import content_of
from api.http.grades.learners import MASTERS, learner_called
from api.http.grades.paging import read_page
from api.http.grades.parameters import (
    Parameters,
    course_in_path,
    course_in_query,
    course_key,
)
from api.http.grades.permissions import has_staff_access, is_global_staff, may_read_grades
from api.http.log_reads import reached
from api.http.reading import ask, result
from api.rendering import Result
from domain.grades.learner_grades import (
    GradesCalculated,
    LearnerGradesCleared,
    learner_grades_stream,
)
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow

PAST: Final = ("as_of", "as_of_position")


async def get_course_grades(call: Call) -> Response:
    """The course grades of a course, by the key in the path."""
    return await _grades(call, course_in_path(call))


async def get_grades(call: Call) -> Response:
    """The same by the key in the query."""
    return await _grades(call, course_in_query(Parameters(call).text("course_id")))


async def _grades(call: Call, text: str) -> Response:
    query = Parameters(call)
    username = query.text("username")
    key = course_key(text)
    found = await standing(call, text if key is None else str(key))
    if not may_read_grades(call.caller, found.rights, key, username):
        raise errors.not_allowed()
    if key is None:
        raise errors.invalid_course_key()
    if found.course is None:
        raise errors.course_does_not_exist(str(key))
    moment = {name: value for name in PAST if (value := query.get(name)) is not None}
    if username:
        learner = await learner_called(call, str(key), username)
        row, position = learner.value, learner.position
        until = await call.past(moment)
        if until is not None:
            row, position = await _as_of(call, row, until)
        return result(call, [_item(row, with_email=False)], position)
    if moment:
        raise errors.invalid_field(next(iter(moment)), "Only with username.")
    page = read_page(query)
    bounds = page.bounds
    answer = await ask(
        call,
        queries.learners_page(
            str(key),
            queries.EVERYBODY,
            after=bounds.after,
            before=bounds.before,
            limit=bounds.limit,
        ),
    )
    rows, more = page.cut(answer.value)
    document = {
        **page.links(call, [row.enrollment_id for row in rows], more=more),
        "results": [_item(row, with_email=True) for row in rows],
    }
    return result(call, document, answer.position)


def _item(row: LearnerGradesRow, *, with_email: bool) -> Result:
    return {
        "username": row.username,
        "email": row.email or "" if with_email and row.mode == MASTERS else "",
        "course_id": row.course_id,
        # A stored grade is passed by any letter, also by one whose cut-off is 0.
        "passed": bool(row.letter),
        "percent": row.percent or 0.0,
        "letter_grade": row.letter or None,
    }


async def _as_of(call: Call, row: LearnerGradesRow, until: int) -> tuple[LearnerGradesRow, int]:
    """A learner with the course grade that was recorded then, and at which position."""
    position = await reached(call, until)
    events = await call.backend.events.read_recorded_stream(
        learner_grades_stream(row.user_id, row.course_id), until=position
    )
    percent: float | None = None
    letter: str | None = None
    for recorded in events:
        match recorded.event:
            case GradesCalculated() as calculated:
                percent, letter = calculated.percent, calculated.letter
            case LearnerGradesCleared():
                percent = letter = None
    return row._replace(percent=percent, letter=letter), position


async def get_grading_policy(call: Call) -> Response:
    """The assignment types of a course: how many, how many dropped, how much they count."""
    key = course_key(course_in_path(call))
    if key is None:
        raise errors.invalid_course_key(400)
    found = await standing(call, str(key))
    if not has_staff_access(call.caller, found.rights, key):
        raise errors.no_such_course(403)
    if found.course is None:
        # Whoever is not global staff must not learn which courses there are.
        seen = is_global_staff(call.caller, found.rights)
        raise errors.no_such_course(404 if seen else 403)
    content = await content_of(call, found.course)
    graders = [
        {
            "assignment_type": grader.get("type"),
            "count": _whole(grader.get("min_count")),
            "dropped": _whole(grader.get("drop_count")),
            "weight": grader.get("weight"),
        }
        for grader in content.graders
    ]
    return result(call, graders, found.position)


def _whole(value: float | None) -> int | None:
    """A count as it is shown: policies hold them as floats, too."""
    return None if value is None else int(value)
