"""Routes that match the path as it was sent, and answer for every method.

Keys of courses hold slashes in their older form, so what stands between two parts of a path
is told apart before anything is unescaped. Each path is one route with all its methods,
with and without a slash at its end: nobody is redirected, and ``Allow`` is complete.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel
from starlette.datastructures import URLPath
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from api.http.auth import UnauthenticatedError
from api.http.authentication import authenticate, to_sign_in
from api.http.calls import HEADERS, ROUTE, Call, raw_path
from api.http.people import with_recorded_rights
from api.http.problems import IN_BODY, IN_QUERY, Locations, Problem, problem_of

MATCHED: Final = "gradelog.matched"

Handler = Callable[[Call], Awaitable[Response]]
Refusal = Callable[[Exception, Call], Response]

_PATTERNS: Final = {
    "": "[^/]+",
    # Any text: slashes may stand in it as they are.
    "any": ".+?",
    # A key of a course: one part, or the three of its older form.
    "course": "[^/]+(?:/[^/]+/[^/]+)?",
}
_PARAMETER: Final = re.compile(r"\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False
    where: str = "query"
    repeatable: bool = False
    """Of the query: its values may be given one by one, or all with commas."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One way in which an operation answers."""

    description: str
    schema: Any = None
    """A type that describes the JSON; None for no body."""
    media_types: Sequence[str] = ("application/json",)
    headers: Sequence[str] = ()
    """Besides ``X-Request-ID``, which every answer has."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path: who carries it out, and what is said about it.

    Attributes:
        path: with parameters as ``{name}``, ``{name:any}`` or ``{name:course}``.
        public: needs no token.
        browser: a page for people: who is not signed in is sent to where that is done.
        body: a type that describes the body.
        locations: where the fields stand that errors speak of.
        refusal: how an error is told where clients expect another shape than ours.
        recorded_rights: what is recorded of the caller counts as if the token said it.
    """

    method: str
    path: str
    handler: Handler
    operation_id: str
    tag: str
    summary: str
    description: str = ""
    public: bool = False
    browser: bool = False
    parameters: Sequence[Parameter] = ()
    path_descriptions: Mapping[str, str] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    body_media_type: str = "application/json"
    answers: Mapping[int, Answers]
    problems: Sequence[int] = ()
    locations: Locations | None = None
    refusal: Refusal | None = None
    recorded_rights: bool = False
    query_names: frozenset[str] = field(init=False)
    repeatable_names: frozenset[str] = field(init=False)
    required_names: Sequence[str] = field(init=False)
    body_names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        query = [p for p in self.parameters if p.where == "query"]
        object.__setattr__(self, "query_names", frozenset(p.name for p in query))
        repeatable = frozenset(p.name for p in query if p.repeatable)
        object.__setattr__(self, "repeatable_names", repeatable)
        object.__setattr__(self, "required_names", [p.name for p in query if p.required])
        names = self.body.model_fields if self.body is not None else ()
        object.__setattr__(self, "body_names", frozenset(names))
        if self.locations is None:
            in_query = self.method == "GET"
            object.__setattr__(self, "locations", IN_QUERY if in_query else IN_BODY)

    @property
    def path_names(self) -> list[str]:
        """The parameters in the path."""
        return [found[1] for found in _PARAMETER.finditer(self.path)]

    @property
    def template(self) -> str:
        """The path with bare parameter names."""
        return _PARAMETER.sub(r"{\1}", self.path)


