"""Enrolments and roles of the event bus, written by Open edX itself, are carried out here."""

import base64
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumers.kafka.client import Client, Partition
from consumers.openedx.signals import (
    ENROLLED,
    ENROLLMENT_CHANGED,
    ROLE_ADDED,
    ROLE_REMOVED,
    UNENROLLED,
)
from infra.inbound import inbound
from infra.settings import Settings
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
        self.sent = 0

    def send(self, *events: tuple[str, dict[str, Any]], times: int = 1, **headers: bytes) -> None:
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
        with closing(self._client.producer()) as producer:
            for message in made * times:
                given = {name: base64.b64decode(raw) for name, raw in message["headers"]}
                given |= {name.replace("__", "-"): raw for name, raw in headers.items()}
                producer.send(
                    Partition(self._topic, 0),
                    key=base64.b64decode(message["key"]),
                    value=base64.b64decode(message["value"]),
                    headers=list(given.items()),
                )
                self.sent += 1
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
            thread.join(30)


def rows(dsn: str, statement: Any, *arguments: Any) -> list[Any]:
    with psycopg.connect(dsn) as db:
        return db.execute(statement, arguments or None).fetchall()


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
    lms.send((ENROLLED, enrollment(7, "ada")))
    with reading(settings):
        done(dsn, 6)
    parked = rows(dsn, "SELECT reason, detail FROM gradelog.inbound_parked ORDER BY id")
    assert [reason for reason, _ in parked] == [
        "InvalidLearnerError",
        "invalid",
        "undecodable",
        "undecodable",
    ]
    assert "leaves out who it is" in parked[1][1]
    assert "does not fit" in parked[3][1]
    assert types(dsn)[-1] == "learners.LearnerEnrolled"


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
