"""What keeps the relay from publishing is told, is tried again, and loses nothing."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from psycopg import Connection

from consumers.kafka.client import NewTopic
from consumers.kafka.clients import ClientSettings, client
from consumers.relay.log import read
from consumers.relay.publisher import STEP_EVENTS, Figures, Publisher, SilenceError
from consumers.relay.store import RelayStore
from consumers.relay.topics import make_missing
from infra.relay import connect
from projections.read_model import Row
from tests import facts
from tests.consumers.relay.conftest import School, running
from tests.consumers.relay.filling import execute, relay_row, scores, store
from tests.consumers.relay.reading import check_against_log, read_topics, wait_until_published
from tests.projections.support import wait_until

END_SESSIONS = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE application_name = 'gradelog relay' AND datname = current_database()
"""


def wait_until_told(school: School, pattern: str) -> None:
    """Wait until this keeps the relay from publishing; on a busy machine something else may first."""
    wait_until(lambda: re.search(pattern, relay_row(school.dsn)["error"] or ""))


@pytest.mark.kafka
def test_an_event_that_no_client_takes_stops_what_comes_after_it(school: School) -> None:
    store(
        school.dsn,
        *scores(20),
        facts.submission_created(answer={"text": "x" * 34_000_000}),
        *scores(20, first=21),
    )
    with school.relaying() as relay:
        wait_until_told(school, "the event at position 21 cannot be published")
        wait_until(lambda: relay_row(school.dsn)["position"] == 20)
        terms = relay.figures.terms
        wait_until(lambda: relay.figures.terms > terms)  # it is tried again
    assert relay_row(school.dsn)["position"] == 20
    assert read_topics(school.client, school.prefix).positions == list(range(1, 21))


@pytest.mark.kafka
def test_what_the_broker_refuses_is_published_once_it_does_not(
    school: School, topics: KafkaAdminClient
) -> None:
    topic = f"{school.prefix}.courses"
    with closing(school.client.admin()) as admin:
        admin.create([NewTopic(topic, 2, settings={"max.message.bytes": "100000"})])
    head = store(
        school.dsn,
        *scores(20),
        facts.submission_created(answer={"text": "x" * 200_000}),
        *scores(20, first=21),
    )
    with school.relaying():
        wait_until_told(school, rf"{topic}\[\d\]: a message of 200\d{{3}} bytes is not stored")
        assert relay_row(school.dsn)["position"] < 21
        topics.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "1000000"}
                )
            ]
        )
        wait_until_published(school.dsn, head)
        wait_until(lambda: relay_row(school.dsn)["error"] is None)
    check_against_log(read_topics(school.client, school.prefix), school.dsn)


@pytest.mark.kafka
def test_the_error_of_a_relay_without_kafka_is_forgotten_when_another_works(
    school: School,
) -> None:
    head = store(school.dsn, *scores(20))
    nowhere = client(ClientSettings("127.0.0.1:1", timeout=0.5))
    with running(school.relay(kafka_client=nowhere)) as lost:
        wait_until(lambda: relay_row(school.dsn)["error"])
        assert relay_row(school.dsn)["holder"] is None
        with school.relaying():
            wait_until_published(school.dsn, head)
            wait_until(lambda: relay_row(school.dsn)["error"] is None)
        assert lost.figures.events == 0
    check_against_log(read_topics(school.client, school.prefix), school.dsn)


@pytest.mark.kafka
def test_a_relay_that_loses_the_database_goes_on_when_it_is_back(school: School) -> None:
    head = store(school.dsn, *scores(3000))
    # What a lost session held is free again when the lease is over.
    with school.relaying(batch=50, lifetime=5.0) as relay:
        for losses, enough in enumerate((100, 1500), 1):
            wait_until(lambda: relay.figures.events > enough)  # noqa: B023
            with psycopg.connect(school.dsn, autocommit=True) as db:
                # It may be between two connections, having lost the first just now.
                wait_until(lambda: db.execute(END_SESSIONS).fetchall())
            wait_until(lambda: relay.figures.terms > losses)  # noqa: B023
        wait_until_published(school.dsn, head)
    check_against_log(read_topics(school.client, school.prefix), school.dsn)


