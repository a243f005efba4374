"""Saving an uploaded file of grades as overrides, and keeping what became of it.

The answer says what was saved, and waits until the gradebook shows it: the shipped client takes
any answer without errors for a success and never asks again. A file may hold so much that this
takes minutes. Then the answer begins before it is known: with spaces, which JSON allows in front,
so that nobody between us and the client takes the connection for dead. If this process dies, the
connection breaks off; the rows that were saved stay saved, and the same file may be sent again.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http.bulk_grades.access import open_course
from api.http.bulk_grades.columns import columns_of
from api.http.bulk_grades.results import answer, find_import, refused
from api.http.bulk_grades.sheet import SUCCESS, Sheet, SheetError, SheetRow, read_sheet, stored
from api.http.bulk_grades.uploads import Upload, read_upload
from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import Opened, is_frozen
from api.http.grades.content import CourseContent, content_of
from api.http.grades.learners import viewers
from api.http.grades.parameters import whole_number
from api.http.reading import ask
from api.http.responses import JSON, POSITION, dumps
from api.rendering import Result
from domain.application import Done
from domain.errors import ConflictError, OutcomeUnknownError, UnavailableError
from domain.grades.application import GRADE_IMPORT, Importing, OverrideRequest
from domain.grades.regrading import CourseVersion
from domain.grades.structure import Viewer
from projections.gradebook import queries

logger = logging.getLogger(__name__)

REASON: Final = "Bulk Grade Import"
PROMPT: Final = 5.0
"""Seconds after which the answer begins although it is not known yet."""

PAUSE: Final = 5.0
"""Seconds between two signs of life."""

AT_ONCE: Final = 250
"""Overrides that are asked for together: others shall not wait long for their turns."""

LOOKED_UP: Final = 1000
"""Learners that are looked up together."""

TRIES: Final = 3
"""How often a row is sent to a log that is too busy for it."""

PATIENCE: Final = 30.0
"""Seconds to wait for the gradebook to show what was saved."""

NO_USER: Final = "No such user: {}"
NOT_ENROLLED: Final = "Not enrolled in this course: {}"
NOT_SAVED: Final = "This row could not be saved, send it again"
NOT_RECORDED: Final = "What was saved could not be put on record, send the file again"

_under_way: set[asyncio.Task[Response]] = set()
"""Nobody else may hold them when their callers are gone."""


async def import_grades(call: Call) -> Response:
    """Save a file of grades, or tell again what became of one."""
    opened = await open_course(call)
    if is_frozen(opened.course, call.now()):
        raise errors.grades_frozen()
    call.provenance()  # who may not act for others is told before anything is read
    upload = await read_upload(call)
    content = await content_of(call, opened.course)
    if upload.content is None:
        found = await find_import(call, content.course_id, whole_number(upload.result_id or ""))
        names = _names(content)
        document = answer(found.value, content.course_id, names, found.value.operation_id)
        return _response(document, found.position)
    task = asyncio.create_task(_import(call, opened, content, upload))
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    done, _ = await asyncio.wait({task}, timeout=PROMPT)
    return task.result() if done else _Slowly(task)


async def _import(call: Call, opened: Opened, content: CourseContent, upload: Upload) -> Response:
    columns = columns_of(content)
    keys = {column.short: column.usage_key for column in columns}
    try:
        sheet = await asyncio.to_thread(read_sheet, upload.content or b"", content.course_id, keys)
    except SheetError as refusal:
        return _response(refused(refusal.messages), opened.position)
    seen_by = await _learners(call, content, sheet.rows)
    asked = [row for row in sheet.rows if row.grades]
    processed = sum(1 for row in sheet.rows if row.grades or row.error)
    position = 0
    if not sheet.failed:
        position = await _save(call, opened, content, asked, seen_by)
    saved = sum(1 for row in sheet.rows if row.status == SUCCESS)
    importing = _importing(sheet, upload.file_name, processed, saved)
    operation_id = None
    if sheet.rows:
        try:
            operation_id, position = await _record(call, content, importing)
        except (ConflictError, OutcomeUnknownError, UnavailableError):
            if not saved:
                raise
            logger.exception("an upload of grades was saved and not put on record")
            importing = importing._replace(error_message=NOT_RECORDED)
        await _wait_for(call, position)
    document = await asyncio.to_thread(
        answer, importing, content.course_id, _names(content), operation_id
    )
    return _response(document, max(position, opened.position))


def _names(content: CourseContent) -> dict[str, str]:
    return {column.short: column.name for column in columns_of(content)}


async def _learners(
    call: Call, content: CourseContent, rows: Sequence[SheetRow]
) -> dict[int, Viewer]:
    """Through whose eyes learners see the course; rows of others than its learners fail."""
    asked = {row.user_id: row for row in rows if row.grades and row.user_id is not None}
    ids = list(asked)
    found: dict[int, Viewer] = {}
    for start in range(0, len(ids), LOOKED_UP):
        part = ids[start : start + LOOKED_UP]
        learners = await ask(call, queries.learners_by_ids(content.course_id, part))
        found |= await viewers(call, content, list(learners.value.values()))
        missing = [user_id for user_id in part if user_id not in learners.value]
        if missing:
            users = (await ask(call, queries.users_by_ids(missing))).value
            for user_id in missing:
                message = NOT_ENROLLED if user_id in users else NO_USER
                asked[user_id].fail(message.format(user_id))
    return found


# --- saving -----------------------------------------------------------------------------------

Cell = tuple[SheetRow, OverrideRequest]


async def _save(
    call: Call,
    opened: Opened,
    content: CourseContent,
    rows: Sequence[SheetRow],
    seen_by: dict[int, Viewer],
) -> int:
    """Override what the rows ask for; return the last position.

    When nothing can be written any more the rest is not tried.
    """
    position = 0
    for part in _parts(rows, seen_by):
        reached = await _override(call, opened, content, part)
        position = max(position, reached)
        if not reached:
            break
    for row in rows:
        if row.status != SUCCESS:
            row.fail(NOT_SAVED)
    return position


def _parts(rows: Sequence[SheetRow], seen_by: dict[int, Viewer]) -> Iterator[list[Cell]]:
    """The cells to be overridden, so many at a time; a row is never divided."""
    part: list[Cell] = []
    for row in rows:
        assert row.user_id is not None
        viewer = seen_by[row.user_id]
        for usage_key, points in row.grades.items():
            requested = {"earned_graded": points, "earned_all": None}
            request = OverrideRequest(row.user_id, usage_key, requested, REASON, viewer)
            part.append((row, request))
        if len(part) >= AT_ONCE:
            yield part
            part = []
    if part:
        yield part


async def _override(
    call: Call, opened: Opened, content: CourseContent, part: Sequence[Cell]
) -> int:
    """Override these cells; return the last position, 0 when nothing was written."""
    course = CourseVersion(
        content.course_id,
        content.structure,
        content.policy,
        content.version or "",
        content.edited_at,
    )
    position = 0
    failures: list[BaseException] = []
    for _ in range(TRIES):
        outcomes = await call.backend.grades.override(
            course,
            [request for _, request in part],
            system=GRADE_IMPORT,
            changed_by=call.caller.username,
            changed_by_id=_caller_id(call, opened),
            provenance=call.provenance(),
        )
        again: list[Cell] = []
        busy: list[BaseException] = []
        for cell, outcome in zip(part, outcomes, strict=True):
            if isinstance(outcome, Done):
                # The cells of a row are written together.
                cell[0].status = SUCCESS
                position = max(position, outcome.position or 0)
            elif isinstance(outcome, UnavailableError):
                again.append(cell)  # certainly not written
                busy.append(outcome)
            else:
                failures.append(outcome)
        if not again:
            break
        part = again
    failures += busy
    if failures:
        logger.error("%d grades were not saved", len(failures), exc_info=failures[0])
    return position


def _caller_id(call: Call, opened: Opened) -> int | None:
    if opened.rights is not None:
        return opened.rights.user_id
    return whole_number(call.caller.user_id or "")


def _importing(sheet: Sheet, file_name: str, processed: int, saved: int) -> Importing:
    return Importing(
        file_name=file_name,
        total_rows=len(sheet.rows),
        processed_rows=processed,
        saved_rows=saved,
        columns=sheet.columns,
        rows=[stored(row) for row in sheet.rows],
        error_message=next((row.error for row in sheet.rows if row.error), None),
    )


async def _record(call: Call, content: CourseContent, importing: Importing) -> tuple[int, int]:
    """Keep what became of the upload; return its number and position."""
    done = await call.backend.grades.record_import(
        content.course_id,
        importing,
        imported_by=call.caller.username,
        provenance=call.provenance(),
    )
    return done.value.operation_id, done.position or 0


async def _wait_for(call: Call, position: int) -> None:
    """Wait until the gradebook shows what was saved. Saved it is, in any case."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(UnavailableError):
                    await call.backend.reads.ask(queries.users_by_ids([0]), at_least=position)
                    return
                await asyncio.sleep(0.1)  # a database that is away says so at once


# --- answering --------------------------------------------------------------------------------


def _response(document: Result, position: int) -> Response:
    headers = {POSITION: str(position), "Cache-Control": "no-store"}
    return Response(dumps(document), headers=headers, media_type=JSON)


class _Slowly(Response):
    """An answer that begins before it is known."""

    def __init__(self, task: "asyncio.Task[Response]") -> None:
        super().__init__(headers={"Cache-Control": "no-store"}, media_type=JSON)
        del self.headers["content-length"]
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send spaces until the answer is there."""
        start: dict[str, Any] = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": self.raw_headers})
        while True:
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            done, _ = await asyncio.wait({self._task}, timeout=PAUSE)
            if done:
                break
        await send({"type": "http.response.body", "body": bytes(self._task.result().body)})
