"""Files of grades: what a course team downloads, row by row as it is read."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import quote

import orjson
from starlette.responses import Response

from api.http.bulk_grades.access import open_course
from api.http.bulk_grades.columns import (
    LEARNER,
    PREFIXES,
    Cells,
    guarded,
    line,
    names_of,
    number_text,
    points_of,
)
from api.http.bulk_grades.results import find_import, results_table
from api.http.bulk_grades.selection import Selection, read_selection
from api.http.calls import Call
from api.http.grades.content import CourseContent, content_of
from api.http.grades.learners import MASTERS
from api.http.grades.parameters import Parameters, whole_number
from api.http.responses import Lines
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow

CSV: Final = "text/csv; charset=utf-8"
AT_ONCE: Final = 250
"""Rows that are written before others get their turn."""

ENGAGEMENT: Final = tuple(
    f"number of {what} {when}"
    for what in (
        "videos",
        "problems",
        "correct problems",
        "problem attempts",
        "forum posts",
    )
    for when in ("overall", "last week")
)
"""What the peer asks of a service for analytics; 0 where there is none."""

Write = Callable[[Sequence[LearnerGradesRow]], str]


async def export_grades(call: Call) -> Response:
    """The grades of a course, or what became of an upload."""
    opened = await open_course(call)
    query = Parameters(call)
    content = await content_of(call, opened.course)
    if error_id := query.text("error_id"):
        found = await find_import(call, content.course_id, whole_number(error_id))
        table = await asyncio.to_thread(results_table, found.value, content)
        return _file(call, content, "-graded-results", _once(table), found.position)
    selection = await read_selection(call, query, content)
    cells = [Cells(column) for column in selection.columns]
    header = [*LEARNER, *names_of(PREFIXES, [column.short for column in selection.columns])]

    def write(rows: Sequence[LearnerGradesRow]) -> str:
        return "".join([_graded(_learner(row), row, cells) for row in rows])

    return await _stream(call, content, selection, header, write, "")


async def export_intervention(call: Call) -> Response:
    """The learners of the masters track, with what their teachers look at to help them."""
    opened = await open_course(call)
    content = await content_of(call, opened.course)
    selection = await read_selection(call, Parameters(call), content, intervention=True)
    cells = [Cells(column, all_columns=False) for column in selection.columns]
    shorts = [column.short for column in selection.columns]
    header = [
        *("user_id", "username", "email", "student_key", "full_name", "course_id", "track"),
        *("cohort", *ENGAGEMENT, "date last active"),
        *names_of(PREFIXES[:2], shorts),
        *("course grade letter", "course grade numeric"),
    ]

    def write(rows: Sequence[LearnerGradesRow]) -> str:
        parts = []
        for row in rows:
            user_id, username, student_key, course_id, track, cohort = _learner(row)
            address, name = guarded(row.email), guarded(row.full_name)
            texts = [user_id, username, address, student_key, name, course_id, track, cohort]
            last = f",{guarded(row.letter)},{number_text(row.percent or 0.0)}\r\n"
            nothing = [0] * len(ENGAGEMENT)
            parts.append(_graded([*texts, *nothing, ""], row, cells)[:-2] + last)
        return "".join(parts)

    return await _stream(call, content, selection, header, write, "-intervention")


def _learner(row: LearnerGradesRow) -> list[object]:
    return [
        row.user_id,
        guarded(row.username),
        guarded(row.external_user_key) if row.mode == MASTERS else "",
        row.course_id,
        row.mode,
        guarded(row.cohort_name),
    ]


def _graded(texts: Sequence[object], row: LearnerGradesRow, cells: Sequence[Cells]) -> str:
    """A line: what is known of the learner, and the columns of the subsections."""
    records = orjson.loads(row.records) if row.records else []
    overrides = orjson.loads(row.overrides) if row.overrides else {}
    return line(texts)[:-2] + points_of(cells, records, overrides) + "\r\n"


# --- files ------------------------------------------------------------------------------------


class _CsvFile(Lines):
    """A file that is sent as it is written."""

    def __init__(
        self, chunks: AsyncIterator[bytes], position: int, resources: AsyncExitStack, name: str
    ) -> None:
        super().__init__(chunks, position, resources)
        self.headers["content-type"] = CSV
        self.headers["content-disposition"] = _attachment(name)


def _attachment(name: str) -> str:
    if name.isascii():
        return f'attachment; filename="{name}"'
    plain = name.encode("ascii", "replace").decode()
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _file(
    call: Call,
    content: CourseContent,
    part: str,
    chunks: AsyncIterator[bytes],
    position: int,
    resources: AsyncExitStack | None = None,
) -> Response:
    moment = call.now().replace(tzinfo=None).isoformat()
    name = f"{content.course_id.replace('/', '+')}{part}-{moment}.csv"
    return _CsvFile(chunks, position, resources or AsyncExitStack(), name)


async def _once(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def _stream(
    call: Call,
    content: CourseContent,
    selection: Selection,
    header: Sequence[str],
    write: Write,
    part: str,
) -> Response:
    """A file of as many learners as there are, of whom a few are in memory at a time."""
    query = queries.all_learners(content.course_id, selection.where)
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(
            call.backend.reads.stream(query, at_least=call.min_position)
        )

        async def chunks() -> AsyncIterator[bytes]:
            yield line(header).encode()
            async for rows in answer.value:
                for start in range(0, len(rows), AT_ONCE):
                    yield write(rows[start : start + AT_ONCE]).encode()
                    await asyncio.sleep(0)

        resources = stack.pop_all()
    return _file(call, content, part, chunks(), answer.position, resources)
