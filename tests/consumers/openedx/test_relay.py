"""What happens in the log reaches the event bus, each signal at least once."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer as LibraryProducer
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from consumers.kafka.client import Client, Consumer, NewTopic
from consumers.openedx import relay as openedx_relay
from consumers.openedx.encoding import id_of, partition_of
from consumers.openedx.relay import OpenEdxRelay
from consumers.openedx.signals import GRADE_SUMMARY, ORA_SUBMISSION, PASSING_STATUS
from consumers.openedx.translating import Facts
from domain.events import Provenance, Recorded
from infra.openedx import make_openedx_relay, make_registry
from infra.settings import Settings
from infra.vault import Vault
from projections.read_model import Row
from tests import facts, looking
from tests.consumers.openedx.conftest import WRITTEN
from tests.consumers.openedx.registry_server import SchemaRegistry
from tests.consumers.openedx.support import header, officially_read, read_topic
from tests.infra.cli.support import Cli, eventually
from tests.school import COURSE, School, key, school

pytestmark = pytest.mark.kafka


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


class Overtaken:
    """Finds facts for two events at once. For more it takes until somebody else has the lease."""

    def __init__(self, relay: OpenEdxRelay, dsn: str) -> None:
        self._gather = relay._gatherer.gather
        self._holder = relay.holder
        self._dsn = dsn
        self.most = 0

    def gather(self, db: psycopg.Connection[Row], events: Sequence[Recorded]) -> Facts:
        self.most = max(self.most, len(events))
        if len(events) > 2:
            eventually(lambda: holder(self._dsn) != self._holder)
        return self._gather(db, events)


@contextmanager
def writing(
    settings: Settings,
    lifetime: float | None = None,
    change: Callable[[OpenEdxRelay], None] = lambda _: None,
    **more: Any,
) -> Iterator[OpenEdxRelay]:
    """What writes to the event bus, at work."""
    changed = settings.model_copy(update=more)
    assert changed.database_url is not None
    with make_registry(changed) as registry:
        registry._client.timeout = 60.0  # whoever it does not answer is to wait for it
        relay = make_openedx_relay(
            changed, changed.database_url, registry, Vault(changed.database_url)
        )
        assert relay is not None
        relay._lifetime = lifetime or relay._lifetime
        relay._retry = 0.5
        change(relay)
        stop = threading.Event()
        thread = threading.Thread(target=relay.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            stop.set()
            thread.join(100)
            assert not thread.is_alive()


def position(dsn: str) -> int | None:
    ((found,),) = looking.rows(dsn, "SELECT position FROM gradelog.openedx_relay")
    return found  # type: ignore[no-any-return]


def error(dsn: str) -> str:
    ((found,),) = looking.rows(dsn, "SELECT error FROM gradelog.openedx_relay")
    return found or ""


def holder(dsn: str) -> str | None:
    ((found,),) = looking.rows(dsn, "SELECT holder FROM gradelog.openedx_relay")
    return found  # type: ignore[no-any-return]


def epoch(dsn: str) -> int:
    ((found,),) = looking.rows(dsn, "SELECT epoch FROM gradelog.openedx_relay")
    return int(found)


def head(dsn: str) -> int:
    ((found,),) = looking.rows(dsn, "SELECT coalesce(max(position), 0) FROM gradelog.events")
    return int(found)


def caught_up(dsn: str, opened: School) -> None:
    eventually(opened.graded)
    eventually(lambda: position(dsn) == head(dsn))


def a_term(opened: School) -> int:
    """A learner who passes; the user's number."""
    opened.publish()
    ada = opened.register("ada", email="ada@example.org", full_name="Ada L.")
    opened.enroll("ada")
    opened.scores(
        [("ada", "p1", 5, 5), ("ada", "p2", 1, 1), ("ada", "p3", 10, 10), ("ada", "q1", 10, 10)]
    )
    return ada


