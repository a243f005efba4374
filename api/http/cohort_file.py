"""The file that puts users into cohorts: CSV with a column for the cohort and one for the user.

Source: Open edX, the upload of the course_groups interface; its texts and limits.
"""

import csv
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.http.bodies import too_large
from api.http.calls import Call
from api.http.problems import Problem

FIELD: Final = "uploaded-file"
MAX_FILE: Final = 2_000_000
_AROUND: Final = 64 * 1024
"""Bytes that the form may have besides the file."""
MAX_CELL: Final = 1024


class FileError(Exception):
    """The file cannot be used as it stands."""


async def read_members(call: Call) -> Mapping[str, Sequence[str]]:
    """Addresses or names of users by the name of the cohort in which they shall be.

    Of several rows about one user the last counts; rows without a user or a cohort are left
    out.

    Raises:
        FileError: no such file, or no such columns.
        Problem: 413 or 415.
    """
    return _members(_text(await _content(call)))


async def _content(call: Call) -> bytes:
    media_type = call.raw.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"multipart/form-data":
        raise Problem(415, "UnsupportedMediaTypeError", "the body must be multipart/form-data")
    try:
        form = await MultiPartParser(
            call.headers, _limited(call), max_files=1, max_fields=20
        ).parse()
    except (MultiPartException, UnicodeDecodeError, KeyError):
        raise FileError("The form could not be read.") from None
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise FileError(f"No file uploaded with key '{FIELD}'.")
        if not (file.filename or "").lower().endswith(".csv"):
            raise FileError("The file must end with the extension '.csv'.")
        content = await file.read(MAX_FILE + 1)
    finally:
        await form.close()
    if len(content) > MAX_FILE:
        raise FileError(f"The file must be at most {MAX_FILE} bytes long.")
    return content


async def _limited(call: Call) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in call.stream():
        size += len(chunk)
        if size > MAX_FILE + _AROUND:
            raise too_large(MAX_FILE)
        yield chunk


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError("The file must be in UTF-8.") from None


def _members(text: str) -> Mapping[str, Sequence[str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = reader.fieldnames or ()
        if "cohort" not in columns:
            raise FileError("The file must contain a 'cohort' column containing cohort names.")
        if "username" not in columns and "email" not in columns:
            raise FileError(
                "The file must contain a 'username' column, an 'email' column, or both."
            )
        rows = list(reader)
    except csv.Error as error:
        raise FileError(f"The file is no CSV: {error}.") from None
    cohort_of: dict[str, tuple[str, str]] = {}
    for row in rows:
        cohort = (row["cohort"] or "").strip()
        user = (row.get("email") or "").strip() or (row.get("username") or "").strip()
        if cohort and user and "\0" not in user and len(user) <= MAX_CELL:
            cohort_of[user.casefold()] = (cohort, user)
    found: dict[str, list[str]] = {}
    for cohort, user in cohort_of.values():
        found.setdefault(cohort, []).append(user)
    return found
