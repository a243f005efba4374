"""The AsyncAPI document: every event has its place in it, and every reference leads somewhere."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from api.cloudevents import StoredEvent, structured
from api.event_types import event_types
from api.http import asyncapi
from api.http.asyncapi import REACHED, STREAM
from consumers import inbound
from consumers.messages import COURSES, PEOPLE, Reached, headers_of, mark, place_of
from infra.events_topics import topics_of
from infra.settings import Settings
from tests import facts
from tests.api.http.site import Site
from tests.domain.test_stored_events import GOLDEN

TOPICS = topics_of(Settings(kafka_topic_prefix="school"))
DOCUMENT = asyncapi.found_at(asyncapi.describe(TOPICS, version="1"), "https://grades.example/base")
METADATA = '{"actor":"ann","request_id":"r","trace":"t","cause":"c","via":"http"}'


def at(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def messages_of(channel: str) -> Any:
    return DOCUMENT["channels"][channel]["messages"]


def fits(schema: Any, value: Any) -> bool:
    whole = schema | {"components": DOCUMENT["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


def stored(kind: Any) -> StoredEvent:
    data = (GOLDEN / f"{kind.TOPIC}.v{kind.class_version}.json").read_text()
    return StoredEvent(7, uuid4(), 3, kind.TOPIC, data, METADATA, uuid4(), facts.NOON)


def test_the_document_has_the_parts_of_asyncapi_3() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert set(DOCUMENT["info"]) >= {"title", "version"}
    assert DOCUMENT["servers"]["http"] == DOCUMENT["servers"]["http"] | {
        "host": "grades.example",
        "protocol": "https",
        "pathname": "/base",
    }
    assert all(server["host"] and server["protocol"] for server in DOCUMENT["servers"].values())
    for part in ("messages", "schemas"):
        assert all(re.fullmatch(r"[\w.\-]+", name) for name in DOCUMENT["components"][part])


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 100
    for reference in references:
        assert isinstance(at(reference), dict)


def test_every_schema_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "$schema" not in schema, name


def test_operations_say_what_is_sent_and_what_is_received() -> None:
    found = {
        (operation["action"], at(operation["channel"]["$ref"])["address"])
        for operation in DOCUMENT["operations"].values()
    }
    assert found == {
        ("send", "school.courses"),
        ("send", "school.people"),
        ("send", STREAM),
        ("receive", "school.inbound.scores"),
        ("receive", "school.inbound.roster"),
    }


@pytest.mark.parametrize("kind", event_types(), ids=lambda kind: kind.TOPIC)
def test_every_event_is_described_where_it_is_published(kind: Any) -> None:
    event = stored(kind)
    data = json.loads(event.data)
    topic, _ = place_of(data)
    places = {name for name in (COURSES, PEOPLE) if kind.TOPIC in messages_of(name)}
    schema = DOCUMENT["components"]["schemas"][kind.TOPIC]
    others = [data | {"course_id": name} for name in (None, "c") if "course_id" in data]
    assert places == {place_of(each)[0] for each in (data, *others) if fits(schema, each)}
    message = at(messages_of(topic)[kind.TOPIC]["$ref"])
    headers = headers_of(event, previous=0, source=b"/gradelog")
    as_text = {name: value.decode() for name, value in headers}
    assert fits(at(message["headers"]["$ref"]), as_text)
    assert set(as_text) <= set(at(message["headers"]["$ref"])["properties"])
    assert fits(message["payload"], json.loads(event.data))
    streamed = at(messages_of("stream")[kind.TOPIC]["$ref"])
    sent = json.loads(structured(event, source="/gradelog"))
    assert fits(streamed["payload"], sent)
    assert not fits(streamed["payload"], sent | {"type": "another"})
    assert not fits(streamed["payload"], sent | {"data": {}})


def test_a_mark_is_described_on_every_topic() -> None:
    value, headers = mark(Reached(9, 4, 8, 8), source=b"/gradelog", at=facts.NOON)
    for name in (COURSES, PEOPLE):
        message = at(messages_of(name)[REACHED]["$ref"])
        as_text = {key: text.decode() for key, text in headers}
        assert fits(at(message["headers"]["$ref"]), as_text)
        assert fits(message["payload"], json.loads(value))
        # It has no key on the wire, so none is described.
        assert "bindings" not in message


def test_every_command_that_is_taken_from_kafka_is_described() -> None:
    described = {
        type_
        for name, channel in DOCUMENT["channels"].items()
        if name.startswith("inbound-")
        for type_ in channel["messages"]
    }
    assert described == set(inbound.schemas())


def test_headers_and_attributes_are_the_same(site: Site) -> None:
    event = stored(event_types()[0])
    headers = dict(headers_of(event, previous=0, source=b"/gradelog"))
    attributes = json.loads(structured(event, source="/gradelog"))
    attributes.pop("data")
    in_headers = {
        name.removeprefix("ce_"): value.decode()
        for name, value in headers.items()
        if name.startswith("ce_") and name != "ce_previous"
    } | {"datacontenttype": headers["content-type"].decode()}
    assert in_headers == {name: str(value) for name, value in attributes.items()}


def test_anybody_gets_the_document(site: Site) -> None:
    answer = site.nobody.client.get(site.url + "/asyncapi.json")
    assert answer.status_code == 200
    assert answer.json()["asyncapi"] == "3.0.0"
    assert answer.headers["ETag"]
    # Nothing is set, so it is found where it was asked.
    found = answer.json()["servers"]["http"]
    assert f"{found['protocol']}://{found['host']}" == site.url
