"""The courses whose gradebooks somebody may see."""

from typing import Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades.parameters import Parameters, course_key
from api.http.grades.permissions import ORGANISATION_ROLES, TEAM_ROLES, is_course_author
from api.http.pages.rendering import html, path
from api.http.reading import ask
from projections.gradebook import queries
from projections.gradebook.queries import CourseFilter
from projections.gradebook.rows import CallerRights, CourseHead

SHOWN: Final = 100


async def list_courses(call: Call) -> Response:
    """The list, a hundred at a time."""
    query = Parameters(call)
    contains, after = query.text("search"), query.text("after")
    rights = (await ask(call, queries.caller_rights(call.caller.username))).value
    where = _visible(call, rights, contains)
    found = (await ask(call, queries.course_heads(where, after=after, limit=SHOWN + 1))).value
    shown = [course for course in found[:SHOWN] if _may_see(call, rights, course)]
    return html(
        call,
        "courses.html",
        courses=[(course, path(call, course.course_id)) for course in shown],
        search=contains,
        following=found[SHOWN - 1].course_id if len(found) > SHOWN else None,
        is_first=not after,
        here=path(call),
    )


def _visible(call: Call, rights: CallerRights | None, contains: str) -> CourseFilter:
    """Which courses to look at; whether each may be seen is asked of the one who knows."""
    caller = call.caller
    if caller.is_global_staff or (rights is not None and rights.is_staff):
        return CourseFilter(contains=contains)
    roles = [] if rights is None else rights.roles
    of_token = [ids for role, ids in caller.course_roles.items() if role in TEAM_ROLES]
    recorded = {course_id for _, course_id, role in roles if course_id and role in TEAM_ROLES}
    return CourseFilter(
        contains=contains,
        course_ids=sorted(recorded.union(*of_token)),
        orgs=sorted(
            {org for org, course, role in roles if not course and role in ORGANISATION_ROLES}
        ),
    )


def _may_see(call: Call, rights: CallerRights | None, course: CourseHead) -> bool:
    key = course_key(course.course_id)
    return key is not None and is_course_author(call.caller, rights, key)
