"""How results are written: JSON, pages, lines that are streamed, and what makes reads cheap.

Times are ISO 8601 in UTC with six fractional digits and ``Z``, whatever the microseconds.
"""

import asyncio
import base64
import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
POSITION: Final = "X-Log-Position"
LARGEST_ID: Final = 2**63 - 1

STALLED: Final = 60.0
"""Seconds after which a reader who takes nothing is let go."""


def moment_text(value: datetime) -> str:
    """A time as it stands in every answer."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")[:-6] + "Z"


def dumps(value: Any) -> bytes:
    """A result as JSON. An answer stands in it as ``orjson.Fragment``: its text as it is."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME)


def fragment(text: str | None) -> orjson.Fragment | None:
    """JSON text to be written as it is; null when there is none."""
    return None if text is None else orjson.Fragment(text)


def _default(value: object) -> str:
    if isinstance(value, datetime):
        return moment_text(value)
    raise TypeError(type(value).__name__)


def written(
    value: Any, position: int, *, status: int = 201, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a POST: its result, and where in the log it stands. Nobody caches it."""
    body = b"" if status == 204 else dumps(value)
    return Response(
        body,
        status,
        headers={POSITION: str(position), "Cache-Control": "no-store", **(headers or {})},
        media_type=None if status == 204 else JSON,
    )


def read(body: bytes, position: int, wanted_tags: bytes | None) -> Response:
    """The answer to a read: 304 when the caller has this very body already.

    Args:
        body: JSON.
        position: what the read model had applied.
        wanted_tags: the header ``If-None-Match``.
    """
    tag = tag_of(body)
    return unchanged(tag, position, wanted_tags) or tagged(body, tag, position)


def tag_of(text: bytes) -> str:
    """A strong ``ETag``."""
    return f'"{hashlib.blake2b(text, digest_size=16).hexdigest()}"'


def tagged(body: bytes, tag: str, position: int) -> Response:
    """The answer to a read whose tag is known."""
    return Response(body, headers=_read_headers(tag, position), media_type=JSON)


def unchanged(tag: str, position: int, wanted_tags: bytes | None) -> Response | None:
    """The answer to a caller who has what the tag stands for already; None to all others."""
    if wanted_tags is None or not _matches(wanted_tags, tag):
        return None
    return Response(status_code=304, headers=_read_headers(tag, position))


def _read_headers(tag: str, position: int) -> dict[str, str]:
    return {
        POSITION: str(position),
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization",
    }


def _matches(wanted: bytes, tag: str) -> bool:
    """Whether a tag is among those of ``If-None-Match``, which compares weakly (RFC 9110)."""
    tags = [entry.strip().removeprefix("W/") for entry in wanted.decode("latin-1").split(",")]
    return tag in tags or tags == ["*"]


class Lines(Response):
    """A list of any length, one JSON object a line, in memory one chunk at a time.

    When something fails midway the connection breaks off without the end of the body, so
    that nobody takes what came for the whole. When its reader leaves or takes nothing any
    more, the rest is not made.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], position: int, resources: AsyncExitStack
    ) -> None:
        """Make the answer.

        Args:
            chunks: whole lines.
            position: what the read model had applied.
            resources: what has to be closed when the last line is sent.
        """
        self.chunks = chunks
        self.resources = resources
        super().__init__(
            media_type=NDJSON,
            headers={
                POSITION: str(position),
                "Cache-Control": "private, no-store",
                "Vary": "Accept, Authorization",
            },
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send line after line; only the head of it for HEAD."""
        async with self.resources:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if scope["method"] != "HEAD":
                left = asyncio.create_task(gone(receive))
                try:
                    async for chunk in self.chunks:
                        await pass_on(send, chunk)
                        if left.done():
                            raise ClientDisconnect
                finally:
                    left.cancel()
            await send({"type": "http.response.body", "body": b""})


async def pass_on(send: Send, chunk: bytes) -> None:
    """Send a part of an answer that goes on.

    Raises:
        ClientDisconnect: its reader takes nothing.
    """
    try:
        async with asyncio.timeout(STALLED):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except TimeoutError:
        logger.warning("an answer ends: its reader takes nothing")
        raise ClientDisconnect from None


async def gone(receive: Receive) -> None:
    """Return when the reader of an answer has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def lines(values: Iterable[Any]) -> bytes:
    """Values as lines of JSON."""
    return b"".join([dumps(value) + b"\n" for value in values])


# --- pages ------------------------------------------------------------------------------------


def encode_cursor(values: list[Any]) -> str:
    """Where the next page begins, as text that callers hand back untouched."""
    return base64.urlsafe_b64encode(dumps(values)).rstrip(b"=").decode()


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Read what ``encode_cursor`` made of values of these types.

    Raises:
        ValueError: something else.
    """
    values = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(values, list) or len(values) != len(kinds):
        raise ValueError("no cursor of this list")
    return [_restored(value, kind) for value, kind in zip(values, kinds, strict=True)]


def _restored(value: object, kind: type) -> object:
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no cursor of this list")
        return moment
    if type(value) is not kind or (isinstance(value, int) and abs(value) > LARGEST_ID):
        raise ValueError("no cursor of this list")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("no cursor of this list")
    return value
