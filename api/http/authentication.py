"""Who sends a request: by a token in its header, by a token in cookies, or by a session.

A header cannot be sent by a page of somebody else, cookies can. So a token in cookies
counts only with a header that asks for it, as Open edX has it, and whatever is written
with cookies alone needs a token against forgery.
"""

from typing import cast
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from api.http import cookies, csrf, people
from api.http.auth import Caller, Tokens, UnauthenticatedError
from api.http.calls import Call, raw_path
from api.sessions import Session

USE_COOKIES = b"use-jwt-cookie"


async def authenticate(call: Call) -> Caller:
    """Who sends this request.

    Raises:
        UnauthenticatedError: nobody who can be trusted.
        CsrfError: a write with cookies that a page of somebody else may have made.
        UnavailableError: it cannot be told now.
    """
    authorization = call.raw.get(b"authorization")
    if authorization is not None:
        return await tokens(call).caller(authorization)
    found = await by_cookies(call)
    if found is None:
        raise UnauthenticatedError("authentication credentials were not provided")
    if call.method not in csrf.SAFE_METHODS:
        given = None
        if csrf.HEADER not in call.raw and call.has_form:
            given = (await call.form_fields()).get(csrf.FIELD)
        await csrf.check(call, found.username, given=given)
    return found


async def by_cookies(call: Call) -> Caller | None:
    """Who the cookies speak of; None when they do not speak.

    Raises:
        UnauthenticatedError: they speak, and cannot be trusted.
    """
    if call.raw.get(USE_COOKIES, b"").lower() == b"true":
        return await _by_token_cookies(call)
    if call.config.people_sign_in_here:
        session = await current_session(call)
        return None if session is None else await _caller_of(call, session)
    if call.operation.browser:
        # Another system lets people in, and its cookies are all that a plain page has.
        return await _by_token_cookies(call)
    return None


async def current_session(call: Call, *, use: bool = False) -> Session | None:
    """The session of the browser that asks. ``use``: note that it was used."""
    secret = cookies.session_secret(call)
    if secret is None or not call.config.people_sign_in_here:
        return None
    return await call.backend.sessions.find(cookies.digest(secret), at=call.now(), use=use)


def to_sign_in(call: Call) -> Response:
    """Send a browser to where people sign in, and back here afterwards."""
    base = cookies.base_of(call)
    query = call.scope["query_string"].decode("latin-1")
    here = base.path + raw_path(call.scope) + (f"?{query}" if query else "")
    if call.config.login_url is None:
        where = f"{base.path}/login?next={quote(here, safe='')}"
    else:
        where = _with_next(call.config.login_url, base.origin + here)
    return RedirectResponse(where, 302, headers={"Cache-Control": "no-store"})


def tokens(call: Call) -> Tokens:
    """Verifies tokens."""
    return cast(Tokens, call.scope["app"].state.tokens)


def _with_next(address: str, page: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}next={quote(page, safe='')}"


async def _by_token_cookies(call: Call) -> Caller | None:
    token = cookies.token(call)
    return None if token is None else await tokens(call).caller(b"JWT " + token)


async def _caller_of(call: Call, session: Session) -> Caller:
    caller = await people.caller(call, session.username)
    if caller is None:
        raise UnauthenticatedError("whoever signed in may not come in any more")
    return caller
