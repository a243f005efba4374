"""What holds for every endpoint: slashes, positions, idempotency, problems, tags, methods."""

import json
import socket
import timeit
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from api.http.app import OPERATIONS
from api.http.routing import Operation, Routes, routes
from tests.api.http.site import API, Site, an_item, serving

CHANGING = (
    "getLiveness",
    "getReadiness",
    "getMetrics",
    "getCsrfToken",
    "getLoginPage",
    "logOutByLink",
    "showCourses",
    "showGradebook",
    "showCell",
    "getWebhooks",
    "getWebhook",
    "getWebhookDeliveries",
)
"""What is different each time it is asked for."""

ABOUT_ONE = (
    "getSubmission",
    "getCourse",
    "getAccount",
    "showGradebook",
    "showCell",
    "changeCell",
    "getGradebook",
    "bulkUpdateGradebook",
    "getSubsectionGrade",
    "exportGrades",
    "importGrades",
    "getGradeImports",
    "getGradeImportsOfGradebook",
    "exportIntervention",
    "getRecalculation",
)
"""What is not there as long as nobody has made it."""

CACHED = [
    o
    for o in OPERATIONS
    if o.method == "GET"
    and o.operation_id not in (*CHANGING, "getCourse", "getAccount", "getUser", "getRecalculation")
    and o.tag != "events"  # they are for others, and have tests of their own
    and o.refusal is None  # the compatible interfaces have tests of their own
]


def concrete(operation: Operation) -> str:
    """A path of this operation about something that does not exist."""
    path = operation.template.replace("{submission_uuid}", str(uuid4()))
    return path.replace("{course_id}", "course-v1:A+B+C").replace("{student_id}", "nobody")


def named(operation: Operation) -> str:
    return operation.operation_id


# --- paths and methods ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_a_path_is_the_same_with_and_without_a_slash(site: Site, operation: Operation) -> None:
    bare = concrete(operation).rstrip("/")
    answers = [
        site.client.request(operation.method, site.url + path, headers=site.service.headers)
        for path in (bare, bare + "/")
    ]
    assert answers[0].status_code == answers[1].status_code
    assert not answers[0].has_redirect_location
    assert answers[0].status_code not in (404, 405) or operation.operation_id in ABOUT_ONE


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_options_and_other_methods_are_told_what_is_allowed(
    site: Site, operation: Operation
) -> None:
    url = site.url + concrete(operation)
    options = site.client.options(url)
    assert options.status_code == 204
    allowed = options.headers["Allow"].split(", ")
    assert operation.method in allowed
    assert ("HEAD" in allowed) == ("GET" in allowed)
    refused = site.client.request("TRACE", url)
    assert refused.status_code == 405
    assert refused.headers["Allow"] == options.headers["Allow"]
    if operation.refusal is None:
        assert refused.json()["type"].endswith("MethodNotAllowedError")


def test_head_is_get_without_the_body(site: Site) -> None:
    item = an_item()
    asked = site.service.send("GET", "/score/", params=item)
    head = site.service.send("HEAD", "/score/", params=item)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type"):
        assert head.headers[name] == asked.headers[name]


def test_head_of_lines_has_no_lines(site: Site) -> None:
    item = an_item()
    site.service.create(item)
    asked = {name: item[name] for name in ("course_id", "item_id", "item_type")}
    head = site.service.send(
        "HEAD", "/items/submissions/", params=asked, headers={"Accept": "application/x-ndjson"}
    )
    assert (head.status_code, head.content) == (200, b"")


def test_what_is_not_there_is_a_problem(site: Site) -> None:
    answer = site.client.get(site.url + "/api/submissions/v1/nothing/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"].endswith("NotFoundError")


@pytest.mark.parametrize("query", ["x" * 20_000, ""], ids=["query", "path"])
def test_an_address_that_is_too_long_is_refused(site: Site, query: str) -> None:
    path = "/health/live" if query else "/" + "x" * 9000
    answer = site.client.get(f"{site.url}{path}?{query}")
    assert answer.status_code == 414


def test_the_longest_names_fit_into_a_path(site: Site) -> None:
    longest = quote("\U0001d11e" * 255, safe="")
    answer = site.service.get(f"/courses/{longest}/students/{longest}/scores/")
    assert (answer.status_code, answer.json()) == (200, {})


def test_a_path_of_many_parts_is_matched_in_one_pass(site: Site) -> None:
    path = f"{API}/courses/" + "x/students/" * 700
    (every,) = routes(OPERATIONS)
    assert isinstance(every, Routes)
    (route,) = [r for r in every.routes if r.template.endswith("{student_id}/scores/")]
    seconds = min(
        timeit.repeat(
            lambda: route.matches({"type": "http", "path": path, "raw_path": path.encode()}),
            number=1,
            repeat=5,
        )
    )
    assert seconds < 0.02


# --- ids and headers --------------------------------------------------------------------------


