"""Sending: in order, stored, counted, and refused where it must be."""

from contextlib import closing
from types import SimpleNamespace

import pytest
from kafka import KafkaProducer

from consumers.kafka.client import (
    Admin,
    Client,
    Consumer,
    DeliveryError,
    KafkaError,
    MessageTooLargeError,
    NewTopic,
    Partition,
    Producer,
)
from consumers.kafka.clients import ClientSettings, Library, client
from consumers.kafka.kafka_python_appending import Appending
from tests.consumers.kafka.support import PATIENCE, read, send_numbers, until, values

pytestmark = pytest.mark.kafka


def test_what_is_sent_is_read_in_order(producer: Producer, consumer: Consumer, topic: str) -> None:
    send_numbers(producer, topic, range(2000), 4)
    consumer.assign({Partition(topic, number): None for number in range(4)})
    found = read(consumer, 2000, limit=300)
    assert values(found) == {number: [*range(number, 2000, 4)] for number in range(4)}
    assert [m.offset for m in found if m.partition.number == 1] == [*range(500)]


def test_a_message_comes_back_as_it_was(producer: Producer, consumer: Consumer, topic: str) -> None:
    place = Partition(topic, 2)
    headers = [("ce_id", b"1"), ("empty", b""), ("ce_id", b"\x00\xff")]
    producer.send(place, key=None, value=b"v", headers=headers, timestamp=1_234_567_890_123)
    producer.send(place, key=b"", value=b"", headers=())
    producer.flush(PATIENCE)
    consumer.assign({place: 0})
    first, second = read(consumer, 2)
    assert first[:5] == (place, 0, None, b"v", headers)
    assert isinstance(first.partition, Partition)
    assert first.timestamp == 1_234_567_890_123
    assert second.value == b""
    assert list(second.headers) == []
    assert second.timestamp > first.timestamp


def test_five_megabytes_are_a_message_as_any(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    place = Partition(topic, 0)
    large = bytes(range(256)) * 20_000
    producer.send(place, key=b"before", value=b"", headers=[])
    producer.send(place, key=b"large", value=large, headers=[])
    producer.send(place, key=b"after", value=b"", headers=[])
    producer.flush(PATIENCE)
    consumer.assign({place: None})
    found = read(consumer, 3)
    assert [message.key for message in found] == [b"before", b"large", b"after"]
    assert found[1].value == large


def test_more_than_the_buffer_holds_is_sent_nevertheless(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    large = b"x" * (5 * 1024 * 1024)
    for number in range(20):
        producer.send(Partition(topic, 0), key=b"%d" % number, value=large, headers=[])
    producer.flush(PATIENCE)
    assert producer.acknowledged() == 20
    assert consumer.end_offsets([Partition(topic, 0)]) == {Partition(topic, 0): 20}


def test_a_message_too_large_for_the_client_is_refused_and_nothing_else_is(
    producer: Producer, topic: str
) -> None:
    place = Partition(topic, 0)
    producer.send(place, key=None, value=b"before", headers=[])
    with pytest.raises(MessageTooLargeError):
        producer.send(place, key=None, value=b"x" * (33 * 1024 * 1024), headers=[])
    producer.send(place, key=None, value=b"after", headers=[])
    producer.flush(PATIENCE)
    assert producer.sent == producer.acknowledged() == 2


def test_a_message_too_large_for_the_topic_fails_all_that_follow(
    admin: Admin, producer: Producer, topic_prefix: str
) -> None:
    place = Partition(f"{topic_prefix}.small", 0)
    admin.create([NewTopic(place.topic, 1, settings={"max.message.bytes": "2000"})])
    producer.send(place, key=None, value=b"fits", headers=[])
    producer.flush(PATIENCE)
    producer.send(place, key=None, value=b"x" * 20_000, headers=[])
    with pytest.raises(DeliveryError):
        producer.flush(PATIENCE)
    with pytest.raises(DeliveryError):
        producer.acknowledged()
    with pytest.raises(DeliveryError):
        producer.send(place, key=None, value=b"fits", headers=[])
    assert producer.sent == 2


def test_acknowledged_counts_from_the_first_without_a_gap(producer: Producer, topic: str) -> None:
    assert producer.sent == producer.acknowledged() == 0
    send_numbers(producer, topic, range(10), 4)
    assert producer.sent == producer.acknowledged() == 10
    assert producer.waits_for is None
    for number in range(500):
        producer.send(Partition(topic, number % 4), key=None, value=b"v" * 500, headers=[])
        assert 10 <= producer.acknowledged() <= producer.sent == 11 + number
    until(lambda: producer.acknowledged() == 510)  # without a flush


def test_what_is_waited_for_is_told(kafka: str, library: Library, topic: str) -> None:
    # Nothing is sent until somebody flushes.
    with closing(
        client(ClientSettings(kafka, library=library, linger=60.0)).producer()
    ) as producer:
        for number in (2, 1, 3):
            producer.send(Partition(topic, number), key=None, value=b"v", headers=[])
        assert producer.waits_for == Partition(topic, 2)
        producer.flush(PATIENCE)
        assert producer.waits_for is None


def test_where_the_library_has_changed_messages_go_through_its_front_door(
    kafka: str, topic: str
) -> None:
    with closing(KafkaProducer(bootstrap_servers=kafka)) as library:
        append = Appending(SimpleNamespace(send=library.send))
        sent = [append(Partition(topic, 0), b"k", b"%d" % n, [("h", b"v")], 5) for n in range(3)]
        assert [one.get(PATIENCE).offset for one in sent] == [0, 1, 2]


def test_there_is_no_such_partition(producer: Producer, topic: str) -> None:
    with pytest.raises(KafkaError):
        producer.send(Partition(topic, 4), key=None, value=b"", headers=[])
    producer.send(Partition(topic, 3), key=None, value=b"", headers=[])
    producer.flush(PATIENCE)
    assert producer.acknowledged() == 1


def test_there_is_no_such_topic(kafka: str, library: str, topic_prefix: str) -> None:
    producer = client(ClientSettings(kafka, library=library, timeout=1.0)).producer()
    with pytest.raises(KafkaError):
        producer.send(Partition(f"{topic_prefix}.none", 0), key=None, value=b"", headers=[])
    producer.close()


def test_a_closed_producer_sends_nothing(producer: Producer, topic: str) -> None:
    send_numbers(producer, topic, range(2), 4)
    producer.close()
    producer.close()
    with pytest.raises(KafkaError):
        producer.send(Partition(topic, 0), key=None, value=b"", headers=[])


def test_what_is_on_its_way_is_sent_when_the_producer_closes(
    kafka_client: Client, consumer: Consumer, topic: str
) -> None:
    producer = kafka_client.producer()
    producer.send(Partition(topic, 0), key=None, value=b"last", headers=[])
    producer.close(PATIENCE)
    consumer.assign({Partition(topic, 0): 0})
    assert [message.value for message in read(consumer, 1)] == [b"last"]


@pytest.mark.parametrize(
    ("library", "compression"),
    [
        ("kafka-python", "gzip"),  # the others need packages, see test_clients
        *(("confluent", compression) for compression in ("gzip", "lz4", "snappy", "zstd")),
    ],
)
def test_compressed_messages_come_back(
    kafka: str, library: str, consumer: Consumer, topic: str, compression: str
) -> None:
    producer = client(ClientSettings(kafka, library=library, compression=compression)).producer()
    send_numbers(producer, topic, range(100), 4)
    producer.close()
    consumer.assign({Partition(topic, number): 0 for number in range(4)})
    assert values(read(consumer, 100)) == {number: [*range(number, 100, 4)] for number in range(4)}
