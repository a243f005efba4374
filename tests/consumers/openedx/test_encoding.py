"""Bytes are those of ``edx-event-bus-kafka``, and it reads ours."""

import base64
import re
from dataclasses import replace

import pytest

from consumers.kafka.client import Message, Partition
from consumers.openedx.encoding import FrameError, decode, encode, id_of, open_frame
from consumers.openedx.registry import Registry
from consumers.openedx.signals import EXTERNAL_SCORE, KEY_FIELDS, READ, Signal, value_of
from consumers.openedx.translating import signals_of
from domain.events import Provenance, Recorded
from tests.consumers.openedx.registry_server import SchemaRegistry
from tests.consumers.openedx.support import official, officially_read
from tests.consumers.openedx.test_translating import (
    AT,
    EVERY,
    FACTS,
    SUBMISSION,
    grades,
    score,
    submission,
)

TOPIC = "dev-grades"


def some() -> list[tuple[Recorded, Signal]]:
    """One of each type that the library can write."""
    events = [grades(), score(Provenance(actor="/graders/lab", cause="m-1", via="inbound.scores"))]
    return [(event, s) for event in events for s in signals_of(event, FACTS, EVERY, pii=True)]


def test_messages_are_byte_for_byte_those_of_the_official_producer(
    registry_server: SchemaRegistry,
) -> None:
    with Registry(registry_server.url, timeout=60.0) as registry:
        ours = [
            encode(s, event, topic=TOPIC, registry=registry, source="openedx/lms/web", host="h")
            for event, s in some()
        ]
        subjects = dict(registry_server.subjects)
        theirs = official(
            "write",
            [
                {"type": s.type, "data": s.record, "topic": TOPIC, "key_field": KEY_FIELDS[s.type]}
                for _, s in some()
            ],
            registry_server,
        )
    assert registry_server.subjects == subjects  # theirs needed no others
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.key == base64.b64decode(other["key"])
        assert mine.value == base64.b64decode(other["value"])
        headers = {name: base64.b64decode(raw) for name, raw in other["headers"]}
        assert {name for name, _ in mine.headers} == set(headers)
        same = {"ce_type", "ce_source", "ce_specversion", "ce_minorversion", "content-type"}
        same |= {"ce_datacontenttype", "sourcelib"}
        assert {n: v for n, v in mine.headers if n in same} == {n: headers[n] for n in same}


def test_the_official_consumer_reads_ours(registry_server: SchemaRegistry) -> None:
    answer = '{"parts": [{"text": "One"}], "files_names": ["n.pdf"], "files_sizes": [12]}'
    facts = replace(FACTS, answers={SUBMISSION: answer})
    essay = submission()
    sent = [*some(), *((essay, s) for s in signals_of(essay, facts, EVERY, pii=True))]
    assert {s.type for _, s in sent} == EVERY
    messages = []
    with Registry(registry_server.url, timeout=60.0) as registry:
        for event, signal in sent:
            made = encode(signal, event, topic=TOPIC, registry=registry, source="/x", host="h")
            place = Partition(TOPIC, 0)
            messages.append(Message(place, 0, made.key, made.value, made.headers, 0))
        read = officially_read(messages, registry_server)
    for (event, signal), found in zip(sent, read, strict=True):
        metadata = found["metadata"]
        assert metadata["event_type"] == signal.type
        assert metadata["id"] == str(id_of(signal.type, event.event_id))
        assert metadata["source"] == "/x"
        assert metadata["time"] == str(AT)
        assert plain(found["data"]) == plain(signal.record)


def plain(value: object) -> object:
    """The same without what text forms of times differ in."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        return value.replace("T", " ")
    return value


def test_signals_of_one_event_have_ids_of_their_own_and_keep_them() -> None:
    event = grades()
    ids = [id_of(s.type, event.event_id) for s in signals_of(event, FACTS, EVERY, pii=False)]
    assert len(set(ids)) == len(ids) == 2
    assert ids == [id_of(s.type, event.event_id) for s in signals_of(event, FACTS, EVERY, pii=True)]


@pytest.mark.parametrize("value", [None, b"", b"\0\0\0\0", b"\1\0\0\0\1x", b'{"a": 1}'])
def test_what_is_not_framed_is_told(value: bytes | None) -> None:
    with pytest.raises(FrameError):
        open_frame(value)


def test_what_does_not_fit_its_schema_is_told() -> None:
    schema = value_of(EXTERNAL_SCORE).schema
    with pytest.raises(FrameError, match="does not fit"):
        decode(b"\x02", schema, schema)
    with pytest.raises(FrameError, match="does not fit"):
        decode(b"\x02" * 40, schema, value_of(READ[0]).schema)
    with pytest.raises(FrameError, match="more bytes"):
        decode(b"\2\2" + b"\0" * 7 + b"rest", schema, schema)
