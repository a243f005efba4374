"""What cannot be read or applied stops its partition, or is taken care of; others go on."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from consumers.kafka.client import Message
from domain.events import Recorded
from tests.consumers.following.conftest import Place, all_of
from tests.consumers.following.publisher import Publisher, passed
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def park(db: Any, message: Message, error: Exception) -> bool:
    db.execute("INSERT INTO parked (value, error) VALUES (%s, %s)", (message.value, str(error)))
    return True


def park_event(db: Any, recorded: Recorded, message: Message, error: Exception) -> bool:
    db.execute("INSERT INTO parked VALUES (%s, %s, %s)", (recorded.position, b"", str(error)))
    return True


def failing_at(*positions: int) -> Callable[[Sequence[Recorded]], None]:
    def before(events: Sequence[Recorded]) -> None:
        found = {e.position for e in events}.intersection(positions)
        if found:
            raise ValueError(f"cannot apply {min(found)}")

    return before


def test_a_message_that_is_no_event_stops_its_partition_alone(
    place: Place, publisher: Publisher
) -> None:
    events = passed(60)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events[:30])
    publisher.raw(there, b"hello")
    publisher.publish(events[30:])
    member = place.member()
    wait_until(lambda: "header ce_type is missing" in (member.error_of(there) or ""))
    reachable = {
        e.position for e in events if e.position <= 30 or publisher.place(e.event)[0] != there
    }
    wait_until(lambda: set(place.seen()) == reachable)
    assert len(place.seen()) == len(reachable)


def test_a_message_that_is_no_event_is_passed_when_somebody_takes_care_of_it(
    place: Place, publisher: Publisher
) -> None:
    events = passed(60)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events[:30])
    publisher.raw(there, b"hello")
    publisher.raw(there, b"not json", [("ce_type", b"grades.CoursePassedFirstTime")])
    publisher.publish(events[30:])
    place.member(on_bad=park)
    wait_until(lambda: sorted(place.seen()) == list(range(1, 61)))
    assert place.rows("SELECT value FROM parked") == [(b"hello",), (b"not json",)]


def test_an_event_of_a_newer_version_stops_its_partition_until_it_is_taken_care_of(
    place: Place, publisher: Publisher
) -> None:
    one, two, three = passed(3, courses=1)
    there, _ = publisher.place(one.event)
    publisher.send(one, previous=0)
    publisher.send(two, previous=1, type_="grades.FromTheFuture")
    publisher.send(three, previous=2)
    publisher.flush()
    member = place.member()
    wait_until(lambda: "grades.FromTheFuture" in (member.error_of(there) or ""))
    assert place.seen() == [1]
    member.leave()
    place.member(on_bad=park)
    wait_until(lambda: place.seen() == [1, 3])


def test_an_event_at_fault_stops_its_partition_and_everything_else_is_written(
    place: Place, publisher: Publisher
) -> None:
    events = passed(200)
    there, _ = publisher.place(events[99].event)
    publisher.publish(events)
    member = place.member(before=failing_at(100))
    wait_until(lambda: "cannot apply 100" in (member.error_of(there) or ""))
    reachable = {
        e.position for e in events if e.position < 100 or publisher.place(e.event)[0] != there
    }
    wait_until(lambda: set(place.seen()) == reachable)
    assert len(place.seen()) == len(reachable)
    assert member.following.state()[there].position < 100


def test_a_partition_that_stopped_is_tried_again(place: Place, publisher: Publisher) -> None:
    events = passed(20, courses=1)
    there, _ = publisher.place(events[0].event)
    fails = [True]

    def before(found: Sequence[Recorded]) -> None:
        if fails[0]:
            failing_at(10)(found)

    publisher.publish(events)
    member = place.member(before=before, retry_after=0.05)
    wait_until(lambda: member.error_of(there) is not None)
    fails[0] = False
    wait_until(lambda: place.seen() == list(range(1, 21)))
    wait_until(lambda: member.error_of(there) is None)


def test_an_event_at_fault_is_passed_when_somebody_takes_care_of_it(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(300))
    member = place.member(before=failing_at(7, 100, 101), on_poison=park_event)
    wait_until(lambda: len(place.seen()) == 297)
    assert set(place.seen()) == set(range(1, 301)) - {7, 100, 101}
    assert place.rows("SELECT position, error FROM parked ORDER BY position") == [
        (n, f"cannot apply {n}") for n in (7, 100, 101)
    ]
    assert all(state.error is None for state in member.following.state().values())


def test_who_does_not_take_care_leaves_nothing_behind(place: Place, publisher: Publisher) -> None:
    events = passed(10, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)

    def refuse(db: Any, recorded: Recorded, message: Message, error: Exception) -> bool:
        park_event(db, recorded, message, error)
        return False

    member = place.member(before=failing_at(5), on_poison=refuse)
    wait_until(lambda: member.error_of(there) is not None)
    assert place.seen() == [1, 2, 3, 4]
    assert place.rows("SELECT 1 FROM parked") == []


def test_a_position_that_cannot_be_is_no_event(place: Place, publisher: Publisher) -> None:
    events = passed(20, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events[:10])
    name = [("ce_type", b"grades.CoursePassedFirstTime"), ("ce_previous", b"10")]
    publisher.raw(there, b"{}", [*name, ("ce_position", str(2**63).encode())])
    publisher.publish(events[10:])
    place.member(on_bad=park)
    wait_until(lambda: place.seen() == list(range(1, 21)))
    assert place.rows("SELECT count(*) FROM parked") == [(1,)]


def test_who_passes_over_an_error_of_the_database_is_told(
    place: Place, publisher: Publisher
) -> None:
    events = passed(10, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)

    def apply(db: psycopg.Connection[Any], events: Sequence[Recorded], _: object) -> None:
        for recorded in events:
            db.execute("INSERT INTO seen (position) VALUES (%s)", (recorded.position,))
            if recorded.position == 6:
                with suppress(psycopg.errors.DivisionByZero):
                    db.execute("SELECT 1 / 0")

    member = place.member(apply=apply)
    wait_until(lambda: "was passed over" in (member.error_of(there) or ""))
    assert place.seen() == [1, 2, 3, 4, 5]


def test_who_rolls_back_is_told(place: Place, publisher: Publisher) -> None:
    events = passed(10, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)

    def before(events: Sequence[Recorded]) -> None:
        if any(recorded.position == 6 for recorded in events):
            raise psycopg.Rollback

    member = place.member(before=before)
    wait_until(lambda: "rolled back" in (member.error_of(there) or ""))
    assert place.seen() == [1, 2, 3, 4, 5]


def test_who_gives_way_to_another_transaction_tries_again_at_once(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(10, courses=1))
    tries: list[int] = []

    def before(events: Sequence[Recorded]) -> None:
        tries.append(len(events))
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected("deadlock detected")

    member = place.member(before=before)
    wait_until(lambda: place.seen() == list(range(1, 11)))
    assert tries[0] == tries[1] == tries[2]
    assert member.following.figures.reconnects == 0


def test_what_another_connection_of_the_function_says_is_an_error_of_the_function(
    place: Place, publisher: Publisher
) -> None:
    events = passed(3, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)

    def before(_: Sequence[Recorded]) -> None:
        psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1").close()

    member = place.member(before=before)
    wait_until(lambda: "OperationalError" in (member.error_of(there) or ""))
    assert member.following.figures.reconnects == 0
    assert member.following.error is None


def test_a_member_that_holds_a_partition_without_end_is_named(
    place: Place, publisher: Publisher
) -> None:
    events = passed(20)
    held, _ = publisher.place(events[0].event)
    free = {e.position for e in events if publisher.place(e.event)[0] != held}
    member = place.member(options="-c lock_timeout=100ms", retry_after=0.05)
    member.until(lambda f: len(f.positions) == 5)
    with place.connect() as other, other.transaction():
        other.execute(
            "SELECT 1 FROM gradelog.kafka_offsets WHERE partition = %s FOR UPDATE", (held.number,)
        )
        publisher.publish(events)
        wait_until(lambda: "another member holds" in (member.error_of(held) or ""))
        wait_until(lambda: set(place.seen()) == free)
        two = place.member("two", group="others")
        two.until(lambda f: len(f.positions) == 5)  # also what is held, and is not held up
    all_of(place, 20)
    wait_until(lambda: member.error_of(held) is None)
