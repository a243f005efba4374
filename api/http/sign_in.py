"""Signing in and out, and what pages of other sites need to call in somebody's name.

The cookies, paths and members of answers are those that the front ends of Open edX share.
Where another system lets people in (``login_url``), only its tokens are verified here, and
nothing of this begins a session.
"""

import hashlib
import ipaddress
from datetime import timedelta
from email.utils import format_datetime
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import structlog
from starlette.responses import RedirectResponse, Response

from api.http import cookies, csrf, login_page, people
from api.http.auth import UnauthenticatedError, issue_token
from api.http.authentication import by_cookies, current_session
from api.http.calls import Call
from api.http.problems import Problem, error_at, invalid
from api.http.responses import JSON, dumps
from api.http.routing import Answers, Operation, Parameter
from api.http.schemas import Problem as ProblemShape
from api.http.session_schemas import CsrfToken, LoginForm, Refreshed
from domain.errors import NotFoundError, ReadOnlyServerError
from projections.gradebook.rows import UserRow

logger = structlog.get_logger(__name__)

TAG: Final = "sessions"
NO_STORE: Final = {"Cache-Control": "no-store"}
SHOWN_PEOPLE: Final = 50
TOKEN_SCOPES: Final = ("user_id", "email", "profile")
NEXT_NAMES: Final = ("next", "redirect_url")
LOOPBACK_NAME: Final = "localhost"

_WRONG: Final = "The user name or the password is wrong."
_STALE: Final = "This page had been open for too long, or cookies are off. Please try again."
_ELSEWHERE: Final = (
    "Nobody signs in here: this server only reads, from a copy. Sign in where the originals are."
)
_MANY: Final = "Too many attempts. Please wait a few minutes and try again."
_ONLY_HERE: Final = (
    "GRADELOG_DEVELOPMENT is on. Choosing whom to be works under a name of this machine alone,"
    " such as localhost: anybody could point another name here."
)


# --- tokens -----------------------------------------------------------------------------------


async def login_refresh(call: Call) -> Response:
    """New tokens for whoever is signed in."""
    call.query()
    _refuse_unless_here(call)
    session = await current_session(call, use=True)
    person = None if session is None else await people.find(call, session.username, latest=True)
    if person is None or not person.is_active:
        cookies.remove_token(call)
        if cookies.session_secret(call) is not None:
            cookies.remove_session(call)
        raise UnauthenticatedError("nobody is signed in")
    await _set_token(call, person)
    now = call.now()
    expires = now + call.config.token_lifetime
    document = {
        "success": True,
        "user_id": person.user_id,
        "response_epoch_seconds": now.timestamp(),
        "response_http_date": format_datetime(now, usegmt=True),
        "expires": format_datetime(expires, usegmt=True),
        "expires_epoch_seconds": int(expires.timestamp()),
    }
    return Response(dumps(document), headers=NO_STORE, media_type=JSON)


async def csrf_token(call: Call) -> Response:
    """A token that lets this browser write."""
    call.query()
    try:
        caller = await by_cookies(call)
    except UnauthenticatedError:
        caller = None
    token = await csrf.token(call, "" if caller is None else caller.username)
    return Response(dumps({"csrfToken": token}), headers=NO_STORE, media_type=JSON)


# --- pages ------------------------------------------------------------------------------------


async def login_form(call: Call) -> Response:
    """The page to sign in with; whoever is signed in already is sent on."""
    next_url = _next(call.query())
    if (elsewhere := call.config.login_url) is not None:
        joined = "&" if "?" in elsewhere else "?"
        more = f"{joined}next={quote(next_url, safe='')}" if next_url else ""
        return RedirectResponse(elsewhere + more, 302, headers=NO_STORE)
    _refuse_unless_here(call)
    if not _may_go_to(call, next_url):
        return _refused_next(call, next_url)
    session = await current_session(call)
    person = None if session is None else await people.find(call, session.username, latest=True)
    if person is None or not person.is_active:
        return await _form(call, next_url)
    await _set_token(call, person)
    if next_url:
        return RedirectResponse(next_url, 302, headers=NO_STORE)
    return _page(call, login_page.signed_in(call.config.site_name, person.username))


async def login(call: Call) -> Response:
    """Sign somebody in."""
    call.query()
    _refuse_unless_here(call)
    fields = await call.form_fields()
    if "\0" in "".join(fields.values()):
        raise invalid(
            "the form was refused",
            error_at("Null characters are not allowed.", "null_characters_not_allowed", "body"),
        )
    next_url, username = _next(fields), fields.get("username", "")
    if not _may_go_to(call, next_url):
        return _refused_next(call, next_url)
    try:
        await csrf.check(call, given=fields.get(csrf.FIELD))
    except csrf.CsrfError:
        return await _form(call, next_url, status=403, message=_STALE, username=username)
    chosen = fields.get("as")
    if chosen is not None and _may_choose(call):
        person = await people.find(call, chosen, latest=True)
        if person is None or not person.is_active:
            return await _form(call, next_url, status=403, message="Nobody of this name.")
    else:
        wait = await _too_many_attempts(call, username)
        if wait is not None:
            response = await _form(call, next_url, status=429, message=_MANY, username=username)
            response.headers["Retry-After"] = str(int(wait.total_seconds()) + 1)
            return response
        try:
            person = await _with_password(call, username, fields.get("password", ""))
        except ReadOnlyServerError:
            return await _form(call, next_url, status=503, message=_ELSEWHERE, username=username)
        if person is None:
            return await _form(call, next_url, status=403, message=_WRONG, username=username)
    await _begin(call, person)
    where = next_url or cookies.base_of(call).path + "/login"
    return RedirectResponse(where, 303, headers=NO_STORE)


