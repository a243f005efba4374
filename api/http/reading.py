"""What every read shares: the question, how far the past goes, pages, lines, rules for names."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from starlette.responses import Response

from api.http.calls import Call
from api.http.problems import error_at, invalid
from api.http.responses import Lines, decode_cursor, dumps, encode_cursor, lines, read
from api.rendering import Result
from domain.submissions import fields
from domain.submissions.fields import Form
from projections.read_model import Answer, Query, StreamQuery

T = TypeVar("T")

Render = Callable[[Sequence[T]], Awaitable[list[Result]]]
"""Makes results of rows."""

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000


async def ask(call: Call, query: Query[T], *, at_least: int = 0) -> Answer[T]:
    """Answer a question, after what the caller must see was applied."""
    return await call.backend.reads.ask(query, at_least=max(at_least, call.min_position))


def result(call: Call, value: Any, position: int) -> Response:
    """The answer to a read."""
    return read(dumps(value), position, call.raw.get(b"if-none-match"))


async def page(
    call: Call,
    found: Answer[list[T]],
    size: int,
    render: Render[T],
    key: Callable[[T], list[Any]],
) -> Response:
    """One page of a list, of which one entry more than a page was asked for."""
    rows = found.value[:size]
    more = len(found.value) > size
    document = {
        "next": call.url_with(cursor=encode_cursor(key(rows[-1]))) if more else None,
        "previous": None,
        "results": await render(rows),
    }
    return result(call, document, found.position)


async def stream(call: Call, query: StreamQuery[T], render: Render[T]) -> Response:
    """A whole list, one entry a line."""
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(
            call.backend.reads.stream(query, at_least=call.min_position)
        )

        async def chunks() -> AsyncIterator[bytes]:
            async for rows in answer.value:
                yield lines(await render(rows))

        resources = stack.pop_all()
    return Lines(chunks(), answer.position, resources)


# --- parameters -------------------------------------------------------------------------------


def texts(query: Mapping[str, str], **limits: int) -> list[str]:
    """Parameters that are names, in the order of their limits.

    Raises:
        SubmissionRequestError: bad ones, all of them.
    """
    form = Form()
    found = [
        form.check(name, fields.limited_text(limit), query[name]) for name, limit in limits.items()
    ]
    form.refuse_if_bad()
    return [text for text in found if text is not None]


def number(value: str | None) -> object:
    """Digits as a number; anything else as it is, to be refused by the rule of its field."""
    if value is not None and len(value) <= 40 and value.isascii() and value.isdigit():
        return int(value)
    return value


def page_size(query: Mapping[str, str]) -> int:
    """How many entries a page shall have.

    Raises:
        Problem: 400.
    """
    size = number(query.get("page_size", str(DEFAULT_PAGE)))
    if not isinstance(size, int) or not 1 <= size <= LARGEST_PAGE:
        raise invalid(
            "the query was refused",
            error_at(f"A number from 1 to {LARGEST_PAGE}.", "invalid", "query", "page_size"),
        )
    return size


def cursor(query: Mapping[str, str], *kinds: type) -> list[Any] | None:
    """What the last entry of the page before was; None for the first page.

    Raises:
        Problem: 400.
    """
    text = query.get("cursor")
    if text is None:
        return None
    try:
        return decode_cursor(text, kinds)
    except ValueError:
        raise invalid(
            "the query was refused",
            error_at("Not the cursor of a page of this list.", "invalid", "query", "cursor"),
        ) from None
