"""The application: every route, and what is done for every request.

The backend is opened on the event loop of the server, so each worker has its own.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.backend import Backend
from api.http import (
    accounts,
    asyncapi,
    cohort_routes,
    courses,
    docs,
    enrollments,
    events,
    operations,
    recalculation,
    roles,
    sign_in,
    submissions,
    users,
    webhooks,
)
from api.http.auth import Tokens
from api.http.bulk_grades import routes as bulk_grades
from api.http.calls import (
    ANSWERED,
    HEADERS,
    MAX_PATH,
    MAX_QUERY,
    REQUEST_ID,
    ROUTE,
    raw_path,
    request_id,
)
from api.http.config import HttpConfig
from api.http.cors import Cors
from api.http.grades import routes as grades
from api.http.metrics import Metrics
from api.http.openapi import describe
from api.http.pages import routes as pages
from api.http.problems import Problem, problem_of
from api.http.routing import Operation, routes

OpenBackend = Callable[[], AbstractAsyncContextManager[Backend]]

OPERATIONS: Final = (
    *submissions.OPERATIONS,
    *courses.OPERATIONS,
    *recalculation.OPERATIONS,
    *roles.OPERATIONS,
    *users.OPERATIONS,
    *enrollments.OPERATIONS,
    *cohort_routes.OPERATIONS,
    *grades.OPERATIONS,
    *bulk_grades.OPERATIONS,
    *events.OPERATIONS,
    *webhooks.OPERATIONS,
    *sign_in.OPERATIONS,
    *accounts.OPERATIONS,
    *pages.OPERATIONS,
    *operations.OPERATIONS,
)

CLIENT_GONE: Final = 499
"""Counted for requests whose caller left before the answer."""

_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What an answer has that does not say otherwise."""


def create_app(
    open_backend: OpenBackend,
    config: HttpConfig,
    *,
    clock: Callable[[], float] = time.time,
    serving: Sequence[Operation] = OPERATIONS,
) -> Starlette:
    """The application, which opens what is behind it when the server starts.

    Args:
        open_backend: opens the backend on the running event loop, and closes it.
        config: settings.
        clock: gives seconds since 1970, for the times of tokens and sessions.
        serving: the operations.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_backend() as backend, events.live(backend.pages, config) as live:
            app.state.backend = backend
            app.state.live = live
            yield

    metrics = Metrics()
    app = Starlette(
        routes=routes(serving),
        middleware=[Middleware(Conventions, metrics=metrics, cors=Cors(config.allowed_origins))],
        exception_handlers={HTTPException: _not_found},
        lifespan=lifespan,
    )
    document = describe(serving, version=_version())
    app.state.config = config
    app.state.clock = clock
    app.state.tokens = Tokens(config, clock=clock)
    app.state.metrics = metrics
    app.state.openapi = orjson.dumps(document)
    app.state.docs = docs.page(document)
    app.state.asyncapi = asyncapi.describe(config.topics, version=_version())
    return app


class Conventions:
    """What every request has in common: an id, headers, a count, and an answer if it fails."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, cors: Cors) -> None:
        self._app = app
        self._metrics = metrics
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope[HEADERS] = dict(scope["headers"])
        identity = scope[REQUEST_ID] = request_id(headers)
        is_head = scope["method"] == "HEAD"
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = message["headers"]
                own.append((b"x-request-id", identity.encode()))
                given = {name for name, _ in own}
                own.extend(header for header in _SECURITY if header[0] not in given)
                own.extend(self._cors.headers(headers))
            elif is_head:
                message["body"] = b""
            await send(message)

        try:
            if len(raw_path(scope)) > MAX_PATH or len(scope["query_string"]) > MAX_QUERY:
                problem = Problem(414, "UriTooLongError", "the address is too long")
                await problem.response(identity)(scope, receive, send_on)
            elif preflight := self._cors.preflight(scope["method"], headers):
                await preflight(scope, receive, send_on)
            else:
                await self._app(scope, receive, send_on)
        except ClientDisconnect:
            status = status or CLIENT_GONE
        except Exception as error:
            if status:
                raise  # the answer is under way: breaking off is all that can be said
            await problem_of(error).response(identity)(scope, receive, send_on)
        finally:
            route = scope.get(ROUTE, "unknown")
            seconds = scope.get(ANSWERED, time.perf_counter()) - started
            self._metrics.observe(_counted(scope["method"]), route, status, seconds)


def _counted(method: str) -> str:
    """A method as label: callers may make up as many as they like."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return method if method in known else "other"


async def _not_found(request: Request, error: Exception) -> Response:
    return problem_of(error).response(request.scope[REQUEST_ID])


def _version() -> str:
    try:
        return version_of("gradelog")
    except PackageNotFoundError:
        return "0"
