"""Webhooks over HTTP: who wants to be told of events, where, and how that goes.

They say nothing about grades, so they are not in the log: positions that answers carry are
where the log ended.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from starlette.responses import Response

from api import webhooks as kept
from api.event_types import event_types
from api.http import webhooks_schemas as schemas
from api.http.calls import MAX_POSITION, Call
from api.http.idempotency import Written, idempotency, respond
from api.http.log_reads import reached
from api.http.problems import MEDIA_TYPE, Errors, Problem, error_at, invalid
from api.http.reading import cursor, page, page_size, result
from api.http.responses import POSITION, dumps, written
from api.http.routing import Answers, Operation, Parameter
from api.http.schemas import Problem as ProblemSchema
from api.http.submissions import IDEMPOTENCY_KEY, IF_NONE_MATCH, MIN_POSITION
from api.rendering import Result
from api.webhooks import ACTIVE, PAUSED, Attempt, NewWebhook, Webhook, WithSecret
from domain.application import Done
from domain.errors import ForbiddenError
from domain.submissions import fields
from domain.submissions.fields import FieldError
from projections.read_model import Answer

T = TypeVar("T")

TAG: Final = "webhooks"
PREFIX: Final = "/api/events/v1/webhooks"
SCOPE: Final = "events:write"


async def create_webhook(call: Call) -> Response:
    """Have events delivered."""
    head = await _head(call)
    raw = await call.raw_body()
    members = call.members(raw)
    errors: Errors = []
    if "url" not in members:
        errors.append(error_at("This field is required.", "required", "body", "url"))
    values = _values(members, errors)
    _refuse(errors)
    render = partial(_made, head=head)
    once = idempotency(call, raw, render)
    done = await _at_target(
        call.backend.webhooks.create(
            NewWebhook(**values), by=call.caller.username, idempotency=once
        )
    )
    return _with_secret(call, done, render, head)


async def get_webhooks(call: Call) -> Response:
    """All webhooks."""
    _authorize(call)
    query = call.query()
    size = page_size(query)
    last = cursor(query, datetime, str)
    after = None if last is None else (last[0], _uuid(last[1]))
    head = await reached(call)
    found = await call.backend.webhooks.page(after=after, limit=size + 1)

    async def render(rows: Sequence[Webhook]) -> list[Result]:
        return [rendered(row, head) for row in rows]

    answer = Answer(list(found), head)
    return await page(call, answer, size, render, lambda row: [row.created_at, str(row.webhook_id)])


async def get_webhook(call: Call) -> Response:
    """One webhook."""
    _authorize(call)
    call.query()
    head = await reached(call)
    found = await call.backend.webhooks.get(_webhook_id(call))
    return result(call, rendered(found, head), head)


async def change_webhook(call: Call) -> Response:
    """Change a webhook, pause it, or let it go on."""
    head = await _head(call)
    webhook_id = _webhook_id(call)
    members = call.members(await call.raw_body())
    errors: Errors = []
    changes = _values(members, errors)
    if "state" in members:
        changes["state"] = members["state"]
        if members["state"] not in (ACTIVE, PAUSED):
            errors.append(error_at("active or paused.", "invalid", "body", "state"))
    _refuse(errors)
    webhooks = call.backend.webhooks
    if changes:
        by = call.caller.username
        found = await _at_target(webhooks.change(webhook_id, changes, by=by))
    else:
        found = await webhooks.get(webhook_id)
    return written(rendered(found, head), head, status=200)


async def delete_webhook(call: Call) -> Response:
    """Deliver nothing more, and forget what was."""
    head = await _head(call)
    await call.backend.webhooks.remove(_webhook_id(call), by=call.caller.username)
    return written(None, head, status=204)


async def rotate_webhook_secret(call: Call) -> Response:
    """Make a new secret."""
    head = await _head(call)
    render = partial(_rotated, head=head)
    done = await call.backend.webhooks.rotate(
        _webhook_id(call), by=call.caller.username, idempotency=idempotency(call, b"", render)
    )
    return _with_secret(call, done, render, head)


async def test_webhook(call: Call) -> Response:
    """Send a ping."""
    await _head(call)
    done = await call.backend.webhooks.test(
        _webhook_id(call), by=call.caller.username, idempotency=idempotency(call, b"", _tested)
    )
    return await respond(call, done, _tested)


async def get_webhook_deliveries(call: Call) -> Response:
    """The last attempts."""
    _authorize(call)
    query = call.query()
    size = page_size(query)
    before = cursor(query, int)
    head = await reached(call)
    found = await call.backend.webhooks.attempts(
        _webhook_id(call), before=before[0] if before else None, limit=size + 1
    )

    async def render(rows: Sequence[Attempt]) -> list[Result]:
        return [rendered_attempt(row) for row in rows]

    return await page(call, Answer(list(found), head), size, render, lambda row: [row.number])


# --- who, and what ----------------------------------------------------------------------------


def _authorize(call: Call) -> None:
    if not call.caller.may_everywhere(SCOPE):
        raise ForbiddenError(f"this takes global staff or the scope {SCOPE}")


async def _head(call: Call) -> int:
    """Where the log ends, for who may write: a server without the log keeps no webhooks."""
    _authorize(call)
    return await call.backend.events.head()


def _webhook_id(call: Call) -> UUID:
    return _uuid(call.path_text("webhook_id"))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise kept.WebhookNotFoundError("there is no such webhook") from None


def _values(members: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
    """The members of a body that have rules; what breaks one is added to the errors."""
    found: dict[str, Any] = {}
    for name, value in members.items():
        try:
            match name:
                case "url":
                    found[name] = _text(value, schemas.LONGEST_URL)
                case "course_id":
                    found[name] = None if value is None else _text(value, 255)
                case "description":
                    found[name] = _description(value)
                case "types":
                    found[name] = _types(value, errors)
                case "after":
                    found[name] = _after(value)
        except FieldError as bad:
            errors += [error_at(str(m), m.code, "body", name) for m in bad.messages]
        except ValueError as bad:
            errors.append(error_at(str(bad), "invalid", "body", name))
    return found


def _text(value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise ValueError("Not a text.")  # noqa: TRY004 - told like all that is wrong
    return fields.text(value, max_length=longest)


def _types(value: object, errors: Errors) -> list[str]:
    if not isinstance(value, list) or len(value) > schemas.MOST_TYPES:
        raise ValueError(f"A list of {schemas.MOST_TYPES} names at most.")
    known = {kind.TOPIC for kind in event_types()}
    errors += [
        error_at(f"There is no event type {name!r}.", "unknown", "body", "types", place)
        for place, name in enumerate(value)
        if not isinstance(name, str) or name not in known
    ]
    return list(dict.fromkeys(name for name in value if isinstance(name, str)))


def _description(value: object) -> str:
    if (
        not isinstance(value, str)
        or len(value) > schemas.LONGEST_DESCRIPTION
        or any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
    ):
        raise ValueError(f"A text of {schemas.LONGEST_DESCRIPTION} characters at most.")
    return value


def _after(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_POSITION:
        raise ValueError("Not a position of the log.")
    return value


def _refuse(errors: Errors) -> None:
    if errors:
        raise invalid("some fields were refused", *errors)


async def _at_target(work: Awaitable[T]) -> T:
    try:
        return await work
    except kept.WebhookTargetError as refused:
        raise Problem(
            422,
            "WebhookTargetError",
            "nothing is delivered to this address",
            errors=[error_at(str(refused), refused.kind, "body", "url")],
        ) from None


# --- answers ----------------------------------------------------------------------------------


def rendered(webhook: Webhook, head: int) -> Result:
    """A webhook as it is shown; never its secret."""
    return {
        "id": str(webhook.webhook_id),
        "url": webhook.url,
        "types": list(webhook.types),
        "course_id": webhook.course_id,
        "description": webhook.description,
        "state": webhook.state,
        "reason": webhook.reason,
        "position": webhook.position,
        "lag": max(0, head - webhook.position),
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "retry_at": webhook.retry_at,
        "last_success_at": webhook.last_success_at,
        "last_error": webhook.last_error,
        "old_secret_until": webhook.old_secret_until,
        "created_at": webhook.created_at,
        "created_by": webhook.created_by,
        "updated_at": webhook.updated_at,
        "updated_by": webhook.updated_by,
    }


def rendered_attempt(attempt: Attempt) -> Result:
    """An attempt as it is shown."""
    return {
        "number": attempt.number,
        "at": attempt.at,
        "message_id": attempt.message_id,
        "kind": attempt.kind,
        "after": attempt.after,
        "until": attempt.until,
        "events": attempt.events,
        "delivered": attempt.delivered,
        "status": attempt.status,
        "seconds": round(attempt.seconds, 6),
        "error": attempt.error,
    }


@dataclass(frozen=True, slots=True)
class _Secret(Written):
    """An answer with a secret, which is kept as the database keeps it."""

    kept_secret: str = ""

    def kept(self) -> bytes:
        """The answer without the secret in plain text."""
        body = {**(self.body or {}), "secret": None}
        return dumps([self.status, body, self.location, self.kept_secret])


def _made(made: WithSecret, *, head: int) -> Written:
    webhook = made.webhook
    body = rendered(webhook, head) | {"secret": made.secret}
    return _Secret(201, body, f"{PREFIX}/{webhook.webhook_id}/", kept_secret=made.kept)


def _rotated(made: WithSecret, *, head: int) -> Written:
    body = rendered(made.webhook, head) | {"secret": made.secret}
    return _Secret(200, body, kept_secret=made.kept)


def _tested(attempt: Attempt) -> Written:
    return Written(200, rendered_attempt(attempt))


def _with_secret(
    call: Call, done: Done[WithSecret], render: Callable[[WithSecret], Written], head: int
) -> Response:
    if done.replay is not None:
        assert done.position is not None
        status, body, location, secret = orjson.loads(done.replay)
        body["secret"] = call.backend.webhooks.reopened(secret)
        return Written(status, body, location).response(done.position, replayed=True)
    return render(done.value).response(max(head, done.value.webhook.position))


# --- operations -------------------------------------------------------------------------------

_PATHS: Final = {"webhook_id": "Of a webhook."}
_OF_READS: Final = (POSITION, "ETag")
_OF_WRITES: Final = (POSITION,)
_OF_POSTS: Final = (POSITION, "Idempotent-Replayed")
_SAME: Final = Answers("The answer at hand is the same.", headers=_OF_READS)
_REFUSED: Final = Answers(
    "Nothing is delivered to this address, or the idempotency key was used with another request.",
    ProblemSchema,
    (MEDIA_TYPE,),
)
_PAGE_SIZE: Final = Parameter(
    "page_size",
    "Entries of a page, 50 if not given.",
    {"type": "integer", "minimum": 1, "maximum": 1000},
)
_CURSOR: Final = Parameter("cursor", "Where the page begins; stands in next.")
_READING: Final = (MIN_POSITION, IF_NONE_MATCH)


def _operation(method: str, path: str, handler: Any, operation_id: str, **more: Any) -> Operation:
    return Operation(
        method=method,
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        recorded_rights=True,
        path_descriptions=_PATHS,
        **more,
    )


OPERATIONS: Final = (
    _operation(
        "POST",
        "/",
        create_webhook,
        "createWebhook",
        summary="Have events delivered to an address.",
        description=(
            "Events come in the order of the log, at least once, in batches of 50 at most as"
            " application/cloudevents-batch+json, signed as Standard Webhooks describes."
            " The secret is in this answer and nowhere else."
        ),
        parameters=(IDEMPOTENCY_KEY,),
        body=schemas.GivenWebhook,
        answers={
            201: Answers(
                "The webhook with its secret.",
                schemas.WebhookWithSecret,
                headers=(*_OF_POSTS, "Location"),
            ),
            422: _REFUSED,
        },
        problems=(400, 401, 403, 409, 413, 415, 503),
    ),
    _operation(
        "GET",
        "/",
        get_webhooks,
        "getWebhooks",
        summary="All webhooks, in the order in which they were made.",
        parameters=(_PAGE_SIZE, _CURSOR, *_READING),
        answers={
            200: Answers("Webhooks.", schemas.WebhookPage, headers=_OF_READS),
            304: _SAME,
        },
        problems=(400, 401, 403, 404, 503),
    ),
    _operation(
        "GET",
        "/{webhook_id}/",
        get_webhook,
        "getWebhook",
        summary="One webhook: how far it is, and what is wrong with it.",
        parameters=_READING,
        answers={
            200: Answers("The webhook.", schemas.Webhook, headers=_OF_READS),
            304: _SAME,
        },
        problems=(400, 401, 403, 404, 503),
    ),
    _operation(
        "PATCH",
        "/{webhook_id}/",
        change_webhook,
        "changeWebhook",
        summary="Change a webhook, pause it, or let it go on.",
        description=(
            "A paused webhook and one that was disabled lose nothing: active goes on where it"
            " was. Other types count from where it is."
        ),
        body=schemas.WebhookChanges,
        answers={
            200: Answers("The webhook.", schemas.Webhook, headers=_OF_WRITES),
            422: _REFUSED,
        },
        problems=(400, 401, 403, 404, 413, 415, 503),
    ),
    _operation(
        "DELETE",
        "/{webhook_id}/",
        delete_webhook,
        "deleteWebhook",
        summary="Deliver nothing more, and forget the webhook.",
        answers={204: Answers("Done.", headers=_OF_WRITES)},
        problems=(400, 401, 403, 404, 503),
    ),
    _operation(
        "POST",
        "/{webhook_id}/rotate-secret/",
        rotate_webhook_secret,
        "rotateWebhookSecret",
        summary="Make a new secret; the one before signs beside it for 24 hours.",
        parameters=(IDEMPOTENCY_KEY,),
        answers={
            200: Answers(
                "The webhook with its new secret.", schemas.WebhookWithSecret, headers=_OF_POSTS
            )
        },
        problems=(400, 401, 403, 404, 422, 503),
    ),
    _operation(
        "POST",
        "/{webhook_id}/test/",
        test_webhook,
        "testWebhook",
        summary="Send a ping now, whatever state the webhook is in.",
        description="The answer comes when the target has answered: 15 seconds at most.",
        parameters=(IDEMPOTENCY_KEY,),
        answers={200: Answers("What became of it.", schemas.Delivery, headers=_OF_POSTS)},
        problems=(400, 401, 403, 404, 422, 503),
    ),
    _operation(
        "GET",
        "/{webhook_id}/deliveries/",
        get_webhook_deliveries,
        "getWebhookDeliveries",
        summary="The last attempts, a hundred at most, the newest first.",
        parameters=(_PAGE_SIZE, _CURSOR, *_READING),
        answers={
            200: Answers("Attempts.", schemas.DeliveryPage, headers=_OF_READS),
            304: _SAME,
        },
        problems=(400, 401, 403, 404, 503),
    ),
)
