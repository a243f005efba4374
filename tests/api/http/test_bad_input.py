"""Bad requests: each has a clear answer, and none leaves a trace in the log."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.submissions.fields import MAX_ANSWER_SIZE
from tests.api.http.site import Site, an_item

NOBODYS = str(UUID(int=1))


@pytest.fixture(scope="module")
def stored() -> dict[str, str]:
    return an_item()


@pytest.fixture(scope="module")
def scored(site: Site, stored: dict[str, str]) -> str:
    return str(site.service.create(stored)["uuid"])


@pytest.fixture(autouse=True)
def log_stays_as_it_is(site: Site, scored: str) -> Iterator[None]:
    """Nothing of what is refused leaves a trace in the log."""
    head = site.head()
    yield
    assert site.head() == head


def refused(site: Site, body: bytes, path: str = "/submissions/", **headers: str) -> Any:
    answer = site.service.send(
        "POST", path, content=body, headers={"Content-Type": "application/json", **headers}
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


def a_body(**changes: Any) -> bytes:
    return json.dumps({"student_item": an_item(), "answer": 1, **changes}).encode()


# --- what is no JSON, or too much of it --------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"answer": NaN}',
        b'{"answer": [1, -Infinity]}',
        b'{"answer": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"answer": 1}'.encode("utf-16"),
        b'{"answer": ' + b"9" * 5000 + b"}",
        b'{"answer": ' + b"[" * 65 + b"]" * 65 + b"}",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"answer": 1, "answer": 2}',
        b'{"answer": {"x": 1, "x": 2}}',
        b"[]",
        b'"text"',
        b"null",
        b'{"answer": "\x01"}',
    ],
)
def test_what_is_not_the_json_of_an_object_is_400(site: Site, body: bytes) -> None:
    problem = refused(site, body)
    assert problem["status"] == 400
    assert problem["type"].endswith("InvalidRequestError")
    assert problem["errors"]
    assert set(problem["errors"][0]) == {"loc", "msg", "type"}


def test_nesting_up_to_the_limit_is_read(site: Site) -> None:
    nested = b"[" * 63 + b"]" * 63
    problem = refused(site, b'{"student_item": null, "answer": ' + nested + b"}")
    assert problem["type"].endswith("SubmissionRequestError")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(site: Site, announced: bool) -> None:
    body = a_body(answer="x" * 1024 * 1024)
    content = body if announced else iter([body[:500_000], body[500_000:]])
    answer = site.service.send(
        "POST", "/submissions/", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["type"].endswith("BodyTooLargeError")


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("text/plain", ""),
        ("application/x-www-form-urlencoded", ""),
        ("application/json; charset=latin-1", ""),
        ("application/x-ndjson", ""),
        ("application/json", "gzip"),
        ("", ""),
    ],
)
def test_another_format_is_415(site: Site, content_type: str, encoding: str) -> None:
    headers = {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    answer = site.service.send("POST", "/submissions/", content=a_body(), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["type"].endswith("UnsupportedMediaTypeError")


# --- fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "loc", "code"),
    [
        ({"student_item": None}, "non_field_errors", "invalid"),
        ({"student_item": an_item(student_id="")}, "student_id", "blank"),
        ({"student_item": an_item(student_id="x" * 256)}, "student_id", "max_length"),
        ({"student_item": an_item(item_type="x" * 101)}, "item_type", "max_length"),
        ({"student_item": an_item(item_id="a\0b")}, "item_id", "null_characters_not_allowed"),
        (
            {"student_item": an_item(course_id="a\ud800")},
            "course_id",
            "surrogate_characters_not_allowed",
        ),
        ({"student_item": an_item() | {"student_id": True}}, "student_id", "invalid"),
        ({"student_item": an_item() | {"student_id": None}}, "student_id", "null"),
        ({"student_item": an_item() | {"more": 1}}, "more", "unknown"),
        ({"answer": None}, "answer", "null"),
        ({"answer": "x" * MAX_ANSWER_SIZE}, "answer", "invalid"),
        ({"answer": 1, "attempt_number": -1}, "attempt_number", "min_value"),
        ({"attempt_number": 1.5}, "attempt_number", "invalid"),
        ({"attempt_number": 2**31}, "attempt_number", "max_value"),
        ({"submitted_at": "soon"}, "submitted_at", "invalid"),
        ({"submitted_at": 7}, "submitted_at", "invalid"),
        ({"team_submission_uuid": NOBODYS}, "team_submission_uuid", "does_not_exist"),
    ],
)
def test_a_bad_field_is_named(site: Site, changes: dict[str, Any], loc: str, code: str) -> None:
    problem = refused(site, a_body(**changes))
    assert (problem["status"], problem["type"]) == (
        400,
        "urn:gradelog:problem:SubmissionRequestError",
    )
    assert [(e["loc"][-1], e["type"]) for e in problem["errors"]] == [(loc, code)]
    assert problem["field_errors"][loc] == [problem["errors"][0]["msg"]]
    assert problem["msg"] == ""
    if loc in ("student_id", "course_id", "item_id", "item_type"):
        assert problem["errors"][0]["loc"][:2] == ["body", "student_item"]


def test_all_bad_fields_are_named_together(site: Site) -> None:
    problem = refused(site, a_body(answer=None, attempt_number="x", submitted_at="y"))
    found = {entry["loc"][-1] for entry in problem["errors"]}
    assert found == {"answer", "attempt_number", "submitted_at"}


@pytest.mark.parametrize("missing", ["student_item", "answer"])
def test_a_missing_field_is_required(site: Site, missing: str) -> None:
    body = json.loads(a_body())
    del body[missing]
    problem = refused(site, json.dumps(body).encode())
    assert problem["errors"] == [
        {"loc": ["body", missing], "msg": "This field is required.", "type": "required"}
    ]


def test_an_unknown_field_is_refused(site: Site) -> None:
    problem = refused(site, a_body(grade="A"))
    assert problem["errors"] == [
        {"loc": ["body", "grade"], "msg": "Unknown field.", "type": "unknown"}
    ]


def test_another_type_of_the_same_item_is_refused(site: Site, stored: dict[str, str]) -> None:
    problem = refused(site, a_body(student_item=stored | {"item_type": "other"}))
    assert "unique set" in problem["field_errors"]["non_field_errors"][0]


@pytest.mark.parametrize(
    ("points", "loc", "message"),
    [
        ({"points_earned": -1}, "points_earned", "greater than or equal to 0"),
        ({"points_earned": True}, "points_earned", "valid integer"),
        ({"points_earned": 1.5}, "points_earned", "valid integer"),
        ({"points_earned": 10**30}, "points_earned", "less than or equal to"),
        ({"points_possible": None}, "points_possible", "may not be null"),
        ({"points_possible": "many"}, "points_possible", "valid integer"),
    ],
)
def test_bad_points_are_the_callers_mistake(
    site: Site, scored: str, points: dict[str, Any], loc: str, message: str
) -> None:
    body = json.dumps({"points_earned": 1, "points_possible": 1, **points}).encode()
    problem = refused(site, body, f"/submissions/{scored}/score/")
    assert problem["status"] == 400
    assert problem["type"].endswith("SubmissionInternalError")
    assert problem["errors"][0]["loc"] == ["body", loc]
    assert message in problem["field_errors"][loc][0]


def test_an_annotation_needs_its_type(site: Site, scored: str) -> None:
    body = {"points_earned": 1, "points_possible": 1, "annotation_creator": "c"}
    problem = refused(site, json.dumps(body).encode(), f"/submissions/{scored}/score/")
    assert problem["errors"][0]["loc"] == ["body", "annotation_type"]


def test_a_score_of_no_submission_is_404(site: Site) -> None:
    body = b'{"points_earned": 1, "points_possible": 1}'
    problem = refused(site, body, f"/submissions/{uuid4()}/score/")
    assert problem["status"] == 404
    assert problem["type"].endswith("SubmissionNotFoundError")


@pytest.mark.parametrize("given", ["7", "%00", "%ff", "no-uuid", "%ED%A0%80"])
def test_what_is_no_uuid_is_the_callers_mistake(site: Site, given: str) -> None:
    body = b'{"points_earned": 1, "points_possible": 1}'
    problem = refused(site, body, f"/submissions/{given}/score/")
    assert problem["status"] == 400
    assert problem["errors"][0]["loc"] == ["path", "submission_uuid"]
    for path in (f"/submissions/{given}/", f"/submissions/{given}/score/"):
        assert site.service.get(path).status_code == 400


def test_get_submission_keeps_the_name_of_its_peers_error(site: Site) -> None:
    problem = site.service.get("/submissions/abc/").json()
    assert problem["type"].endswith("SubmissionInternalError")
    assert problem["field_errors"]["submission_uuid"] == [
        "Could not get submission due to error: ['“abc” is not a valid UUID.']"
    ]


@pytest.mark.parametrize(
    "change", [{"clear_state": "yes"}, {"student_id": "\ud800"}, {"item_type": "x"}]
)
def test_a_bad_reset_is_refused(site: Site, change: dict[str, Any]) -> None:
    item = an_item()
    del item["item_type"]
    assert refused(site, json.dumps(item | change).encode(), "/score-resets/")["status"] == 400


@pytest.mark.parametrize("given", [None, "x", [1], ["x"], [None], {"a": 1}])
def test_bad_lists_of_uuids_are_refused(site: Site, given: Any) -> None:
    body = json.dumps({"submission_uuids": given}).encode()
    problem = refused(site, body, "/courses/c/student-ids/")
    assert problem["status"] == 400
    (entry,) = problem["errors"]
    assert entry["loc"] == ["body", "submission_uuids"]
    assert entry["msg"]


def test_a_surrogate_in_what_is_quoted_is_escaped(site: Site) -> None:
    problem = refused(site, a_body(**{"\ud800": 1}))
    assert problem["errors"][0]["loc"] == ["body", "\\ud800"]


# --- queries ----------------------------------------------------------------------------------

ITEM = "student_id=s&course_id=c&item_id=i&item_type=t"


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize(
    "address",
    [
        "/score/",
        "/score/?student_id=s&course_id=c&item_id=i",
        f"/score/?{ITEM}&more=1",
        f"/score/?{ITEM}&student_id=other",
        "/score/?student_id=%00&course_id=c&item_id=i&item_type=t",
        "/score/?student_id=%ff&course_id=c&item_id=i&item_type=t",
        "/score/?student_id=%20&course_id=c&item_id=i&item_type=t",
        f"/submissions/?{ITEM}&limit=-1",
        f"/submissions/?{ITEM}&limit=x",
        f"/submissions/?{ITEM}&limit={'9' * 5000}",
        f"/submissions/{NOBODYS}/?include=everything",
        "/items/top/?course_id=c&item_id=i&item_type=t",
        "/items/top/?course_id=c&item_id=i&item_type=t&number_of_top_scores=0",
        "/items/top/?course_id=c&item_id=i&item_type=t&number_of_top_scores=101",
        "/items/top/?course_id=c&item_id=i&item_type=t&number_of_top_scores=x",
        "/items/submissions/?course_id=c&item_id=i&item_type=t&page_size=0",
        "/items/submissions/?course_id=c&item_id=i&item_type=t&page_size=1001",
        "/items/submissions/?course_id=c&item_id=i&item_type=t&cursor=x",
        "/items/submissions/?course_id=c&item_id=i&item_type=t&cursor=WzFd",
        "/items/submissions/?course_id=c&item_id=i&item_type=t&cursor=WyJhXHUwMDAwYiJd",
        "/courses/c/submissions/?item_type=t&cursor=WyJhIiwxXQ",
        "/courses/c/submissions/?item_type=t&cursor=é",
        "/courses/%00/submissions/?item_type=t",
        "/courses/%ff/submissions/?item_type=t",
        f"/courses/{'x' * 256}/submissions/?item_type=t",
        "/history/?student_id=s&course_id=c",
    ],
)
def test_a_bad_query_is_400(site: Site, address: str, accept: str) -> None:
    answer = site.service.send("GET", address, headers={"Accept": accept})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"]


@pytest.mark.parametrize("number", ["0", "101", "x"])
def test_a_bad_number_of_top_scores_is_named(site: Site, number: str) -> None:
    answer = site.service.send(
        "GET", f"/items/top/?course_id=c&item_id=i&item_type=t&number_of_top_scores={number}"
    )
    assert answer.json()["errors"] == [
        {
            "loc": ["query", "number_of_top_scores"],
            "msg": "Number of top scores must be a number between 1 and 100.",
            "type": "invalid",
        }
    ]


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Basic dTpw", "Bearer a.b.c", "x" * 20_000]
)
def test_without_a_good_token_it_is_401(site: Site, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = site.nobody.post("/submissions/", {"student_item": an_item()}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'JWT realm="api"'
    assert answer.headers["Content-Type"] == "application/problem+json"
