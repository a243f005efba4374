"""What is counted as an attempt: what failed or killed the process, and nothing else."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest

from consumers.following.offsets import Standing
from consumers.following.steps import Entry, Step
from consumers.kafka.client import Message, Partition
from consumers.subscriber import following as subscriber_following
from consumers.subscriber.tables import FEW_LOSSES, Tables, Tries
from domain.events import Recorded
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service, parked_are
from tests.school import wait_until

WHERE = Partition("gradelog.courses", 3)
TOPIC, ANOTHER = UUID(int=1), UUID(int=2)


def stretch(began: int, until: int, *, topic_id: UUID | None = TOPIC) -> Step:
    """Messages of one partition from an offset up to another."""
    entries = [
        Entry(n, WHERE, n, recorded, Message(WHERE, n, None, None, [], 0))
        for n, recorded in enumerate(passed(until - began + 1), began)
    ]
    before, after = Standing(topic_id, began, began), Standing(topic_id, until + 1, until)
    return Step(entries, {WHERE: before}, {WHERE: after})


@pytest.fixture
def db(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def tables(db: psycopg.Connection[Any]) -> Tables:
    made = Tables("counting", "kit")
    made.create(db)
    return made


def begun(tries: Mapping[Partition, Tries]) -> tuple[int, int]:
    return tries[WHERE][:2]


def test_what_was_begun_twice_goes_alone_from_then_on(db: Any, tables: Tables) -> None:
    assert begun(tables.begin(db, stretch(0, 9))) == (1, -1)
    assert begun(tables.begin(db, stretch(0, 9))) == (1, 9)
    assert begun(tables.begin(db, stretch(0, 0), alone=True)) == (1, 9)
    assert begun(tables.begin(db, stretch(0, 0), alone=True)) == (2, 9)
    assert begun(tables.begin(db, stretch(10, 12))) == (1, 9)


def test_offsets_of_a_topic_made_anew_have_nothing_to_do_with_those_before(
    db: Any, tables: Tables
) -> None:
    tables.begin(db, stretch(0, 9))
    tables.begin(db, stretch(0, 9))
    assert begun(tables.begin(db, stretch(0, 9, topic_id=None))) == (1, 9)
    assert begun(tables.begin(db, stretch(0, 9, topic_id=ANOTHER))) == (1, -1)
    assert begun(tables.begin(db, stretch(0, 9, topic_id=ANOTHER))) == (1, 9)


def test_what_is_taken_back_does_not_count(db: Any, tables: Tables) -> None:
    tables.begin(db, stretch(0, 9))
    tables.take_back(db, stretch(0, 9))
    assert begun(tables.begin(db, stretch(0, 9))) == (1, -1)
    tables.begin(db, stretch(0, 0), alone=True, careful=True)
    assert begun(tables.begin(db, stretch(0, 0), alone=True)) == (2, 9)
    tables.take_back(db, stretch(0, 0))
    assert begun(tables.begin(db, stretch(0, 0), alone=True)) == (2, 9)
    tables.take_back(db, stretch(5, 9))  # of others, who have moved on
    assert begun(tables.begin(db, stretch(0, 0), alone=True)) == (3, 9)


def test_what_the_database_is_lost_with_again_and_again_goes_alone(db: Any, tables: Tables) -> None:
    for n in range(1, FEW_LOSSES + 1):
        assert begun(tables.begin(db, stretch(0, 8 + n))) == (1, -1)
        assert tables.take_back(db, stretch(0, 8 + n), "gone") == n
    assert begun(tables.begin(db, stretch(0, 20))) == (0, 8 + n)
    assert tables.begin(db, stretch(0, 0), alone=True)[WHERE] == (1, 8 + n, n, "gone")
    assert tables.take_back(db, stretch(0, 0), "gone again") == n + 1
    assert tables.begin(db, stretch(1, 1), alone=True)[WHERE].losses == 0


def test_to_count_does_not_wait_for_the_disk(db: Any, tables: Tables) -> None:
    # What is set at the very end of the transaction decides about its commit.
    db.execute("CREATE TABLE commits (synchronous text)")
    db.execute(
        """
        CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO commits SELECT current_setting('synchronous_commit'); RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER noting AFTER INSERT OR UPDATE ON kit.attempts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()
        """
    )
    tables.begin(db, stretch(0, 9))
    tables.begin(db, stretch(0, 9))
    assert db.execute("SELECT * FROM commits").fetchall() == [("off",), ("off",)]
    assert db.execute("SHOW synchronous_commit").fetchone() == ("on",)


@pytest.mark.kafka
def test_a_lost_connection_is_nobodys_fault(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(20, courses=1))
    losses = iter(range(FEW_LOSSES - 1))
    service.start(service.subscriber(attempts=1), losing_at(5, service, losses))
    service.until(range(1, 21))
    assert next(losses, None) is None
    parked_are(service, 0)
    # Nor does anything go alone because of it.
    assert service.rows("SELECT max(careful), max(attempts) FROM gradelog_subscriber.attempts") == [
        (-1, 1)
    ]


@pytest.mark.kafka
def test_who_always_loses_the_connection_is_parked_and_the_others_go_on_before(
    service: Service, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = 5
    monkeypatch.setattr(subscriber_following, "LOSSES", losses)
    publisher.publish(passed(60, courses=8))
    subscriber = service.subscriber(attempts=1, retry_after=1)
    service.start(subscriber, losing_at(5, service, itertools.count()))
    there, _ = publisher.place(passed(5, courses=8)[4].event)
    # Told while it stands still, which may be over when somebody looks.
    wait_until(lambda: any(is_lost_with(entry, there) for entry in service.logged))
    service.until([n for n in range(1, 61) if n != 5])
    parked_are(service, 1)
    (parked,) = subscriber.parked()
    assert (parked.position, parked.attempts) == (5, losses)
    assert parked.error == (
        f"DatabaseLostError: lost {losses} times while this message was handled: AdminShutdown:"
        " terminating connection due to administrator command"
    )


def is_lost_with(entry: Mapping[str, Any], there: Partition) -> bool:
    """Whether it was logged that this partition stands still, and why."""
    place = entry.get("topic"), entry.get("partition")
    return place == there and "AdminShutdown" in str(entry.get("error"))


def losing_at(position: int, service: Service, losses: Iterator[int]) -> Any:
    """A function whose connection is ended as often as there are losses."""

    def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
        service.noting()(db, events)
        if any(e.position == position for e in events) and next(losses, None) is not None:
            service.rows(f"SELECT pg_terminate_backend({db.info.backend_pid}, 60000)")
            db.execute("SELECT 1")

    return handle


@pytest.mark.kafka
def test_who_stands_still_in_the_transaction_is_counted(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(20, courses=1))

    def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
        service.noting()(db, events)
        if any(e.position == 5 for e in events):
            # Only here: on a busy machine, any transaction may stand still for a moment.
            db.execute("SET LOCAL idle_in_transaction_session_timeout = 100")
            mine = f"SELECT 1 FROM pg_stat_activity WHERE pid = {db.info.backend_pid}"
            wait_until(lambda: not service.rows(mine))
            db.execute("SELECT 1")

    service.start(service.subscriber(attempts=2), handle)
    service.until([n for n in range(1, 21) if n != 5])
    parked_are(service, 1)
    (parked,) = service.subscriber().parked()
    assert (parked.position, parked.attempts) == (5, 2)
    assert parked.error.endswith("or stood still")
