"""Answers that come from the log itself: the past of a student item, and all that befell it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from api import rendering
from api.http.calls import Call
from api.http.responses import fragment
from api.rendering import Result
from domain.errors import UnavailableError
from domain.events import Recorded, to_state
from domain.submissions.errors import SubmissionNotFoundError
from domain.submissions.fields import StudentItemKey
from domain.submissions.history import StudentItemPast
from domain.submissions.history import student_item_past as fold
from domain.submissions.student_item import ScoreSet, SubmissionCreated, student_item_stream
from projections import score_history
from projections.submissions import TopSubmission

_PAUSE: Final = 0.05


async def reached(call: Call, until: int | None = None) -> int:
    """Where the log ends, or the position asked about when that is earlier.

    Raises:
        UnavailableError: the log does not reach the position that the caller must see.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + call.config.wait_limit
    wanted = call.min_position
    while (head := await call.backend.events.head()) < wanted:
        if loop.time() >= deadline:
            raise UnavailableError(f"the log ends at {head}, before {wanted}")
        await asyncio.sleep(_PAUSE)
    return head if until is None else min(until, head)


async def student_item_past(call: Call, stream_id: UUID, until: int) -> tuple[StudentItemPast, int]:
    """A student item as it stood, and at which position."""
    position = await reached(call, until)
    events = await call.backend.events.read_recorded_stream(stream_id, until=position)
    return fold(recorded.event for recorded in events), position


async def submission_past(
    call: Call, submission_uuid: UUID, until: int
) -> tuple[StudentItemPast, StudentItemKey | None, int]:
    """The student item of a submission as it stood, whose it is, and at which position.

    The submission may have been deleted since, so read models know it no longer.
    """
    position = await reached(call, until)
    events = await _events_around(call, submission_uuid)
    past = fold(recorded.event for recorded in events if recorded.position <= position)
    return past, fold(recorded.event for recorded in events).key, position


async def course_of_submission(call: Call, submission_uuid: UUID) -> str | None:
    """The course of a submission, also of a deleted one; None when there never was one."""
    events = await _events_around(call, submission_uuid)
    key = fold(recorded.event for recorded in events).key
    return None if key is None else key.course_id


async def top_submissions_as_of(
    call: Call, item: Sequence[str], number: int, until: int
) -> tuple[list[TopSubmission], int]:
    """The best scored answers of an item as they stood; the answers come from the events."""
    position = await reached(call, until)
    course_id, item_id, item_type = item
    query = score_history.top_submissions_as_of(course_id, item_id, item_type, number, position)
    found = await call.backend.reads.ask(query, at_least=max(position, call.min_position))
    rows = []
    for top in found.value:
        stream_id = student_item_stream(top.student_item.student_id, course_id, item_id)
        events = await call.backend.events.read_recorded_stream(stream_id, until=position)
        created = _created(events, top.submission_uuid)
        answer = None if created is None else created.answer
        rows.append(
            TopSubmission(top.student_item_id, top.points_earned, top.submission_uuid, answer)
        )
    return rows, position


async def history(call: Call, stream_id: UUID) -> tuple[list[Result], int]:
    """Every event of a student item, oldest first, with what learners wrote opened."""
    position = await reached(call)
    events = await call.backend.events.read_recorded_stream(stream_id, until=position)
    await call.backend.vault.load(text for recorded in events for text in _sealed(recorded))
    return [_entry(call, recorded) for recorded in events], position


async def _events_around(call: Call, submission_uuid: UUID) -> list[Recorded]:
    """All that befell the student item of a submission; nothing when there never was one."""
    try:
        # The log knows the student item of every submission there ever was.
        prepared = await call.backend.submissions.prepare_set_score(submission_uuid, 0, 0)
    except SubmissionNotFoundError:
        return []
    return await call.backend.events.read_recorded_stream(prepared.stream_ids[0])


def _created(events: Sequence[Recorded], submission_uuid: UUID) -> SubmissionCreated | None:
    for recorded in events:
        event = recorded.event
        if isinstance(event, SubmissionCreated) and event.submission_uuid == submission_uuid:
            return event
    return None


def _sealed(recorded: Recorded) -> list[str]:
    match recorded.event:
        case SubmissionCreated(answer=answer):
            return [answer]
        case ScoreSet(annotation={"reason": reason}) if reason:
            return [reason]
        case _:
            return []


def _entry(call: Call, recorded: Recorded) -> Result:
    provenance = recorded.provenance
    return {
        "position": recorded.position,
        "event_id": recorded.event_id,
        "type": recorded.type,
        "recorded_at": recorded.recorded_at,
        "actor": provenance.actor,
        "on_behalf_of": provenance.on_behalf_of,
        "request_id": provenance.request_id,
        "trace": provenance.trace,
        "cause": provenance.cause,
        "via": provenance.via,
        "fields": _fields(call, recorded),
    }


def _fields(call: Call, recorded: Recorded) -> dict[str, Any]:
    event = recorded.event
    state = to_state(event)
    state.pop("class_version", None)
    match event:
        case SubmissionCreated():
            row = rendering.submission_row(event)
            state["answer"] = fragment(rendering.opened_answer(call.backend.vault, row))
        case ScoreSet(annotation=annotation) if annotation and annotation["reason"]:
            (reason,) = rendering.opened_reasons(call.backend.vault, rendering.score_row(event))
            state["annotation"] = annotation | {"reason": reason}
    return state
