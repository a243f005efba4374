"""Refusals as problem details (RFC 9457): which error becomes which status.

The status says whose move it is. What the caller must change is 4xx. A failed validation
of points or of a uuid is ``SubmissionInternalError`` in the submissions interface, and
answered with 400 all the same, because a 500 would wake an operator for a caller's
mistake; without field errors it is 500. An outcome that is not known is 504, not 503:
nobody may repeat such a write blindly, only with the same ``Idempotency-Key``.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.http.auth import UnauthenticatedError
from domain.errors import (
    ConflictError,
    DomainError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    InvalidCommandError,
    InvalidFieldsError,
    NotFoundError,
    OutcomeUnknownError,
    ReadOnlyServerError,
    UnavailableError,
)
from domain.submissions.errors import SubmissionInternalError, SubmissionRequestError

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:gradelog:problem:"
AUTHENTICATE: Final = {"WWW-Authenticate": 'JWT realm="api"'}

Errors = list[dict[str, Any]]
"""Entries of ``loc``, ``msg`` and ``type``: where, what in words, what as a code."""


@dataclass(frozen=True, slots=True)
class Locations:
    """Where in a request its fields stand.

    Attributes:
        usual: the part of the request that most fields are in.
        others: what leads to fields that stand elsewhere.
        unnamed: what a refusal is about that names no field; the usual part if empty.
    """

    usual: str = "body"
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[str, ...]:
        """What leads to a field."""
        return self.others.get(name, (self.usual,))


IN_BODY: Final = Locations()
IN_QUERY: Final = Locations("query")


class Problem(Exception):  # noqa: N818 - the name of the format
    """A request that is answered with problem details.

    Attributes:
        status: of the answer.
        kind: last part of the problem's type.
        detail: what is wrong with this request.
        errors: what is wrong with which part of it.
        headers: sent along.
        members: further members of the problem.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: Errors | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.members = members or {}

    def as_dict(self) -> dict[str, Any]:
        """The members of the answer, with what is quoted of the request as Unicode text."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.kind,
            "title": TITLES.get(self.kind, "The request was refused"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            document["errors"] = self.errors
        document.update(self.members)
        return {name: _quotable(value) for name, value in document.items()}

    def response(self, request_id: str | None = None) -> Response:
        """The answer; ``request_id`` is what to quote when asking for help."""
        document = self.as_dict()
        if request_id is not None:
            document["request_id"] = request_id
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(orjson.dumps(document), self.status, headers=headers, media_type=MEDIA_TYPE)


TITLES: Final = {
    "InvalidRequestError": "The request is malformed",
    "InvalidCommandError": "The command cannot be carried out",
    "SubmissionRequestError": "The request was bad",
    "SubmissionInternalError": "The values were refused",
    "TeamSubmissionRequestError": "The request was bad",
    "SubmissionNotFoundError": "No such submission",
    "CourseRequestError": "This cannot be published",
    "CourseImportError": "The archive cannot be imported",
    "CourseNotFoundError": "No such course",
    "InvalidLearnerError": "The values were refused",
    "UserNotFoundError": "No such user",
    "UserTakenError": "It belongs to somebody else",
    "CohortNotFoundError": "No such cohort",
    "WebhookNotFoundError": "No such webhook",
    "WebhookTargetError": "Nothing is delivered there",
    "TooManyWebhooksError": "There are too many webhooks",
    "InvalidKeyError": "Not a key of the wanted kind",
    "UnauthenticatedError": "Not authenticated",
    "ForbiddenError": "Not allowed",
    "CsrfError": "Somebody else's page may have sent this",
    "NotFoundError": "Not found",
    "MethodNotAllowedError": "Method not allowed",
    "ConflictError": "Others changed the same at the same time",
    "BodyTooLargeError": "The body is too large",
    "UriTooLongError": "The address is too long",
    "UnsupportedMediaTypeError": "The format of the body is not supported",
    "IdempotencyKeyReusedError": "The idempotency key was used for another request",
    "InternalError": "Something went wrong here",
    "UnavailableError": "Not available at the moment",
    "ReadOnlyServerError": "This server only reads",
    "OutcomeUnknownError": "It is not known whether this was carried out",
}


def invalid(detail: str, *errors: dict[str, Any]) -> Problem:
    """A request that can never be understood as it stands."""
    return Problem(400, "InvalidRequestError", detail, errors=list(errors))


def error_at(msg: str, kind: str, *loc: str | int) -> dict[str, Any]:
    """One entry of ``errors``."""
    return {"loc": list(loc), "msg": msg, "type": kind}


def problem_of(error: Exception, locations: Locations = IN_BODY) -> Problem:
    """What to answer to an error; what is nobody's refusal is logged whole."""
    kind = type(error).__name__
    match error:
        case Problem():
            return error
        case SubmissionRequestError():
            return _refused_fields(kind, error.msg, error.field_errors, locations)
        case InvalidFieldsError():
            return Problem(
                400,
                kind,
                "some fields were refused",
                errors=[
                    error_at(f.msg, f.kind, *locations.of(str(f.loc[0]) if f.loc else ""), *f.loc)
                    for f in error.faults
                ],
            )
        case SubmissionInternalError() if error.args and isinstance(error.args[0], dict):
            return _refused_fields(kind, "", error.args[0], locations)
        case ReadOnlyServerError():
            # 503 and not 421: gateways ask another server by themselves then. Trying again
            # here is of no use, so nothing is said about when.
            return Problem(503, kind, str(error))
        case UnavailableError():
            # Its text may name servers and users of the database.
            logger.warning("not available: %s", error)
            return Problem(503, "UnavailableError", _UNAVAILABLE, headers={"Retry-After": "1"})
        case HTTPException():
            return Problem(error.status_code, "NotFoundError", "there is nothing here")
    for family, status, headers in _STATUSES:
        if isinstance(error, family):
            return Problem(status, kind, str(error), headers=headers)
    logger.error("a request failed", exc_info=error)
    if isinstance(error, DomainError):
        return Problem(500, kind, str(error))
    return Problem(500, "InternalError", _INTERNAL)


