"""Taking in a form with a file of grades, or with the number of an upload to be asked about."""

from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.http.bodies import FORM_TYPES, too_large
from api.http.bulk_grades.sheet import FILE_LIMIT
from api.http.calls import Call
from api.http.grades.errors import ApiError
from api.http.problems import Problem

BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes; a file that is too large is told so in the answer, up to here."""

FILE: Final = "csv"
RESULT: Final = "result_id"
LONGEST_NAME: Final = 255
MULTIPART: Final = b"multipart/form-data"


class Upload(NamedTuple):
    """A form. ``content`` is at most a byte longer than files may be."""

    file_name: str
    content: bytes | None
    result_id: str | None


async def read_upload(call: Call) -> Upload:
    """The form of a request.

    Raises:
        ApiError: 400: it holds neither.
        Problem: 413 or 415.
    """
    if call.has_form:
        result_id = (await call.form_fields()).get(RESULT)
        return _checked(Upload("", None, result_id or None))
    media_type = call.raw.get(b"content-type", b"").partition(b";")[0].strip().lower()
    encoding = call.raw.get(b"content-encoding", b"identity").lower()
    if media_type != MULTIPART or encoding != b"identity":
        accepted = b", ".join((MULTIPART, *FORM_TYPES)).decode()
        raise Problem(
            415,
            "UnsupportedMediaTypeError",
            "the body must be a form",
            headers={"Accept-Post": accepted},
        )
    parser = MultiPartParser(call.headers, _limited(call), max_files=1, max_fields=10)
    try:
        form = await parser.parse()
    except MultiPartException as refused:
        raise ApiError(400, f"Multipart form parse error - {refused.message}") from None
    try:
        file, asked = form.get(FILE), form.get(RESULT)
        if not isinstance(file, UploadFile):
            named = asked if isinstance(asked, str) and asked else None
            return _checked(Upload("", None, named))
        content = await file.read(FILE_LIMIT + 1)
        return Upload(_plain(file.filename or ""), content, None)
    finally:
        await form.close()


async def _limited(call: Call) -> AsyncGenerator[bytes, None]:
    """The body as it comes in, up to its limit."""
    announced = call.raw.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > BODY_LIMIT:
        raise too_large(BODY_LIMIT)
    size = 0
    async for chunk in call.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise too_large(BODY_LIMIT)
        yield chunk


def _checked(upload: Upload) -> Upload:
    if upload.result_id is None:
        raise ApiError(400, f"The form needs a file in the field {FILE}.")
    return upload


def _plain(name: str) -> str:
    """The name of a file, without folders and what cannot be shown."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:LONGEST_NAME]
