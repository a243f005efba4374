"""What is in the log stays readable: every event type and version, pinned as stored JSON.

A file of ``golden/`` is never edited. A changed event type gets a higher
``class_version``, an upcaster, and a file of its own beside the old one.
"""

import json
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

import domain.courses.course
import domain.grades.application
import domain.learners.application
import domain.submissions.application  # noqa: F401 - registers its events
from domain.events import (
    Event,
    UnknownEventTypeError,
    UnknownEventVersionError,
    event_type,
    fields_of,
    from_state,
    register,
    registered,
)
from infra.log.codec import decode_event, encode_event

GOLDEN = Path(__file__).parent / "golden"
STREAM = UUID("3f1f5c59-54ad-4c4a-8f02-50ecf1a4d6c7")

OURS = [kind for kind in registered() if kind.__module__.startswith("domain.")]


def golden(kind: type[Event], version: int) -> str:
    return (GOLDEN / f"{kind.TOPIC}.v{version}.json").read_text()


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.TOPIC)
def test_an_event_is_stored_as_it_always_was(kind: type[Event]) -> None:
    stored = golden(kind, kind.class_version)
    event = decode_event(kind.TOPIC, stored, STREAM, 3)
    assert type(event) is kind
    assert (event.originator_id, event.originator_version) == (STREAM, 3)
    assert list(json.loads(encode_event(event)).items()) == list(json.loads(stored).items())
    assert set(vars(event)) == {*fields_of(kind), "originator_id", "originator_version"}


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.TOPIC)
def test_every_past_version_can_still_be_read(kind: type[Event]) -> None:
    newest = decode_event(kind.TOPIC, golden(kind, kind.class_version), STREAM, 1)
    for version in range(1, kind.class_version):
        event = decode_event(kind.TOPIC, golden(kind, version), STREAM, 1)
        assert set(vars(event)) == set(vars(newest))


def test_every_golden_file_belongs_to_an_event_type() -> None:
    expected = {
        f"{kind.TOPIC}.v{version}.json"
        for kind in OURS
        for version in range(1, kind.class_version + 1)
    }
    assert {path.name for path in GOLDEN.iterdir()} == expected


class Renamed(Event):
    TOPIC = "tests.Renamed"
    class_version: ClassVar[int] = 3
    name: str
    tags: list[UUID]

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["name"] = state.pop("title")

    @staticmethod
    def upcast_v2_v3(state: dict[str, Any]) -> None:
        state["tags"] = []


register(Renamed)


def test_an_old_event_is_brought_up_step_by_step() -> None:
    event = from_state(
        "tests.Renamed", {"title": "a", "timestamp": "2026-03-01T00:00:00Z"}, STREAM, 1
    )
    assert (event.name, event.tags) == ("a", [])
    tag = uuid4()
    state = {"class_version": 2, "name": "b", "timestamp": "2026-03-01T00:00:00Z"}
    assert from_state("tests.Renamed", state, STREAM, 1).tags == []
    newest = {
        "class_version": 3,
        "name": "c",
        "tags": [str(tag)],
        "timestamp": "2026-03-01T00:00:00Z",
    }
    event = from_state("tests.Renamed", newest, STREAM, 1)
    assert event.tags == [tag]
    assert json.loads(encode_event(event))["class_version"] == 3


def test_a_stored_name_belongs_to_one_type_for_ever() -> None:
    class Impostor(Event):
        TOPIC = "submissions.ScoreSet"

    with pytest.raises(ValueError, match=r"submissions\.ScoreSet"):
        register(Impostor)


def test_an_event_of_a_newer_program_is_refused_by_name() -> None:
    with pytest.raises(UnknownEventTypeError, match=r"grades\.FromTheFuture"):
        event_type("grades.FromTheFuture")


def test_an_event_of_a_later_version_of_its_type_is_refused() -> None:
    state = {"class_version": 4, "name": "d", "tags": [], "timestamp": "2026-03-01T00:00:00Z"}
    with pytest.raises(UnknownEventVersionError, match=r"tests\.Renamed.* version 4, later than 3"):
        from_state("tests.Renamed", state, STREAM, 1)