def test_every_answer_has_an_id_and_is_not_guessed_about(site: Site) -> None:
    for path in ("/health/live", "/nowhere", API + "/score/"):
        answer = site.client.get(site.url + path)
        assert len(answer.headers["X-Request-ID"]) == 32
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [("abc-123", "abc-123"), ("a b\tc<script>", "abcscript"), ("x" * 300, "x" * 128)],
)
def test_the_id_of_a_request_is_taken_as_far_as_it_is_harmless(
    site: Site, given: str, taken: str
) -> None:
    answer = site.client.get(site.url + "/health/live", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == taken


@pytest.mark.parametrize(
    "traceparent",
    [
        "rubbish",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ],
)
def test_a_bad_traceparent_is_ignored(site: Site, traceparent: str) -> None:
    before = site.head()
    body = {"student_item": an_item(), "answer": 1}
    site.service.post("/submissions/", body, headers={"traceparent": traceparent})
    assert all("trace" not in metadata for _, _, metadata in site.events(before))


@pytest.mark.parametrize("scopes", [[], ["profile", "email"]])
def test_only_services_act_on_behalf_of_others(site: Site, scopes: list[str]) -> None:
    item = an_item()
    staff = site.as_("teacher", course_roles={"staff": [item["course_id"]]}, scopes=scopes)
    body = {"student_item": item, "answer": 1}
    answer = staff.post("/submissions/", body, headers={"X-On-Behalf-Of": "somebody"})
    assert answer.status_code == 403


# --- positions --------------------------------------------------------------------------------


def test_a_read_waits_for_the_position_it_must_see(site: Site) -> None:
    lms, item = site.service, an_item()
    for number in range(20):
        answer = lms.post("/submissions/", {"student_item": item, "answer": number})
        position = answer.headers["X-Log-Position"]
        seen = lms.send(
            "GET", "/submissions/", params=item, headers={"X-Min-Log-Position": position}
        )
        assert seen.json()[0]["answer"] == number
        assert int(seen.headers["X-Log-Position"]) >= int(position)


@pytest.mark.parametrize("path", ["/history/", "/score/"])
def test_a_position_that_is_not_reached_is_unavailable(site: Site, path: str) -> None:
    item = an_item()
    if path == "/history/":
        del item["item_type"]
    with serving(site.dsn, site.config, wait=0.5) as hurried:
        far = {"X-Min-Log-Position": str(2**62)}
        answer = hurried.service.send("GET", path, params=item, headers=far)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["type"].endswith("UnavailableError")


@pytest.mark.parametrize("position", ["", "-1", "1.5", "abc", str(2**63), "9" * 400])
def test_a_malformed_position_is_refused(site: Site, position: str) -> None:
    answer = site.service.send(
        "GET", "/score/", params=an_item(), headers={"X-Min-Log-Position": position}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"] == ["header", "X-Min-Log-Position"]


@pytest.mark.parametrize(
    "past",
    [
        {"as_of": "yesterday"},
        {"as_of": ""},
        {"as_of_position": "-1"},
        {"as_of_position": "1e3"},
        {"as_of": "2026-01-01T00:00:00Z", "as_of_position": "1"},
    ],
)
def test_a_malformed_past_is_refused(site: Site, past: dict[str, str]) -> None:
    assert site.service.get("/score/", **an_item(), **past).status_code == 400


def test_an_offset_whose_plus_became_a_space_is_understood(site: Site) -> None:
    query = "&".join(f"{k}={v}" for k, v in an_item(course_id="c", item_id="i").items())
    answer = site.service.send("GET", f"/score/?{query}&as_of=2026-01-01T00:00:00+02:00")
    assert answer.status_code == 200


# --- tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", CACHED, ids=named)
def test_an_answer_at_hand_is_not_sent_again(site: Site, operation: Operation) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    path = operation.template.replace("{submission_uuid}", uuid)
    path = path.replace("{course_id}", item["course_id"]).replace(
        "{student_id}", item["student_id"]
    )
    query = {name: item.get(name, "1") for name in operation.required_names}
    position = {"X-Min-Log-Position": str(site.head())}
    first = lms.client.get(site.url + path, params=query, headers=lms.headers | position)
    assert first.status_code == 200
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    for wanted in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = lms.client.get(
            site.url + path, params=query, headers=lms.headers | {"If-None-Match": wanted}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    other = lms.client.get(
        site.url + path, params=query, headers=lms.headers | {"If-None-Match": '"other"'}
    )
    assert other.content == first.content


def test_only_what_is_asked_with_get_has_a_tag(site: Site) -> None:
    answer = site.service.post(
        "/courses/c/student-ids/", {"submission_uuids": []}, headers={"If-None-Match": "*"}
    )
    assert (answer.status_code, answer.json()) == (200, {})
    assert "ETag" not in answer.headers
    assert "X-Log-Position" in answer.headers


# --- idempotency ------------------------------------------------------------------------------


def test_the_same_key_is_answered_again_and_writes_once(site: Site) -> None:
    lms, item, key = site.service, an_item(), {"Idempotency-Key": uuid4().hex}
    body: Any = {"student_item": item, "answer": {"text": "mine \ud800"}}
    first = lms.post("/submissions/", body, headers=key)
    head = site.head()
    again = lms.post("/submissions/", body, headers=key)
    assert again.status_code == 201
    assert again.content == first.content
    for name in ("X-Log-Position", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    path = f"/submissions/{first.json()['uuid']}/score/"
    score = {
        "points_earned": 1,
        "points_possible": 2,
        "annotation_creator": "c",
        "annotation_type": "t",
        "annotation_reason": "because",
    }
    scored = [lms.post(path, score, headers=key | {"Idempotency-Key": "k" + path}) for _ in "12"]
    assert scored[0].content == scored[1].content
    assert "because" in scored[1].text
    reset = {name: item[name] for name in ("student_id", "course_id", "item_id")}
    resets = [lms.post("/score-resets/", reset, headers={"Idempotency-Key": path}) for _ in "12"]
    assert [answer.status_code for answer in resets] == [204, 204]
    assert resets[1].headers["Idempotent-Replayed"] == "true"
    assert site.head() == head + 2


def test_a_kept_answer_does_not_hold_what_the_learner_wrote(site: Site) -> None:
    key = uuid4().hex
    body = {"student_item": an_item(), "answer": "a secret confession"}
    site.service.post("/submissions/", body, headers={"Idempotency-Key": key})
    ((payload,),) = site.rows(
        "SELECT payload FROM gradelog.claims WHERE key LIKE %s", f"idempotency:%:{key}"
    )
    assert b"sealed" not in payload
    assert b"confession" not in payload


def test_the_same_key_with_another_body_is_refused(site: Site) -> None:
    lms, item, key = site.service, an_item(), {"Idempotency-Key": uuid4().hex}
    lms.post("/submissions/", {"student_item": item, "answer": 1}, headers=key)
    head = site.head()
    answer = lms.post("/submissions/", {"student_item": item, "answer": 2}, headers=key)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("IdempotencyKeyReusedError")
    assert site.head() == head


def test_keys_of_two_callers_have_nothing_to_do_with_each_other(site: Site) -> None:
    item, key = an_item(), {"Idempotency-Key": uuid4().hex}
    body = {"student_item": item, "answer": 1}
    first = site.as_("a", staff=True).post("/submissions/", body, headers=key)
    second = site.as_("b", staff=True).post("/submissions/", body, headers=key)
    assert first.json()["uuid"] != second.json()["uuid"]


def test_a_refused_request_does_not_use_up_its_key(site: Site) -> None:
    lms, item, key = site.service, an_item(), {"Idempotency-Key": uuid4().hex}
    bad = lms.post("/submissions/", {"student_item": item, "answer": None}, headers=key)
    good = lms.post("/submissions/", {"student_item": item, "answer": 1}, headers=key)
    assert (bad.status_code, good.status_code) == (400, 201)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xe9", b"a\tb"])
def test_a_malformed_key_is_refused(site: Site, key: bytes) -> None:
    body = {"student_item": an_item(), "answer": 1}
    answer = site.client.post(
        site.url + API + "/submissions/",
        json=body,
        headers=[
            (b"Authorization", site.service.headers["Authorization"].encode()),
            (b"Idempotency-Key", key),
        ],
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.parametrize("caller", ["service", "course staff"])
def test_a_repeat_is_answered_also_when_the_submission_was_deleted(site: Site, caller: str) -> None:
    item = an_item()
    uuid = site.service.create(item)["uuid"]
    names = ("student_id", "course_id", "item_id")
    staff = site.as_("teacher", course_roles={"staff": [item["course_id"]]})
    asking = staff if caller == "course staff" else site.service
    points = {"points_earned": 1, "points_possible": 2}
    line = {"command": "set_score", "submission_uuid": uuid, **points}
    key = {"Idempotency-Key": uuid4().hex}

    def ask() -> tuple[Any, Any]:
        alone = asking.post(f"/submissions/{uuid}/score/", points, headers=key)
        _, (result,) = asking.bulk(line, headers=key)
        return alone, result

    first, first_line = ask()
    cleared = {name: item[name] for name in names} | {"clear_state": True}
    assert site.service.post("/score-resets/", cleared).status_code == 204
    again, again_line = ask()
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again_line["result"] == first_line["result"]
    _, (new_line,) = asking.bulk(line)
    new = asking.post(f"/submissions/{uuid}/score/", points)
    assert (new.status_code, new_line["status"]) == (404, 404)


def test_one_of_many_that_send_the_same_key_at_once_writes(site: Site) -> None:
    lms, key = site.service, uuid4().hex
    body = json.dumps({"student_item": an_item(), "answer": 1}).encode()
    head = (
        f"POST {API}/submissions/ HTTP/1.1\r\nHost: gradelog\r\nConnection: close\r\n"
        f"Authorization: {lms.headers['Authorization']}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    before = site.head()
    host, port = site.url.removeprefix("http://").split(":")
    connections = [socket.create_connection((host, int(port))) for _ in range(8)]
    for connection in connections:
        connection.sendall(head + body)
    answers = [connection.makefile("rb").read() for connection in connections]
    for connection in connections:
        connection.close()
    assert len({answer.split(b"\r\n\r\n", 1)[1] for answer in answers}) == 1
    assert sum(b"idempotent-replayed" in answer.lower() for answer in answers) == 7
    assert site.head() == before + 2
