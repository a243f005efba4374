"""The cookies: their names, their flags, and how they come and go.

A session is for this server alone. The cookies of a token are also read by pages of other
hosts, where the operator says so, and last no longer than the token.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from api.http.calls import Call

SESSION: Final = "gradelog_session"
CSRF: Final = "gradelog_csrf"
SECRET_BYTES: Final = 32
MAX_COOKIE: Final = 3900
"""Characters of a value; browsers drop cookies of more than 4096 bytes, name and flags included."""


@dataclass(frozen=True, slots=True)
class Base:
    """Where a browser finds us: scheme, host, and the path below which we stand."""

    origin: str
    path: str

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return self.origin + self.path

    @property
    def is_secure(self) -> bool:
        """Whether nobody can listen in."""
        return self.origin.startswith("https://")


def base_of(call: Call) -> Base:
    """Where this browser finds us: as the operator says, or as it asked."""
    if call.config.public_url is not None:
        parts = urlsplit(call.config.public_url)
        return Base(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"))
    host = call.host or "localhost"
    return Base(f"{call.scope['scheme']}://{host}", call.scope.get("root_path", "").rstrip("/"))


def new_secret() -> str:
    """A text that nobody can guess."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What is stored of a secret. It is random and long, so one round of hashing will do."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def session_secret(call: Call) -> str | None:
    """The secret of the browser's session, real or not."""
    return call.cookies.get(_own_name(call, SESSION)) or None


def csrf_secret(call: Call) -> str | None:
    """What marks a browser that has no session."""
    return call.cookies.get(_own_name(call, CSRF)) or None


def token(call: Call) -> bytes | None:
    """The token whose halves came in two cookies; None without both."""
    payload = call.cookies.get(call.config.payload_cookie)
    signature = call.cookies.get(call.config.signature_cookie)
    if not payload or not signature:
        return None
    return f"{payload}.{signature}".encode(errors="replace")


def set_session(call: Call, secret: str) -> None:
    """Let the browser keep the secret of its session."""
    _set(call, _own_name(call, SESSION), secret, call.config.session_lifetime)


def set_csrf(call: Call, secret: str) -> None:
    """Mark a browser, until it is closed."""
    _set(call, _own_name(call, CSRF), secret, None)


def set_token(call: Call, signed: str) -> None:
    """Let the browser keep a token, in halves: pages read what it says, none can copy it."""
    payload, _, signature = signed.rpartition(".")
    config = call.config
    for name, value, readable in (
        (config.payload_cookie, payload, True),
        (config.signature_cookie, signature, False),
    ):
        _set(
            call,
            name,
            value,
            config.token_lifetime,
            readable=readable,
            domain=config.cookie_domain,
        )


def remove_session(call: Call) -> None:
    """Take the session's cookie away."""
    _set(call, _own_name(call, SESSION), "", timedelta(0))


def remove_token(call: Call) -> None:
    """Take the token's cookies away."""
    config = call.config
    for name, readable in ((config.payload_cookie, True), (config.signature_cookie, False)):
        _set(call, name, "", timedelta(0), readable=readable, domain=config.cookie_domain)


def _own_name(call: Call, name: str) -> str:
    """With this prefix browsers take the cookie from nobody but this very host."""
    return f"__Host-{name}" if base_of(call).is_secure else name


def _set(
    call: Call,
    name: str,
    value: str,
    lifetime: timedelta | None,
    *,
    readable: bool = False,
    domain: str | None = None,
) -> None:
    """Send a cookie with the answer, in place of another of its name."""
    jar: SimpleCookie = SimpleCookie()
    jar[name] = value
    cookie = jar[name]
    cookie["path"] = "/"
    if lifetime is not None:
        cookie["max-age"] = int(lifetime.total_seconds())
    if not readable:
        cookie["httponly"] = True
    if domain is not None:
        cookie["domain"] = domain
    if base_of(call).is_secure:
        cookie["secure"] = True
        # Pages of other sites send it only if it says so.
        cookie["samesite"] = "None" if call.config.allowed_origins else "Lax"
    else:
        cookie["samesite"] = "Lax"
    call.new_cookies[name] = cookie.OutputString()
