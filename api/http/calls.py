"""One request as the routes see it: who calls, with what, and what it must have seen.

Parameters are read strictly: what is not known, given twice or no text is refused, so that
a misspelt filter never answers with everything.
"""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from starlette.requests import Request
from starlette.types import Scope

from api.backend import Backend
from api.http.auth import Caller
from api.http.bodies import (
    FORM_TYPES,
    JSON_TYPES,
    Headers,
    check_media_type,
    parse_object,
    read_body,
)
from api.http.config import HttpConfig
from api.http.problems import error_at, invalid
from domain.errors import ForbiddenError
from domain.events import Provenance
from domain.submissions import fields
from domain.submissions.fields import FieldError

if TYPE_CHECKING:
    from api.http.routing import Operation

HEADERS: Final = "gradelog.headers"
REQUEST_ID: Final = "gradelog.request_id"
ROUTE: Final = "gradelog.route"
RAW_PATH: Final = "gradelog.path"
ANSWERED: Final = "gradelog.answered"
"""When an answer began that goes on for as long as its reader likes."""

MAX_POSITION: Final = 2**63 - 1
MAX_NAME: Final = 255
MAX_PATH: Final = 8192
MAX_QUERY: Final = 16_384

NDJSON: Final = b"application/x-ndjson"

_NOT_AT_ALL: Final = re.compile(rb"q\s*=\s*0(\.0*)?")
_HOST: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")
_NOT_IN_REQUEST_IDS: Final = re.compile(rb"[^A-Za-z0-9._~:+/=@-]")
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Call(Request):
    """A request for one operation."""

    caller: Caller
    operation: "Operation"
    raw: Headers
    new_cookies: dict[str, str]
    """Cookies to be sent with the answer, whatever it is: names, and how they are set."""
    csrf_secret: str | None = None
    """What the browser was marked with by this very request."""
    _fields: dict[str, str] | None = None

    @property
    def backend(self) -> Backend:
        """Everything behind the interfaces."""
        return cast(Backend, self.scope["app"].state.backend)

    @property
    def config(self) -> HttpConfig:
        """The settings of the interfaces."""
        return cast(HttpConfig, self.scope["app"].state.config)

    def now(self) -> datetime:
        """The current moment."""
        return datetime.fromtimestamp(self.scope["app"].state.clock(), UTC)

    # --- what is asked ------------------------------------------------------------------------

    @property
    def host(self) -> str | None:
        """The host and port that was asked, as far as that is one."""
        host = self.raw.get(b"host", b"").decode("latin-1")
        return host.lower() if _HOST.fullmatch(host) else None

    def query(self) -> dict[str, str]:
        """The parameters of the query.

        Raises:
            Problem: 400: one is unknown, missing, given twice or no text.
        """
        try:
            pairs = parse_qsl(
                self.scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=50,
            )
        except ValueError:
            raise invalid(
                "the query is malformed",
                error_at("Not a query of UTF-8 text.", "query_invalid", "query"),
            ) from None
        found = dict(pairs)
        once = pairs
        for name in self.operation.repeatable_names & found.keys():
            found[name] = ",".join(value for key, value in pairs if key == name)
            once = [(name, found[name]), *(pair for pair in once if pair[0] != name)]
        errors = [
            error_at("Unknown parameter.", "unknown", "query", name)
            for name in found
            if name not in self.operation.query_names
        ]
        if len(found) != len(once):
            errors.append(error_at("A parameter is given twice.", "duplicate", "query"))
        errors += [
            error_at("Null characters are not allowed.", "null_characters_not_allowed", "query", n)
            for n, value in found.items()
            if "\0" in value
        ]
        errors += [
            error_at("This field is required.", "required", "query", name)
            for name in self.operation.required_names
            if name not in found
        ]
        if errors:
            raise invalid("the query was refused", *errors)
        return found

    def path_text(self, name: str) -> str:
        """A parameter of the path, decoded.

        Raises:
            Problem: 400: it is no text, or none that anything could be called.
        """
        try:
            return fields.text(
                unquote_to_bytes(self.scope["path_params"][name]).decode(), max_length=MAX_NAME
            )
        except FieldError as bad:
            errors = [error_at(str(m), m.code, "path", name) for m in bad.messages]
        except UnicodeDecodeError:
            errors = [error_at("Not UTF-8 text.", "unicode", "path", name)]
        raise invalid("the path was refused", *errors)

    async def raw_body(self) -> bytes:
        """The whole body, which must be JSON."""
        check_media_type(self.raw, JSON_TYPES)
        return await read_body(self.receive, self.raw, self.config.body_limit)

    @property
    def has_form(self) -> bool:
        """Whether the body is a form without files."""
        media_type = self.raw.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return media_type in FORM_TYPES

    async def form_fields(self) -> dict[str, str]:
        """The fields of a form. May be asked for again.

        Raises:
            Problem: 400, 413 or 415.
        """
        if self._fields is None:
            check_media_type(self.raw, FORM_TYPES)
            body = await read_body(self.receive, self.raw, self.config.body_limit)
            try:
                pairs = parse_qsl(
                    body.decode("ascii"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=1000,
                )
            except ValueError:
                raise invalid(
                    "the form is malformed",
                    error_at("Not a form of UTF-8 text.", "form_invalid", "body"),
                ) from None
            self._fields = dict(pairs)
        return self._fields

    def members(self, body: bytes) -> dict[str, Any]:
        """The members of a body that is an object; others than the operation's are refused."""
        return parse_object(body, self.operation.body_names)

    @property
    def wants_lines(self) -> bool:
        """Whether a list shall come as lines that are streamed."""
        for accepted in self.raw.get(b"accept", b"").lower().split(b","):
            media_type, *parameters = [part.strip() for part in accepted.split(b";")]
            if media_type == NDJSON and not any(map(_NOT_AT_ALL.fullmatch, parameters)):
                return True
        return False

    def url_with(self, **parameters: str) -> str:
        """The address of this request, with some parameters of the query set otherwise."""
        query = dict(parse_qsl(self.scope["query_string"].decode(), keep_blank_values=True))
        if self.config.public_url is not None:
            place = self.config.public_url.rstrip("/")
        else:
            host = self.raw.get(b"host", b"").decode("latin-1")
            place = f"{self.scope['scheme']}://{host}" if _HOST.fullmatch(host) else ""
            place += self.scope.get("root_path", "")
        return f"{place}{raw_path(self.scope)}?{urlencode(query | parameters)}"

    # --- what it must have seen ----------------------------------------------------------------

    @property
    def min_position(self) -> int:
        """The position that must have been applied before this is answered."""
        value = self.raw.get(b"x-min-log-position")
        if value is None:
            return 0
        return _position(value, "header", "X-Min-Log-Position")

    async def past(self, query: Mapping[str, str]) -> int | None:
        """Up to which position to answer from; None when the question is about now."""
        moment, position = query.get("as_of"), query.get("as_of_position")
        if moment is not None and position is not None:
            raise invalid(
                "as_of and as_of_position are two answers to one question",
                error_at("Give one of both.", "invalid", "query", "as_of"),
            )
        if position is not None:
            return _position(position.encode(), "query", "as_of_position")
        if moment is not None:
            return await self.backend.events.position_at(_moment(moment))
        return None

    # --- who is responsible ---------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """Under which this request is known here and to the caller."""
        return cast(str, self.scope[REQUEST_ID])

    def provenance(self) -> Provenance:
        """What is recorded with each event that this request writes.

        Raises:
            ForbiddenError: ``X-On-Behalf-Of`` by somebody who acts for nobody but himself.
        """
        return Provenance(
            actor=self.caller.username,
            on_behalf_of=self._on_behalf_of(),
            request_id=self.request_id,
            trace=_trace(self.raw.get(b"traceparent")),
            via="http",
        )

    def _on_behalf_of(self) -> str | None:
        value = self.raw.get(b"x-on-behalf-of")
        if value is None:
            return None
        if not self.caller.is_service:
            raise ForbiddenError("only services and global staff act on behalf of others")
        try:
            name = value.decode()
        except UnicodeDecodeError:
            name = ""
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise invalid(
                "a header was refused",
                error_at("Not the name of a person.", "invalid", "header", "X-On-Behalf-Of"),
            )
        return name


def request_id(headers: Headers) -> str:
    """The caller's ``X-Request-ID``, as far as it is harmless, or a new one."""
    given = _NOT_IN_REQUEST_IDS.sub(b"", headers.get(b"x-request-id", b"")[:512])[:128]
    return given.decode() if given else uuid.uuid4().hex


def _trace(traceparent: bytes | None) -> str | None:
    """A valid W3C ``traceparent``; an invalid one is ignored, as the standard says."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return None
    return traceparent.decode()


def _position(value: bytes, where: str, name: str) -> int:
    if value.isdigit() and len(value) <= 19 and (number := int(value)) <= MAX_POSITION:
        return number
    raise invalid(
        "a position was refused", error_at("Not a position of the log.", "invalid", where, name)
    )


def _moment(value: str) -> datetime:
    try:
        # The plus of an offset has become a space in callers that do not escape it.
        return fields.moment(re.sub(r" (?=\d\d:?\d\d$)", "+", value) if "T" in value else value)
    except FieldError as bad:
        errors = [error_at(str(m), m.code, "query", "as_of") for m in bad.messages]
    raise invalid("the moment was refused", *errors)


def raw_path(scope: Scope) -> str:
    """The path below the place where the application stands, escaped as it was sent."""
    path = scope.get(RAW_PATH)
    if path is None:
        raw = scope.get("raw_path")
        path = raw.decode("latin-1") if raw else scope["path"].replace("%", "%25")
        root = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        scope[RAW_PATH] = path
    return cast(str, path)
