"""Who may write what about people: services by their scopes, staff by token or by record.

A service with the scope is let through without a look at what is recorded, so that users
and enrolments are taken in while read models are built.
"""

from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from api.http.auth import Caller
from api.http.calls import Call
from api.http.grades.permissions import has_staff_access, is_global_staff
from api.http.responses import written
from domain.application import Done
from domain.errors import ForbiddenError, UnavailableError
from domain.keys import CourseKey, InvalidKeyError, parse_course_key
from projections.gradebook.queries import caller_rights, course_context
from projections.gradebook.rows import CallerRights, CourseContext, CourseHead

WRITE_USERS: Final = "users:write"
WRITE_ENROLLMENTS: Final = "enrollments:write"
WRITE_COURSES: Final = "courses:write"

INSTRUCTOR: Final = "instructor"
LONGEST_TEXT: Final = 512


async def rights_of(call: Call) -> CallerRights | None:
    """What is recorded of the caller."""
    return (await call.backend.reads.ask(caller_rights(call.caller.username))).value


async def may_write_everywhere(call: Call, *scopes: str) -> bool:
    """Whether the caller is global staff, by token or by record, or a service with a scope."""
    caller = call.caller
    return any(caller.may_everywhere(scope) for scope in scopes) or is_global_staff(
        caller, await rights_of(call)
    )


async def refuse_unless_writer(call: Call, *scopes: str) -> None:
    """Turn away all but global staff and services.

    Raises:
        ForbiddenError: such a caller.
    """
    if not await may_write_everywhere(call, *scopes):
        raise ForbiddenError(f"this takes global staff or the scope {' or '.join(scopes)}")


def has_scope(caller: Caller, course_id: str, *scopes: str) -> bool:
    """Whether a service may use one of these scopes in a course."""
    return any(scope in caller.scopes and caller.may(scope, course_id) for scope in scopes)


def may_run_course(caller: Caller, rights: CallerRights | None, key: CourseKey) -> bool:
    """Whether the caller is of the staff of a course, or a service that writes enrolments."""
    return has_scope(caller, str(key), WRITE_ENROLLMENTS, WRITE_COURSES) or has_staff_access(
        caller, rights, key
    )


def is_instructor(caller: Caller, rights: CallerRights | None, key: CourseKey) -> bool:
    """Whether the caller may say who is of the team of a course."""
    if caller.only_own or (caller.content_orgs is not None and key.org not in caller.content_orgs):
        return False
    if caller.is_global_staff or (rights is not None and rights.is_active and rights.is_staff):
        return True
    return str(key) in caller.course_roles.get(INSTRUCTOR, ()) or (
        rights is not None
        and rights.is_active
        and any(
            role == INSTRUCTOR and (on == str(key) or (on is None and org == key.org))
            for org, on, role in rights.roles
        )
    )


async def context_of(call: Call, key: CourseKey) -> CourseContext:
    """The course and the rights of the caller.

    A course that is not found is looked for again in all that the log has by now: it may
    have been published the moment before.
    """
    question = course_context(str(key), call.caller.username)
    found = await call.backend.reads.ask(question, at_least=call.min_position)
    if found.value.course is None:
        found = await call.backend.reads.ask(question, latest=True)
    return found.value


async def course_of(call: Call, key: CourseKey) -> CourseHead | None:
    """A published course."""
    return (await context_of(call, key)).course


async def answer(call: Call, done: Done[Any], value: Any, *, status: int = 200) -> Response:
    """The answer to a write, given when whoever asks next sees what was written.

    When the read model takes too long the answer is the same: it is written.
    """
    position = done.position
    if position is None:
        position = await call.backend.events.head()
    else:
        with suppress(UnavailableError):
            await call.backend.reads.ask(caller_rights(call.caller.username), at_least=position)
    return written(value, position, status=status)


def path_text(call: Call, name: str) -> str | None:
    """A parameter of the path, decoded; None for what nothing can be called."""
    try:
        text = unquote_to_bytes(call.scope["path_params"][name]).decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) <= LONGEST_TEXT and "\0" not in text else None


def course_key(text: object) -> CourseKey | None:
    """The key that a text is, without a branch; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return parse_course_key(text).without_branch
    except InvalidKeyError:
        return None
