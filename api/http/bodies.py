"""What a request carries in its body: bounded while it comes in, read strictly.

Bodies are read with the standard library, because a learner's answer may hold what faster
readers refuse or change: lone surrogates as escapes, and integers beyond 64 bits. What two
readers could understand differently is refused: names given twice, NaN, other encodings.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.http.problems import Problem, error_at, invalid

MAX_DEPTH: Final = 64
JSON_TYPES: Final = frozenset({b"application/json"})
FORM_TYPES: Final = frozenset({b"application/x-www-form-urlencoded"})
LINES_TYPES: Final = frozenset(
    {b"application/x-ndjson", b"application/ndjson", b"application/jsonl"}
)

Headers = dict[bytes, bytes]


def too_large(limit: int, what: str = "body") -> Problem:
    """The body or a line of it has more bytes than are read."""
    return Problem(413, "BodyTooLargeError", f"the {what} has more than {limit} bytes")


def check_media_type(headers: Headers, accepted: frozenset[bytes]) -> None:
    """Refuse a body in any other format, encoding or compression.

    Raises:
        Problem: 415.
    """
    media_type, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if (
        media_type.strip() not in accepted
        or charset not in (b"", b"charset=utf-8")
        or headers.get(b"content-encoding", b"identity").lower() != b"identity"
    ):
        names = " or ".join(sorted(name.decode() for name in accepted))
        raise Problem(
            415,
            "UnsupportedMediaTypeError",
            f"the body must be {names}, in UTF-8 and not compressed",
            headers={"Accept-Post": names.replace(" or ", ", ")},
        )


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body.

    Raises:
        Problem: 413, as soon as the limit is passed or announced to be.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        return body
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


async def read_lines(receive: Receive, limit: int) -> AsyncIterator[list[bytes | Problem]]:
    """The lines of the body as they come in, without empty ones; each chunk's lines together.

    A line over the limit is skipped, not kept, and stands as a problem in its place. A last
    line without its end counts when the body has ended, not when the client has gone.
    """
    rest = bytearray()
    skipping = False
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        found: list[bytes | Problem] = []
        more = message.get("more_body", False)
        parts = message.get("body", b"").split(b"\n")
        if not more:
            parts.append(b"")  # the end of the body ends the last line
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if not skipping:
                rest += part
                if len(rest) > limit:
                    skipping = True
                    rest.clear()
            if last:
                break
            if skipping:
                found.append(too_large(limit, "line"))
                skipping = False
            elif line := rest.strip():
                found.append(bytes(line))
            rest.clear()
        if found:
            yield found
        if not more:
            return


def parse_json(raw: bytes) -> Any:
    """Read one JSON text.

    Raises:
        Problem: 400, with what is wrong and where.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise invalid(
            "the body is not UTF-8",
            error_at(f"invalid byte at {error.start}", "unicode", "body", error.start),
        ) from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise invalid(
            "the body is not JSON", error_at(error.msg, "json_invalid", "body", error.pos)
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(
            "the body is not JSON", error_at(str(error), "json_invalid", "body")
        ) from None
    # Deep nesting takes many brackets: most bodies have too few of them to be looked at.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def parse_object(raw: bytes, allowed: Iterable[str]) -> dict[str, Any]:
    """Read one JSON object that has no other members than the allowed.

    Raises:
        Problem: 400, with every member that is not known.
    """
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise invalid(
            "the body must be a JSON object",
            error_at("Input should be an object.", "object_type", "body"),
        )
    if unknown := [name for name in value if name not in allowed]:
        raise invalid(
            "the body has unknown fields",
            *(error_at("Unknown field.", "unknown", "body", name) for name in unknown),
        )
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        twice = [name for name, count in counted.items() if count > 1]
        raise invalid(
            "an object has a name twice",
            *(error_at("Duplicate field.", "duplicate", "body", name) for name in twice),
        )
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise invalid(
        "the body is not JSON", error_at(f"{name} is no JSON value", "json_invalid", "body")
    )


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def _too_deep() -> Problem:
    return invalid(
        "the body is nested too deeply",
        error_at(f"Nested more than {MAX_DEPTH} levels deep.", "too_deep", "body"),
    )


def _is_deeper_than(value: object, depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
