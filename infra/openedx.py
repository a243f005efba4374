"""The event bus of Open edX in a process: made from the settings, and the facts it needs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from psycopg import Connection

from consumers.inbound.carrying import Inlet
from consumers.kafka.client import KafkaError
from domain.errors import KeyDestroyedError
from domain.events import Recorded
from domain.grades.learner_grades import CoursePassedFirstTime, GradesCalculated
from domain.learners.user import (
    UserActivationChanged,
    UserProfileChanged,
    UserRegistered,
    user_stream,
)
from domain.submissions.application import answer_context
from domain.submissions.student_item import SubmissionCreated
from infra.kafka.client import kafka_client
from infra.log.codec import decode_rows
from infra.log.personal import with_personal
from infra.log.reader import PostgresLogReader
from infra.postgres import Row
from infra.relay import connect
from infra.settings import Settings, master_key
from infra.threads import in_thread
from infra.vault import Vault

if TYPE_CHECKING:  # the package that they need is an option
    from consumers.openedx.registry import Registry
    from consumers.openedx.relay import OpenEdxRelay
    from consumers.openedx.translating import Facts, Person

PASSED: Final = """
SELECT stream_id, min(version), min(recorded_at) FROM gradelog.events
WHERE stream_id = ANY (%b::uuid[]) AND type = %b GROUP BY stream_id
"""
PEOPLE: Final = """
SELECT position, stream_id, version, type, data, metadata, event_id, recorded_at
FROM gradelog.events WHERE stream_id = ANY (%b::uuid[]) AND type = ANY (%b::text[])
ORDER BY stream_id, version
"""
SHOWN: Final = (UserRegistered, UserProfileChanged, UserActivationChanged)


class PostgresGatherer:
    """``consumers.openedx.relay.Gatherer`` over the log itself, whatever read models do."""

    def __init__(self, vault: Vault, *, pii: bool) -> None:
        """Make it; without ``pii`` nothing that is sealed is opened."""
        self._vault = vault
        self._pii = pii

    def gather(self, db: Connection[Row], events: Sequence[Recorded]) -> "Facts":
        """Find what the signals of these events need."""
        from consumers.openedx.translating import OPEN_RESPONSE, Facts  # noqa: PLC0415

        grades = [e.event for e in events if isinstance(e.event, GradesCalculated)]
        answered = [
            e.event
            for e in events
            if isinstance(e.event, SubmissionCreated) and e.event.item_type == OPEN_RESPONSE
        ]
        return Facts(
            people=self._people(db, {event.user_id for event in grades}),
            passed=_passed(db, {event.originator_id for event in grades}),
            answers=self._answers(db, answered) if self._pii else {},
        )

    def _people(self, db: Connection[Row], user_ids: set[int]) -> Mapping[int, "Person"]:
        from consumers.openedx.translating import Person  # noqa: PLC0415

        if not user_ids:
            return {}
        streams = [user_stream(user_id) for user_id in sorted(user_ids)]
        rows = db.execute(PEOPLE, (streams, [kind.TOPIC for kind in SHOWN])).fetchall()
        found: dict[int, Person] = {}
        for recorded in with_personal(db, decode_rows(rows), self._vault if self._pii else None):
            event = recorded.event
            if isinstance(event, UserRegistered):
                found[event.user_id] = Person(
                    event.username, event.email or "", event.full_name or "", event.is_active
                )
            elif isinstance(event, UserProfileChanged) and event.user_id in found:
                was = found[event.user_id]
                found[event.user_id] = Person(
                    was.username, event.email or "", event.full_name or "", was.is_active
                )
            elif isinstance(event, UserActivationChanged) and event.user_id in found:
                was = found[event.user_id]
                found[event.user_id] = Person(
                    was.username, was.email, was.full_name, event.is_active
                )
        return found

    def _answers(
        self, db: Connection[Row], events: Sequence[SubmissionCreated]
    ) -> Mapping[UUID, str]:
        self._vault.load_sync(db, [event.answer for event in events])
        found = {}
        for event in events:
            try:
                context = answer_context(event.submission_uuid)
                found[event.submission_uuid] = self._vault.open(event.answer, context)
            except KeyDestroyedError:
                continue  # erased since
        return found


def _passed(db: Connection[Row], streams: set[UUID]) -> dict[UUID, tuple[int, datetime]]:
    if not streams:
        return {}
    rows = db.execute(PASSED, (sorted(streams), CoursePassedFirstTime.TOPIC)).fetchall()
    return {stream: (version, at) for stream, version, at in rows}


def topics(settings: Settings) -> dict[str, str]:
    """The whole names of the topics of the event bus, by type."""
    prefix = settings.event_bus_topic_prefix
    return {
        type_: f"{prefix}-{topic}" if prefix else topic
        for type_, topic in settings.event_bus_topics.items()
    }


def make_registry(settings: Settings) -> "Registry":
    """The schema registry of the settings, which must name one.

    Raises:
        KafkaError: the package that the event bus needs is not installed.
    """
    try:
        from consumers.openedx.registry import Registry  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise KafkaError(
            f"The event bus of Open edX needs the package {error.name}:"
            " pip install 'gradelog[openedx]'"
        ) from error
    assert settings.schema_registry_url is not None
    return Registry(settings.schema_registry_url)


def make_openedx_relay(
    settings: Settings, dsn: str, registry: "Registry", vault: Vault
) -> "OpenEdxRelay | None":
    """What writes to the event bus; None if the settings name no topic to write to.

    Raises:
        KafkaError: a package that it needs is not installed.
    """
    from consumers.openedx.relay import OpenEdxRelay  # noqa: PLC0415
    from consumers.openedx.signals import KEY_FIELDS  # noqa: PLC0415

    written = {type_: topic for type_, topic in topics(settings).items() if type_ in KEY_FIELDS}
    if not written:
        return None
    return OpenEdxRelay(
        kafka_client(settings, name="gradelog-openedx"),
        lambda: connect(dsn),
        PostgresLogReader(),
        PostgresGatherer(vault, pii=settings.event_bus_pii),
        registry,
        written,
        source=settings.event_source,
        pii=settings.event_bus_pii,
    )


@contextmanager
def openedx_relaying(settings: Settings, dsn: str) -> Iterator["OpenEdxRelay | None"]:
    """Write to the event bus in a thread until the end, if the settings say where.

    Raises:
        KafkaError: a package that it needs is not installed.
    """
    if not settings.event_bus_topics:
        yield None
        return
    with make_registry(settings) as registry:
        vault = Vault(dsn, master_key=master_key(settings))  # opens over our own connection
        relay = make_openedx_relay(settings, dsn, registry, vault)
        if relay is None:
            yield None
            return
        with in_thread(relay.run, "gradelog openedx relay"):
            yield relay


def openedx_inlets(settings: Settings, registry: "Registry") -> list[Inlet]:
    """The topics of the event bus that are read; several types may share one."""
    from consumers.openedx.reading import decoder  # noqa: PLC0415
    from consumers.openedx.signals import READ  # noqa: PLC0415

    read: dict[str, set[str]] = {}
    for type_, topic in topics(settings).items():
        if type_ in READ:
            read.setdefault(topic, set()).add(type_)
    return [
        Inlet(kind=f"openedx.{topic}", topic=topic, decode=decoder(registry, taken), ours=False)
        for topic, taken in sorted(read.items())
    ]
