"""The commands of the submissions interface, one request each."""

from starlette.responses import Response

from api.http import commands, log_reads
from api.http.auth import WRITE_SUBMISSIONS
from api.http.calls import Call
from api.http.idempotency import idempotency, respond


async def create_submission(call: Call) -> Response:
    """Hand in an answer."""
    commands.refuse_unless_writer(call.caller)
    raw = await call.raw_body()
    arguments = commands.submission_arguments(call.members(raw))
    commands.refuse_submission(call.caller, arguments[0])
    done = await call.backend.submissions.create_submission(
        *arguments,
        provenance=call.provenance(),
        idempotency=idempotency(call, raw, commands.created),
    )
    return await respond(call, done, commands.created)


async def set_score(call: Call) -> Response:
    """Say what a submission is worth."""
    commands.refuse_unless_writer(call.caller)
    raw = await call.raw_body()
    body = call.members(raw)
    given = call.path_text("submission_uuid")
    submission_uuid = commands.submission_uuid(given)
    if not call.caller.may_everywhere(WRITE_SUBMISSIONS):
        course_id = await log_reads.course_of_submission(call, submission_uuid)
        commands.refuse_score(call.caller, course_id, given)
    render = commands.scored(body)
    done = await call.backend.submissions.set_score(
        given,
        *commands.score_arguments(body),
        provenance=call.provenance(),
        idempotency=idempotency(call, raw, render),
    )
    return await respond(call, done, render)


async def reset_score(call: Call) -> Response:
    """Let the score of a student item count no longer."""
    commands.refuse_unless_writer(call.caller)
    raw = await call.raw_body()
    arguments = commands.reset_arguments(call.members(raw))
    commands.refuse_in_course(call.caller, arguments[1])
    done = await call.backend.submissions.reset_score(
        *arguments,
        provenance=call.provenance(),
        idempotency=idempotency(call, raw, commands.reset),
    )
    return await respond(call, done, commands.reset)