def test_grades_answers_and_scores_arrive_and_are_read_by_open_edx(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    registry_server: SchemaRegistry,
) -> None:
    topic = f"{topic_prefix}.bus-{WRITTEN}"
    essay = {
        "student_id": "anonymous-1",
        "course_id": COURSE,
        "item_id": key("openassessment", "essay"),
        "item_type": "openassessment",
    }
    with school(dsn) as opened, writing(settings, event_bus_pii=True):
        eventually(lambda: position(dsn) is not None)
        ada = a_term(opened)
        submissions = opened.backend.submissions
        created = opened.run(
            lambda: submissions.create_submission(essay, {"parts": [{"text": "My answer"}]})
        )
        uuid = created.value.event.submission_uuid
        lab = Provenance(actor="/graders/lab", cause="m-1", via="inbound.scores")
        opened.run(lambda: submissions.set_score(uuid, 3, 4, provenance=lab))
        caught_up(dsn, opened)
        calculated = opened.events("grades.GradesCalculated")
    found = read_topic(consumer, topic)
    by_type: dict[str, list[Any]] = {}
    for message in found:
        by_type.setdefault(header(message, "ce_type").split(".", 3)[3], []).append(message)
    assert set(by_type) == {
        "course.persistent_grade_summary.changed.v1",
        "course.passing.status.updated.v1",
        "ora.submission.created.v1",
        "external_grader.score.submitted.v1",
    }
    assert len({header(message, "ce_id") for message in found}) == len(found)
    statuses = officially_read(by_type["course.passing.status.updated.v1"], registry_server)
    assert len(statuses) == len(calculated)
    last = statuses[-1]["data"]["course_passing_status"]
    assert last["is_passing"] is True
    assert last["user"]["id"] == ada
    assert last["user"]["pii"] == {
        "username": "ada",
        "email": "ada@example.org",
        "name": "Ada L.",
    }
    summaries = officially_read(
        by_type["course.persistent_grade_summary.changed.v1"], registry_server
    )
    assert summaries[-1]["data"]["grade"]["percent_grade"] == calculated[-1]["percent"] == 1.0
    assert summaries[-1]["data"]["grade"]["course"]["course_key"] == COURSE
    (score,) = officially_read(by_type["external_grader.score.submitted.v1"], registry_server)
    assert score["data"]["score"]["queue_name"] == "/graders/lab"
    assert b"My answer" in by_type["ora.submission.created.v1"][0].value


def test_unless_it_is_allowed_nothing_personal_leaves(
    dsn: str, settings: Settings, topic_prefix: str, consumer: Consumer
) -> None:
    with school(dsn) as opened, writing(settings):
        eventually(lambda: position(dsn) is not None)
        a_term(opened)
        caught_up(dsn, opened)
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    assert found
    raw = b"".join((message.value or b"") + (message.key or b"") for message in found)
    assert not [text for text in (b"ada", b"Ada", b"example.org") if text in raw]


def test_it_begins_with_what_happens_after_it_first_runs(
    dsn: str, settings: Settings, topic_prefix: str, consumer: Consumer
) -> None:
    with school(dsn) as opened:
        a_term(opened)
        eventually(opened.graded)
        before = head(dsn)
        with writing(settings):
            eventually(lambda: position(dsn) == before)
            opened.reset("ada", "p3")
            caught_up(dsn, opened)
        after = len(opened.events("grades.GradesCalculated"))
        reset = opened.rows(
            "SELECT count(*) FROM gradelog.events WHERE position > %s AND type = %s",
            before,
            "grades.GradesCalculated",
        )[0][0]
    assert after > reset == 1
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    assert [header(message, "ce_type") for message in found] == [GRADE_SUMMARY, PASSING_STATUS]


def test_another_goes_on_where_one_stopped_and_leaves_nothing_out(
    dsn: str, settings: Settings, topic_prefix: str, consumer: Consumer
) -> None:
    with school(dsn) as opened:
        with writing(settings):
            eventually(lambda: position(dsn) is not None)
            a_term(opened)
        with writing(settings), writing(settings):  # one of the two stands by
            opened.reset("ada", "p3")
            opened.score("ada", "p3", 4, 10)
            caught_up(dsn, opened)
        wanted = len(opened.events("grades.GradesCalculated"))
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    statuses = {header(m, "ce_id") for m in found if header(m, "ce_type") == PASSING_STATUS}
    assert len(statuses) == wanted


