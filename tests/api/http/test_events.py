"""The log in pages, and the catalogue of what may be in it."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from jsonschema import Draft202012Validator

from api.http.app import OPERATIONS
from api.http.config import HttpConfig
from api.http.openapi import describe
from domain.events import NOBODY, Provenance
from infra.log.codec import encode_event
from tests import facts
from tests.api.http.people import ask
from tests.api.http.site import SECRET, Site, an_item, serving
from tests.domain.test_stored_events import GOLDEN

EVENTS = "/api/events/v1/events/"
TYPES = "/api/events/v1/types/"
CLOUDEVENTS = "application/cloudevents-batch+json"
NDJSON = "application/x-ndjson"
A, B = "course-v1:A+1+2026", "course-v1:B+1+2026"


@pytest.fixture
def log(dsn: str) -> Iterator[Site]:
    config = HttpConfig(jwt_secret=SECRET, wait_limit=0.5, event_source="https://log.example/1")
    with serving(dsn, config) as site:
        yield site.as_("warehouse", scopes=["events:read"])


def store(site: Site, *events: Any, provenance: Provenance = NOBODY) -> int:
    with psycopg.connect(site.dsn) as db:
        return facts.store(db, events, provenance=provenance)


def get(site: Site, url: str = EVENTS, **parameters: Any) -> Any:
    headers = parameters.pop("headers", {})
    answer = ask(site, "GET", url, late=False, params=parameters, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def positions(page: Any) -> list[int]:
    return [event["position"] for event in page["results"]]


def scores(count: int, **fields: Any) -> list[Any]:
    return [facts.score_set(points_earned=n, **fields) for n in range(count)]


# --- pages ------------------------------------------------------------------------------------


def test_the_next_page_is_where_the_operator_says_that_this_server_is(dsn: str) -> None:
    config = HttpConfig(jwt_secret=SECRET, wait_limit=0.5, public_url="https://log.example/grades/")
    with serving(dsn, config) as behind_a_proxy:
        site = behind_a_proxy.as_("warehouse", scopes=["events:read"])
        store(site, *scores(2))
        assert get(site, limit=1)["next"] == f"https://log.example/grades{EVENTS}?limit=1&after=1"


def test_an_event_is_a_cloud_event_with_the_data_as_it_is_stored(log: Site) -> None:
    by = Provenance(
        actor="ann",
        on_behalf_of="bob",
        request_id="r-1",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        cause="message-7",
        via="http",
    )
    store(log, facts.submission_created(answer="1:c2VhbGVk"), provenance=by)
    (event,) = get(log)["results"]
    ((id_, stream, version, data, at),) = log.rows(
        "SELECT event_id, stream_id, version, data, recorded_at FROM gradelog.events"
    )
    assert datetime.fromisoformat(event.pop("time")) == at
    assert event == {
        "specversion": "1.0",
        "id": str(id_),
        "source": "https://log.example/1",
        "type": "submissions.SubmissionCreated",
        "subject": str(stream),
        "datacontenttype": "application/json",
        "position": 1,
        "streamversion": version,
        "actor": "ann",
        "onbehalfof": "bob",
        "requestid": "r-1",
        "traceparent": by.trace,
        "cause": "message-7",
        "via": "http",
        "data": json.loads(data),
    }
    assert event["data"]["answer"] == "1:c2VhbGVk"  # sealed, and nobody opens it here


def test_what_learners_write_is_sealed_in_the_log_that_others_read(log: Site) -> None:
    lms = log.service
    uuid = lms.create(an_item(), {"text": "my secret essay"})["uuid"]
    lms.score(
        uuid, 1, 2, annotation_creator="c", annotation_type="t", annotation_reason="my private note"
    )
    answer = ask(log, "GET", EVENTS, late=False)
    assert len(answer.json()["results"]) == 3
    assert "secret essay" not in answer.text
    assert "private note" not in answer.text
    assert answer.json()["results"][0]["actor"] == "lms"


def test_pages_go_through_the_whole_log_and_then_wait_for_more(log: Site) -> None:
    head = store(log, *scores(250))
    seen, url = [], f"{EVENTS}?limit=100"
    for _ in range(3):
        answer = ask(log, "GET", url, late=False)
        page = answer.json()
        assert answer.headers["Link"] == f'<{page["next"]}>; rel="next"'
        assert answer.headers["X-Log-Position"] == str(page["head"]) == str(head)
        seen += positions(page)
        url = page["next"].removeprefix(log.url)
    assert seen == list(range(1, head + 1))
    assert page["position"] == page["head"]
    empty = ask(log, "GET", url, late=False)
    assert empty.json()["results"] == []
    assert empty.json()["next"].endswith(url)
    tag = {"If-None-Match": empty.headers["ETag"]}
    assert ask(log, "GET", url, late=False, headers=tag).status_code == 304
    store(log, *scores(1))
    assert positions(ask(log, "GET", url, late=False, headers=tag).json()) == [head + 1]


def test_filters_and_the_next_page_keep_what_was_asked_for(log: Site) -> None:
    store(log, *scores(2, course_id=A), facts.score_reset(course_id=A), *scores(2, course_id=B))
    store(log, facts.score_set(course_id=B, student_id="zoe"), facts.user_registered())
    assert positions(get(log, course_id=A)) == [1, 2, 3]
    assert positions(get(log, course_id=B, student_id="zoe")) == [6]
    assert positions(get(log, type="submissions.ScoreReset")) == [3]
    several = ["submissions.ScoreReset", "learners.UserRegistered"]
    assert positions(get(log, type=several)) == [3, 7]
    assert positions(get(log, type=",".join(several))) == [3, 7]
    first = get(log, type=several, limit=1)
    assert positions(first) == [3]
    query = parse_qs(urlsplit(first["next"]).query)
    assert query == {"type": [",".join(sorted(several))], "limit": ["1"], "after": ["3"]}
    assert positions(get(log, **query)) == [7]


def test_a_course_is_found_by_its_own_field_not_by_its_name_somewhere(log: Site) -> None:
    store(log, facts.score_set(course_id=B, student_id=A), *scores(1, course_id=A))
    assert positions(get(log, course_id=A)) == [2]
    assert positions(get(log, student_id=A)) == [1]


def test_names_are_found_whatever_stands_in_them(log: Site) -> None:
    for number, name in enumerate(('a"b', "back\\slash", "çé", "\U0001d11e", "a\tb", "%_"), 1):
        store(log, facts.score_set(student_id=name))
        assert positions(get(log, student_id=name)) == [number]


def test_the_batch_format_of_cloudevents_holds_the_events_alone(log: Site) -> None:
    store(log, *scores(3))
    answer = ask(
        log, "GET", EVENTS, late=False, params={"limit": 2}, headers={"Accept": CLOUDEVENTS}
    )
    assert answer.headers["Content-Type"] == CLOUDEVENTS
    assert [event["position"] for event in answer.json()] == [1, 2]
    assert "after=2" in answer.headers["Link"]


@pytest.mark.parametrize(("limit", "lines"), [(None, 2500), (7, 7), (1000, 1000)])
def test_everything_comes_as_lines(log: Site, limit: int | None, lines: int) -> None:
    store(log, *scores(2500))
    parameters = {} if limit is None else {"limit": limit}
    answer = ask(log, "GET", EVENTS, late=False, params=parameters, headers={"Accept": NDJSON})
    assert answer.headers["Content-Type"] == NDJSON
    found = [json.loads(line)["position"] for line in answer.content.splitlines()]
    assert found == list(range(1, lines + 1))


def test_lines_can_be_filtered(log: Site) -> None:
    store(log, *scores(3, course_id=A), *scores(3, course_id=B))
    query = {"course_id": B, "limit": 2}
    answer = ask(log, "GET", EVENTS, late=False, params=query, headers={"Accept": NDJSON})
    assert [json.loads(line)["position"] for line in answer.content.splitlines()] == [4, 5]


def test_a_page_ends_before_it_is_too_large(log: Site) -> None:
    store(log, *(facts.submission_created(answer="x" * 300_000) for _ in range(8)))
    seen, after = [], 0
    while after < 8:
        page = get(log, after=after)
        assert len(page["results"]) <= 4
        after = page["position"]
        seen += positions(page)
    assert seen == list(range(1, 9))


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ({"after": "-1"}, ["query", "after"]),
        ({"after": "1e3"}, ["query", "after"]),
        ({"after": str(2**63)}, ["query", "after"]),
        ({"after": "1"}, ["query", "after"]),  # the log is empty
        ({"limit": "0"}, ["query", "limit"]),
        ({"limit": "1001"}, ["query", "limit"]),
        ({"type": "submissions.Unheard"}, ["query", "type"]),
        ({"type": ""}, ["query", "type"]),
        ({"course_id": ""}, ["query", "course_id"]),
        ({"student_id": "x" * 256}, ["query", "student_id"]),
        ({"course": "c"}, ["query", "course"]),
    ],
)
def test_what_cannot_be_meant_is_refused(log: Site, query: dict[str, str], loc: list[str]) -> None:
    answer = ask(log, "GET", EVENTS, late=False, params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"] == loc


@pytest.mark.parametrize("name", ["course_id", "after", "limit"])
def test_only_types_may_be_given_more_than_once(log: Site, name: str) -> None:
    assert ask(log, "GET", f"{EVENTS}?{name}=1&{name}=1", late=False).status_code == 400
    both = "type=submissions.ScoreSet&type=submissions.ScoreSet"
    assert ask(log, "GET", f"{EVENTS}?{both}", late=False).status_code == 200


def test_a_read_waits_for_what_it_must_see(log: Site) -> None:
    answer = ask(log, "GET", EVENTS, late=False, headers={"X-Min-Log-Position": "5"})
    assert answer.status_code == 503


# --- the catalogue ----------------------------------------------------------------------------


def test_the_schema_of_each_type_fits_what_is_stored(log: Site) -> None:
    found = get(log, TYPES)
    assert [entry["type"] for entry in found] == sorted({entry["type"] for entry in found})
    for entry in found:
        Draft202012Validator.check_schema(entry["schema"])
        assert entry["schema"]["$schema"].endswith("2020-12/schema")
        assert entry["description"]
        stored = json.loads((GOLDEN / f"{entry['type']}.v{entry['version']}.json").read_text())
        validator = Draft202012Validator(
            entry["schema"], format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        validator.validate(stored)
        assert set(entry["schema"]["properties"]) == set(stored)
        for name in stored:
            lacking = {key: value for key, value in stored.items() if key != name}
            assert not validator.is_valid(lacking)
            assert not validator.is_valid(stored | {name: [object()]})


def test_the_catalogue_need_not_be_sent_again(log: Site) -> None:
    tag = ask(log, "GET", TYPES, late=False).headers["ETag"]
    again = ask(log, "GET", TYPES, late=False, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_an_event_that_is_written_fits_the_catalogue(log: Site) -> None:
    schemas = {entry["type"]: entry["schema"] for entry in get(log, TYPES)}
    for event in (facts.score_set(annotation=facts.annotation()), facts.user_registered()):
        Draft202012Validator(schemas[event.TOPIC]).validate(json.loads(encode_event(event)))


def test_answers_fit_their_description(log: Site) -> None:
    document = describe(OPERATIONS, version="1")
    store(log, *scores(2), provenance=Provenance(actor="ann"))
    for url, answer in ((EVENTS, get(log)), (TYPES, get(log, TYPES))):
        described = document["paths"][url]["get"]["responses"]["200"]
        schema = described["content"]["application/json"]["schema"]
        whole = schema | {"components": document["components"]}
        Draft202012Validator(whole).validate(answer)