_UNAVAILABLE: Final = "this cannot be answered at the moment; nothing was written, try again"
_INTERNAL: Final = "the request could not be answered; the failure was recorded"
_STATUSES: Final[Sequence[tuple[type[Exception], int, Mapping[str, str]]]] = (
    (UnauthenticatedError, 401, AUTHENTICATE),
    (NotFoundError, 404, {}),
    (ForbiddenError, 403, {}),
    (IdempotencyKeyReusedError, 422, {}),
    (ConflictError, 409, {}),
    (InvalidCommandError, 400, {}),
    (OutcomeUnknownError, 504, {}),
)


def _refused_fields(
    kind: str, msg: str, fields: Mapping[str, Sequence[str]], locations: Locations
) -> Problem:
    return Problem(
        400,
        kind,
        msg or "some fields were refused",
        errors=field_errors(fields, locations)
        or [error_at(msg, "invalid", *(locations.unnamed or (locations.usual,)))],
        members={"msg": msg, "field_errors": fields},
    )


def field_errors(fields: Mapping[str, Sequence[str]], locations: Locations = IN_BODY) -> Errors:
    """The messages of fields as entries of ``errors``."""
    return [
        error_at(str(message), getattr(message, "code", "invalid"), *locations.of(name), name)
        for name, messages in fields.items()
        for message in messages
    ]


def _quotable(value: Any) -> Any:
    """What JSON can say of a value: a lone surrogate, which is no Unicode text, is escaped."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return value if value.isascii() else value.encode(errors="backslashreplace").decode()
        case Mapping():
            return {_quotable(str(name)): _quotable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_quotable(inner) for inner in value]
        case _:
            return _quotable(str(value))
