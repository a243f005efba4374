"""Enrolments and roles of the event bus, written by Open edX itself, are carried out here."""

import base64
import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from structlog.testing import capture_logs

from consumers.kafka.client import Client, Partition
from consumers.openedx.signals import (
    ENROLLED,
    ENROLLMENT_CHANGED,
    ROLE_ADDED,
    ROLE_REMOVED,
    UNENROLLED,
    value_of,
)
from infra.inbound import inbound
from infra.settings import Settings
from tests import looking
from tests.consumers.openedx.conftest import ROSTER
from tests.consumers.openedx.registry_server import SchemaRegistry
from tests.consumers.openedx.support import official
from tests.infra.cli.support import eventually

pytestmark = pytest.mark.kafka

COURSE = "course-v1:Uni+Physics+2026"
KEYS = {"enrollment": "enrollment.course.course_key", "role": "course_access_role_data.course_key"}


class Lms:
    """Writes to the event bus as Open edX does."""

    def __init__(self, client: Client, topic: str, registry: SchemaRegistry) -> None:
        self._client = client
        self._topic = topic
        self._registry = registry

    def send(
        self,
        *events: tuple[str, dict[str, Any]],
        times: int = 1,
        more: Sequence[tuple[str, bytes]] = (),
        **headers: bytes,
    ) -> None:
        made = official(
            "write",
            [
                {
                    "type": type_,
                    "data": data,
                    "topic": self._topic,
                    "key_field": KEYS["enrollment" if "enrollment" in data else "role"],
                }
                for type_, data in events
            ],
            self._registry,
        )
        messages = []
        for message in made * times:
            given = {name: base64.b64decode(raw) for name, raw in message["headers"]}
            given |= {name.replace("__", "-"): raw for name, raw in headers.items()}
            key, value = base64.b64decode(message["key"]), base64.b64decode(message["value"])
            messages.append((key, value, [*given.items(), *more]))
        self.put(*messages)

    def put(self, *messages: tuple[bytes, bytes, list[tuple[str, bytes]]]) -> None:
        """Messages as they are: key, value, headers."""
        with closing(self._client.producer()) as producer:
            for key, value, headers in messages:
                place = Partition(self._topic, 0)
                producer.send(place, key=key, value=value, headers=headers)
            producer.flush(30)


@pytest.fixture
def settings(
    dsn: str,
    kafka: str,
    topic_prefix: str,
    bus: dict[str, str],
    registry_server: SchemaRegistry,
    tmp_path: Path,
) -> Settings:
    return Settings(
        database_url=dsn,
        kafka_bootstrap_servers=kafka,
        kafka_topic_prefix=topic_prefix,
        event_bus_topics=bus,
        event_bus_topic_prefix=f"{topic_prefix}.bus",
        schema_registry_url=registry_server.url,
        home=tmp_path,
    )


@pytest.fixture
def lms(kafka_client: Client, topic_prefix: str, registry_server: SchemaRegistry) -> Lms:
    return Lms(kafka_client, f"{topic_prefix}.bus-{ROSTER}", registry_server)