class PathRoute(BaseRoute):
    """All methods of one path."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Make a route of operations that share their path."""
        self.path = operations[0].path
        self.template = operations[0].template
        self.operations = {operation.method: operation for operation in operations}
        if "GET" in self.operations:
            self.operations["HEAD"] = self.operations["GET"]
        self.allow = ", ".join(sorted({*self.operations, "OPTIONS"}))
        bare = self.path.rstrip("/")
        self._fixed = None if "{" in bare else (bare, bare + "/")
        self._pattern = re.compile(_regex(bare) + "/?")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path as it was sent is this one."""
        if scope["type"] != "http":
            return Match.NONE, {}
        path = raw_path(scope)
        if self._fixed is not None:
            return (Match.FULL, {}) if path in self._fixed else (Match.NONE, {})
        found = self._pattern.fullmatch(path)
        if found is None:
            return Match.NONE, {}
        return Match.FULL, {"path_params": found.groupdict()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls, let the operation answer, and answer for it when it fails."""
        scope[ROUTE] = self.template
        operation = self.operations.get(scope["method"])
        if operation is None:
            response = self._other_method(scope, receive)
        else:
            call = _call(scope, receive, operation)
            try:
                if not operation.public:
                    call.caller = await authenticate(call)
                    if operation.recorded_rights:
                        call.caller = await with_recorded_rights(call)
                response = await operation.handler(call)
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001 - every failure has an answer
                response = _refused(operation, error, call)
            for cookie in call.new_cookies.values():
                response.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Operations are known by their ids, not by names of routes."""
        raise NoMatchFound(name, path_params)

    def _other_method(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self.allow})
        refused = Problem(
            405,
            "MethodNotAllowedError",
            f"allowed here: {self.allow}",
            headers={"Allow": self.allow},
        )
        operation = next(iter(self.operations.values()))
        return _refused(operation, refused, _call(scope, receive, operation))


def _call(scope: Scope, receive: Receive, operation: Operation) -> Call:
    call = Call(scope, receive)
    call.operation = operation
    call.raw = scope[HEADERS]
    call.new_cookies = {}
    return call


def _refused(operation: Operation, error: Exception, call: Call) -> Response:
    if (
        operation.browser
        and isinstance(error, UnauthenticatedError)
        and call.method in ("GET", "HEAD")
        and b"authorization" not in call.raw
    ):
        return to_sign_in(call)
    if operation.refusal is not None:
        return operation.refusal(error, call)
    locations = cast(Locations, operation.locations)
    return problem_of(error, locations).response(call.request_id)


class Routes(BaseRoute):
    """All paths, looked up by how they begin: there are too many to try each of them."""

    def __init__(self, routes: Sequence[PathRoute]) -> None:
        """Make it of routes, of which the first that matches counts."""
        self.routes = routes
        self._by_beginning: dict[str, list[PathRoute]] = {}
        for route in routes:
            self._by_beginning.setdefault(_beginning(route.path), []).append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path as it was sent is one of these."""
        if scope["type"] == "http":
            for route in self._by_beginning.get(_beginning(raw_path(scope)), ()):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    return match, {**found, MATCHED: route}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route of the path answer."""
        await cast(PathRoute, scope[MATCHED]).handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Operations are known by their ids, not by names of routes."""
        raise NoMatchFound(name, path_params)


def _beginning(path: str) -> str:
    """What no parameter stands in: the interface of an API, or the first part of the path."""
    parts = path.split("/", 3)
    return "/".join(parts[1:3]) if parts[1:2] == ["api"] else "".join(parts[1:2])


def routes(operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route for each path, in the order of the operations."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [Routes([PathRoute(found) for found in by_path.values()])]


def _regex(path: str) -> str:
    """The pattern of a path.

    Any text but the last ends where the part that follows it comes first. Otherwise a path
    made of such parts would be tried in every way, which takes the square of its length.
    """
    literals = _PARAMETER.split(path)[::3]
    kinds = [found[2] or "" for found in _PARAMETER.finditer(path)]
    names = [found[1] for found in _PARAMETER.finditer(path)]
    parts = [re.escape(literals[0])]
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True), 1):
        following = re.escape(literals[number])
        is_last = number == len(names)
        pattern = _PATTERNS[kind] if kind != "any" or is_last else f"(?:(?!{following}).)+"
        parts += [f"(?P<{name}>{pattern})", following]
    return "".join(parts)
