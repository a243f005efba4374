"""Publishing courses: as a tree of blocks, or as the archive that Open edX exports."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from api.http.bodies import JSON_TYPES, check_media_type, read_body, too_large
from api.http.calls import Call
from api.http.course_reads import course_key
from api.http.grades.permissions import is_global_staff
from api.http.idempotency import Written, idempotency, respond
from api.http.learner_access import WRITE_COURSES as PUBLISH
from api.http.learner_access import rights_of
from api.http.problems import Problem, error_at, invalid
from api.olx import read_course
from domain.courses.application import Published
from domain.courses.errors import CourseRequestError
from domain.courses.outline import flatten, places
from domain.errors import Fault, ForbiddenError
from domain.keys import CourseKey

OUTLINE_LIMIT: Final = 20 * 1024 * 1024
ARCHIVE_LIMIT: Final = 64 * 1024 * 1024
ARCHIVE_FIELDS: Final = ("course", "file")
_READ: Final = 1024 * 1024

_POLICY: Final = {"graders": "graders", "grade_cutoffs": "cutoffs"}
"""What a policy has in the body, and how that is called inside."""

_IN_POLICY: Final = ("body", "grading_policy")

Body = Mapping[str, Any]


# --- a tree of blocks -------------------------------------------------------------------------


async def publish_course(call: Call) -> Response:
    """Publish a version of a course; the same content again changes nothing."""
    key = course_key(call)
    await _refuse_unless_publisher(call, str(key))
    check_media_type(call.raw, JSON_TYPES)
    limit = max(OUTLINE_LIMIT, call.config.body_limit)
    raw = await read_body(call.receive, call.raw, limit)
    # A large outline takes a while to be read; others are answered meanwhile.
    body, blocks = await asyncio.to_thread(_read, call, key, raw)
    try:
        done = await call.backend.courses.publish(
            str(key),
            display_name=body.get("display_name"),
            start=body.get("start"),
            end=body.get("end"),
            self_paced=body.get("self_paced", False),
            blocks=blocks,
            grading_policy=_policy(body.get("grading_policy")),
            flags=body.get("flags"),
            modes=body.get("modes"),
            provenance=call.provenance(),
        )
    except CourseRequestError as refused:
        raise _in_body(refused, body) from None
    return await respond(call, done, _published)


def _read(call: Call, key: CourseKey, raw: bytes) -> tuple[Body, list[Any]]:
    """The body, and the blocks of its outline."""
    body = call.members(raw)
    missing = [name for name in ("display_name", "outline") if body.get(name) is None]
    if missing:
        raise invalid(
            "the body was refused",
            *(error_at("This field is required.", "required", "body", name) for name in missing),
        )
    if not isinstance(body["outline"], list):
        raise invalid(
            "the body was refused",
            error_at("Input should be a list.", "list_type", "body", "outline"),
        )
    return body, flatten(key, body["outline"], display_name=body["display_name"])


def _policy(given: Any) -> Any:
    """The policy with the names that it has inside; what is no policy is left as it is."""
    if not isinstance(given, dict):
        return given
    if unknown := [name for name in given if name not in _POLICY]:
        raise invalid(
            "the body has unknown fields",
            *(error_at("Unknown field.", "unknown", *_IN_POLICY, name) for name in unknown),
        )
    return {_POLICY[name]: value for name, value in given.items()}


def _in_body(refused: CourseRequestError, body: Body) -> CourseRequestError:
    """The refusal with the places at which things stand in the body."""
    tree = places(body["outline"])
    names = {inside: name for name, inside in _POLICY.items()}
    found: dict[Fault, None] = {}
    for fault in refused.faults:
        match fault.loc:
            case ("blocks", 0, *rest):  # the course itself, made of the other fields
                loc: tuple[str | int, ...] = tuple(rest)
            case ("blocks", int(number), *rest):
                loc = ("outline", *tree[number], *rest)
            case ("blocks", *rest):
                loc = ("outline", *rest)
            case ("grading_policy", str(name), *rest):
                loc = ("grading_policy", names[name], *rest)
            case loc:
                pass
        found[fault._replace(loc=loc)] = None
    return CourseRequestError(list(found))


# --- an archive -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Upload:
    """An archive that was sent, in memory or in a file."""

    file: BinaryIO
    course_id: str | None

    def digest(self) -> bytes:
        """What tells this upload from others; how its parts were put together does not."""
        found = hashlib.sha256()
        while chunk := self.file.read(_READ):
            found.update(chunk)
        self.file.seek(0)
        return found.digest() + (self.course_id or "").encode(errors="backslashreplace")


async def import_course(call: Call) -> Response:
    """Publish a course from an export of Open edX."""
    await _refuse_unless_publisher(call, None)
    async with _upload(call) as upload:
        digest = await asyncio.to_thread(upload.digest)
        imported = await asyncio.to_thread(read_course, upload.file, course_id=upload.course_id)
    await _refuse_unless_publisher(call, imported.course_id)

    def render(published: Published) -> Written:
        answer = _published(published)
        return Written(answer.status, (answer.body or {}) | {"report": imported.report})

    done = await call.backend.courses.publish(
        imported.course_id,
        display_name=imported.display_name,
        start=imported.start,
        end=imported.end,
        self_paced=imported.self_paced,
        blocks=imported.blocks,
        grading_policy={"graders": imported.graders, "cutoffs": imported.cutoffs},
        provenance=call.provenance(),
        idempotency=idempotency(call, digest, render),
    )
    return await respond(call, done, render)


@asynccontextmanager
async def _upload(call: Call) -> AsyncIterator[_Upload]:
    """The form that was sent, whose file is gone afterwards.

    Raises:
        Problem: 400, 413 or 415.
    """
    media_type = call.raw.get(b"content-type", b"").partition(b";")[0].strip().lower()
    encoding = call.raw.get(b"content-encoding", b"identity").lower()
    if media_type != b"multipart/form-data" or encoding != b"identity":
        raise Problem(
            415,
            "UnsupportedMediaTypeError",
            "the body must be multipart/form-data",
            headers={"Accept-Post": "multipart/form-data"},
        )
    parser = MultiPartParser(call.headers, _limited(call), max_files=1, max_fields=1)
    try:
        form = await parser.parse()
    except MultiPartException as refused:
        raise invalid(
            "the form was refused", error_at(refused.message, "form_invalid", "body")
        ) from None
    try:
        yield _upload_of(form)
    finally:
        await form.close()


async def _limited(call: Call) -> AsyncGenerator[bytes, None]:
    """The body as it comes in, up to its limit."""
    announced = call.raw.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > ARCHIVE_LIMIT:
        raise too_large(ARCHIVE_LIMIT)
    size = 0
    async for chunk in call.stream():
        size += len(chunk)
        if size > ARCHIVE_LIMIT:
            raise too_large(ARCHIVE_LIMIT)
        yield chunk


def _upload_of(form: FormData) -> _Upload:
    """The file and the key among the fields of a form."""
    errors = [
        error_at("Unknown field.", "unknown", "body", name)
        for name in form
        if name not in (*ARCHIVE_FIELDS, "course_id")
    ]
    files = [value for name in ARCHIVE_FIELDS if isinstance(value := form.get(name), UploadFile)]
    if len(files) != 1:
        errors.append(error_at("A file is required.", "required", "body", "course"))
    course_id = form.get("course_id")
    if not isinstance(course_id, str | None):
        errors.append(error_at("Not a valid string.", "string_type", "body", "course_id"))
    if errors or not isinstance(course_id, str | None):
        raise invalid("the form was refused", *errors)
    return _Upload(files[0].file, course_id or None)


# --- what both share --------------------------------------------------------------------------


def _published(published: Published) -> Written:
    return Written(
        201 if published.is_new else 200,
        {
            "course_id": published.course_id,
            "version": published.version,
            "changed": list(published.changed),
        },
    )


async def _refuse_unless_publisher(call: Call, course_id: str | None) -> None:
    """Turn away all but global staff and services; without a course, whoever may nowhere.

    Roles in a course do not count: what a course is, whoever runs the site says.
    """
    caller = call.caller
    has_scope = caller.is_global_staff or PUBLISH in caller.scopes
    may = caller.may_somewhere(PUBLISH) if course_id is None else caller.may(PUBLISH, course_id)
    if not (has_scope and may) and not is_global_staff(caller, await rights_of(call)):
        raise ForbiddenError(f"publishing takes global staff or the scope {PUBLISH}")