async def logout(call: Call) -> Response:
    """Sign out: the session ends, the cookies go."""
    if call.method != "POST" and call.raw.get(b"sec-fetch-mode", b"navigate") != b"navigate":
        raise Problem(403, "ForbiddenError", "people sign out by going here, pages by POST")
    next_url = _next(call.query())
    if call.method != "HEAD":
        secret = cookies.session_secret(call)
        if secret is not None:
            await call.backend.sessions.end(cookies.digest(secret))
        cookies.remove_session(call)
        cookies.remove_token(call)
    if (elsewhere := call.config.logout_url) is not None:
        return RedirectResponse(elsewhere, 303, headers=NO_STORE)
    if next_url and _may_go_to(call, next_url):
        return RedirectResponse(next_url, 303, headers=NO_STORE)
    return _page(call, login_page.signed_out(call.config.site_name))


# --- who comes in -----------------------------------------------------------------------------


async def _with_password(call: Call, username: str, password: str) -> UserRow | None:
    """Who this is, if the password is right. Takes as long for those who do not exist."""
    sessions = call.backend.sessions
    person = await people.find(call, username, latest=True)
    user_id = None if person is None else person.user_id
    right = await sessions.has_password(user_id, password, at=call.now())
    if person is None:
        return None
    if not right or not person.is_active:
        if person.is_staff:
            logger.warning("staff did not sign in", user_id=user_id, password_was_right=right)
        return None
    await sessions.forget_attempts(_user_key(username))
    await sessions.take_back_attempt(_address_key(call))
    return person


async def _too_many_attempts(call: Call, username: str) -> timedelta | None:
    """Count this attempt; how long to wait if there were too many.

    The address comes first: whoever tries many names leaves no more than a few of them.
    """
    config, at = call.config, call.now()
    for key, limit in (
        (_address_key(call), config.attempts_per_address),
        (_user_key(username), config.attempts_per_user),
    ):
        wait = await call.backend.sessions.count_attempt(
            key, limit=limit, window=config.attempts_window, at=at
        )
        if wait is not None:
            return wait
    return None


async def _begin(call: Call, person: UserRow) -> None:
    """Begin a session, always with a new secret, in place of the one that the browser has."""
    sessions, now = call.backend.sessions, call.now()
    old = cookies.session_secret(call)
    if old is not None:
        await sessions.end(cookies.digest(old))
    secret = cookies.new_secret()
    session = await sessions.begin(
        person.user_id,
        person.username,
        cookies.digest(secret),
        at=now,
        until=now + call.config.session_lifetime,
    )
    cookies.set_session(call, secret)
    await _set_token(call, person)
    if person.is_staff:
        logger.info("staff signed in", user_id=person.user_id, session_id=str(session.session_id))


async def _set_token(call: Call, person: UserRow) -> None:
    """Sign a token that fits into cookies.

    What it may do in courses is not in it: that is asked of the read model, which knows
    when a role was taken away.
    """
    config = call.config
    optional: dict[str, Any] = {
        "anonymous_ids": person.anonymous_ids,
        "roles": await people.role_names(call, person.username),
        "name": person.full_name,
        "email": person.email,
    }
    while True:
        signed = issue_token(
            cast(str, config.jwt_secret),
            username=person.username,
            staff=person.is_staff,
            scopes=TOKEN_SCOPES,
            expires=config.token_lifetime.total_seconds(),
            user_id=person.user_id,
            audience=config.jwt_audience,
            issuer=config.jwt_issuer,
            clock=lambda: call.now().timestamp(),
            **optional,
        )
        if len(signed.rpartition(".")[0]) <= cookies.MAX_COOKIE or not optional:
            break
        del optional[next(iter(optional))]
    cookies.set_token(call, signed)


def _user_key(username: str) -> bytes:
    return hashlib.sha256(b"user\0" + username.casefold().encode()).digest()


def _address_key(call: Call) -> bytes:
    """Of the address that this comes from; of the network, where everybody has many."""
    host = call.client.host if call.client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return hashlib.sha256(b"address\0" + host.encode()).digest()
    width = 64 if address.version == 6 else 32
    network = ipaddress.ip_network((address, width), strict=False)
    return hashlib.sha256(b"address\0" + str(network).encode()).digest()


# --- where to, and from where -----------------------------------------------------------------


def _next(values: dict[str, str]) -> str | None:
    return next((values[name] for name in NEXT_NAMES if values.get(name)), None)


