"""Every error is told in the shape that clients of the grades interface read."""

import json
from typing import Any

import pytest

from api.http.auth import UnauthenticatedError
from api.http.calls import HEADERS, REQUEST_ID, Call
from api.http.grades.errors import ApiError, refusal, refusal_where_none_provided
from api.http.problems import Problem
from domain.errors import (
    ConflictError,
    ForbiddenError,
    InvalidCommandError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
)
from domain.grades.errors import GradesFrozenError


def a_call(method: str = "GET", **headers: str) -> Call:
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}

    async def receive() -> Any:
        raise AssertionError

    scope = {"type": "http", "method": method, "headers": [], HEADERS: raw, REQUEST_ID: "r1"}
    call = Call(scope, receive)
    call.raw = raw
    return call


def told(error: Exception, call: Call | None = None) -> tuple[int, dict[str, Any]]:
    response = refusal(error, call or a_call())
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in response.headers
    return response.status_code, json.loads(bytes(response.body))


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (ApiError(404, "Gone.", "gone"), 404, {"developer_message": "Gone.", "error_code": "gone"}),
        (
            ApiError(418, None, fields={"a": "b"}),
            418,
            {"field_errors": {"a": {"developer_message": "b"}}},
        ),
        (
            GradesFrozenError(),
            403,
            {
                "developer_message": "Grades are frozen for this course.",
                "error_code": "grades_frozen",
            },
        ),
        (
            UnauthenticatedError("x"),
            401,
            {"developer_message": "Incorrect authentication credentials."},
        ),
        (NotFoundError(), 404, {"developer_message": "Not found."}),
        (NotFoundError("no such thing"), 404, {"developer_message": "no such thing"}),
        (ForbiddenError("not you"), 403, {"developer_message": "not you"}),
        (ConflictError("others won"), 409, {"developer_message": "others won"}),
        (InvalidCommandError("bad"), 400, {"developer_message": "bad"}),
        (Problem(413, "BodyTooLargeError", "too large"), 413, {"developer_message": "too large"}),
    ],
)
def test_refusals(error: Exception, status: int, body: dict[str, Any]) -> None:
    assert told(error) == (status, body)


def test_what_the_peers_framework_says() -> None:
    assert told(Problem(405, "MethodNotAllowedError", "x"), a_call("PUT")) == (
        405,
        {"developer_message": 'Method "PUT" not allowed.'},
    )
    assert told(Problem(415, "X", "x"), a_call("POST", content_type="text/csv")) == (
        415,
        {"developer_message": 'Unsupported media type "text/csv" in request.'},
    )


def test_what_is_not_the_callers_fault() -> None:
    response = refusal(UnavailableError("a server's name"), a_call())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert b"server's name" not in bytes(response.body)
    assert told(OutcomeUnknownError("lost"))[0] == 504
    status, body = told(RuntimeError("a secret"))
    assert status == 500
    assert "secret" not in body["developer_message"]


def test_lone_surrogates_are_escaped() -> None:
    assert told(ApiError(400, "\ud800"))[1] == {"developer_message": "\\ud800"}
    assert told(ApiError(400, None, fields={"a": "ü\ud800"}))[1] == {
        "field_errors": {"a": {"developer_message": "ü\\ud800"}}
    }


def test_missing_credentials_are_told_from_incorrect_ones_in_one_place() -> None:
    error = UnauthenticatedError("x")
    missing = refusal_where_none_provided(error, a_call())
    assert b"credentials were not provided" in bytes(missing.body)
    wrong = refusal_where_none_provided(error, a_call(authorization="JWT x"))
    assert b"Incorrect" in bytes(wrong.body)
    assert refusal_where_none_provided(NotFoundError(), a_call()).status_code == 404
