"""Refusals as clients of the grades interface read them: ``developer_message`` and perhaps a code.

Source: Open edX LMS, ``DeveloperErrorViewMixin``; texts and codes are contract. What the peer's
framework says of a request has a message only; what its views say has an ``error_code``; a bad
parameter is named in ``field_errors``. Where the peer fails with a 500 we refuse in its shape.
"""

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.responses import Response

from api.http.auth import UnauthenticatedError
from api.http.calls import Call
from api.http.problems import AUTHENTICATE, Problem, problem_of
from domain.errors import DomainError
from domain.grades.errors import GradesFrozenError

NOT_PROVIDED: Final = "Authentication credentials were not provided."
INCORRECT: Final = "Incorrect authentication credentials."
NOT_ALLOWED: Final = "You do not have permission to perform this action."
NOT_FOUND: Final = "Not found."


class ApiError(Exception):
    """A request that is refused in the peer's words.

    Attributes:
        status: of the answer.
        message: ``developer_message``; None where only fields are named.
        code: ``error_code``, of errors that the peer's views raise themselves.
        fields: messages of parameters by their names.
        headers: sent along.
    """

    def __init__(
        self,
        status: int,
        message: str | None,
        code: str | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.fields = fields
        self.headers = headers or {}


def invalid_course_key(status: int = 404) -> ApiError:
    """The text is no key of a course."""
    return ApiError(status, "The provided course key cannot be parsed.", "invalid_course_key")


def course_does_not_exist(course_id: str) -> ApiError:
    """A key of a course that nobody published."""
    return ApiError(404, f"Requested grade for unknown course {course_id}", "course_does_not_exist")


def feature_not_enabled() -> ApiError:
    """The course has no gradebook that can be written to."""
    return ApiError(
        403,
        "The writable gradebook feature is not enabled for this course.",
        "feature_not_enabled",
    )


def not_an_author() -> ApiError:
    """The caller is not of the course team."""
    return ApiError(
        403, "The requesting user does not have course author permissions.", "user_permissions"
    )


def grades_frozen() -> ApiError:
    """The course ended too long ago."""
    return ApiError(403, str(GradesFrozenError()), "grades_frozen")


def user_does_not_exist() -> ApiError:
    """Nobody has the user name."""
    return ApiError(
        404,
        "The user matching the requested username does not exist.",
        "user_does_not_exist",
    )


def user_not_enrolled() -> ApiError:
    """The user never was in the course. No full stop, as in the peer."""
    return ApiError(
        404,
        "The user matching the requested username is not enrolled in this course",
        "user_not_enrolled",
    )


def no_such_course(status: int) -> ApiError:
    """The policy of this course is not shown; also where the course exists."""
    return ApiError(status, "The course does not exist.", "user_or_course_does_not_exist")


def invalid_usage_key() -> ApiError:
    """The text is no key of a block."""
    return ApiError(404, "Invalid UsageKey", "invalid_usage_key")


def invalid_user_id() -> ApiError:
    """The text is no number of a user."""
    return ApiError(404, "Invalid UserID", "invalid_user_id")


def not_allowed() -> ApiError:
    """What the peer's framework says to whoever may not do this."""
    return ApiError(403, NOT_ALLOWED)


def invalid_field(name: str, message: str) -> ApiError:
    """A parameter that cannot be understood."""
    return ApiError(400, None, fields={name: message})


def refusal(error: Exception, call: Call) -> Response:
    """The answer to any error; what is nobody's refusal is logged whole."""
    match error:
        case ApiError():
            return _response(error)
        case GradesFrozenError():
            return _response(grades_frozen())
        case UnauthenticatedError():
            # The peer says that credentials are incorrect where none were sent, too.
            return _response(ApiError(401, INCORRECT))
    problem = problem_of(error)
    return _response(
        ApiError(problem.status, _message(problem, error, call), headers=_headers(problem))
    )


def refusal_where_none_provided(error: Exception, call: Call) -> Response:
    """The same where the peer tells missing credentials from incorrect ones."""
    if isinstance(error, UnauthenticatedError) and b"authorization" not in call.raw:
        return _response(ApiError(401, NOT_PROVIDED))
    return refusal(error, call)


def _message(problem: Problem, error: Exception, call: Call) -> str:
    match problem.status:
        case 405:
            return f'Method "{call.method}" not allowed.'
        case 415:
            media_type = call.raw.get(b"content-type", b"").decode("latin-1")
            return f'Unsupported media type "{media_type}" in request.'
        case 404 if isinstance(error, DomainError) and not str(error):
            return NOT_FOUND
        case _:
            return problem.detail


def _headers(problem: Problem) -> dict[str, str]:
    return {name: value for name, value in problem.headers.items() if name not in AUTHENTICATE}


def _response(error: ApiError) -> Response:
    document: dict[str, object] = {}
    if error.fields is not None:
        document["field_errors"] = {
            name: {"developer_message": _quotable(message)}
            for name, message in error.fields.items()
        }
    if error.message is not None:
        document["developer_message"] = _quotable(error.message)
    if error.code is not None:
        document["error_code"] = error.code
    headers = {"Cache-Control": "no-store", **error.headers}
    return Response(
        orjson.dumps(document), error.status, headers=headers, media_type="application/json"
    )


def _quotable(text: str) -> str:
    """Text that JSON can hold: a lone surrogate, which is no Unicode text, is escaped."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
