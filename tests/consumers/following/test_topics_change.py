"""Topics that are cut off, deleted and made anew: what was applied stays applied once."""

from typing import Any

import pytest
from kafka import TopicPartition

from tests.consumers.following.conftest import Place
from tests.consumers.following.publisher import Publisher, passed
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(50))
    member = place.member()
    wait_until(lambda: len(place.seen()) == 50)
    old = publisher.ids()
    publisher.delete()
    wait_until(lambda: not publisher.ids())
    publisher.create()
    wait_until(lambda: len(publisher.ids()) == 2 and publisher.ids() != old)
    publisher.previous.clear()
    publisher.publish(passed(80))
    wait_until(lambda: len(place.seen()) == 80, within=60)
    assert sorted(place.seen()) == list(range(1, 81))
    member.until(lambda f: f.error is None)


def test_a_topic_that_was_made_anew_while_nobody_read_is_noticed(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(50))
    member = place.member()
    wait_until(lambda: len(place.seen()) == 50)
    member.leave()
    publisher.delete()
    wait_until(lambda: not publisher.ids())
    publisher.create()
    publisher.previous.clear()
    publisher.publish(passed(200))
    place.member()
    wait_until(lambda: len(place.seen()) == 200)
    assert sorted(place.seen()) == list(range(1, 201))


def test_what_was_applied_may_be_deleted(place: Place, publisher: Publisher, topics: Any) -> None:
    events = passed(50, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)
    member = place.member()
    wait_until(lambda: len(place.seen()) == 50)
    member.leave()
    publisher.publish(passed(10, after=50, courses=1))
    topics.delete_records({TopicPartition(*there): 50})
    with place.connect() as db:  # a database that was restored from a copy
        db.execute("UPDATE gradelog.kafka_offsets SET next_offset = 20")
    place.member()
    wait_until(lambda: len(place.seen()) == 60)
    assert sorted(place.seen()) == list(range(1, 61))


def test_a_beginning_that_is_missing_is_told_and_not_passed_over(
    place: Place, publisher: Publisher, topics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.following.following.GAP_PATIENCE", 0.0)
    events = passed(50, courses=1)
    there, _ = publisher.place(events[0].event)
    publisher.publish(events)
    topics.delete_records({TopicPartition(*there): 20})
    member = place.member()
    wait_until(
        lambda: member.error_of(there) == "something after position 0 and up to 20 is missing"
    )
    assert place.seen() == []
