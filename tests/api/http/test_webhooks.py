"""Webhooks over HTTP: making, changing, pausing, forgetting and trying them."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.http.config import HttpConfig
from infra.log.postgres_log import PostgresLog
from infra.main import backend
from infra.reads import PostgresReads
from infra.vault import Vault
from infra.webhooks.store import MOST_WEBHOOKS, PostgresWebhooks
from tests.api.http.described import cases_of
from tests.api.http.site import PATIENCE, SECRET, Site, an_item, serving
from tests.api.http.test_openapi import DOCUMENT
from tests.api.http.test_openapi import check as fits
from tests.infra.webhooks.hooks import MASTER, local_policy
from tests.infra.webhooks.target import Reply, target
from tests.infra.webhooks.test_signing import check

URL = "/api/events/v1/webhooks/"
OUTSIDE = "https://1.1.1.1/hook"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
described = cases_of(
    {**DOCUMENT, "paths": {p: found for p, found in DOCUMENT["paths"].items() if p.startswith(URL)}}
)


@pytest.fixture(scope="module")
def here(new_database: Callable[[], str]) -> Iterator[Site]:
    """A server whose webhooks may lead to this machine, and keep their secrets wrapped."""
    dsn = new_database()

    def made() -> Any:
        webhooks = PostgresWebhooks(dsn, master_key=MASTER, policy=local_policy(), timeout=PATIENCE)
        parts = (
            PostgresLog(dsn, timeout=PATIENCE),
            Vault(dsn, timeout=PATIENCE),
            PostgresReads(dsn, timeout=PATIENCE, wait=PATIENCE),
        )
        return backend(dsn, *parts, webhooks=webhooks)

    with serving(dsn, HttpConfig(jwt_secret=SECRET, wait_limit=0.5), made=made) as running:
        yield running


@pytest.fixture
def owner(site: Site) -> Site:
    return site.as_("hooker", scopes=["events:write"])


def ask(site: Site, method: str, path: str = "", body: Any = None, **more: Any) -> httpx.Response:
    headers = {**site.headers, **more.pop("headers", {})}
    if body is not None:
        more["content"] = json.dumps(body)
        headers["Content-Type"] = "application/json"
    return site.client.request(method, site.url + URL + path, headers=headers, **more)


def make(site: Site, **values: Any) -> Any:
    answer = ask(site, "POST", body={"url": OUTSIDE, **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_webhook_begins_where_the_log_ends_and_shows_its_secret_once(owner: Site) -> None:
    owner.service.create(an_item())
    head = owner.head()
    answer = ask(owner, "POST", body={"url": OUTSIDE, "types": ["submissions.ScoreSet"]})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == f"{URL}{made['id']}/"
    assert int(answer.headers["X-Log-Position"]) >= head
    assert made["secret"].startswith("whsec_")
    assert (made["position"], made["lag"], made["state"]) == (head, 0, "active")
    assert (made["created_by"], made["types"]) == ("hooker", ["submissions.ScoreSet"])
    got = ask(owner, "GET", f"{made['id']}/")
    secret = made.pop("secret")
    assert got.json() == made
    assert secret not in got.text
    assert secret not in ask(owner, "GET", params={"page_size": "1000"}).text


def test_an_answer_at_hand_is_not_sent_again(owner: Site) -> None:
    path = f"{make(owner)['id']}/"
    for url in (path, f"{path}deliveries/"):
        first = ask(owner, "GET", url)
        again = ask(owner, "GET", url, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_list_comes_in_pages(owner: Site) -> None:
    made = [make(owner, description=f"number {n}")["id"] for n in range(5)]
    found: list[str] = []
    url: str | None = owner.url + URL + "?page_size=2"
    while url:
        page = owner.client.get(url, headers=owner.headers).json()
        assert len(page["results"]) <= 2
        found += [one["id"] for one in page["results"]]
        url = page["next"]
    assert found[-5:] == made
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("values", "loc"),
    [
        ({"url": None}, ["body", "url"]),
        ({"url": ""}, ["body", "url"]),
        ({"url": 7}, ["body", "url"]),
        ({"types": "submissions.ScoreSet"}, ["body", "types"]),
        ({"types": ["submissions.ScoreSet", "no.such.Type"]}, ["body", "types", 1]),
        ({"types": [7]}, ["body", "types", 0]),
        ({"types": ["submissions.ScoreSet"] * 201}, ["body", "types"]),
        ({"course_id": ""}, ["body", "course_id"]),
        ({"course_id": "x" * 256}, ["body", "course_id"]),
        ({"description": "x" * 256}, ["body", "description"]),
        ({"description": "\0"}, ["body", "description"]),
        ({"description": None}, ["body", "description"]),
        ({"after": -1}, ["body", "after"]),
        ({"after": True}, ["body", "after"]),
        ({"after": 2**63}, ["body", "after"]),
        ({"after": 2**62}, ["body", "after"]),
        ({"state": "paused"}, ["body", "state"]),
        ({"secret": "mine"}, ["body", "secret"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(owner: Site, values: Any, loc: Any) -> None:
    answer = ask(owner, "POST", body={"url": OUTSIDE, **values})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"] == loc


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://1.1.1.1/", "insecure"),
        ("https://127.0.0.1/", "forbidden_address"),
        ("https://localhost/", "forbidden_address"),
        ("https://169.254.169.254/latest/meta-data/", "forbidden_address"),
        ("https://[::1]/", "forbidden_address"),
        ("https://kim:secret@1.1.1.1/", "credentials"),
        ("https://1.1.1.1:25/", "port"),
        ("https://no-such-name.invalid/", "unresolved"),
        ("javascript:alert(1)", "url"),
    ],
)
def test_an_address_to_which_nothing_is_sent_is_refused(owner: Site, url: str, kind: str) -> None:
    made = make(owner)["id"]
    for method, path in (("POST", ""), ("PATCH", f"{made}/")):
        answer = ask(owner, method, path, {"url": url})
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("WebhookTargetError")
        (error,) = answer.json()["errors"]
        assert (error["loc"], error["type"]) == (["body", "url"], kind)
    assert ask(owner, "GET", f"{made}/").json()["url"] == OUTSIDE


def test_changes_leave_the_rest_as_it_is(owner: Site) -> None:
    made = make(owner, types=["submissions.ScoreSet"], description="ours")
    path = f"{made['id']}/"
    other = owner.as_("kim", staff=True)
    changed = ask(other, "PATCH", path, {"description": "theirs", "state": "paused"})
    assert changed.status_code == 200
    found = changed.json()
    assert (found["description"], found["state"], found["types"]) == (
        "theirs",
        "paused",
        ["submissions.ScoreSet"],
    )
    assert (found["created_by"], found["updated_by"]) == ("hooker", "kim")
    assert "secret" not in found
    assert ask(owner, "PATCH", path, {}).json() == found
    assert ask(owner, "PATCH", path, {"state": "active", "types": []}).json()["types"] == []


@pytest.mark.parametrize(
    "body", [{"state": "disabled"}, {"state": None}, {"course_id": "c"}, {"after": 0}, {"id": "x"}]
)
def test_what_cannot_be_changed(owner: Site, body: Any) -> None:
    assert ask(owner, "PATCH", f"{make(owner)['id']}/", body).status_code == 400


@pytest.mark.parametrize("name", ["4eebdba8-1e85-4d09-b93b-f324fd18fa49", "no-uuid", "%00"])
def test_what_is_not_there(owner: Site, name: str) -> None:
    for method, path, body in [
        ("GET", "", None),
        ("PATCH", "", {"state": "paused"}),
        ("DELETE", "", None),
        ("POST", "rotate-secret/", None),
        ("POST", "test/", None),
        ("GET", "deliveries/", None),
    ]:
        answer = ask(owner, method, f"{name}/{path}", body)
        assert answer.status_code in ((400,) if name == "%00" else (404,))


def test_what_is_removed_is_gone(owner: Site) -> None:
    path = f"{make(owner)['id']}/"
    gone = ask(owner, "DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert "X-Log-Position" in gone.headers
    assert ask(owner, "GET", path).status_code == 404
    assert ask(owner, "DELETE", path).status_code == 404


def test_reading_events_does_not_do(site: Site) -> None:
    reader = site.as_("reader", scopes=["events:read"])
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"{uuid4()}/")):
        assert ask(reader, method, path, {} if method == "POST" else None).status_code == 403


# --- idempotency ------------------------------------------------------------------------------


def test_the_same_key_makes_one_webhook_and_shows_its_secret_again(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    key = {"Idempotency-Key": uuid4().hex}
    first = ask(owner, "POST", body={"url": OUTSIDE}, headers=key)
    again = ask(owner, "POST", body={"url": OUTSIDE}, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    other = ask(owner, "POST", body={"url": OUTSIDE, "after": 0}, headers=key)
    assert (other.status_code, other.json()["type"][-24:]) == (
        422,
        "IdempotencyKeyReusedError"[-24:],
    )
    path = f"{first.json()['id']}/rotate-secret/"
    rotated = [ask(owner, "POST", path, headers=key | {"Idempotency-Key": path}) for _ in "12"]
    assert rotated[0].json() == rotated[1].json()
    assert rotated[0].json()["secret"] != first.json()["secret"]
    assert ask(owner, "POST", body={"url": OUTSIDE}, headers=key).json() == first.json()
    ((count,),) = here.rows(
        "SELECT count(*) FROM gradelog.webhooks WHERE webhook_id = %s", first.json()["id"]
    )
    assert count == 1


def test_a_kept_answer_holds_no_secret(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    key = uuid4().hex
    answer = ask(owner, "POST", body={"url": OUTSIDE}, headers={"Idempotency-Key": key})
    ((payload,),) = here.rows(
        "SELECT payload FROM gradelog.claims WHERE key LIKE %s", f"idempotency:%:{key}"
    )
    assert answer.json()["secret"].removeprefix("whsec_").encode() not in payload
    assert answer.json()["id"].encode() in payload


def test_one_of_many_that_send_the_same_key_at_once_makes_one(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    key, name = {"Idempotency-Key": uuid4().hex}, uuid4().hex
    answers: list[httpx.Response] = []

    def send() -> None:
        with httpx.Client(timeout=30) as client:
            alone = Site(owner.dsn, owner.url, owner.config, client, owner.headers)
            body = {"url": OUTSIDE, "description": name}
            answers.append(ask(alone, "POST", body=body, headers=key))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["secret"] for answer in answers}) == 1
    ((count,),) = here.rows("SELECT count(*) FROM gradelog.webhooks WHERE description = %s", name)
    assert count == 1


def test_a_key_of_a_refused_request_is_free(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    key = {"Idempotency-Key": uuid4().hex}
    assert ask(owner, "POST", body={"url": "https://10.0.0.1/"}, headers=key).status_code == 422
    assert ask(owner, "POST", body={"url": OUTSIDE}, headers=key).status_code == 201


# --- trying -----------------------------------------------------------------------------------


def test_a_ping_is_sent_and_put_on_record(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    with target() as there:
        made = make(owner, url=there.url)
        path = f"{made['id']}/"
        ask(owner, "PATCH", path, {"state": "paused"})
        there.answers(Reply(200), Reply(500))
        sent = ask(owner, "POST", path + "test/", headers={"Idempotency-Key": path})
        assert (sent.status_code, sent.json()["delivered"]) == (200, True)
        again = ask(owner, "POST", path + "test/", headers={"Idempotency-Key": path})
        assert (again.json(), len(there.got)) == (sent.json(), 1)
        failed = ask(owner, "POST", path + "test/").json()
    (event,) = check(there.got[0], made["secret"])
    assert (event["type"], event["subject"]) == ("gradelog.webhooks.Ping", made["id"])
    assert (failed["delivered"], failed["status"]) == (False, 500)
    assert failed["error"] == "the target answered 500"
    assert ask(owner, "GET", path + "deliveries/").json()["results"] == [failed, sent.json()]
    now = ask(owner, "GET", path).json()
    assert (now["failures"], now["position"]) == (0, made["position"])


def test_only_the_last_attempts_are_kept(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    with target() as there:
        path = f"{make(owner, url=there.url)['id']}/"
        for _ in range(103):
            assert ask(owner, "POST", path + "test/").json()["delivered"]
    numbers: list[int] = []
    url: str | None = owner.url + URL + path + "deliveries/?page_size=60"
    while url:
        page = owner.client.get(url, headers=owner.headers).json()
        numbers += [attempt["number"] for attempt in page["results"]]
        url = page["next"]
    assert numbers == list(range(103, 3, -1))


def test_there_is_an_end_to_how_many_there_may_be(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    with psycopg.connect(here.dsn) as db:
        db.execute(
            "INSERT INTO gradelog.webhooks"
            " (webhook_id, url, secret, position, created_by, updated_by, description)"
            " SELECT gen_random_uuid(), 'https://1.1.1.1/', 'bare:', 0, 'x', 'x', 'one of many'"
            " FROM generate_series(1, %s)",
            (MOST_WEBHOOKS,),
        )
    try:
        assert ask(owner, "POST", body={"url": OUTSIDE}).status_code == 409
    finally:
        with psycopg.connect(here.dsn) as db:
            db.execute("DELETE FROM gradelog.webhooks WHERE description = 'one of many'")


def test_figures_tell_how_they_are(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    here.service.create(an_item())
    made = make(owner, after=0)
    assert made["lag"] == here.head()
    here.service.create(an_item())
    lag = here.head()
    rotated = ask(owner, "POST", f"{made['id']}/rotate-secret/").json()
    assert rotated["lag"] == lag
    lines = here.nobody.get("/metrics").text.splitlines()
    assert f'gradelog_webhook_lag{{webhook="{made["id"]}"}} {float(lag)}' in lines
    assert any(line.startswith('gradelog_webhooks{state="active"}') for line in lines)
    told = here.nobody.get("/health/ready").json()["webhooks"]
    assert told["lag"] == lag
    assert told["active"] >= 1


# --- as described -----------------------------------------------------------------------------


def test_answers_fit_their_description(here: Site) -> None:
    owner = here.as_("hooker", scopes=["events:write"])
    with target() as there:
        made = make(owner, url=there.url)
        path = f"{made['id']}/"
        ask(owner, "POST", path + "test/")
        ask(owner, "POST", path + "rotate-secret/")
        for template, url in [
            (URL, "?page_size=1"),
            (URL + "{webhook_id}/", path),
            (URL + "{webhook_id}/deliveries/", path + "deliveries/"),
        ]:
            fits(template, ask(owner, "GET", url).json())


@schemathesis.pytest.from_fixture("described").parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_its_owner_sends_the_answer_is_as_described(site: Site, case: Any) -> None:
    case.headers["Authorization"] = site.as_("hooker", scopes=["events:write"]).headers[
        "Authorization"
    ]
    case.headers.pop("X-Min-Log-Position", None)  # would wait for a position far away
    response = case.call(base_url=site.url)
    case.validate_response(response, checks=CHECKS)
