"""The questions of the submissions interface.

Reads answer from the read models and say at which position of the log. Questions about the
past are answered from the events of the one student item they are about, or from the
history of scores where they are about many.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import orjson
from starlette.responses import Response

from api import rendering
from api.http import commands, log_reads
from api.http.auth import READ_SUBMISSIONS, Caller
from api.http.calls import Call
from api.http.problems import error_at, invalid
from api.http.reading import ask, cursor, number, page, page_size, result, stream, texts
from api.http.responses import fragment, written
from api.rendering import Result
from domain.errors import ForbiddenError
from domain.submissions import fields
from domain.submissions.errors import (
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
)
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import student_item_stream
from projections import score_history
from projections import submissions as read_model
from projections.read_model import Answer
from projections.submissions import Score, Submission, SubmissionInformation, TopSubmission

# --- submissions ------------------------------------------------------------------------------


async def get_submission(call: Call) -> Response:
    """One submission."""
    query = call.query()
    with_student = _includes_student_item(query)
    given, submission_uuid = _submission_uuid(call)
    found = await ask(call, read_model.submission_by_uuid(submission_uuid))
    row = _readable(call.caller, found.value, given)
    (answer,) = await _answers(call, [row])
    render = rendering.submission_with_student if with_student else rendering.submission
    return result(call, render(row, answer), found.position)


async def get_submissions(call: Call) -> Response:
    """The submissions of one student for one item, the newest first."""
    query = call.query()
    key = _student_item(query)
    limit = fields.limit(number(query.get("limit")))
    _refuse_unless_own(call.caller, key.course_id, key.student_id)
    until = await call.past(query)
    if until is None:
        found = await ask(call, read_model.submissions_of_item(key, limit))
        rows, position = found.value, found.position
    else:
        past, position = await log_reads.student_item_past(
            call, student_item_stream(*key[:3]), until
        )
        rows = [rendering.submission_row(s) for s in past.newest_submissions(key.item_type, limit)]
    answers = await _answers(call, rows)
    results = [rendering.submission(row, a) for row, a in zip(rows, answers, strict=True)]
    return result(call, results, position)


async def get_all_submissions(call: Call) -> Response:
    """The newest submission of each student for an item, by student id."""
    query = call.query()
    item = _item(query)
    _refuse_unless_reader(call.caller, item[0])

    async def render(rows: Sequence[Submission]) -> list[Result]:
        answers = await _answers(call, rows)
        return [
            rendering.submission_with_student_id(row, answer)
            for row, answer in zip(rows, answers, strict=True)
        ]

    size = page_size(query)
    (after,) = cursor(query, str) or (None,)
    if call.wants_lines:
        return await stream(call, read_model.all_latest_submissions(*item), render)
    found = await ask(
        call, read_model.latest_submission_of_each_student(*item, after=after, limit=size + 1)
    )
    return await page(call, found, size, render, lambda row: [row.student_item.student_id])


async def get_all_course_submission_information(call: Call) -> Response:
    """The submissions of a course for items of one type with their scores, newest first."""
    query = call.query()
    course_id = call.path_text("course_id")
    (item_type,) = texts(query, item_type=100)
    _refuse_unless_reader(call.caller, course_id)

    async def render(rows: Sequence[SubmissionInformation]) -> list[Result]:
        answers = await _answers(call, [row.submission for row in rows])
        scores = await _scores(call, [row.score for row in rows])
        return [
            {
                "student_item": rendering.student_item(row.submission.student_item),
                "submission": rendering.submission(row.submission, answer),
                "score": score or {},
            }
            for row, answer, score in zip(rows, answers, scores, strict=True)
        ]

    size = page_size(query)
    last = cursor(query, datetime, int)
    after = None if last is None else (last[0], last[1])
    if call.wants_lines:
        everything = read_model.all_course_information(course_id, item_type)
        return await stream(call, everything, render)
    found = await ask(
        call,
        read_model.course_information(course_id, item_type, limit=size + 1, after=after),
    )
    return await page(
        call,
        found,
        size,
        render,
        lambda row: [row.submission.submitted_at, row.submission.submission_id],
    )


async def get_top_submissions(call: Call) -> Response:
    """The best scored answers of an item."""
    query = call.query()
    item = _item(query)
    how_many = fields.number_of_top_scores(number(query["number_of_top_scores"]))
    _refuse_unless_reader(call.caller, item[0])
    until = await call.past(query)
    if until is None:
        found = await ask(call, read_model.top_submissions(*item, how_many))
        rows, position = found.value, found.position
    else:
        rows, position = await log_reads.top_submissions_as_of(call, item, how_many, until)
    answers = await _answers(call, rows)
    results = [rendering.top_entry(row, a) for row, a in zip(rows, answers, strict=True)]
    return result(call, results, position)


async def get_student_ids_by_submission_uuid(call: Call) -> Response:
    """Whose submissions these are."""
    course_id = call.path_text("course_id")
    _refuse_unless_reader(call.caller, course_id)
    body = call.members(await call.raw_body())
    given = body.get("submission_uuids")
    if not isinstance(given, list):
        raise invalid(
            "the body was refused",
            error_at("Input should be a list.", "list_type", "body", "submission_uuids"),
        )
    # Nobody has the nil uuid; the driver cannot tell what an empty list is a list of.
    uuids = {commands.submission_uuid(value) for value in given} or {UUID(int=0)}
    found = await ask(call, read_model.student_ids_by_submission_uuid(course_id, uuids))
    results = {str(key): student_id for key, student_id in found.value.items()}
    return written(results, found.position, status=200)


# --- scores -----------------------------------------------------------------------------------


async def get_score(call: Call) -> Response:
    """The score of a student item that counts."""
    query = call.query()
    key = _student_item(query)
    _refuse_unless_own(call.caller, key.course_id, key.student_id)
    until = await call.past(query)
    if until is None:
        found = await ask(call, read_model.score_of_item(key))
        row, position = found.value, found.position
    else:
        past, position = await log_reads.student_item_past(
            call, student_item_stream(*key[:3]), until
        )
        event = past.score(key.item_type)
        row = None if event is None else rendering.score_row(event)
    return result(call, (await _scores(call, [row]))[0], position)


async def get_scores(call: Call) -> Response:
    """The scores of a student in a course that count, by item."""
    query = call.query()
    course_id, student_id = call.path_text("course_id"), call.path_text("student_id")
    _refuse_unless_own(call.caller, course_id, student_id)
    until = await call.past(query)
    if until is None:
        found = await ask(call, read_model.scores_of_student(course_id, student_id))
    else:
        position = await log_reads.reached(call, until)
        question = score_history.scores_of_student_as_of(course_id, student_id, position)
        answer = await ask(call, question, at_least=position)
        found = Answer(answer.value, position)
    results = {item: rendering.unannotated_score(row) for item, row in found.value.items()}
    return result(call, results, found.position)


async def get_latest_score_for_submission(call: Call) -> Response:
    """The last score that was written for a submission."""
    query = call.query()
    given, submission_uuid = _submission_uuid(call)
    until = await call.past(query)
    row: Score | None
    if until is not None:
        past, key, position = await log_reads.submission_past(call, submission_uuid, until)
        if not (_may_read(call.caller, key) if key else _may_read_all(call.caller)):
            raise _hidden(call.caller, exists=key is not None, given=given)
        event = past.score_of(submission_uuid)
        row = None if event is None else rendering.score_row(event)
    else:
        if not _may_read_all(call.caller):
            submission = await ask(call, read_model.submission_by_uuid(submission_uuid))
            _readable(call.caller, submission.value, given)
        found = await ask(call, read_model.latest_score_of_submission(submission_uuid))
        row, position = found.value, found.position
    return result(call, (await _scores(call, [row]))[0], position)


# --- history ----------------------------------------------------------------------------------


async def get_history(call: Call) -> Response:
    """Every event of one student item, oldest first, with who, when and why."""
    query = call.query()
    student_id, course_id, item_id = texts(query, student_id=255, course_id=255, item_id=255)
    _refuse_unless_own(call.caller, course_id, student_id)
    stream_id = student_item_stream(student_id, course_id, item_id)
    entries, position = await log_reads.history(call, stream_id)
    return result(call, entries, position)


# --- rights -----------------------------------------------------------------------------------


def _refuse_unless_reader(caller: Caller, course_id: str) -> None:
    if not caller.may_read_course(course_id):
        raise ForbiddenError("reading everybody's work is not allowed in this course")


def _refuse_unless_own(caller: Caller, course_id: str, student_id: str) -> None:
    if not caller.may_read_item(course_id, student_id):
        raise ForbiddenError("this is somebody else's work")


def _may_read(caller: Caller, key: StudentItemKey) -> bool:
    return caller.may_read_item(key.course_id, key.student_id)


def _may_read_all(caller: Caller) -> bool:
    return caller.may_everywhere(READ_SUBMISSIONS)


def _readable(caller: Caller, row: Submission | None, given: str) -> Submission:
    """The submission, if there is one and the caller may read it."""
    if row is None or not _may_read(caller, row.student_item):
        raise _hidden(caller, exists=row is not None, given=given)
    return row


def _hidden(caller: Caller, *, exists: bool, given: str) -> Exception:
    """Why a submission is not shown: whoever may read nowhere learns not even that it exists."""
    if exists and caller.may_somewhere(READ_SUBMISSIONS):
        return ForbiddenError("reading is not allowed in this course")
    return SubmissionNotFoundError(f"No submission matching uuid {given}")


# --- parameters -------------------------------------------------------------------------------


def _submission_uuid(call: Call) -> tuple[str, UUID]:
    """The uuid in the path, as it was given and as it is.

    Raises:
        SubmissionInternalError: no uuid; the text is the peer's, the status is not.
    """
    given = call.path_text("submission_uuid")
    try:
        return given, commands.submission_uuid(given)
    except SubmissionRequestError as error:
        text = f"Could not get submission due to error: ['{error.msg}']"
        raise SubmissionInternalError({"submission_uuid": [text]}) from None


def _includes_student_item(query: Mapping[str, str]) -> bool:
    include = query.get("include")
    if include not in (None, "student_item"):
        raise invalid(
            "the query was refused",
            error_at("Input should be student_item.", "literal_error", "query", "include"),
        )
    return include is not None


def _student_item(query: Mapping[str, str]) -> StudentItemKey:
    names = ("student_id", "course_id", "item_id", "item_type")
    return fields.student_item({name: query[name] for name in names})


def _item(query: Mapping[str, str]) -> tuple[str, str, str]:
    """An item, and the type of what is asked about."""
    course_id, item_id, item_type = texts(query, course_id=255, item_id=255, item_type=100)
    return course_id, item_id, item_type


# --- what is sealed ---------------------------------------------------------------------------


async def _answers(
    call: Call, rows: Sequence[Submission] | Sequence[TopSubmission]
) -> list[orjson.Fragment | None]:
    """The answers of submissions, as JSON text that nobody has to read."""
    vault = call.backend.vault
    await vault.load(row.answer for row in rows if row.answer is not None)
    return [fragment(rendering.opened_answer(vault, row)) for row in rows]


async def _scores(call: Call, rows: Iterable[Score | None]) -> list[Result | None]:
    """Scores with the reasons for them opened."""
    found = list(rows)
    vault = call.backend.vault
    await vault.load(rendering.sealed_reasons(row for row in found if row is not None))
    return [
        None if row is None else rendering.score(row, rendering.opened_reasons(vault, row))
        for row in found
    ]
