"""Which pages of other sites may call, and what they may see (CORS).

Pages send cookies along, so an origin is allowed by its exact name or not at all: a star
would let every page in the world act for whoever is signed in.
"""

from collections.abc import Iterable
from typing import Final

from starlette.responses import Response

Headers = list[tuple[bytes, bytes]]

ALLOWED_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = (
    b"accept, authorization, cache-control, content-type, idempotency-key, if-none-match,"
    b" last-event-id, traceparent, tracestate, use-jwt-cookie, x-csrftoken,"
    b" x-min-log-position, x-on-behalf-of, x-request-id, x-requested-with"
)
EXPOSED_HEADERS: Final = (
    b"content-disposition, date, etag, idempotent-replayed, link, location, retry-after,"
    b" x-log-position, x-request-id"
)
MAX_AGE: Final = b"7200"
"""Seconds that a browser remembers what it may send; no browser remembers longer."""

_VARY: Final = (b"vary", b"Origin")
_CREDENTIALS: Final = (b"access-control-allow-credentials", b"true")
_EXPOSED: Final = (b"access-control-expose-headers", EXPOSED_HEADERS)


class Cors:
    """The rules of one application."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Allow these origins."""
        self._allowed = frozenset(origin.encode() for origin in allowed)

    def headers(self, request: dict[bytes, bytes]) -> Headers:
        """What every answer to this request carries, whatever the answer is."""
        if not self._allowed:
            return []
        origin = request.get(b"origin")
        if origin not in self._allowed or origin is None:
            return [_VARY]
        return [_VARY, (b"access-control-allow-origin", origin), _CREDENTIALS, _EXPOSED]

    def preflight(self, method: str, request: dict[bytes, bytes]) -> Response | None:
        """The answer to a browser that asks whether a page may call; None: nothing of ours.

        Paths are not looked at: what is not there is told to the call itself, because a
        page can read that answer and not this one.
        """
        if (
            method != "OPTIONS"
            or b"access-control-request-method" not in request
            or request.get(b"origin") not in self._allowed
        ):
            return None
        answer = Response(status_code=204)
        answer.raw_headers += [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", MAX_AGE),
        ]
        return answer
