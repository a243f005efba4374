"""Lines and JSON, read from bodies that come in any pieces."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from api.http.bodies import MAX_DEPTH, parse_json, read_body, read_lines
from api.http.problems import Problem

LIMIT = 10


def receiver(chunks: list[bytes], *, gone: bool = False) -> Any:
    """What the server hands over: the chunks, then the end or the news that nobody is there."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages.append({"type": "http.disconnect"} if gone else {"type": "http.request", "body": b""})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return receive


def lines_of(chunks: list[bytes], *, gone: bool = False) -> list[bytes | int]:
    async def read() -> list[bytes | int]:
        return [
            line.status if isinstance(line, Problem) else line
            async for found in read_lines(receiver(chunks, gone=gone), LIMIT)
            for line in found
        ]

    return asyncio.run(read())


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=2 * LIMIT).map(lambda b: b.replace(b"\n", b"x"))),
    st.lists(st.integers(0, 60)),
    st.booleans(),
)
def test_lines_are_the_same_however_they_are_cut(
    lines: list[bytes], cuts: list[int], ended: bool
) -> None:
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    chunks, start = [], 0
    for cut in sorted(cuts):
        chunks.append(body[start:cut])
        start = max(start, cut)
    chunks.append(body[start:])
    expected: list[bytes | int] = []
    for line in body.split(b"\n"):
        if len(line) > LIMIT:
            expected.append(413)
        elif line.strip():
            expected.append(line.strip())
    assert lines_of(chunks) == expected


def test_a_last_line_counts_only_when_the_body_has_ended() -> None:
    assert lines_of([b"a\nb"]) == [b"a", b"b"]
    with pytest.raises(ClientDisconnect):
        lines_of([b"a\nb"], gone=True)


def test_a_body_is_given_up_when_the_limit_is_passed_not_at_its_end() -> None:
    chunks = [b"12345678"] * 100
    receive = receiver(chunks)
    with pytest.raises(Problem, match="more than 10 bytes"):
        asyncio.run(read_body(receive, {}, LIMIT))
    assert asyncio.run(receive())["more_body"]


def test_a_body_from_a_client_that_has_gone_is_no_body() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read_body(receiver([b"1"], gone=True), {}, LIMIT))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_read_up_to_the_limit(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def nested(depth: int) -> bytes:
        return (opening * (depth - 1) + "[]" + closing * (depth - 1)).encode()

    parse_json(nested(MAX_DEPTH))
    with pytest.raises(Problem, match="deeply"):
        parse_json(nested(MAX_DEPTH + 1))


def test_wide_bodies_are_not_deep() -> None:
    assert len(parse_json(b"[" + b"[],{}," * 1000 + b"1]")) == 2001


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_problem(raw: bytes) -> None:
    with contextlib.suppress(Problem):
        parse_json(raw)
