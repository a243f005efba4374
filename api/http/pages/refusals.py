"""Refusals that people can read; programs that ask for no HTML get problem details."""

from typing import Final

from starlette.responses import Response

from api.http.auth import UnauthenticatedError
from api.http.calls import Call
from api.http.csrf import CsrfError
from api.http.grades.errors import ApiError
from api.http.pages.rendering import html
from api.http.problems import MEDIA_TYPE, Problem, problem_of

NO_COURSE: Final = "There is no such course here. Its team or an administrator can publish it."
NO_RIGHTS: Final = (
    "You are not of the team of this course. Its staff and instructors can see the gradebook;"
    " ask one of them, or sign in as somebody else."
)
SWITCHED_OFF: Final = "The gradebook of this course is switched off."
STALE: Final = (
    "Nothing was saved: this page had been open for too long, or somebody else has signed in"
    " since. Go back, load the page anew and send it again."
)
NOBODY: Final = "You are not signed in. Nothing was saved."

_HEADINGS: Final = {
    400: "This cannot be understood",
    401: "Please sign in",
    403: "Not for you",
    404: "Not found",
    405: "Not possible here",
    503: "Not now",
}
_TEXTS: Final = {
    "invalid_course_key": NO_COURSE,
    "course_does_not_exist": NO_COURSE,
    "user_permissions": NO_RIGHTS,
    "feature_not_enabled": SWITCHED_OFF,
}
_KINDS: Final = {400: "InvalidRequestError", 403: "ForbiddenError", 404: "NotFoundError"}


def not_found(detail: str) -> Problem:
    """Something that a page is about is not there."""
    return Problem(404, "NotFoundError", detail)


def refusal(error: Exception, call: Call) -> Response:
    """The answer to any error."""
    problem = _problem(error)
    if b"text/html" not in call.raw.get(b"accept", b""):
        return problem.response(call.request_id)
    response = html(
        call,
        "refusal.html",
        status=problem.status,
        heading=_heading(error, problem),
        text=_text(error, problem),
        request_id=call.request_id,
        signs_in=problem.status in (401, 403),
    )
    response.headers.update({n: v for n, v in problem.headers.items() if n != "WWW-Authenticate"})
    return response


def _problem(error: Exception) -> Problem:
    if isinstance(error, ApiError):
        fields = "; ".join(f"{name}: {text}" for name, text in (error.fields or {}).items())
        kind = _KINDS.get(error.status, "InvalidRequestError")
        return Problem(error.status, kind, error.message or fields, headers=error.headers)
    return problem_of(error)


def _heading(error: Exception, problem: Problem) -> str:
    if isinstance(error, CsrfError):
        return "Please send it again"
    return _HEADINGS.get(problem.status, "Something went wrong")


def _text(error: Exception, problem: Problem) -> str:
    match error:
        case ApiError(code=str(code)) if code in _TEXTS:
            return _TEXTS[code]
        case CsrfError():
            return STALE
        case UnauthenticatedError():
            return NOBODY
    return problem.detail


PROBLEM_OR_PAGE: Final = ("text/html", MEDIA_TYPE)
