"""The cohort interface of Open edX: the cohorts of a course and who is in them.

Errors have its shape, ``developer_message`` and ``error_code``. A person is named by user name or
address; an address that nobody has is unknown, and nobody is assigned before they register.

Source: Open edX, the course_groups interface; what crashes there is refused with 400 or 404.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from starlette.responses import Response

from api.http.bodies import parse_json
from api.http.calls import Call
from api.http.cohort_file import FileError, read_members
from api.http.grades import errors
from api.http.grades.errors import ApiError, not_allowed
from api.http.grades.paging import address
from api.http.grades.parameters import Parameters, whole_number
from api.http.grades.permissions import is_global_staff
from api.http.learner_access import (
    WRITE_ENROLLMENTS,
    answer,
    context_of,
    course_key,
    has_scope,
    may_run_course,
    path_text,
)
from api.http.reading import ask, result
from api.http.responses import decode_cursor, encode_cursor
from domain.application import Done
from domain.errors import ForbiddenError, InvalidFieldsError, KeyDestroyedError
from domain.keys import CourseKey
from domain.learners.cohort import MANUAL, RANDOM
from domain.learners.cohorting import CohortState, Member
from domain.learners.errors import CohortNameTakenError, CohortNotFoundError, UserNotFoundError
from domain.learners.fields import BadValueError, email
from domain.learners.user import email_context
from projections.gradebook.queries import cohort_members, cohorts_of, users_by_email
from projections.gradebook.rows import CohortRow, CourseHead

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
MAX_USERS: Final = 10_000
LAST_RANDOM: Final = "There must be one cohort to which students can automatically be assigned."


# --- settings ---------------------------------------------------------------------------------


async def get_settings(call: Call) -> Response:
    """Whether a course uses cohorts."""
    _, course = await _course(call)
    position = (await ask(call, cohorts_of(course.course_id))).position
    return result(call, {"is_cohorted": course.is_cohorted}, position)


async def put_settings(call: Call) -> Response:
    """Say whether a course uses cohorts."""
    key, _ = await _course(call)
    body = await _body(call)
    if "is_cohorted" not in body:
        raise ApiError(400, 'Missing required field "is_cohorted".', "missing-fields")
    done = await call.backend.learners.set_cohorting(
        str(key), body["is_cohorted"], provenance=call.provenance()
    )
    return await answer(call, done, {"is_cohorted": done.value})


# --- cohorts ----------------------------------------------------------------------------------


async def get_cohorts(call: Call) -> Response:
    """The cohorts of a course: all of them, or a page when one is asked for."""
    key, _ = await _course(call)
    found = await ask(call, cohorts_of(str(key)))
    cohorts = [_cohort(row) for row in found.value]
    query = Parameters(call)
    if query.get("page_size") is None and query.get("page") is None:
        return result(call, cohorts, found.position)
    return result(call, _numbered_page(call, query, cohorts), found.position)


async def get_cohorts_as_object(call: Call) -> Response:
    """The same in the shape that older front ends ask for, at the address they know."""
    key, _ = await _course(call)
    found = await ask(call, cohorts_of(str(key)))
    return result(call, {"cohorts": [_cohort(row) for row in found.value]}, found.position)


async def create_cohort(call: Call) -> Response:
    """Give a course a cohort."""
    key, _ = await _course(call)
    body = await _body(call)
    if not body.get("name"):
        raise ApiError(400, '"name" must be specified to create cohort.', "missing-cohort-name")
    if not body.get("assignment_type"):
        raise ApiError(
            400,
            '"assignment_type" must be specified to create cohort.',
            "missing-assignment-type",
        )
    done = await call.backend.learners.create_cohort(
        str(key),
        body["name"],
        body["assignment_type"],
        body.get("user_partition_id"),
        body.get("group_id"),
        provenance=call.provenance(),
    )
    count = 0
    if not done.value.created:
        rows = (await ask(call, cohorts_of(str(key)))).value
        count = next((r.user_count for r in rows if r.cohort_id == done.value.cohort_id), 0)
    return await answer(call, done, _state(done.value, count))


async def get_cohort(call: Call) -> Response:
    """One cohort."""
    key, _ = await _course(call)
    row, position = await _row(call, key, _cohort_id(call))
    return result(call, _cohort(row), position)


async def change_cohort(call: Call) -> Response:
    """Change what is given of a cohort."""
    key, _ = await _course(call)
    cohort_id = _cohort_id(call)
    body = await _body(call)
    names = ("name", "assignment_type", "group_id", "user_partition_id")
    if not any(name in body for name in names):
        raise ApiError(
            400, "Request must include name, group_id, or assignment type.", "missing-fields"
        )
    group = None
    if "group_id" in body or "user_partition_id" in body:
        group = (body.get("user_partition_id"), body.get("group_id"))
        if group[1] is not None and group[0] is None:
            raise ApiError(
                400,
                "If group_id is specified, user_partition_id must also be specified.",
                "missing-user-partition-id",
            )
        if group[1] is None:
            group = (None, None)
    if body.get("assignment_type") == MANUAL:
        await _refuse_last_random(call, key, cohort_id)
    done = await call.backend.learners.change_cohort(
        str(key),
        cohort_id,
        name=body.get("name"),
        assignment_type=body.get("assignment_type"),
        group=group,
        provenance=call.provenance(),
    )
    return await answer(call, done, None, status=204)


async def _refuse_last_random(call: Call, key: CourseKey, cohort_id: int) -> None:
    """A course keeps a cohort into which learners can be put by chance."""
    rows = (await call.backend.reads.ask(cohorts_of(str(key)), latest=True)).value
    random = [row.cohort_id for row in rows if row.assignment_type == RANDOM]
    if random == [cohort_id]:
        raise ApiError(400, LAST_RANDOM, "last-random-cohort")


# --- members ----------------------------------------------------------------------------------


async def get_members(call: Call) -> Response:
    """Who is in a cohort, a page at a time."""
    key, _ = await _course(call)
    cohort_id = _cohort_id(call)
    await _row(call, key, cohort_id)
    query = Parameters(call)
    size = _page_size(query)
    after = None
    if text := query.text("cursor"):
        try:
            (after,) = decode_cursor(text, (str,))
        except ValueError:
            raise ApiError(404, "Invalid cursor") from None
    found = await ask(call, cohort_members(str(key), cohort_id, after, size + 1))
    rows = found.value[:size]
    more = len(found.value) > size
    following = address(call, cursor=encode_cursor([rows[-1].username])) if more else None
    document = {
        "next": following,
        "previous": None,
        "results": [
            {"email": one.email, "name": one.full_name, "username": one.username} for one in rows
        ],
    }
    return result(call, document, found.position)


async def add_members(call: Call) -> Response:
    """Put users into a cohort."""
    key, _ = await _course(call)
    cohort_id = _cohort_id(call)
    given = (await _body(call)).get("users")
    if not given:
        raise ApiError(400, "Missing users key in payload", "missing-users")
    return await _add(call, key, cohort_id, [given] if isinstance(given, str) else given)


async def add_member(call: Call) -> Response:
    """Put one user into a cohort."""
    key, _ = await _course(call)
    return await _add(call, key, _cohort_id(call), [_username(call)])


async def _add(call: Call, key: CourseKey, cohort_id: int, given: Any) -> Response:
    if not isinstance(given, list) or len(given) > MAX_USERS:
        raise ApiError(400, f"users must be a list of at most {MAX_USERS} names", "invalid-users")
    texts = [one for one in given if one != ""]
    names = await _usernames(call, [one.strip() for one in texts if _is_printable_name(one)])
    given_as = {username: name for name, username in names.items()}
    done = await call.backend.learners.assign_to_cohort(
        str(key), cohort_id, list(given_as), provenance=call.provenance()
    )
    assigned = done.value
    document = {
        "success": True,
        "added": await _moved(call, assigned.added),
        "changed": await _moved(call, assigned.changed),
        "present": [given_as[name] for name in assigned.present],
        "unknown": [name for name in assigned.unknown if not _is_malformed(name)],
        "preassigned": [],
        "invalid": [
            *(name for name in assigned.unknown if _is_malformed(name)),
            *(str(one) for one in texts if not _is_printable_name(one)),
        ],
    }
    return await answer(call, done, document)


async def _usernames(call: Call, names: Sequence[str]) -> dict[str, str]:
    """The user names of people by what they were called: by that, or by their address."""
    found = {name: name for name in names}
    known = await call.backend.learners.find_users([name for name in names if "@" in name])
    addresses: dict[str, list[str]] = {}
    for name in names:
        if "@" in name and name not in known:
            addresses.setdefault(name.lower(), []).append(name)
    if addresses:
        asked = await call.backend.reads.ask(users_by_email(addresses), latest=True)
        for row in reversed(asked.value):  # of those who share one, the first who registered
            found |= dict.fromkeys(addresses[(row.email or "").lower()], row.username)
    return found


async def remove_member(call: Call) -> Response:
    """Take a user out of a cohort."""
    key, _ = await _course(call)
    done = await call.backend.learners.remove_from_cohort(
        str(key), _cohort_id(call), _username(call), provenance=call.provenance()
    )
    if not done.value:
        raise ApiError(400, "User not assigned to the given cohort.", "user-not-in-cohort")
    return await answer(call, done, None, status=204)


async def upload_members(call: Call) -> Response:
    """Put users into cohorts by a file; rows that cannot be understood are left out."""
    key, course = await _course(call, for_upload=True)
    try:
        members = await read_members(call)
    except FileError as refused:
        raise ApiError(400, str(refused), "failed-validation") from None
    rows = (await call.backend.reads.ask(cohorts_of(course.course_id), latest=True)).value
    ids = {row.name: row.cohort_id for row in rows}
    position = None
    for name, users in members.items():
        if name in ids:
            usernames = list((await _usernames(call, users)).values())
            done = await call.backend.learners.assign_to_cohort(
                str(key), ids[name], usernames, provenance=call.provenance()
            )
            position = done.position or position
    return await answer(call, Done(None, position), None, status=204)


# --- what is asked ----------------------------------------------------------------------------


async def _course(call: Call, *, for_upload: bool = False) -> tuple[CourseKey, CourseHead]:
    """The course in the path, of which the caller must be staff; global staff for uploads."""
    text = path_text(call, "course_id")
    key = course_key(text)
    if key is None:
        raise ApiError(404, f"'{text}' is not a valid course key.", "invalid-course-key")
    context = await context_of(call, key)
    allowed = may_run_course(call.caller, context.caller, key)
    if for_upload:
        allowed = is_global_staff(call.caller, context.caller) or has_scope(
            call.caller, str(key), WRITE_ENROLLMENTS
        )
    if not allowed:
        raise not_allowed()
    if context.course is None:
        raise ApiError(404, "Course not found.", "course-not-found")
    return key, context.course


async def _body(call: Call) -> Mapping[str, Any]:
    body = parse_json(await call.raw_body())
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.", "invalid-body")
    return body


def _cohort_id(call: Call) -> int:
    text = path_text(call, "cohort_id") or ""
    number = whole_number(text) if text.isascii() and text.isdigit() else None
    if number is None:
        raise _no_cohort()
    return number


def _username(call: Call) -> str:
    username = path_text(call, "username")
    if username is None:
        raise _no_user()
    return username


async def _row(call: Call, key: CourseKey, cohort_id: int) -> tuple[CohortRow, int]:
    found = await ask(call, cohorts_of(str(key)))
    for row in found.value:
        if row.cohort_id == cohort_id:
            return row, found.position
    raise _no_cohort()


def _page_size(query: Parameters) -> int:
    size = whole_number(query.text("page_size") or str(DEFAULT_PAGE))
    return DEFAULT_PAGE if size is None or size <= 0 else min(size, LARGEST_PAGE)


def _is_printable_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value.strip())


def _is_malformed(name: str) -> bool:
    """Whether a text is meant as an address and is none."""
    if "@" not in name:
        return False
    try:
        email(name)
    except BadValueError:
        return True
    return False


# --- answers ----------------------------------------------------------------------------------


def _cohort(row: CohortRow) -> dict[str, Any]:
    return {
        "id": row.cohort_id,
        "name": row.name,
        "user_count": row.user_count,
        "assignment_type": row.assignment_type,
        "user_partition_id": row.user_partition_id,
        "group_id": row.group_id,
    }


def _state(state: CohortState, user_count: int) -> dict[str, Any]:
    return _cohort(CohortRow(state.cohort_id, state.course_id, *state.values, user_count))


def _numbered_page(call: Call, query: Parameters, entries: Sequence[Any]) -> dict[str, Any]:
    size = _page_size(query)
    pages = max(1, -(-len(entries) // size))
    number = whole_number(query.text("page") or "1")
    if number is None or not 1 <= number <= pages:
        raise ApiError(404, "Invalid page.")
    start = (number - 1) * size
    return {
        "next": address(call, page=number + 1) if number < pages else None,
        "previous": address(call, page=number - 1) if number > 1 else None,
        "count": len(entries),
        "num_pages": pages,
        "current_page": number,
        "start": start,
        "results": entries[start : start + size],
    }


async def _moved(call: Call, members: Sequence[Member]) -> list[dict[str, Any]]:
    vault = call.backend.vault
    await vault.load([one.email for one in members if one.email])
    found = []
    for one in members:
        address_of: str | None = None
        if one.email:
            with suppress(KeyDestroyedError):
                address_of = vault.open(one.email, email_context(one.user_id))
        entry = {"email": address_of, "username": one.username}
        if one.previous_cohort is not None:
            entry["previous_cohort"] = one.previous_cohort
        found.append(entry)
    return found


# --- refusals ---------------------------------------------------------------------------------


def _no_cohort() -> ApiError:
    return ApiError(404, "Cohort not found.", "cohort-not-found")


def _no_user() -> ApiError:
    return ApiError(404, "User does not exist.", "user-not-found")


def refusal(error: Exception, call: Call) -> Response:
    """The answer to any error; what is nobody's refusal is logged whole."""
    match error:
        case CohortNotFoundError():
            error = _no_cohort()
        case UserNotFoundError():
            error = _no_user()
        case CohortNameTakenError():
            error = ApiError(
                400, "A cohort with the same name already exists.", "cohort-name-exists"
            )
        case InvalidFieldsError():
            error = ApiError(400, str(error), "invalid-values")
        case ForbiddenError():
            error = not_allowed()
    return errors.refusal_where_none_provided(error, call)
