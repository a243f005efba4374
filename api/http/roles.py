"""Roles in courses over HTTP: who is of the team of a course."""

from typing import Any, Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.course_reads import course_key
from api.http.idempotency import Written, respond
from api.http.learner_access import (
    WRITE_COURSES,
    WRITE_USERS,
    has_scope,
    is_instructor,
    rights_of,
)
from api.http.learner_schemas import HeldRole
from api.http.problems import Locations
from api.http.routing import Answers, Operation
from api.http.submissions import ON_BEHALF_OF
from domain.errors import ForbiddenError
from domain.keys import CourseKey
from domain.learners.fields import ROLES

TAG: Final = "roles"
PATH: Final = "/api/courses/v1/courses/{course_id:course}/roles/{role}/{username}/"


async def grant_role(call: Call) -> Response:
    """Give a user a role in a course."""
    key = await _allowed_course(call)
    username = call.path_text("username")
    done = await call.backend.learners.grant_role(
        username, call.path_text("role"), course_id=str(key), provenance=call.provenance()
    )
    return await respond(
        call, done, lambda role: Written(200, {"username": username, **role._asdict()})
    )


async def revoke_role(call: Call) -> Response:
    """Take a role in a course away."""
    key = await _allowed_course(call)
    done = await call.backend.learners.revoke_role(
        call.path_text("username"),
        call.path_text("role"),
        course_id=str(key),
        provenance=call.provenance(),
    )
    return await respond(call, done, lambda _: Written(204))


async def _allowed_course(call: Call) -> CourseKey:
    key = course_key(call)
    allowed = has_scope(call.caller, str(key), WRITE_COURSES, WRITE_USERS) or is_instructor(
        call.caller, await rights_of(call), key
    )
    if not allowed:
        raise ForbiddenError("roles are given by instructors of the course and global staff")
    return key


_IN_PATH: Final = Locations("path")
_PATHS: Final = {
    "course_id": "Key of a course; escaped, or as it is.",
    "role": f"One of {', '.join(sorted(ROLES))}.",
    "username": "Of a registered user.",
}
_SHARED: Final[dict[str, Any]] = {
    "path": PATH,
    "tag": TAG,
    "parameters": (ON_BEHALF_OF,),
    "path_descriptions": _PATHS,
    "problems": (400, 401, 403, 404, 409, 503, 504),
    "locations": _IN_PATH,
}

OPERATIONS: Final = (
    Operation(
        method="PUT",
        handler=grant_role,
        operation_id="grantRole",
        summary="Give a user a role in a course; once more writes nothing.",
        answers={200: Answers("The role.", HeldRole, headers=("X-Log-Position",))},
        **_SHARED,
    ),
    Operation(
        method="DELETE",
        handler=revoke_role,
        operation_id="revokeRole",
        summary="Take a role in a course away; also from who does not have it.",
        answers={204: Answers("Done.", headers=("X-Log-Position",))},
        **_SHARED,
    ),
)
