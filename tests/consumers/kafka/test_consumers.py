"""Reading given partitions: from where it is said, and only what is asked for."""

import logging
from contextlib import closing
from typing import Any

import pytest

from consumers.kafka.client import (
    Admin,
    Consumer,
    KafkaError,
    OffsetOutOfRangeError,
    Partition,
    Producer,
    UnknownTopicError,
)
from consumers.kafka.clients import ClientSettings, client
from consumers.kafka.confluent_topics import TopicWatch
from tests.consumers.kafka.support import PATIENCE, read, send_numbers, until, values

pytestmark = pytest.mark.kafka


def test_reading_begins_where_it_is_told(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    send_numbers(producer, topic, range(40), 4)
    consumer.assign({Partition(topic, 0): 7, Partition(topic, 1): None, Partition(topic, 2): 10})
    assert consumer.assignment() == {Partition(topic, number) for number in (0, 1, 2)}
    assert values(read(consumer, 13)) == {0: [28, 32, 36], 1: [*range(1, 40, 4)]}
    send_numbers(producer, topic, [42], 4)
    assert values(read(consumer, 1)) == {2: [42]}


def test_nothing_comes_when_there_is_nothing(consumer: Consumer, topic: str) -> None:
    consumer.assign({Partition(topic, 0): 0})
    assert list(consumer.poll(0.3, limit=10)) == []
    assert list(consumer.poll(0, limit=10)) == []


def test_no_more_comes_than_asked_for(producer: Producer, consumer: Consumer, topic: str) -> None:
    send_numbers(producer, topic, range(100), 4)
    consumer.assign({Partition(topic, number): 0 for number in range(4)})
    sizes: list[int] = []
    until(lambda: sizes.append(len(consumer.poll(0.2, limit=7))) or sum(sizes) == 100)
    assert max(sizes) == 7


def test_seek_goes_forth_and_back(producer: Producer, consumer: Consumer, topic: str) -> None:
    send_numbers(producer, topic, range(400), 4)
    place = Partition(topic, 3)
    consumer.assign({place: 0})
    assert values(read(consumer, 10, limit=10)) == {3: [*range(3, 43, 4)]}
    consumer.seek(place, 90)
    assert values(read(consumer, 10)) == {3: [*range(363, 400, 4)]}
    consumer.seek(place, 98)
    assert values(read(consumer, 2)) == {3: [395, 399]}
    consumer.seek(place, None)
    assert values(read(consumer, 100)) == {3: [*range(3, 400, 4)]}


def test_a_paused_partition_keeps_its_place(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    send_numbers(producer, topic, range(40), 4)
    one, other = Partition(topic, 0), Partition(topic, 1)
    consumer.assign({one: 0, other: 0})
    read(consumer, 1, limit=1)
    consumer.seek(one, 0)
    consumer.seek(other, 5)
    consumer.pause([one])
    assert values(read(consumer, 5)) == {1: [21, 25, 29, 33, 37]}
    consumer.seek(other, 0)
    assert values(read(consumer, 10)) == {1: [*range(1, 40, 4)]}
    consumer.pause([other])
    consumer.seek(one, 3)  # stays paused
    assert list(consumer.poll(0.5, limit=100)) == []
    assert consumer.assignment() == {one, other}
    consumer.resume([one, other])
    assert values(read(consumer, 7)) == {0: [*range(12, 40, 4)]}


@pytest.mark.parametrize("offset", [11, 10_000_000])
def test_an_offset_that_is_not_there_is_told_until_seek(
    producer: Producer, consumer: Consumer, topic: str, offset: int
) -> None:
    send_numbers(producer, topic, range(40), 4)
    lost, fine = Partition(topic, 0), Partition(topic, 1)
    consumer.assign({lost: offset, fine: 0})
    found: list[int] = []
    problems: list[OffsetOutOfRangeError] = []

    def look() -> bool:
        try:
            found.extend(int(m.value or b"") for m in consumer.poll(0.2, limit=100))
        except OffsetOutOfRangeError as problem:
            problems.append(problem)
        return len(problems) > 0 and len(found) == 10

    until(look)
    assert {place for problem in problems for place in problem.partitions} == {lost}
    assert found == [*range(1, 40, 4)]
    consumer.seek(lost, 8)
    assert values(read(consumer, 2)) == {0: [32, 36]}


def test_another_assignment_takes_the_place_of_the_first(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    send_numbers(producer, topic, range(40), 4)
    consumer.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    read(consumer, 5, limit=5)
    consumer.assign({Partition(topic, 1): 8, Partition(topic, 2): 9})
    assert values(read(consumer, 3)) == {1: [33, 37], 2: [38]}


def test_first_and_next_offsets(producer: Producer, consumer: Consumer, topic: str) -> None:
    send_numbers(producer, topic, range(6), 4)
    places = [Partition(topic, number) for number in range(4)]
    assert consumer.begin_offsets(places) == dict.fromkeys(places, 0)
    assert consumer.end_offsets(places) == dict(zip(places, [2, 2, 1, 1], strict=True))
    assert consumer.end_offsets([]) == {}


def test_offsets_of_a_topic_that_is_not_there(consumer: Consumer, topic: str) -> None:
    with pytest.raises(KafkaError):
        consumer.end_offsets([Partition(topic, 4)])


def test_offsets_of_a_partition_that_has_no_leader_yet_say_which_it_is(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    send_numbers(producer, topic, [0], 4)  # the other one has a leader then
    with pytest.raises(KafkaError) as failed:
        consumer.end_offsets([Partition(topic, 0), Partition(topic, 4)])
    assert f"{topic}[4]" in str(failed.value)


def test_a_topic_that_is_deleted_is_told(
    admin: Admin, producer: Producer, consumer: Consumer, topic: str, library: str
) -> None:
    send_numbers(producer, topic, range(4), 4)
    consumer.assign({Partition(topic, 0): 0})
    read(consumer, 1)
    admin.delete([topic])
    for _ in range(2):  # and told again
        with pytest.raises(UnknownTopicError, match=topic):
            until(lambda: bool(consumer.poll(0.2, limit=10)))


def test_a_topic_that_is_gone_has_no_first_offset(
    admin: Admin, producer: Producer, consumer: Consumer, topic: str
) -> None:
    send_numbers(producer, topic, [0], 4)
    place = Partition(topic, 0)
    consumer.assign({place: None})
    read(consumer, 1)
    admin.delete([topic])
    until(lambda: not admin.topics([topic]))
    consumer.seek(place, None)
    for _ in range(2):  # and told again
        with pytest.raises(UnknownTopicError, match=topic):
            until(lambda: bool(consumer.poll(0.2, limit=10)))


class Untold(dict[str, Any]):
    """Ids of topics of which none is ever told."""

    def setdefault(self, _topic: str, _id: Any = None) -> Any:
        return None


@pytest.mark.parametrize("library", ["kafka-python"])
def test_a_topic_that_was_read_and_deleted_is_told_without_its_id(
    admin: Admin,
    producer: Producer,
    consumer: Consumer,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "_ids", Untold())
    send_numbers(producer, topic, [0], 4)
    consumer.assign({Partition(topic, 0): None})
    read(consumer, 1)
    admin.delete([topic])
    with pytest.raises(UnknownTopicError, match=topic):
        until(lambda: bool(consumer.poll(0.2, limit=10)))


@pytest.mark.parametrize("library", ["confluent"])
def test_a_topic_that_was_read_may_be_gone_before_its_id_was_told(
    kafka: str, admin: Admin, topic: str
) -> None:
    admin.delete([topic])
    until(lambda: not admin.topics([topic]))
    watch = TopicWatch(ClientSettings(kafka), logging.getLogger("any"))
    with pytest.raises(UnknownTopicError, match=topic):
        until(lambda: watch.look([topic], seen=[topic]) is not None)


@pytest.mark.parametrize("library", ["kafka-python"])
def test_what_cannot_be_decompressed_is_told_as_often_as_it_is_asked_for(
    kafka: str, consumer: Consumer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka.codec.has_lz4", lambda: False)
    settings = ClientSettings(kafka, library="confluent", compression="lz4")
    with closing(client(settings).producer()) as producer:
        for n in range(100):
            producer.send(Partition(topic, n % 2), key=None, value=b"v" * 100, headers=[])
        producer.flush(PATIENCE)
    consumer.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    for _ in range(4):
        with pytest.raises(KafkaError, match="lz4"):
            until(lambda: bool(consumer.poll(0.2, limit=10)))


def test_a_closed_consumer_reads_nothing(consumer: Consumer, topic: str) -> None:
    consumer.assign({Partition(topic, 0): 0})
    consumer.poll(0.1, limit=1)
    consumer.close()
    consumer.close()
    assert consumer.assignment() == frozenset()
    with pytest.raises(KafkaError):
        consumer.poll(0.1, limit=1)
