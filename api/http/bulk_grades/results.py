"""What became of an upload: as its answer says it, as a file, and in the list of all.

Rows are kept without what all of them share: the course, and the names of subsections, which
are those of today.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from api.http.bulk_grades.access import open_course
from api.http.bulk_grades.columns import NAME, columns_of, guarded, line
from api.http.bulk_grades.sheet import COURSE, FAILURE
from api.http.calls import Call
from api.http.grades.content import CourseContent
from api.http.grades.errors import NOT_FOUND, ApiError, not_allowed
from api.http.reading import ask, result
from api.rendering import Result
from domain.grades.application import Importing
from projections.gradebook import queries
from projections.gradebook.rows import GradeImportRow
from projections.read_model import Answer

PROCESSOR: Final = "bulk_grades.api.GradeCSVProcessor"
"""What clients know an upload of grades by."""


def refused(messages: Sequence[str]) -> Result:
    """The answer to a file that was not read to its end."""
    return _answer(0, 0, 0, [], messages, None)


def answer(
    importing: Importing | GradeImportRow,
    course_id: str,
    names: Mapping[str, str],
    operation_id: int | None,
) -> Result:
    """The answer to an upload, also when it is asked for later.

    Args:
        importing: what became of it.
        course_id: of all its rows.
        names: of subsections by their short names.
        operation_id: under which it is kept; None when it could not be.
    """
    failed: dict[str, list[int]] = {}
    error_rows = []
    for number, row in enumerate(importing.rows):
        if row["status"] == FAILURE:
            failed.setdefault(row.get("error", ""), []).append(number + 2)
            shown = {name: _cell(row, name, course_id, names) for name in importing.columns}
            error_rows.append({**shown, "status": row["status"], "error": row.get("error", "")})
    messages = [f"{message} ({_lines(numbers)})" for message, numbers in failed.items()]
    if not messages and importing.error_message:
        messages = [importing.error_message]
    counts = importing.total_rows, importing.processed_rows, importing.saved_rows
    return _answer(*counts, error_rows, messages, operation_id)


def _answer(
    total: int,
    processed: int,
    saved: int,
    error_rows: Sequence[Result],
    messages: Sequence[str],
    operation_id: int | None,
) -> Result:
    return {
        "total": total,
        "processed": processed,
        "saved": saved,
        "error_rows": error_rows,
        "error_messages": messages,
        "percentage": f"{saved / (total or 1):.1%}",
        "can_commit": processed > 0 and not messages,
        "result_id": None if operation_id is None else str(operation_id),
        "saved_error_id": operation_id if error_rows else None,
        "waiting": False,
    }


def _lines(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers))
    return f"on line {text}" if len(numbers) == 1 else f"on lines {text}"


def _cell(row: Mapping[str, Any], name: str, course_id: str, names: Mapping[str, str]) -> str:
    found = row.get(name)
    if found is not None:
        return str(found)
    if name == COURSE:
        return course_id
    return names.get(name.removeprefix(NAME), "") if name.startswith(NAME) else ""


# --- one that was kept ------------------------------------------------------------------------


async def find_import(
    call: Call, course_id: str, operation_id: int | None
) -> Answer[GradeImportRow]:
    """An upload to this course.

    Raises:
        ApiError: 403: it was to another course. 404: there is none.
    """
    if operation_id is None:
        raise ApiError(404, NOT_FOUND)
    found = await ask(call, queries.grade_import(operation_id))
    if found.value is None:
        raise ApiError(404, NOT_FOUND)
    if found.value.course_id != course_id:
        raise not_allowed()
    return Answer(found.value, found.position)


def results_table(found: GradeImportRow, content: CourseContent) -> str:
    """The rows of an upload as a file, with what became of each."""
    names = {column.short: column.name for column in columns_of(content)}
    parts = [line([*found.columns, "status", "error"])]
    for row in found.rows:
        cells = [guarded(_cell(row, name, found.course_id, names)) for name in found.columns]
        parts.append(line([*cells, row["status"], guarded(row.get("error", ""))]))
    return "".join(parts)


# --- all of them ------------------------------------------------------------------------------


async def get_history(call: Call) -> Response:
    """The uploads to a course, newest first."""
    opened = await open_course(call)
    found = await ask(call, queries.grade_imports_of(opened.course.course_id))
    return result(call, [_entry(row) for row in found.value], found.position)


def _entry(row: GradeImportRow) -> Result:
    return {
        "id": row.operation_id,
        "class_name": PROCESSOR,
        "unique_id": row.course_id,
        "operation": "commit",
        "user": row.imported_by,
        "modified": row.imported_at,
        "original_filename": row.file_name,
        "data": {
            "total_rows": row.total_rows,
            "processed_rows": row.processed_rows,
            "saved_rows": row.saved_rows,
            **({"error_message": row.error_message} if row.error_message else {}),
        },
    }
