"""The entries that make up the course grades of learners, as progress pages show them.

``passed`` and ``current_grade`` are what was recorded; the entries are made when they are
asked for, with the policy of today. After a change of the policy both may disagree for a while.
"""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import refuse_closed_account, standing
from api.http.grades.content import CourseContent, content_of
from api.http.grades.learners import viewers
from api.http.grades.paging import read_page
from api.http.grades.parameters import Parameters, course_in_query, course_key
from api.http.grades.permissions import is_global_staff
from api.http.reading import ask, result
from api.rendering import Result
from domain.grades.course_grade import current_grade, section_breakdown
from domain.grades.graders import Graded
from domain.grades.scores import Override, Totals, subsection_grade, zero_totals
from domain.grades.structure import Viewer, visible
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow
from projections.gradebook.tables import read_overrides, read_records

MOST_USERNAMES: Final = 100
_USERNAME: Final = re.compile(r"[-\w.@+]{1,150}")


async def get_section_grades_breakdown(call: Call) -> Response:
    """A page of learners of one course or of all, with the entries of their grades."""
    query = Parameters(call)
    course_id = await _authorised_course(call, query)
    usernames = _usernames(query.text("username"))
    page = read_page(query)
    bounds = page.bounds
    answer = await ask(
        call,
        queries.learners_of_courses_page(
            course_id=course_id,
            usernames=usernames,
            after=bounds.after,
            before=bounds.before,
            limit=bounds.limit,
        ),
    )
    rows, more = page.cut(answer.value)
    by_course: dict[str, list[LearnerGradesRow]] = {}
    for row in rows:
        by_course.setdefault(row.course_id, []).append(row)
    found = await asyncio.gather(*(_of_course(call, *course) for course in by_course.items()))
    document = {
        **page.links(call, [row.enrollment_id for row in rows], more=more),
        "results": [item for items in found for item in items],
    }
    return result(call, document, answer.position)


async def _authorised_course(call: Call, query: Parameters) -> str | None:
    """The course that is asked about, None for all.

    Raises:
        UnauthenticatedError: the account of the caller is closed.
        ApiError: 403: the caller is not global staff. 400: no key.
    """
    # Newer releases call it course_key, which wins.
    name = "course_key" if query.text("course_key") else "course_id"
    given = query.text(name)
    key = course_key(course_in_query(given))
    found = await standing(call, given if key is None else str(key))
    refuse_closed_account(call, found.rights)
    if not is_global_staff(call.caller, found.rights):
        raise errors.not_allowed()
    if given and key is None:
        raise errors.invalid_field(name, f"'{given}' is not a valid course id.")
    return None if key is None else str(key)


def _usernames(text: str) -> list[str] | None:
    if not text:
        return None
    names = text.split(",")
    if len(names) > MOST_USERNAMES:
        raise errors.invalid_field(
            "username",
            f"Too many usernames in a single request - {len(names)}."
            f" A maximum of {MOST_USERNAMES} is allowed",
        )
    if not all(_USERNAME.fullmatch(name) for name in names):
        raise errors.invalid_field(
            "username",
            "Enter a valid username. This value may contain only letters, numbers,"
            " and @/./+/-/_ characters.",
        )
    return names


async def _of_course(call: Call, course_id: str, rows: Sequence[LearnerGradesRow]) -> list[Result]:
    """The items of one course; none where no course was published for the enrolments."""
    course = (await standing(call, course_id)).course
    if course is None:
        return []
    content = await content_of(call, course)
    seen_by = await viewers(call, content, rows)
    now = call.now()
    return [
        {
            "course_id": course_id,
            "username": row.username,
            # A stored grade is passed by any letter, also by one whose cut-off is 0.
            "passed": bool(row.letter),
            "current_grade": current_grade(row.percent or 0.0),
            "section_breakdown": section_breakdown(
                content.policy, graded(content, row, seen_by[row.user_id], now)
            ),
        }
        for row in rows
    ]


def graded(content: CourseContent, row: LearnerGradesRow, viewer: Viewer, now: datetime) -> Graded:
    """The graded subsections that a learner can see, in course order, with their grades."""
    records, overrides = read_records(row.records), read_overrides(row.overrides)
    everything = content.structure.uniform
    found = []
    for subsection in content.structure.subsections:
        if not subsection.graded or not (everything or visible(subsection.gates, viewer, now)):
            continue
        ordinal = content.ordinals.get(subsection.usage_key, -1)
        record = records[ordinal] if 0 <= ordinal < len(records) else None
        override = overrides.get(ordinal)
        zero = zero_totals(subsection, None if everything else viewer, now)
        grade = subsection_grade(
            None if record is None else Totals(*record[:4]),
            None,
            None if override is None else Override(*override[:4]),
            zero,
        )
        found.append((subsection, grade))
    return found