def test_a_killed_process_leaves_nothing_out_and_turns_nothing_round(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    tmp_path: Path,
) -> None:
    cli = Cli(
        tmp_path,
        DATABASE_URL=dsn,
        KAFKA_BOOTSTRAP_SERVERS=str(settings.kafka_bootstrap_servers),
        GRADELOG_KAFKA_TOPIC_PREFIX=topic_prefix,
        GRADELOG_EVENT_BUS_TOPICS=json.dumps(dict(settings.event_bus_topics)),
        GRADELOG_EVENT_BUS_TOPIC_PREFIX=settings.event_bus_topic_prefix,
        GRADELOG_SCHEMA_REGISTRY_URL=str(settings.schema_registry_url),
    )
    with school(dsn) as opened:
        with cli.start("relay") as killed:
            eventually(lambda: position(dsn) is not None)
            a_term(opened)
            began = position(dsn)
            for points in range(10):
                opened.score("ada", "p3", points, 10)
            eventually(lambda: position(dsn) != began)
            killed.process.kill()
        with cli.start("relay"):
            caught_up(dsn, opened)
        wanted = [
            str(id_of(PASSING_STATUS, event_id))
            for (event_id,) in opened.rows(
                "SELECT event_id FROM gradelog.events WHERE type = %s ORDER BY position",
                "grades.GradesCalculated",
            )
        ]
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    statuses = [header(m, "ce_id") for m in found if header(m, "ce_type") == PASSING_STATUS]
    assert list(dict.fromkeys(statuses)) == wanted  # of one course, so in one partition
    assert statuses[-1] == wanted[-1]


def test_it_waits_for_the_registry_and_for_the_topic(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    registry_server: SchemaRegistry,
    kafka_client: Client,
) -> None:
    registry_server.broken = 503
    with school(dsn) as opened:
        with writing(settings):
            eventually(lambda: position(dsn) is not None)
            a_term(opened)
            eventually(opened.graded)
            eventually(lambda: "503" in error(dsn))
            registry_server.broken = None
            caught_up(dsn, opened)
        wanted = len(opened.events("grades.GradesCalculated"))
        missing = f"{topic_prefix}.bus-none"
        with writing(settings, event_bus_topics={PASSING_STATUS: "none"}):
            eventually(lambda: f"there is no topic {missing}" in error(dsn))
            with closing(kafka_client.admin()) as admin:
                admin.create([NewTopic(missing, 1)])
            # Though there is nothing to write.
            eventually(lambda: error(dsn) == "")
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    statuses = {header(m, "ce_id") for m in found if header(m, "ce_type") == PASSING_STATUS}
    assert len(statuses) == wanted


