"""Proof that a write comes from a page that could read an answer of ours (CSRF).

Cookies are sent whoever made the page, so a write that is authenticated by them carries a
token besides. It is signed, and bound to the browser's session; where there is no session
of ours, to a cookie of its own and to whoever the cookies of the token speak of.
"""

import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from api.http import cookies
from api.http.calls import Call
from domain.errors import ForbiddenError

HEADER: Final = b"x-csrftoken"
FIELD: Final = "csrf_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PURPOSE: Final = "csrf"
LIFETIME: Final = 30 * 86_400
MAX_LENGTH: Final = 200


class CsrfError(ForbiddenError):
    """A write that a page of somebody else may have made."""


async def token(call: Call, username: str = "") -> str:
    """A token for the browser that asks, which is marked with a cookie if it has no session.

    Args:
        call: the request.
        username: who is signed in, if anybody.
    """
    if cookies.session_secret(call) is None and cookies.csrf_secret(call) is None:
        made = call.csrf_secret = call.csrf_secret or cookies.new_secret()
        cookies.set_csrf(call, made)
    issued, nonce = f"{int(call.now().timestamp()):x}", secrets.token_urlsafe(9)
    return f"{issued}.{nonce}.{await _signature(call, username, issued, nonce)}"


async def check(call: Call, username: str = "", *, given: str | None = None) -> None:
    """Let a write pass that carries a token of this browser.

    Args:
        call: the request.
        username: who the cookies speak of.
        given: the token, if it came elsewhere than in the header.

    Raises:
        CsrfError: there is none, or none that is valid.
    """
    _check_origin(call)
    text = call.raw.get(HEADER, b"").decode("latin-1") or given or ""
    if not text:
        raise CsrfError("CSRF Failed: CSRF token missing.")
    issued, _, rest = text[:MAX_LENGTH].partition(".")
    nonce, _, signature = rest.partition(".")
    right = await _signature(call, username, issued, nonce)
    if not hmac.compare_digest(signature.encode(errors="replace"), right.encode()):
        raise CsrfError("CSRF Failed: CSRF token incorrect.")
    if call.now().timestamp() > int(issued, 16) + LIFETIME:  # signed, so it is a number
        raise CsrfError("CSRF Failed: CSRF token expired.")


def _check_origin(call: Call) -> None:
    """Refuse what says itself that it comes from elsewhere.

    A page that hides where it comes from is not refused for that: the token decides.
    """
    origin = call.raw.get(b"origin", b"null").decode("latin-1").lower()
    if origin == "null" or origin in call.config.allowed_origins:
        return
    # Without a public address only hosts are compared: a proxy may have taken TLS off.
    here = cookies.base_of(call).origin
    if origin == here or (
        call.config.public_url is None and urlsplit(origin).netloc == urlsplit(here).netloc
    ):
        return
    raise CsrfError("CSRF Failed: Origin checking failed.")


async def _signature(call: Call, username: str, issued: str, nonce: str) -> str:
    session = cookies.session_secret(call)
    if session is not None:
        bound = ["session", cookies.digest(session).hex()]
    else:
        mark = cookies.csrf_secret(call) or call.csrf_secret or ""
        bound = ["cookie", cookies.digest(mark).hex(), username]
    key = await call.backend.sessions.signing_key(PURPOSE)
    text = "\n".join([issued, nonce, *bound])
    return hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()
