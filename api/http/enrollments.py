"""The enrolment interface of Open edX: who is in which course, on which track, and who is what.

Errors have its shapes: ``message`` for what is wrong with an enrolment, ``detail`` for what
its framework says. A course that nobody published has no enrolments here either, because
clients rely on being told.

Source: Open edX, the enrollment interface.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from starlette.responses import Response

from api.http.auth import UnauthenticatedError
from api.http.bodies import parse_json
from api.http.calls import Call
from api.http.grades.errors import ApiError
from api.http.grades.parameters import Parameters
from api.http.grades.permissions import has_staff_access, is_global_staff
from api.http.idempotency import Written, idempotency, reopen
from api.http.learner_access import (
    WRITE_ENROLLMENTS,
    answer,
    context_of,
    course_key,
    course_of,
    has_scope,
    may_write_everywhere,
    path_text,
    refuse_unless_writer,
    rights_of,
)
from api.http.learner_schemas import (
    CallerRoles,
    Enrollment,
    EnrollmentCourse,
    EnrollmentRefusal,
    GivenEnrollment,
)
from api.http.problems import AUTHENTICATE, invalid, problem_of
from api.http.reading import ask, result
from api.http.routing import Answers, Operation, Parameter
from api.http.submissions import IDEMPOTENCY_KEY, IF_NONE_MATCH, MIN_POSITION, ON_BEHALF_OF
from domain.errors import ForbiddenError, InvalidFieldsError
from domain.keys import InvalidKeyError, parse_course_key
from domain.learners.enrolling import EnrollmentState
from domain.learners.errors import UserNotFoundError
from projections.gradebook.queries import (
    caller_rights,
    courses_by_ids,
    enrollment_of,
    enrollments_of,
)
from projections.gradebook.rows import CourseHead, CourseRow, EnrollmentRow

PREFIX: Final = "/api/enrollment/v1"
TAG: Final = "enrollments"

AUDIT: Final = {"slug": "audit", "name": "Audit", "expired_at": None}
"""The one track of a course that names none."""

_NOT_ALLOWED: Final = "You do not have permission to perform this action."
_NOT_PROVIDED: Final = "Authentication credentials were not provided."


class EnrollmentError(Exception):
    """A request that is refused in the words of Open edX."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


# --- commands ---------------------------------------------------------------------------------


async def enroll(call: Call) -> Response:
    """Enrol a user, change the track, or end the enrolment."""
    await refuse_unless_writer(call, WRITE_ENROLLMENTS)
    raw = await call.raw_body()
    body = parse_json(raw)
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    username, mode, is_active = body.get("user"), body.get("mode"), body.get("is_active")
    details = body.get("course_details")
    course_id = details.get("course_id") if isinstance(details, dict) else None
    if not course_id:
        raise EnrollmentError("Course ID must be specified to create a new enrollment.")
    key = course_key(course_id)
    course = None if key is None else await course_of(call, key)
    if key is None or course is None:
        raise EnrollmentError(f"No course '{course_id}' found for enrollment")
    if not isinstance(is_active, bool | None):
        raise EnrollmentError(f"'{is_active}' is an invalid enrollment activation status.")
    if isinstance(mode, str) and course.modes and mode not in {one["slug"] for one in course.modes}:
        raise EnrollmentError(
            f"The [{mode}] course mode is expired or otherwise unavailable for course run"
            f" [{course_id}]."
        )
    name = call.caller.username if username in (None, "") else username
    now = call.now()

    def render(state: EnrollmentState) -> Written:
        row = EnrollmentRow(
            state.enrollment_id,
            state.user_id,
            name,
            state.course_id,
            state.mode,
            state.is_active,
            state.enrolled_at,
        )
        return Written(200, _enrollment(row, course, now))

    done = await call.backend.learners.set_enrollment(
        name,
        str(key),
        mode,
        is_active,
        provenance=call.provenance(),
        idempotency=idempotency(call, raw, render),
    )
    if done.replay is not None:
        assert done.position is not None
        return (await reopen(call, done.replay)).response(done.position, replayed=True)
    return await answer(call, done, render(done.value).body)


# --- questions --------------------------------------------------------------------------------


async def get_enrollment(call: Call) -> Response:
    """One enrolment; null when there never was one."""
    text = path_text(call, "key") or ""
    name, comma, course_id = text.rpartition(",")
    username = name if comma else call.caller.username
    key = course_key(course_id)
    if key is None:
        raise EnrollmentError(f"No course '{course_id}' found for enrollment")
    context = await context_of(call, key)
    caller = call.caller
    allowed = (
        username == caller.username
        or has_scope(caller, str(key), WRITE_ENROLLMENTS)
        or has_staff_access(caller, context.caller, key)
    )
    if not allowed:  # nor is it told whether there is one
        raise EnrollmentError("Not found.", 404)
    found = await ask(call, enrollment_of(username, str(key)))
    value = None
    if found.value is not None:
        value = _enrollment(found.value, context.course, call.now())
    return result(call, value, found.position)


