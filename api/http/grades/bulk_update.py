"""Writing to the gradebook: overrides, alone or by the thousand, each with its own outcome."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson
from starlette.responses import Response

from api.http.bodies import JSON_TYPES, check_media_type, read_body
from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import Opened, is_frozen, open_gradebook
from api.http.grades.content import CourseContent, content_of
from api.http.grades.learners import viewers
from api.http.grades.overrides import Item, read_items
from api.http.reading import ask
from api.http.responses import POSITION
from api.rendering import Result
from domain.application import Done
from domain.errors import DomainError, OutcomeUnknownError, UnavailableError
from domain.grades.application import GRADEBOOK, OverrideRequest
from domain.grades.errors import SubsectionNotFoundError
from domain.grades.regrading import CourseVersion
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow, UserRow

logger = logging.getLogger(__name__)

BODY_LIMIT: Final = 10 * 1024 * 1024
"""Bytes; room for as many items as are taken, with a comment each."""

IN_FLIGHT: Final = 1000
"""Items that are carried out side by side. More would wait for each other, on a busy machine
longer than the log lets an append wait."""

NO_USER: Final = "User matching query does not exist."
NO_ENROLLMENT: Final = "CourseEnrollment matching query does not exist."
NO_KEY: Final = "<class 'opaque_keys.edx.locator.BlockUsageLocator'>: {}"


async def bulk_update_gradebook(call: Call) -> Response:
    """Override cells of the gradebook.

    202 when all of it was done, 422 when some of it was not; what was done stays done. The
    answer waits until the gradebook shows it.
    """
    opened = await open_gradebook(call)
    if is_frozen(opened.course, call.now()):
        raise errors.grades_frozen()
    body = await read_body(call.receive, call.raw, BODY_LIMIT)
    if body:
        check_media_type(call.raw, JSON_TYPES)
    items = read_items(body)
    content = await content_of(call, opened.course)
    reasons, requests = await _requests(call, content, items)
    outcomes = await _override(call, opened, content, [request for _, request in requests])
    position = opened.position
    for (number, _), outcome in zip(requests, outcomes, strict=True):
        if isinstance(outcome, Done):
            position = max(position, outcome.position or 0)
        else:
            reasons[number] = _reason(outcome, items[number])
    if requests:
        await wait_for(call, position)
    results = [_result(item, reasons.get(number)) for number, item in enumerate(items)]
    return Response(
        orjson.dumps(results),
        422 if reasons else 202,
        headers={POSITION: str(position), "Cache-Control": "no-store"},
        media_type="application/json",
    )


async def _requests(
    call: Call, content: CourseContent, items: Sequence[Item]
) -> tuple[dict[int, str], list[tuple[int, OverrideRequest]]]:
    """What can be carried out, and why the rest cannot, both by the place in the body."""
    user_ids = {item.user_id for item in items if item.user_id is not None}
    if not user_ids:
        return dict.fromkeys(range(len(items)), NO_USER), []
    users, learners = await _people(call, content.course_id, user_ids)
    seen_by = await viewers(call, content, list(learners.values()))
    reasons: dict[int, str] = {}
    requests: list[tuple[int, OverrideRequest]] = []
    for number, item in enumerate(items):
        if item.user_id is None or item.user_id not in users:
            reasons[number] = NO_USER
        elif item.user_id not in learners:
            reasons[number] = NO_ENROLLMENT
        elif item.usage_key is None:
            reasons[number] = NO_KEY.format(item.given_usage_id)
        elif str(item.usage_key) not in content.structure.by_key:
            reasons[number] = str(SubsectionNotFoundError(str(item.given_usage_id)))
        else:
            request = OverrideRequest(
                user_id=item.user_id,
                usage_key=str(item.usage_key),
                requested=item.requested,
                reason=item.comment,
                viewer=seen_by[item.user_id],
            )
            requests.append((number, request))
    return reasons, requests


async def _people(
    call: Call, course_id: str, user_ids: Collection[int]
) -> tuple[Mapping[int, UserRow], Mapping[int, LearnerGradesRow]]:
    """The users there are, and the learners among them.

    Who is missing may have come this very moment: nobody is missing before the whole log
    was looked at.
    """
    of_users = queries.users_by_ids(user_ids)
    of_learners = queries.learners_by_ids(course_id, user_ids)
    users, learners = await ask(call, of_users), await ask(call, of_learners)
    if len(learners.value) < len(user_ids):
        reads = call.backend.reads
        users = await reads.ask(of_users, latest=True)
        learners = await reads.ask(of_learners, latest=True)
    return users.value, learners.value


async def _override(
    call: Call, opened: Opened, content: CourseContent, requests: Sequence[OverrideRequest]
) -> Sequence[Any]:
    """The outcomes, in the order of the requests."""
    outcomes: dict[int, Any] = {}
    for numbers in _portions(requests):
        found = await call.backend.grades.override(
            course_version(content),
            [requests[number] for number in numbers],
            system=GRADEBOOK,
            changed_by=call.caller.username,
            changed_by_id=caller_id(call, opened),
            provenance=call.provenance(),
        )
        outcomes.update(zip(numbers, found, strict=True))
    return [outcomes[number] for number in range(len(requests))]


def _portions(requests: Sequence[OverrideRequest]) -> Iterator[list[int]]:
    """Requests by their places, so many at a time; those about one learner stay together."""
    by_learner: dict[int, list[int]] = {}
    for number, request in enumerate(requests):
        by_learner.setdefault(request.user_id, []).append(number)
    portion: list[int] = []
    for numbers in by_learner.values():
        if portion and len(portion) + len(numbers) > IN_FLIGHT:
            yield portion
            portion = []
        portion += numbers
    if portion:
        yield portion


def course_version(content: CourseContent) -> CourseVersion:
    """A course as commands about grades take it."""
    return CourseVersion(
        content.course_id,
        content.structure,
        content.policy,
        content.version or "",
        content.edited_at,
    )


def caller_id(call: Call, opened: Opened) -> int | None:
    """The number of who calls, as far as it is known."""
    if opened.rights is not None:
        return opened.rights.user_id
    given = call.caller.user_id
    return int(given) if given is not None and given.isascii() and given.isdigit() else None


def _reason(error: BaseException, item: Item) -> str:
    """Why an item was not carried out.

    Raises:
        BaseException: the whole request failed, and nobody was asked for anything wrong.
    """
    match error:
        case SubsectionNotFoundError():
            return str(SubsectionNotFoundError(str(item.given_usage_id)))
        case DomainError():
            return str(error)
        case UnavailableError():
            return "This cannot be written at the moment; nothing was written, try again."
        case OutcomeUnknownError():
            return "It is not known whether this was written."
        case Exception():
            logger.error("an override failed", exc_info=error)
            return "This could not be written; the failure was recorded."
    raise error


async def wait_for(call: Call, position: int) -> None:
    """Wait until the gradebook shows what was written. Done it is, in any case."""
    with suppress(UnavailableError):
        await call.backend.reads.ask(queries.users_by_ids([0]), at_least=position)


def _result(item: Item, reason: str | None) -> Result:
    done = reason is None
    return {
        "user_id": item.user_id if done else _echo(item.given_user_id),
        "usage_id": str(item.usage_key) if done else _echo(item.given_usage_id),
        "success": done,
        "reason": None if reason is None else _echo(reason),
    }


def _echo(value: Any) -> Any:
    """What was sent, as far as JSON of Unicode text and of 64-bit numbers can say it."""
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    return value
