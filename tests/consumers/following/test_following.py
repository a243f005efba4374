"""Events come from Kafka and have their effect in PostgreSQL exactly once."""

from collections.abc import Mapping
from typing import Any

import pytest

from consumers.kafka.client import Partition
from consumers.messages import Reached
from domain.grades.learner_grades import CoursePassedFirstTime
from tests import facts
from tests.consumers.following.conftest import Place
from tests.consumers.following.publisher import Publisher, passed
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def seen_all(place: Place, count: int) -> None:
    wait_until(lambda: len(place.seen()) >= count)
    assert sorted(place.seen()) == list(range(1, count + 1))


def test_every_event_comes_once_and_a_partition_in_order(
    place: Place, publisher: Publisher
) -> None:
    events = passed(500)
    publisher.publish(events)
    place.member(batch=70)
    seen_all(place, 500)
    for partition in {publisher.place(e.event)[0] for e in events}:
        own = [e.position for e in events if publisher.place(e.event)[0] == partition]
        assert [p for p in place.seen() if p in own] == own


def test_whoever_comes_back_goes_on_where_the_database_is(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(50))
    first = place.member()
    seen_all(place, 50)
    first.leave()
    publisher.publish(passed(50, after=50))
    second = place.member()
    seen_all(place, 100)
    # It is counted after it is written.
    second.until(lambda f: f.figures.messages >= 50)
    assert second.following.figures.messages == 50


def test_what_is_sent_again_is_passed_over(place: Place, publisher: Publisher) -> None:
    events = passed(30)
    publisher.publish(events)
    publisher.previous.clear()
    publisher.publish(events)
    publisher.previous.clear()
    publisher.publish([*events, *passed(5, after=30)])
    place.member(batch=7)
    seen_all(place, 35)


def test_a_gap_is_waited_for_and_told(
    place: Place, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.following.following.GAP_PATIENCE", 0.0)
    one, two, three = passed(3, courses=1)
    publisher.send(one, previous=0)
    publisher.send(three, previous=2)
    publisher.flush()
    member = place.member()
    partition, _ = publisher.place(one.event)
    wait_until(lambda: "up to 2 is missing" in (member.error_of(partition) or ""))
    assert place.seen() == [1]
    publisher.send(two, previous=1)
    publisher.flush()
    seen_all(place, 3)
    wait_until(lambda: member.error_of(partition) is None)


def test_a_gap_that_was_kept_is_read_again_after_a_restart(
    place: Place, publisher: Publisher
) -> None:
    one, two, three = passed(3, courses=1)
    publisher.send(one, previous=0)
    publisher.send(three, previous=2)
    publisher.flush()
    first = place.member()
    wait_until(lambda: place.seen() == [1])
    first.leave()
    publisher.send(two, previous=1)
    publisher.flush()
    place.member()
    seen_all(place, 3)


def test_marks_raise_positions_and_are_told(place: Place, publisher: Publisher) -> None:
    told: dict[Partition, int] = {}

    def on_marks(_: object, marks: Mapping[Partition, Reached]) -> None:
        told.update({partition: mark.graded for partition, mark in marks.items()})

    publisher.publish(passed(5, courses=1))
    publisher.mark(9, graded=4)
    member = place.member(on_marks=on_marks)
    member.until(lambda f: set(f.positions.values()) == {9} and len(f.positions) == 5)
    assert told == dict.fromkeys(publisher.all(), 4)
    publisher.publish(passed(3, after=9, courses=1))
    wait_until(lambda: place.seen() == [1, 2, 3, 4, 5, 10, 11, 12])


def test_only_events_of_the_wanted_types_are_told_of(place: Place, publisher: Publisher) -> None:
    events = facts.recorded(
        [facts.course_registered(), facts.course_passed_first_time(), facts.user_registered()]
    )
    publisher.publish(events)
    member = place.member(types={CoursePassedFirstTime})
    # Of several partitions, any may be read first.
    last = {publisher.place(e.event)[0]: e.position for e in events}
    member.until(lambda f: last.items() <= f.positions.items())
    assert place.seen() == [2]


def test_it_says_when_it_has_caught_up(place: Place, publisher: Publisher) -> None:
    taken_up = "SELECT count(*) FROM gradelog.kafka_offsets"
    caught_up: list[tuple[int, int]] = []
    publisher.publish(passed(40))
    place.member(
        on_caught_up=lambda _: caught_up.append((place.rows(taken_up)[0][0], len(place.seen())))
    )
    # A group may give some of the partitions first, and it has caught up with those.
    wait_until(lambda: any(partitions == 5 for partitions, _ in caught_up))
    assert {seen for partitions, seen in caught_up if partitions == 5} == {40}


def test_the_group_learns_how_far_it_is(place: Place, publisher: Publisher, topics: Any) -> None:
    publisher.publish(passed(40))
    member = place.member()
    seen_all(place, 40)
    group = f"{publisher.names['courses']}.readers"

    def told() -> int:
        found = topics.list_group_offsets([group])[group]
        return sum(offset.offset for offset in found.values())

    wait_until(lambda: told() == 40)
    member.leave()
    wait_until(lambda: topics.delete_groups([group]) and told() == 0)
    place.member()  # there is nothing new
    wait_until(lambda: told() == 40)


def test_lag_is_what_is_left(place: Place, publisher: Publisher) -> None:
    publisher.publish(passed(40))
    member = place.member()
    member.until(lambda f: len(f.state()) == 5 and all(s.lag == 0 for s in f.state().values()))
    assert place.seen() != []