async def get_enrollments(call: Call) -> Response:
    """The active enrolments of a user that the caller may know of."""
    username = Parameters(call).text("user") or call.caller.username
    found = await ask(call, enrollments_of(username))
    rows = [row for row in found.value if row.is_active]
    if username != call.caller.username and not await may_write_everywhere(call, WRITE_ENROLLMENTS):
        rights = await rights_of(call)
        rows = [
            row
            for row in rows
            if has_scope(call.caller, row.course_id, WRITE_ENROLLMENTS)
            or has_staff_access(call.caller, rights, parse_course_key(row.course_id))
        ]
    by_id: dict[str, CourseRow] = {}
    if rows:
        courses = await ask(call, courses_by_ids([row.course_id for row in rows]))
        by_id = {course.course_id: course for course in courses.value}
    now = call.now()
    values = [_enrollment(row, by_id.get(row.course_id), now) for row in rows]
    return result(call, values, found.position)


async def get_enrollment_course(call: Call) -> Response:
    """A course as those see it who enrol."""
    text = path_text(call, "course_id")
    key = course_key(text)
    position = (await ask(call, caller_rights(call.caller.username))).position
    course = None if key is None else await course_of(call, key)
    if course is None:
        raise EnrollmentError(f"No course found for course ID '{text}'")
    expired = Parameters(call).text("include_expired").lower() in ("1", "true")
    return result(call, _course(course, call.now(), include_expired=expired), position)


async def get_roles(call: Call) -> Response:
    """The roles of the caller, by record and by token."""
    query = Parameters(call)
    wanted = query.text("course_id") or query.text("courseId")
    found = await ask(call, caller_rights(call.caller.username))
    rights = found.value
    roles = {tuple(role) for role in rights.roles} if rights and rights.is_active else set()
    for role, course_ids in call.caller.course_roles.items():
        roles |= {(_org(course_id), course_id, role) for course_id in course_ids}
    shown = [
        {"org": org, "course_id": course_id, "role": role}
        for org, course_id, role in sorted(roles, key=lambda one: (one[0], one[1] or "", one[2]))
        if not wanted or course_id == wanted
    ]
    document = {"roles": shown, "is_staff": is_global_staff(call.caller, rights)}
    return result(call, document, found.position)


# --- answers ----------------------------------------------------------------------------------


def _enrollment(
    row: EnrollmentRow, course: CourseHead | CourseRow | None, now: datetime
) -> dict[str, Any]:
    return {
        "created": row.enrolled_at,
        "mode": row.mode,
        "is_active": row.is_active,
        "course_details": (
            _unknown_course(row.course_id)
            if course is None
            else _course(course, now, include_expired=False)
        ),
        "user": row.username,
    }


def _course(
    course: CourseHead | CourseRow, now: datetime, *, include_expired: bool
) -> dict[str, Any]:
    modes = [_mode(mode) for mode in course.modes or [AUDIT]]
    return {
        "course_id": course.course_id,
        "course_name": course.display_name,
        "enrollment_start": None,
        "enrollment_end": None,
        "course_start": course.start,
        "course_end": course.end,
        "invite_only": False,
        "course_modes": [
            mode
            for mode in modes
            if include_expired
            or mode["expiration_datetime"] is None
            or mode["expiration_datetime"] > now
        ],
        "pacing_type": "Self Paced" if course.self_paced else "Instructor Paced",
    }


def _unknown_course(course_id: str) -> dict[str, Any]:
    names = ("enrollment_start", "enrollment_end", "course_start", "course_end")
    return {
        "course_id": course_id,
        "course_name": "",
        **dict.fromkeys(names),
        "invite_only": False,
        "course_modes": [],
        "pacing_type": "Instructor Paced",
    }


def _mode(mode: Mapping[str, Any]) -> dict[str, Any]:
    expired_at = mode.get("expired_at")
    return {
        "slug": mode["slug"],
        "name": mode.get("name") or mode["slug"],
        "min_price": 0,
        "suggested_prices": "",
        "currency": "usd",
        "expiration_datetime": None if expired_at is None else datetime.fromisoformat(expired_at),
        "description": None,
        "sku": None,
        "bulk_sku": None,
    }


