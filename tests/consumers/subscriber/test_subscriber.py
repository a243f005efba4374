"""Another service subscribes: each event once, what fails is parked, and back again."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from domain.events import Event, Recorded
from domain.grades.learner_grades import CoursePassedFirstTime
from domain.learners.user import UserRegistered
from tests import facts
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service, failing_at, parked_are
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def test_each_event_is_handled_once(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(300))
    service.run(batch=40)
    service.until(range(1, 301))
    publisher.previous.clear()
    publisher.publish(passed(310))
    service.until(range(1, 311))


def test_functions_get_the_events_that_they_are_for(service: Service, publisher: Publisher) -> None:
    publisher.publish(
        facts.recorded(
            [
                facts.course_registered(),
                facts.user_registered(7),
                facts.course_passed_first_time(7),
                facts.user_activation_changed(7),
            ]
        )
    )
    subscriber = service.subscriber()
    got: list[tuple[str, int]] = []

    @subscriber.on(CoursePassedFirstTime)
    def celebrate(db: psycopg.Connection[Any], recorded: Recorded) -> None:
        got.append((recorded.type, recorded.event.user_id))

    @subscriber.on(UserRegistered)
    def greet(db: psycopg.Connection[Any], recorded: Recorded) -> None:
        got.append((recorded.type, recorded.event.user_id))

    service.start(subscriber)
    expected = {("learners.UserRegistered", 7), ("grades.CoursePassedFirstTime", 7)}
    wait_until(lambda: set(got) >= expected)
    wait_until(lambda: subscriber.status().lag == 0)
    assert sorted(got) == sorted(expected)


def test_a_type_has_one_function(service: Service) -> None:
    subscriber = service.subscriber()
    subscriber.on(UserRegistered)(lambda db, recorded: None)
    with pytest.raises(ValueError, match=r"learners\.UserRegistered is handled"):
        subscriber.on(UserRegistered)(lambda db, recorded: None)


@pytest.mark.parametrize(
    "types", [(), (Event,), (print,), ("learners.UserRegistered",), (UserRegistered, Recorded)]
)
def test_functions_are_for_types_of_events(service: Service, types: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        service.subscriber().on(*types)
    if types:
        with pytest.raises(TypeError):
            service.subscriber(types=types)


def test_somebody_must_handle_the_events(service: Service) -> None:
    with pytest.raises(ValueError, match="nothing handles"):
        service.subscriber().run()


def test_types_that_a_newer_version_has_are_no_affair_of_those_who_did_not_ask(
    service: Service, publisher: Publisher
) -> None:
    one, two, three = passed(3, courses=1)
    publisher.send(one, previous=0)
    publisher.send(two, previous=1, type_="grades.FromTheFuture")
    publisher.send(three, previous=2)
    publisher.flush()
    service.run(types=[CoursePassedFirstTime])
    service.until([1, 3])
    parked_are(service, 0)


def test_a_later_version_of_a_wanted_type_is_parked(service: Service, publisher: Publisher) -> None:
    one, two, three = passed(3, courses=1)
    vars(two.event)["class_version"] = 2  # as it is stored
    publisher.send(one, previous=0)
    publisher.send(two, previous=1)
    publisher.send(three, previous=2)
    publisher.flush()
    service.run(types=[CoursePassedFirstTime])
    service.until([1, 3])
    parked_are(service, 1)
    (parked,) = service.subscriber().parked()
    assert parked.error.startswith("UnknownEventVersionError")


def test_an_event_that_fails_is_tried_and_then_parked_with_its_reason(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(100))
    tried: list[int] = []

    def before(events: Sequence[Recorded]) -> None:
        if [e.position for e in events] == [42]:
            tried.append(42)
        failing_at(42)(events)

    service.run(before, attempts=4)
    service.until([n for n in range(1, 101) if n != 42])
    parked_are(service, 1)
    (parked,) = service.subscriber().parked()
    assert (parked.position, parked.type, parked.attempts, parked.error) == (
        42,
        "grades.CoursePassedFirstTime",
        4,
        "ValueError: cannot handle 42",
    )
    assert len(tried) == 4
    place, key = publisher.place(passed(100)[41].event)
    assert (parked.message.partition, parked.message.key) == (place, key)


def test_an_event_that_fails_for_a_while_is_handled_after_all(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(20))
    failures = iter([True, True, True])

    def before(events: Sequence[Recorded]) -> None:
        if any(e.position == 5 for e in events) and next(failures, False):
            raise ValueError("not now")

    service.run(before, attempts=4)
    service.until(range(1, 21))
    parked_are(service, 0)


def test_a_message_that_is_no_event_is_parked_and_the_rest_goes_on(
    service: Service, publisher: Publisher
) -> None:
    events = passed(10, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events[:5])
    publisher.raw(there, b"hello", [("who", b"me")])
    publisher.publish(events[5:])
    service.run()
    service.until(range(1, 11))
    (parked,) = service.subscriber().parked()
    assert parked.message.value == b"hello"
    assert list(parked.message.headers) == [("who", b"me")]
    assert (parked.position, parked.message.offset) == (None, 5)
    assert parked.error == "BadMessageError: the header ce_type is missing"


def test_parked_messages_are_handled_again_or_dropped(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(10))
    service.run(failing_at(3, 6, 9), attempts=1)
    service.until([1, 2, 4, 5, 7, 8, 10])
    parked_are(service, 3)
    later = service.subscriber()
    three, six, nine = (p.id for p in sorted(later.parked(), key=lambda p: p.position or 0))
    assert later.retry(three, six, handle=service.noting(failing_at(6))) == [three]
    assert later.drop(nine) == 1
    (left,) = later.parked()
    assert (left.id, left.attempts, left.error) == (six, 2, "ValueError: cannot handle 6")
    assert service.subscriber().retry(handle=service.noting()) == [six]
    service.until([n for n in range(1, 11) if n != 9])


def test_what_comes_after_a_parked_event_of_its_course_waits_if_it_shall(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(12, courses=3))
    service.run(failing_at(4), attempts=1, block=True)
    behind = [4, 7, 10]
    service.until([n for n in range(1, 13) if n not in behind])
    parked_are(service, 3)
    later = service.subscriber(block=True)
    assert [p.position for p in later.parked()] == behind
    assert later.retry(handle=service.noting(failing_at(4))) == []
    publisher.publish(passed(3, after=12, courses=3))
    service.until([n for n in range(1, 16) if n not in (*behind, 13)])
    parked_are(service, 4)
    assert len(service.subscriber(block=True).retry(handle=service.noting())) == 4
    assert service.handled()[-4:] == [*behind, 13]
    publisher.publish(passed(3, after=15, courses=3))
    service.until(range(1, 19))


def test_everything_after_a_position_is_handled_again(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(30))
    subscriber = service.run(failing_at(25), attempts=1)
    service.until([n for n in range(1, 31) if n != 25])
    parked_are(service, 1)
    subscriber.replay(20)
    wait_until(lambda: len(service.handled()) == 38)
    assert sorted(service.handled()[29:]) == [n for n in range(21, 31) if n != 25]
    parked_are(service, 1)


def test_nothing_is_handled_again_after_a_position_that_is_none(service: Service) -> None:
    with pytest.raises(ValueError, match="no position of the log: -1"):
        service.asking().replay(-1)


def test_a_new_subscription_may_begin_at_a_position(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30))
    service.asking().replay(28)
    service.run()
    service.until([29, 30])
