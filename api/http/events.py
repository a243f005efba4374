"""The log for other systems, over HTTP: in pages, as it grows, and what its events look like."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from api.cloudevents import BATCH_MEDIA_TYPE, StoredEvent, cloud_event
from api.event_pages import EventPages, Page, Selection
from api.event_types import DIALECT, description, event_types, json_schema
from api.http import events_schemas as schemas
from api.http.auth import UnauthenticatedError
from api.http.authentication import authenticate
from api.http.calls import MAX_NAME, MAX_POSITION, Call
from api.http.config import HttpConfig
from api.http.events_live import Live
from api.http.events_stream import MEDIA_TYPE as EVENT_STREAM
from api.http.events_stream import EventStream, rendered
from api.http.log_reads import reached
from api.http.people import with_recorded_rights
from api.http.problems import Problem, error_at, invalid
from api.http.reading import LARGEST_PAGE, number
from api.http.responses import JSON, NDJSON, Lines, dumps, lines, read
from api.http.routing import Answers, Operation, Parameter
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION
from domain.errors import ForbiddenError, UnavailableError
from domain.submissions import fields
from domain.submissions.fields import FieldError

TAG: Final = "events"
PREFIX: Final = "/api/events/v1"
SCOPE: Final = "events:read"
DEFAULT_LIMIT: Final = 100
AGAIN: Final = {"Retry-After": "5"}


@asynccontextmanager
async def live(pages: EventPages, config: HttpConfig) -> AsyncIterator[Live]:
    """What streams of events share in this process."""
    shared = Live(pages, partial(rendered, source=config.event_source), limit=config.event_streams)
    try:
        yield shared
    finally:
        await shared.close()


async def get_events(call: Call) -> Response:
    """A part of the log, oldest first."""
    _authorize(call)
    query = call.query()
    selection = _selection(query)
    after = _position(query.get("after", "0"), "query", "after")
    limit = _limit(query.get("limit"))
    head = await _reached(call, after, "query", "after")
    if call.wants_lines:
        return Lines(_all(call, selection, after, limit, head), head, AsyncExitStack())
    page = await call.backend.pages.page(selection, after=after, limit=limit or DEFAULT_LIMIT)
    next_address = _next(call, selection, page)
    events = [_rendered(call, stored) for stored in page.events]
    as_batch = BATCH_MEDIA_TYPE.encode() in call.raw.get(b"accept", b"").lower()
    document: Any = events
    if not as_batch:
        document = {
            "next": next_address,
            "previous": None,
            "position": page.position,
            "head": page.head,
            "results": events,
        }
    response = read(dumps(document), page.head, call.raw.get(b"if-none-match"))
    response.headers["Link"] = f'<{next_address}>; rel="next"'
    if as_batch and response.status_code == 200:
        response.headers["Content-Type"] = BATCH_MEDIA_TYPE
    return response


async def stream_events(call: Call) -> Response:
    """The log from a position on, as it grows."""
    _authorize(call)
    query = call.query()
    selection = _selection(query)
    where, name, begin = "query", "after", query.get("after")
    if last := call.raw.get(b"last-event-id", b"").decode("latin-1"):
        where, name, begin = "header", "Last-Event-ID", last
    after = None if begin is None else _position(begin, where, name)
    head = await _reached(call, after or 0, where, name)
    shared: Live = call.app.state.live
    if shared.is_full:
        shared.figures.refused += 1
        raise Problem(503, "UnavailableError", "too many streams are open here", headers=AGAIN)
    return EventStream(
        shared,
        selection,
        after=head if after is None else after,
        head=head,
        keep_alive=call.config.event_keep_alive,
        allowed=partial(_still_allowed, call),
    )


async def get_event_types(call: Call) -> Response:
    """What events there may be."""
    _authorize(call)
    call.query()
    found = [
        {
            "type": kind.TOPIC,
            "version": kind.class_version,
            "description": description(kind),
            "schema": {"$schema": DIALECT, **json_schema(kind)},
        }
        for kind in event_types()
    ]
    response = read(dumps(found), 0, call.raw.get(b"if-none-match"))
    del response.headers["X-Log-Position"]
    return response


# --- who, and what ----------------------------------------------------------------------------


def _authorize(call: Call) -> None:
    if not call.caller.may_everywhere(SCOPE):
        raise ForbiddenError(f"this takes global staff or the scope {SCOPE}")


async def _still_allowed(call: Call) -> bool:
    """Whether a reader who came some time ago would be let in now."""
    try:
        call.caller = await authenticate(call)
        call.caller = await with_recorded_rights(call)
    except UnauthenticatedError:
        return False
    except UnavailableError:
        return True
    return call.caller.may_everywhere(SCOPE)


def _selection(query: Mapping[str, str]) -> Selection:
    types = frozenset(query["type"].split(",")) if "type" in query else frozenset[str]()
    unknown = sorted(types - {kind.TOPIC for kind in event_types()})
    errors = [
        error_at(f"There is no event type {name!r}.", "unknown", "query", "type")
        for name in unknown
    ]
    texts: dict[str, str | None] = {"course_id": None, "student_id": None}
    for name in texts:
        if name in query:
            try:
                texts[name] = fields.text(query[name], max_length=MAX_NAME)
            except FieldError as bad:
                errors += [error_at(str(m), m.code, "query", name) for m in bad.messages]
    if errors:
        raise invalid("the query was refused", *errors)
    return Selection(types, **texts)


def _position(text: str, where: str, name: str) -> int:
    found = number(text)
    if isinstance(found, int) and found <= MAX_POSITION:
        return found
    raise invalid(
        "a position was refused", error_at("Not a position of the log.", "invalid", where, name)
    )


def _limit(text: str | None) -> int | None:
    found = number(text)
    if found is None or (isinstance(found, int) and 1 <= found <= LARGEST_PAGE):
        return found
    raise invalid(
        "the query was refused",
        error_at(f"A number from 1 to {LARGEST_PAGE}.", "invalid", "query", "limit"),
    )


async def _reached(call: Call, after: int, where: str, name: str) -> int:
    """Where the log ends, which is not before the position that the caller has seen.

    One that is not there comes from another log: to wait for it would leave out everything
    up to it.
    """
    head = await reached(call)
    if after > head:
        raise invalid(
            "the position is not in this log",
            error_at(f"The log ends at {head}.", "after_the_end", where, name),
        )
    return head


# --- pages ------------------------------------------------------------------------------------


def _rendered(call: Call, stored: StoredEvent) -> dict[str, Any]:
    return cloud_event(stored, source=call.config.event_source)


def _next(call: Call, selection: Selection, page: Page) -> str:
    types = {"type": ",".join(sorted(selection.types))} if selection.types else {}
    return call.url_with(after=str(page.position), **types)


async def _all(
    call: Call, selection: Selection, after: int, limit: int | None, head: int
) -> AsyncIterator[bytes]:
    """Everything up to the end as it is now, or so many events of it."""
    while after < head and limit != 0:
        wanted = LARGEST_PAGE if limit is None else limit
        page = await call.backend.pages.page(selection, after=after, limit=wanted)
        events = [stored for stored in page.events if stored.position <= head]
        after = page.position
        if limit is not None:
            limit -= len(events)
        if events:
            yield lines(_rendered(call, stored) for stored in events)


# --- what is said about it --------------------------------------------------------------------

_POSITION: Final = {"type": "integer", "minimum": 0, "maximum": MAX_POSITION}
_FILTERS: Final = (
    Parameter(
        "type",
        "Only events of these types; several one by one, or with commas.",
        {"type": "array", "items": {"enum": [kind.TOPIC for kind in event_types()]}},
        repeatable=True,
    ),
    Parameter(
        "course_id",
        "Only events that name this course. Escape a plus as %2B.",
        {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
    ),
    Parameter(
        "student_id",
        "Only events that name this student.",
        {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
    ),
)
_COMMON: Final[Mapping[str, Any]] = {
    "method": "GET",
    "tag": TAG,
    "recorded_rights": True,
    "problems": (400, 401, 403, 503),
}

OPERATIONS: Final = (
    Operation(
        path=PREFIX + "/events/",
        handler=get_events,
        operation_id="getEvents",
        summary="A part of the log as CloudEvents, oldest first.",
        description="A page looks through a bounded part of the log, so one with filters may be"
        " empty before the end is reached. next is always there: at the end it is where to ask"
        " again.",
        parameters=(
            Parameter("after", "Events after this position.", _POSITION | {"default": 0}),
            Parameter(
                "limit",
                "Events of a page. Lines go on to the end without it.",
                {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE},
            ),
            *_FILTERS,
            MIN_POSITION,
            IF_NONE_MATCH,
        ),
        answers={
            200: Answers(
                "A page; with Accept: application/cloudevents-batch+json its events alone; with"
                " Accept: application/x-ndjson all there are up to the end, one a line.",
                schemas.EventPage | list[schemas.CloudEvent],
                (JSON, BATCH_MEDIA_TYPE, NDJSON),
                headers=("X-Log-Position", "ETag", "Link"),
            ),
            304: Answers(
                "The answer at hand is the same.", headers=("X-Log-Position", "ETag", "Link")
            ),
        },
        **_COMMON,
    ),
    Operation(
        path=PREFIX + "/stream/",
        handler=stream_events,
        operation_id="streamEvents",
        summary="The log as it grows, as Server-Sent Events.",
        description="The id of an event is its position, its name the type, its data a"
        " CloudEvent. Now and then comes a comment, with an id without an event: up to there"
        " nothing was wanted.",
        parameters=(
            Parameter(
                "after", "Begin after this position; at the end of the log by default.", _POSITION
            ),
            *_FILTERS,
            Parameter(
                "Last-Event-ID",
                "Begin after this position, whatever after says.",
                {"type": "string", "pattern": "^[0-9]{1,19}$"},
                where="header",
            ),
            MIN_POSITION,
        ),
        answers={200: Answers("Events.", str, (EVENT_STREAM,), headers=("X-Log-Position",))},
        **_COMMON,
    ),
    Operation(
        path=PREFIX + "/types/",
        handler=get_event_types,
        operation_id="getEventTypes",
        summary="The types of events with versions and JSON Schemas.",
        parameters=(IF_NONE_MATCH,),
        answers={
            200: Answers("All of them.", list[schemas.EventType], headers=("ETag",)),
            304: Answers("The answer at hand is the same.", headers=("ETag",)),
        },
        **_COMMON,
    ),
)