def _org(course_id: str) -> str:
    try:
        return parse_course_key(course_id).org
    except InvalidKeyError:
        return ""


# --- refusals ---------------------------------------------------------------------------------


def refusal(error: Exception, call: Call) -> Response:
    """The answer to any error; what is nobody's refusal is logged whole."""
    match error:
        case EnrollmentError() if error.status == 404:
            return _response(404, detail=str(error))
        case EnrollmentError():
            return _response(error.status, message=str(error))
        case UserNotFoundError():
            text = str(error)
            return _response(406, message=f"{text[:1].upper()}{text[1:]}.")
        case InvalidFieldsError():
            return _response(400, message=str(error))
        case ApiError():
            return _response(error.status, detail=error.message)
        case UnauthenticatedError():
            detail = str(error) if b"authorization" in call.raw else _NOT_PROVIDED
            return _response(401, headers=AUTHENTICATE, detail=detail)
        case ForbiddenError():
            return _response(403, detail=_NOT_ALLOWED)
    problem = problem_of(error)
    return _response(problem.status, headers=problem.headers, detail=problem.detail)


def _response(
    status: int, *, headers: Mapping[str, str] | None = None, **texts: str | None
) -> Response:
    document = {
        name: None if text is None else text.encode(errors="backslashreplace").decode()
        for name, text in texts.items()
    }
    return Response(
        orjson.dumps(document),
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


# --- operations -------------------------------------------------------------------------------

_OF_READS: Final = ("X-Log-Position", "ETag")
_SAME: Final = Answers("The answer at hand is the same.", headers=_OF_READS)
_COURSE: Final = Parameter("course_id", "Only roles in this course.")


def _refused(*statuses: int) -> dict[int, Answers]:
    texts = {
        400: "The request was refused.",
        401: "There is no token that can be trusted.",
        403: "The token does not allow this.",
        404: "There is no such thing, or not for the caller.",
        406: "There is no such user.",
        409: "Others changed the same at the same time; send it again.",
        413: "The body is too large.",
        415: "The body has another format than this takes.",
        422: "The idempotency key was used for another request.",
        503: "This cannot be answered now; try again later.",
        504: "It is not known whether this was written.",
    }
    return {status: Answers(texts[status], EnrollmentRefusal) for status in statuses}


def _read(
    path: str,
    handler: Any,
    operation_id: str,
    summary: str,
    schema: Any,
    *statuses: int,
    **more: Any,
) -> Operation:
    return Operation(
        method="GET",
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        parameters=(*more.pop("parameters", ()), MIN_POSITION, IF_NONE_MATCH),
        answers={
            200: Answers("The answer.", schema, headers=_OF_READS),
            304: _SAME,
            **_refused(401, *statuses, 503),
        },
        refusal=refusal,
        **more,
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PREFIX + "/enrollment/",
        handler=enroll,
        operation_id="enroll",
        tag=TAG,
        summary="Enrol a user, change the track, or end the enrolment; the same again writes nothing.",
        parameters=(IDEMPOTENCY_KEY, ON_BEHALF_OF),
        body=GivenEnrollment,
        answers={
            200: Answers(
                "The enrolment.", Enrollment, headers=("X-Log-Position", "Idempotent-Replayed")
            ),
            **_refused(400, 401, 403, 406, 409, 413, 415, 422, 503, 504),
        },
        refusal=refusal,
    ),
    _read(
        "/enrollment/",
        get_enrollments,
        "getEnrollments",
        "The active enrolments of a user, as far as the caller may know of them.",
        list[Enrollment],
        400,
        parameters=(Parameter("user", "Whose; the caller's when left out."),),
    ),
    _read(
        "/enrollment/{key:any}/",
        get_enrollment,
        "getEnrollment",
        "One enrolment, active or not; null when there never was one.",
        Enrollment | None,
        400,
        404,
        path_descriptions={
            "key": "User name, a comma and the key of the course; the caller's with the key alone."
        },
    ),
    _read(
        "/course/{course_id:course}/",
        get_enrollment_course,
        "getEnrollmentCourse",
        "A course with the tracks on which it can be taken.",
        EnrollmentCourse,
        400,
        parameters=(
            Parameter(
                "include_expired",
                "1 to show tracks that have expired, too.",
                {"type": "string", "enum": ["0", "1"]},
            ),
        ),
        path_descriptions={"course_id": "Key of a course; escaped, or as it is."},
    ),
    _read(
        "/roles/",
        get_roles,
        "getRoles",
        "The roles of the caller.",
        CallerRoles,
        400,
        parameters=(_COURSE, Parameter("courseId", "The same.")),
    ),
)