@contextmanager
def reading(settings: Settings) -> Iterator[None]:
    """Carry out what comes in."""
    assert settings.database_url is not None
    stop = threading.Event()
    with inbound(settings, settings.database_url) as made:
        thread = threading.Thread(target=made.follow, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


def rows(dsn: str, statement: Any, *arguments: Any) -> list[Any]:
    return looking.rows(dsn, statement, *arguments)


def done(dsn: str, count: int) -> None:
    """Wait until something has become of so many messages."""
    statement = "SELECT coalesce(sum(next_offset), 0) FROM gradelog.inbound_offsets WHERE topic LIKE '%.bus-%'"
    eventually(lambda: rows(dsn, statement)[0][0] >= count, within=60)


def types(dsn: str) -> list[str]:
    return [row[0] for row in rows(dsn, "SELECT type FROM gradelog.events ORDER BY position")]


def fields(dsn: str, type_: str) -> list[dict[str, Any]]:
    found = rows(
        dsn, "SELECT data::json FROM gradelog.events WHERE type = %s ORDER BY 1::text", type_
    )
    return [row[0] for row in found]


def user(number: int, name: str) -> dict[str, Any]:
    pii = {"username": name, "email": f"{name}@example.org", "name": name.title()}
    return {"id": number, "is_active": True, "pii": pii}


def enrollment(number: int, name: str, mode: str = "audit", **more: Any) -> dict[str, Any]:
    return {
        "enrollment": {
            "user": user(number, name),
            "course": {"course_key": COURSE},
            "mode": mode,
            "is_active": True,
            "creation_date": "2026-01-07T08:09:10+00:00",
            **more,
        }
    }


def role(number: int, name: str, role_: str) -> dict[str, Any]:
    return {
        "course_access_role_data": {
            "user": user(number, name),
            "org_key": "Uni",
            "course_key": COURSE,
            "role": role_,
        }
    }


def test_people_enrol_change_their_track_and_leave(dsn: str, settings: Settings, lms: Lms) -> None:
    lms.send(
        (ENROLLED, enrollment(7, "ada")),
        (ENROLLMENT_CHANGED, enrollment(7, "ada", "verified")),
        (UNENROLLED, enrollment(7, "ada", "verified", is_active=False)),
    )
    with reading(settings):
        done(dsn, 3)
    assert types(dsn) == [
        "learners.UserRegistered",
        "learners.LearnerEnrolled",
        "learners.EnrollmentModeChanged",
        "learners.LearnerUnenrolled",
    ]
    (known,) = fields(dsn, "learners.UserRegistered")
    assert (known["user_id"], known["username"], known["is_active"]) == (7, "ada", True)
    assert "example.org" not in str(known)  # sealed
    (enrolled,) = fields(dsn, "learners.LearnerEnrolled")
    assert (enrolled["course_id"], enrolled["mode"]) == (COURSE, "audit")
    metadata = rows(
        dsn, "SELECT DISTINCT metadata::json->>'via', metadata::json->>'actor' FROM gradelog.events"
    )
    assert metadata == [("openedx", "openedx/lms/web")]


def test_roles_are_given_and_taken(dsn: str, settings: Settings, lms: Lms) -> None:
    lms.send(
        (ROLE_ADDED, role(8, "prof", "instructor")),
        (ROLE_ADDED, role(8, "prof", "staff")),
        (ROLE_REMOVED, role(8, "prof", "instructor")),
    )
    with reading(settings):
        done(dsn, 3)
    assert types(dsn) == [
        "learners.UserRegistered",
        "learners.CourseRoleGranted",
        "learners.CourseRoleGranted",
        "learners.CourseRoleRevoked",
    ]
    (revoked,) = fields(dsn, "learners.CourseRoleRevoked")
    assert (revoked["user_id"], revoked["course_id"], revoked["role"]) == (8, COURSE, "instructor")


def test_a_message_that_comes_again_changes_nothing(dsn: str, settings: Settings, lms: Lms) -> None:
    lms.send((ENROLLED, enrollment(7, "ada")), times=3)
    lms.send((UNENROLLED, enrollment(7, "ada", is_active=False)))
    with reading(settings):
        done(dsn, 4)
    assert types(dsn).count("learners.LearnerEnrolled") == 1
    (figures,) = rows(
        dsn,
        "SELECT sum(carried_out)::int, sum(repeated)::int, sum(rejected)::int"
        " FROM gradelog.inbound_offsets",
    )
    assert figures == (2, 2, 0)


def test_what_cannot_be_carried_out_is_parked_and_other_types_are_passed_over(
    dsn: str, settings: Settings, lms: Lms
) -> None:
    lms.send((ROLE_ADDED, role(8, "prof", "wizard")))
    lms.send((ENROLLED, enrollment(9, "")))
    lms.send((ENROLLED, enrollment(9, "eve")), content__type=b"application/json")
    lms.send((ENROLLED, enrollment(9, "eve")), ce_type=ROLE_ADDED.encode())
    lms.send((ENROLLED, enrollment(9, "eve")), ce_type=b"org.openedx.learning.other.v1")
    lms.send((ENROLLED, enrollment(9, "eve", course={"course_key": "library-v1:Uni+Books"})))
    lms.send((ENROLLED, enrollment(9, "eve\0")))
    lms.send((ENROLLED, enrollment(7, "ada")))
    with reading(settings):
        done(dsn, 8)
    parked = rows(dsn, "SELECT reason, detail FROM gradelog.inbound_parked ORDER BY message_offset")
    assert [reason for reason, _ in parked] == [
        "InvalidLearnerError",
        "invalid",
        "undecodable",
        "undecodable",
        "InvalidLearnerError",
        "InvalidLearnerError",
    ]
    assert "leaves out who it is" in parked[1][1]
    assert "does not fit" in parked[3][1]
    # Nobody was registered for the sake of a message that is parked.
    assert types(dsn) == ["learners.UserRegistered", "learners.LearnerEnrolled"]


def test_only_what_a_topic_is_for_is_read_from_it(dsn: str, settings: Settings, lms: Lms) -> None:
    # Whoever may enrol people must not make himself staff.
    lms.send((ROLE_ADDED, role(8, "mallory", "instructor")), (ENROLLED, enrollment(7, "ada")))
    for_roles = {ROLE_ADDED: "elsewhere", ENROLLED: ROSTER}
    with (
        capture_logs() as logged,
        reading(settings.model_copy(update={"event_bus_topics": for_roles})),
    ):
        done(dsn, 2)
    assert types(dsn) == ["learners.UserRegistered", "learners.LearnerEnrolled"]
    assert rows(dsn, "SELECT FROM gradelog.inbound_parked") == []
    # The other topic may be a name that is wrong, so whoever runs this hears of it.
    missing = [entry for entry in logged if entry["event"] == "topics are not there yet"]
    assert missing
    for entry in missing:
        assert entry["topics"] == [f"{settings.event_bus_topic_prefix}-elsewhere"]


def test_headers_of_others_are_not_looked_at(dsn: str, settings: Settings, lms: Lms) -> None:
    # What traces messages writes bytes, and some of it twice.
    lms.send(
        (ENROLLED, enrollment(7, "ada")),
        more=[("dd-pathway-ctx", b"\xff\xfe\x80"), ("baggage", b"a=1"), ("baggage", b"b=2")],
    )
    with reading(settings):
        done(dsn, 1)
    assert types(dsn) == ["learners.UserRegistered", "learners.LearnerEnrolled"]


def test_an_odd_name_does_not_keep_anybody_out(dsn: str, settings: Settings, lms: Lms) -> None:
    odd = enrollment(7, "ada")
    odd["enrollment"]["user"]["pii"] |= {"name": "Ada\tL.", "email": "nowhere"}
    lms.send((ENROLLED, odd))
    with reading(settings):
        done(dsn, 1)
    assert types(dsn) == ["learners.UserRegistered", "learners.LearnerEnrolled"]
    (known,) = fields(dsn, "learners.UserRegistered")
    assert (known["email"], known["full_name"]) == (None, None)


def test_whoever_leaves_was_there_before(dsn: str, settings: Settings, lms: Lms) -> None:
    # The beginning may be older than the topic.
    lms.send(
        (UNENROLLED, enrollment(7, "ada", "verified", is_active=False)),
        ce_time=b"2026-02-03T04:05:06.000007+00:00",
    )
    with reading(settings):
        done(dsn, 1)
    (came,) = fields(dsn, "learners.LearnerEnrolled")
    (left,) = fields(dsn, "learners.LearnerUnenrolled")
    assert came["mode"] == "verified"
    assert datetime.fromisoformat(came["enrolled_at"]) == datetime(2026, 1, 7, 8, 9, 10, tzinfo=UTC)
    assert datetime.fromisoformat(left["unenrolled_at"]) == datetime(
        2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC
    )


def test_another_version_of_a_schema_is_read(
    dsn: str, settings: Settings, lms: Lms, registry_server: SchemaRegistry
) -> None:
    schema = json.loads(value_of(ENROLLED).text)
    data = schema["fields"][0]["type"]
    data["fields"] = [one for one in data["fields"] if one["name"] != "created_by"]
    data["fields"].insert(0, {"name": "pathway", "type": {"type": "array", "items": "string"}})
    schema["fields"].append({"name": "campus", "type": ["null", "string"], "default": None})
    given = enrollment(7, "ada", pathway=["a", "b"])
    given["enrollment"]["course"] |= {"display_name": "Physics"}
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), {**given, "campus": "north"})
    id_ = registry_server.register("roster", json.dumps(schema))
    # No more headers than are needed: there are older senders, too.
    headers = [("ce_type", ENROLLED.encode()), ("ce_id", b"1"), ("ce_source", b"openedx/lms/web")]
    lms.put((b"k", b"\0" + id_.to_bytes(4, "big") + out.getvalue(), headers))
    lms.send((ENROLLMENT_CHANGED, enrollment(7, "ada", "verified", created_by=user(9, "prof"))))
    with reading(settings):
        done(dsn, 2)
    assert types(dsn) == [
        "learners.UserRegistered",
        "learners.LearnerEnrolled",
        "learners.EnrollmentModeChanged",
    ]


def test_messages_wait_for_the_registry(
    dsn: str, settings: Settings, lms: Lms, registry_server: SchemaRegistry
) -> None:
    lms.send((ENROLLED, enrollment(7, "ada")))
    registry_server.broken = 503
    asked = len(registry_server.questions)
    with reading(settings):
        eventually(lambda: len(registry_server.questions) >= asked + 2)
        assert types(dsn) == []
        registry_server.broken = None
        done(dsn, 1)
    assert types(dsn) == ["learners.UserRegistered", "learners.LearnerEnrolled"]
    assert rows(dsn, "SELECT FROM gradelog.inbound_parked") == []
