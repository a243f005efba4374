"""Puts events into a log and looks at what the relay notes about itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from domain.events import Event
from tests import facts

GOLDEN = Path(__file__).parents[2] / "domain" / "golden"

STORED = """
INSERT INTO gradelog.events
    (position, stream_id, version, type, data, metadata, event_id, recorded_at)
SELECT coalesce(max(position), 0) + 1, %s, %s, %s, %s, %s, %s, %s FROM gradelog.events
"""


def store(dsn: str, *events: Event) -> int:
    """Append; the head of the log."""
    with psycopg.connect(dsn) as db:
        return facts.store(db, events)


def scores(count: int, *, courses: int = 7, first: int = 1) -> list[Event]:
    """Scores of learners in several courses, and people in between."""
    return [
        facts.user_activation_changed(n)
        if n % 5 == 0
        else facts.grades_calculated(n, course_id=f"course-v1:Demo+S{n % courses}+2026")
        for n in range(first, first + count)
    ]


def store_one_of_each_type(dsn: str) -> int:
    """An event of every type as it stands in the log; the head."""
    newest = {}
    for path in sorted(GOLDEN.glob("*.json")):
        found = re.fullmatch(r"(.+)\.v(\d+)\.json", path.name)
        assert found is not None
        newest[found[1]] = path
    metadata = [
        "{}",
        '{"actor":"7","on_behalf_of":"8","request_id":"r","trace":"t","cause":"c","via":"http"}',
    ]
    with psycopg.connect(dsn) as db:
        for number, (type_, path) in enumerate(newest.items(), 1):
            db.execute(
                STORED,
                (
                    *(facts.uuid(number), number, type_, path.read_text().strip()),
                    *(metadata[number % 2], facts.team_uuid(number)),
                    facts.at(number),
                ),
            )
    return len(newest)


def relay_row(dsn: str) -> dict[str, Any]:
    """What is noted about the relay."""
    with psycopg.connect(dsn, autocommit=True) as db:
        row = db.execute(
            "SELECT position, holder, epoch, error, expires_at > clock_timestamp()"
            " FROM gradelog.relay"
        ).fetchone()
    assert row is not None
    return dict(zip(("position", "holder", "epoch", "error", "held"), row, strict=True))


def execute(dsn: str, statement: str, arguments: Sequence[Any] = ()) -> None:
    """Change something behind the relay's back."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(statement, arguments)  # type: ignore[call-overload]


def settings_of(topics: KafkaAdminClient, topic: str) -> dict[str, str]:
    """What the broker holds about a topic beside its defaults."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    found = topics.describe_configs([resource])["topic"][topic]
    return {name: one["value"] for name, one in found.items()}
