"""What a sender has taken back was never sent: transactions, as others use them on their topics."""

from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import uuid4

import confluent_kafka
import pytest
from kafka import KafkaConsumer, TopicPartition

from consumers.kafka.client import Consumer, Partition, Producer
from tests.consumers.kafka.support import read, send_numbers, until, values

pytestmark = pytest.mark.kafka

Sender = Callable[[], confluent_kafka.Producer]


@pytest.fixture
def sender(kafka: str) -> Iterator[Sender]:
    """Makes senders with a transaction begun."""
    made = []

    def make() -> confluent_kafka.Producer:
        one = confluent_kafka.Producer(
            {"bootstrap.servers": kafka, "transactional.id": f"test-{uuid4().hex}"}
        )
        one.init_transactions(60)
        one.begin_transaction()
        made.append(one)
        return one

    yield make
    for one in made:
        one.flush(10)


def send(sender: confluent_kafka.Producer, place: Partition, *numbers: int) -> None:
    """Send numbers in a batch of their own."""
    for number in numbers:
        sender.produce(place.topic, str(number).encode(), partition=place.number)
    assert sender.flush(30) == 0


@pytest.fixture
def place(kafka: str, sender: Sender, producer: Producer, topic: str) -> Partition:
    """A partition with what two senders mixed: one took back its even numbers.

    Offsets: 0 to 2 taken back, 3 to 5 not, 6 and 7 taken back, 8 of nobody's transaction, 9 the
    end of the first transaction, 10 and 11 not taken back, 12 the end of the second, 13 to 15 sent
    later by whoever took back the first, 16 the end of that.
    """
    place = Partition(topic, 0)
    first, second = sender(), sender()
    send(first, place, 0, 2, 4)
    send(second, place, 1, 3, 5)
    send(first, place, 6, 8)
    send_numbers(producer, topic, [100], 4)
    with closing(KafkaConsumer(bootstrap_servers=kafka)) as looking:
        here = TopicPartition(*place)
        first.abort_transaction(30)
        until(lambda: looking.end_offsets([here]) == {here: 10})  # it is marked soon afterwards
        send(second, place, 7, 9)
        second.commit_transaction(30)
        until(lambda: looking.end_offsets([here]) == {here: 13})
        first.begin_transaction()
        send(first, place, 11, 13, 15)
        first.commit_transaction(30)
        until(lambda: looking.end_offsets([here]) == {here: 17})
    return place


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_it_is_left_out(consumer: Consumer, place: Partition, limit: int) -> None:
    consumer.assign({place: 0})
    found = read(consumer, 9, limit=limit)
    assert values(found) == {0: [1, 3, 5, 100, 7, 9, 11, 13, 15]}
    assert [message.offset for message in found] == [3, 4, 5, 8, 10, 11, 13, 14, 15]


def test_reading_may_begin_in_the_midst_of_it(consumer: Consumer, place: Partition) -> None:
    consumer.assign({place: 0})
    read(consumer, 1, limit=1)
    for offset, numbers in (
        (14, [13, 15]),
        (12, [11, 13, 15]),
        (9, [7, 9, 11, 13, 15]),
        (7, [100, 7, 9, 11, 13, 15]),
        (4, [3, 5, 100, 7, 9, 11, 13, 15]),
        (1, [1, 3, 5, 100, 7, 9, 11, 13, 15]),
    ):
        consumer.seek(place, offset)
        assert values(read(consumer, len(numbers))) == {0: numbers}


def test_what_comes_after_it_is_read(
    consumer: Consumer, producer: Producer, sender: Sender, topic: str
) -> None:
    place = Partition(topic, 0)
    consumer.assign({place: 0})
    lost = sender()
    send(lost, place, *range(0, 400, 2))
    lost.abort_transaction(30)
    until(lambda: consumer.end_offsets([place]) == {place: 201})
    assert list(consumer.poll(1.0, limit=10)) == []
    send_numbers(producer, topic, [4], 4)
    assert values(read(consumer, 1)) == {0: [4]}