@pytest.mark.kafka
def test_a_gap_in_the_log_is_not_passed_over(school: School) -> None:
    store(school.dsn, *scores(10))
    with school.relaying():
        wait_until_published(school.dsn, 10)
    execute(school.dsn, "ALTER TABLE gradelog.events DISABLE TRIGGER events_are_final")
    store(school.dsn, *scores(10, first=11))
    execute(school.dsn, "DELETE FROM gradelog.events WHERE position = 15")
    with school.relaying():
        wait_until_told(school, "position 15 of the log is missing")
    assert relay_row(school.dsn)["position"] == 10
    assert read_topics(school.client, school.prefix).positions == list(range(1, 11))


@pytest.mark.kafka
def test_what_stands_before_a_gap_is_not_published_with_every_new_try(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.relay.relay.WIND_UP", 60.0)  # a busy broker takes its time
    execute(school.dsn, "ALTER TABLE gradelog.events DISABLE TRIGGER events_are_final")
    store(school.dsn, *scores(210))
    execute(school.dsn, "DELETE FROM gradelog.events WHERE position = 150")
    with school.relaying(batch=70) as relay:
        wait_until(lambda: relay.figures.terms > 3)
    assert relay_row(school.dsn)["position"] == 140
    read = read_topics(school.client, school.prefix)
    assert read.positions == list(range(1, 141))
    assert read.repeats == 0


@pytest.fixture
def publishing(
    school: School, kafka: str
) -> Iterator[tuple[Publisher, RelayStore, Connection[Row]]]:
    """A publisher at work, whose messages wait for more until somebody flushes."""
    waiting = client(ClientSettings(kafka, linger=60.0))
    with (
        connect(school.dsn) as db,
        closing(waiting.admin()) as admin,
        closing(waiting.producer()) as producer,
    ):
        found = make_missing(admin, school.topics, threading.Event())
        topics = {purpose: found[name] for purpose, name in school.topics.names.items()}
        leased = RelayStore(db, holder="one", lifetime=3600.0)
        assert leased.acquire()
        publisher = Publisher(producer, leased, topics, source=b"/school", figures=Figures())
        yield publisher, leased, db


@pytest.mark.kafka
def test_nothing_follows_the_first_events_before_they_are_stored(
    school: School, publishing: tuple[Publisher, RelayStore, Connection[Row]]
) -> None:
    publisher, _, db = publishing
    store(school.dsn, *scores(3 * STEP_EVENTS))
    steps = publisher.send(read(db, after=0).events)
    next(steps)
    publisher.look()
    assert publisher.is_full
    with pytest.raises(SilenceError, match=rf"what comes next in {school.prefix}.courses\[\d\]"):
        publisher.check_silence(0.0)
    publisher.flush(60.0)
    publisher.look()
    for _ in steps:
        publisher.look()
        assert not publisher.is_full
    assert not publisher.has_stored_all


@pytest.mark.kafka
def test_kafka_owes_no_answer_for_the_time_in_which_nobody_asked(
    school: School, publishing: tuple[Publisher, RelayStore, Connection[Row]]
) -> None:
    publisher, _, db = publishing
    store(school.dsn, *scores(10))
    publisher.look()
    events = read(db, after=0).events  # which took long, or the process was frozen
    for send in (lambda: next(publisher.send(events)), lambda: publisher.send_marks(0, 0)):
        began = time.monotonic()
        send()
        assert publisher._heard >= began
        publisher.flush(60.0)
        publisher.look()


@pytest.mark.kafka
def test_only_what_kafka_has_stored_is_saved(
    school: School, publishing: tuple[Publisher, RelayStore, Connection[Row]]
) -> None:
    publisher, leased, db = publishing
    head = store(school.dsn, *scores(100))
    for _ in publisher.send(read(db, after=0).events):
        publisher.look()
        publisher.save(well=True)
    assert publisher.position == head
    assert (leased.position, leased.partitions()) == (0, {})
    publisher.flush(60.0)
    publisher.look()
    publisher.save(well=True)
    assert leased.position == head
    taken = read_topics(school.client, school.prefix).taken
    assert leased.partitions() == {one: all_[-1] for one, all_ in taken.items() if all_}
