"""``Idempotency-Key``: what was answered once is answered again, and nothing is written twice.

The answer is kept in the log's own transaction, so it is there if and only if the events
are. What a learner wrote is kept sealed, as in the log: erasing the learner erases it here.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import orjson
from starlette.responses import Response

from api.http.auth import Caller
from api.http.calls import Call, raw_path
from api.http.problems import error_at, invalid
from api.http.responses import dumps, fragment, written
from api.rendering import Result
from domain.application import Done, Idempotency
from domain.errors import KeyDestroyedError

R = TypeVar("R")

MAX_KEY: Final = 255
REPLAYED: Final = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a kept answer holds in sealed form.

    Attributes:
        place: ``answer``, or ``reason`` of the one annotation.
    """

    place: str
    text: str
    context: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a command is answered with.

    Attributes:
        sealed: what in the body is kept sealed; asked for only when the answer is kept.
    """

    status: int
    body: Result | None = None
    location: str | None = None
    sealed: Callable[[], Sealed] | None = None

    def kept(self) -> bytes:
        """The answer as it is kept, without what is sealed in plain text."""
        body = self.body
        sealed = None
        if body is not None and self.sealed is not None:
            found = self.sealed()
            body = _with(body, found.place, None)
            sealed = [found.place, found.text, found.context]
        return dumps([self.status, body, self.location, sealed])

    def response(self, position: int, *, replayed: bool = False) -> Response:
        """The answer over HTTP."""
        headers = {}
        if self.location is not None:
            headers["Location"] = self.location
        if replayed:
            headers[REPLAYED] = "true"
        return written(self.body, position, status=self.status, headers=headers)


async def reopen(call: Call, kept: bytes) -> Written:
    """The answer that was kept, with what is sealed in it opened; None for an erased learner."""
    status, body, location, sealed = orjson.loads(kept)
    if sealed is not None:
        place, text, context = sealed
        vault = call.backend.vault
        await vault.load([text])
        plain: Any
        try:
            plain = vault.open(text, context)
        except KeyDestroyedError:
            plain = None
        body = _with(body, place, fragment(plain) if place == "answer" else plain)
    return Written(status, body, location)


async def respond(call: Call, done: Done[R], render: Callable[[R], Written]) -> Response:
    """The answer to a command that was carried out, now or before."""
    if done.replay is not None:
        assert done.position is not None
        return (await reopen(call, done.replay)).response(done.position, replayed=True)
    position = await call.backend.events.head() if done.position is None else done.position
    return render(done.value).response(position)


def header_key(call: Call) -> str | None:
    """The caller's ``Idempotency-Key``.

    Raises:
        Problem: 400: too long, empty, or with other than printable ASCII characters.
    """
    value = call.raw.get(b"idempotency-key")
    return (
        None if value is None else checked_key(value.decode("latin-1"), "header", "Idempotency-Key")
    )


def checked_key(key: object, *loc: str) -> str:
    """A key as callers may choose it.

    Raises:
        Problem: 400.
    """
    if isinstance(key, str) and 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable():
        return key
    raise invalid(
        "the idempotency key was refused",
        error_at(f"1 to {MAX_KEY} printable ASCII characters.", "invalid", *loc),
    )


def idempotency(call: Call, body: bytes, render: Callable[[R], Written]) -> Idempotency[R] | None:
    """The promise that the caller makes with ``Idempotency-Key``, if he makes one."""
    key = header_key(call)
    if key is None:
        return None
    request = f"{call.method}\0{raw_path(call.scope).rstrip('/')}\0".encode()
    return promise(call.caller, key, request + body, render, call.config.idempotency_lifetime)


def promise(
    caller: Caller,
    key: str,
    request: bytes,
    render: Callable[[R], Written],
    lifetime: timedelta,
) -> Idempotency[R]:
    """That this key of this caller means this request."""
    return Idempotency(
        key=f"idempotency:{len(caller.username)}:{caller.username}:{key}",
        fingerprint=hashlib.sha256(request).digest(),
        render=lambda result: render(result).kept(),
        expires_at=datetime.now(UTC) + lifetime,
    )


def _with(body: Result, place: str, value: Any) -> Result:
    if place == "answer":
        return body | {"answer": value}
    (annotation,) = body["annotations"]
    return body | {"annotations": [annotation | {"reason": value}]}
