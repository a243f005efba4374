"""What is put aside: once, as it came, whatever it holds; and tried again only by who can."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from consumers.kafka.clients import ClientSettings, client
from domain.events import Recorded
from domain.grades.learner_grades import CoursePassedFirstTime
from domain.learners.user import UserRegistered
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service, failing_at, parked_are
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def test_a_message_is_parked_once_however_often_it_comes(
    service: Service, publisher: Publisher
) -> None:
    events = passed(3, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.raw(there, b"hello")
    publisher.publish(events)
    subscriber = service.run()
    service.until([1, 2, 3])
    subscriber.replay(0)
    wait_until(lambda: len(service.handled()) == 6)
    parked_are(service, 1)


def test_headers_are_kept_as_they_came(service: Service, publisher: Publisher) -> None:
    there, _ = publisher.place(passed(1)[0].event)
    headers: list[Any] = [("hop", b"one"), ("hop", b"two"), ("nothing", None), ("empty", b"")]
    producer = client(ClientSettings(service.kafka, library="confluent")).producer()
    producer.send(there, key=None, value=b"hello", headers=headers)
    producer.flush(30)
    producer.close()
    service.run()
    parked_are(service, 1)
    (parked,) = service.subscriber().parked()
    assert list(parked.message.headers) == headers


def test_texts_may_hold_what_postgresql_does_not_take(
    service: Service, publisher: Publisher
) -> None:
    events = passed(4, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.raw(there, b"hello", [("a\0b", b"\0"), ("ce_type", b"c\0d")])
    publisher.publish(events)

    def before(found: Sequence[Recorded]) -> None:
        if any(e.position == 2 for e in found):
            raise ValueError("of half a character \ud800 and \0")

    service.run(before, attempts=1)
    service.until([1, 3, 4])
    parked_are(service, 2)
    stranger, poison = service.subscriber().parked()
    assert (stranger.type, stranger.message.headers[0]) == ("c\ufffdd", ("a\ufffdb", b"\0"))
    assert poison.error == "ValueError: of half a character ? and \ufffd"


def test_it_lists_some_of_many(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(9, courses=1))
    subscriber = service.run(failing_at(2, 4, 6), attempts=1)
    parked_are(service, 3)
    first, second = subscriber.parked(limit=2)
    (third,) = subscriber.parked(after=second.id)
    assert [first.position, second.position, third.position] == [2, 4, 6]


@pytest.fixture
def parked(service: Service, publisher: Publisher) -> Sequence[int]:
    """Ids of three parked messages, of positions 1, 2 and 3; nobody reads any more."""
    publisher.publish(passed(3, courses=1))
    leave = service.start(service.subscriber(attempts=1), service.noting(failing_at(1, 2, 3)))
    parked_are(service, 3)
    leave()
    return [found.id for found in service.subscriber().parked()]


def test_who_handles_nothing_cannot_try_again(service: Service, parked: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="nothing handles the events"):
        service.subscriber().retry()
    parked_are(service, 3)


def test_what_nobody_handles_stays_parked(service: Service, parked: Sequence[int]) -> None:
    subscriber = service.subscriber()
    subscriber.on(UserRegistered)(lambda db, recorded: None)
    assert subscriber.retry() == []
    before = subscriber.parked()
    assert [(p.id, p.attempts, p.error) for p in before] == [
        (id_, 1, f"ValueError: cannot handle {n}") for n, id_ in enumerate(parked, 1)
    ]
    subscriber.on(CoursePassedFirstTime)(lambda db, recorded: None)
    assert subscriber.retry() == parked


def test_what_passes_over_an_error_of_the_database_stays_parked(
    service: Service, parked: Sequence[int]
) -> None:
    def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
        for recorded in events:
            db.execute("INSERT INTO handled (position) VALUES (%s)", (recorded.position,))
            if recorded.position == 1:
                with suppress(psycopg.errors.DivisionByZero):
                    db.execute("SELECT 1 / 0")
            elif recorded.position == 2:
                raise psycopg.Rollback

    one, two, three = parked
    subscriber = service.subscriber()
    assert subscriber.retry(handle=handle) == [three]
    assert service.handled() == [3]
    left = subscriber.parked()
    assert [(p.id, p.attempts) for p in left] == [(one, 2), (two, 2)]
    assert all("NotWrittenError" in p.error for p in left)


def test_an_error_of_one_does_not_keep_the_others(service: Service, parked: Sequence[int]) -> None:
    def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
        if events[0].position == 1:
            db.execute("SET LOCAL statement_timeout = 50")
            db.execute("SELECT count(*) FROM generate_series(1, 1000000000)")

    subscriber = service.subscriber()
    assert subscriber.retry(handle=handle) == parked[1:]
    (left,) = subscriber.parked()
    assert left.error == "QueryCanceled: canceling statement due to statement timeout"