def _may_go_to(call: Call, address: str | None) -> bool:
    """Whether a browser may be sent there: to a path of ours, or to an allowed origin."""
    if address is None:
        return True
    if any(not one.isprintable() or one in " \\" for one in address):
        return False  # browsers read these in ways of their own
    if address.startswith("/"):
        return not address.startswith("//")
    return _origin(address) in {cookies.base_of(call).origin, *call.config.allowed_origins}


def _origin(address: str) -> str | None:
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _refused_next(call: Call, address: str | None) -> Response:
    origin = _origin(address or "") or "elsewhere"
    message = (
        f"People who sign in here are not sent to {origin}."
        " Its operator can allow that with GRADELOG_ALLOWED_ORIGINS."
    )
    return _page(call, login_page.refused(call.config.site_name, message), status=400)


def _refuse_unless_here(call: Call) -> None:
    """Raise when people sign in elsewhere, or nowhere."""
    if not call.config.people_sign_in_here:
        raise NotFoundError("people do not sign in here")


def _may_choose(call: Call) -> bool:
    """Whether whoever comes may be anybody.

    Only under a name that nobody else can make point here: else a page of any site could
    have a name of its own point to this machine, and read and send the forms of this one.
    """
    config = call.config
    if not config.development:
        return False
    if config.development_anywhere:
        return True
    host = urlsplit(f"//{call.host or ''}").hostname or ""
    if host == LOOPBACK_NAME or host.endswith("." + LOOPBACK_NAME):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _form(
    call: Call,
    next_url: str | None,
    *,
    status: int = 200,
    message: str | None = None,
    username: str = "",
) -> Response:
    config, choosing = call.config, _may_choose(call)
    body = login_page.sign_in(
        config.site_name,
        csrf_token=await csrf.token(call),
        next_url=next_url,
        message=message,
        username=username,
        choices=await people.some(call, SHOWN_PEOPLE) if choosing else None,
        note=_ONLY_HERE if config.development and not choosing else None,
    )
    # A browser also asks this of where the answer to a form leads.
    target = _origin(next_url or "")
    return _page(call, body, status=status, targets=(target,) if target else ())


def _page(call: Call, body: str, *, status: int = 200, targets: tuple[str, ...] = ()) -> Response:
    return login_page.page(call.config.site_name, body, status=status, targets=targets)


# --- the table --------------------------------------------------------------------------------

_PAGE_OR_PROBLEM: Final = str | ProblemShape
_HTML: Final = ("text/html",)
_EITHER: Final = ("text/html", "application/problem+json")
_NEXT_PARAMETERS: Final = tuple(
    Parameter(name, "Where to go afterwards: a path here, or a page of an allowed origin.")
    for name in NEXT_NAMES
)


def _operation(
    method: str, path: str, handler: Any, operation_id: str, summary: str, **more: Any
) -> Operation:
    return Operation(
        method=method,
        path=path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        public=True,
        **more,
    )


OPERATIONS: Final = (
    _operation(
        "POST",
        "/login_refresh",
        login_refresh,
        "refreshToken",
        "A new token, in cookies, for the browser of somebody who is signed in.",
        answers={200: Answers("Two cookies, and until when they are good.", Refreshed)},
        problems=(400, 401, 404, 503),
    ),
    _operation(
        "GET",
        "/csrf/api/v1/token",
        csrf_token,
        "getCsrfToken",
        "What a write with cookies carries as X-CSRFToken.",
        answers={200: Answers("Good for this browser alone.", CsrfToken)},
        problems=(400, 503),
    ),
    _operation(
        "GET",
        "/login",
        login_form,
        "getLoginPage",
        "The page to sign in with.",
        parameters=_NEXT_PARAMETERS,
        answers={
            200: Answers("The page.", str, _HTML),
            302: Answers("Signed in already, or to be done elsewhere."),
            400: Answers("Nobody is sent there from here.", _PAGE_OR_PROBLEM, _EITHER),
        },
        problems=(404, 503),
    ),
    _operation(
        "POST",
        "/login",
        login,
        "logIn",
        "Sign in.",
        body=LoginForm,
        body_media_type="application/x-www-form-urlencoded",
        answers={
            303: Answers("Signed in."),
            400: Answers("Nobody is sent there from here.", _PAGE_OR_PROBLEM, _EITHER),
            403: Answers("Not signed in; the page says why.", str, _HTML),
            429: Answers("Too many attempts.", str, _HTML, ("Retry-After",)),
            503: Answers("Not now, or not at a server that only reads.", _PAGE_OR_PROBLEM, _EITHER),
        },
        problems=(404, 413, 415),
    ),
    *(
        _operation(
            method,
            "/logout",
            logout,
            operation_id,
            "Sign out.",
            parameters=_NEXT_PARAMETERS,
            answers={
                200: Answers("A page that says so.", str, _HTML),
                303: Answers("Signed out, and sent on."),
            },
            problems=(400, 403, 503),
        )
        for method, operation_id in (("GET", "logOutByLink"), ("POST", "logOut"))
    ),
)