def test_what_cannot_be_written_does_not_have_all_before_it_repeated(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    registry_server: SchemaRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.openedx.sending.WIND_UP", 60.0)  # a busy broker takes its time
    registry_server.refused = "ora.submission"
    with school(dsn) as opened, writing(settings):
        eventually(lambda: position(dsn) is not None)
        a_term(opened)
        eventually(opened.graded)
        written = len(opened.events("grades.GradesCalculated"))
        essay = {
            "student_id": "anonymous-1",
            "course_id": COURSE,
            "item_id": key("openassessment", "essay"),
            "item_type": "openassessment",
        }
        submissions = opened.backend.submissions
        opened.run(lambda: submissions.create_submission(essay, {"parts": []}))
        asked = f"POST /subjects/{topic_prefix}.bus-{WRITTEN}-org.openedx.learning.ora"
        eventually(lambda: sum(one.startswith(asked) for one in registry_server.questions) >= 3)
        eventually(lambda: "409" in error(dsn))
        registry_server.refused = None
        caught_up(dsn, opened)
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    types = [header(message, "ce_type") for message in found]
    assert types.count(PASSING_STATUS) == written
    assert types.count(ORA_SUBMISSION) == 1
    assert len({header(message, "ce_id") for message in found}) == len(found)


def test_whoever_was_held_up_does_not_tell_old_news(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    registry_server: SchemaRegistry,
) -> None:
    hold = registry_server.hold = threading.Event()
    with school(dsn) as opened, ExitStack() as working:
        first = working.enter_context(writing(settings, lifetime=1.0))
        eventually(lambda: position(dsn) is not None)
        a_term(opened)
        eventually(lambda: registry_server.hold is None)  # the first waits for the registry
        assert holder(dsn) == first.holder
        with writing(settings) as second:
            caught_up(dsn, opened)
            assert holder(dsn) == second.holder
            hold.set()
            working.close()
        wanted = len(opened.events("grades.GradesCalculated"))
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    statuses = [header(m, "ce_id") for m in found if header(m, "ce_type") == PASSING_STATUS]
    assert len(statuses) == wanted


def test_who_was_held_up_while_nobody_took_over_goes_on(
    dsn: str, settings: Settings, topic_prefix: str, consumer: Consumer
) -> None:
    with writing(settings, lifetime=0.5):
        eventually(lambda: position(dsn) is not None)
        began = epoch(dsn)
        with psycopg.connect(dsn) as db:
            db.execute("LOCK TABLE gradelog.events IN ACCESS EXCLUSIVE MODE")
            last = facts.store(db, [facts.grades_calculated(1)])
            eventually(
                lambda: looking.rows(
                    dsn,
                    "SELECT FROM gradelog.openedx_relay WHERE expires_at < clock_timestamp()",
                )
            )
        eventually(lambda: position(dsn) == last)
        assert epoch(dsn) == began
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    assert [header(message, "ce_type") for message in found] == [PASSING_STATUS]


def test_two_whose_facts_take_longer_than_the_lease_do_not_take_it_from_each_other_for_ever(
    dsn: str, settings: Settings, topic_prefix: str, consumer: Consumer
) -> None:
    gatherers: list[Overtaken] = []

    def slow_down(relay: OpenEdxRelay) -> None:
        gatherers.append(Overtaken(relay, dsn))
        relay._gatherer = gatherers[-1]
        relay._batch = relay._at_once = 4

    with ExitStack() as working:
        for _ in range(2):
            working.enter_context(writing(settings, lifetime=2.0, change=slow_down))
        eventually(lambda: position(dsn) is not None)
        with psycopg.connect(dsn) as db:
            last = facts.store(db, [facts.grades_calculated(n) for n in range(1, 5)])
        eventually(lambda: position(dsn) == last)
    assert [one.most for one in gatherers] == [4, 4]
    found = read_topic(consumer, f"{topic_prefix}.bus-{WRITTEN}")
    told = {header(m, "ce_id") for m in found if header(m, "ce_type") == PASSING_STATUS}
    assert len(told) == 4


def test_a_topic_that_grows_while_it_is_written_has_keys_where_open_edx_puts_them(
    dsn: str,
    settings: Settings,
    topic_prefix: str,
    consumer: Consumer,
    topics: KafkaAdminClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openedx_relay, "TOPICS_EVERY", 0.2)
    topic, partitions = f"{topic_prefix}.bus-{WRITTEN}", 7
    with writing(settings):
        eventually(lambda: position(dsn) is not None)
        began = epoch(dsn)
        topics.create_partitions({topic: NewPartitions(partitions)})
        eventually(lambda: epoch(dsn) > began)
        assert error(dsn) == ""
        with psycopg.connect(dsn) as db:
            last = facts.store(
                db,
                [
                    facts.grades_calculated(n, course_id=f"course-v1:Demo+S{n}+2026")
                    for n in range(1, 31)
                ],
            )
        eventually(lambda: position(dsn) == last)
    found = read_topic(consumer, topic, partitions)
    assert len(found) == 30
    for message in found:
        assert message.key is not None
        assert message.partition.number == partition_of(message.key, partitions)


def test_a_key_goes_where_open_edx_itself_would_put_it(
    kafka: str, kafka_client: Client, topic_prefix: str
) -> None:
    topic, partitions = f"{topic_prefix}.bus-keys", 7
    with closing(kafka_client.admin()) as admin:
        admin.create([NewTopic(topic, partitions)])
    keys = [f"\0\0\0\0\1Pcourse-v1:Uni+Course{n}+2026".encode() for n in range(50)]
    went: dict[bytes, int] = {}
    producer = LibraryProducer({"bootstrap.servers": kafka})  # as edx-event-bus-kafka makes it
    for one in keys:
        producer.produce(
            topic,
            key=one,
            on_delivery=lambda error, message: went.update({message.key(): message.partition()}),
        )
    assert producer.flush(30) == 0
    assert went == {one: partition_of(one, partitions) for one in keys}


def test_where_nothing_is_to_be_written_nobody_writes(settings: Settings, dsn: str) -> None:
    changed = settings.model_copy(update={"event_bus_topics": {}})
    with make_registry(changed) as registry:
        assert make_openedx_relay(changed, dsn, registry, Vault(dsn)) is None
