"""What kafka-python waits for, and what it asks of a broker meanwhile."""

import socket
from typing import Any

import pytest
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaTimeoutError
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaTCPTransport

from consumers.kafka.client import Consumer, Message, Partition, Producer
from consumers.kafka.kafka_python_repairs import read_all
from tests.consumers.kafka.support import send_numbers, until, values

only_kafka_python = pytest.mark.parametrize("library", ["kafka-python"], indirect=True)


@pytest.mark.kafka
@only_kafka_python
def test_what_comes_in_when_a_poll_begins_is_returned_by_it(
    producer: Producer, consumer: Consumer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A poll that ends in vain leaves a request at the broker, which is answered by what comes.
    send_numbers(producer, topic, [0], 4)
    consumer.assign({Partition(topic, number): 0 for number in range(4)})
    until(lambda: len(consumer.poll(0.2, limit=10)) == 1)
    assert not consumer.poll(0.1, limit=10)
    drain, is_answered = Fetcher.fetched_records, False

    def drained(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal is_answered
        found = drain(self, *arguments, **more)
        if not is_answered:
            is_answered = True
            send_numbers(producer, topic, [3], 4)
            until(lambda: len(self._completed_fetches) > 0)
        return found

    in_vain = 0
    wait_for = KafkaConnectionManager.wait_for

    async def waited(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal in_vain
        try:
            return await wait_for(self, *arguments, **more)
        except KafkaTimeoutError:
            in_vain += 1
            raise

    monkeypatch.setattr(Fetcher, "fetched_records", drained)
    monkeypatch.setattr(KafkaConnectionManager, "wait_for", waited)
    assert values(consumer.poll(0.2, limit=10)) == {3: [3]}
    assert is_answered
    assert not in_vain


def fetcher_of(consumer: Consumer) -> Any:
    return consumer._consumer._fetcher  # type: ignore[attr-defined]


def poll_some(consumer: Consumer, limit: int) -> list[Message]:
    found: list[Message] = []
    until(lambda: found.extend(consumer.poll(0.2, limit=limit)) or len(found) > 0)
    return found


@pytest.mark.kafka
@only_kafka_python
def test_of_large_messages_the_next_are_asked_for_while_the_first_are_worked_off(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    """A broker gives a few of them at a time, and has said how many there are."""
    partition = Partition(topic, 0)
    for _ in range(20):
        producer.send(partition, key=None, value=b"." * 200_000, headers=[])
    producer.flush(40)
    consumer.assign({partition: 0})
    assert len(poll_some(consumer, 2000)) < 10
    fetcher = fetcher_of(consumer)
    assert fetcher.in_flight_fetches() or fetcher._completed_fetches


@pytest.mark.kafka
@only_kafka_python
def test_nothing_is_asked_for_that_may_be_long_in_coming_while_there_is_something_to_return(
    producer: Producer, consumer: Consumer, topic: str
) -> None:
    """A partition of which some is held cannot be asked for, and the question is for all."""
    for number, count in ((0, 1), (1, 50)):
        send_numbers(producer, topic, [number] * count, 4)
    consumer.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    found = poll_some(consumer, 10)
    while len(found) < 51:
        assert not fetcher_of(consumer).in_flight_fetches()
        found += poll_some(consumer, 10)
    assert values(found) == {0: [0], 1: [1] * 50}


class Counted(socket.socket):
    """A socket that notes how often it was read."""

    reads = 0

    def recv(self, *arguments: int) -> bytes:
        self.reads += 1
        return super().recv(*arguments)


def test_a_connection_is_read_at_once_and_before_its_end_is_told() -> None:
    ours, theirs = socket.socketpair()
    sent = b"." * 100_000
    with Counted(fileno=ours.detach()) as counted, theirs:
        counted.setblocking(False)
        transport = KafkaTCPTransport(None, counted)
        read_all(transport)
        assert transport._sock_recv() == (b"", None)
        theirs.sendall(sent)
        before = counted.reads
        assert transport._sock_recv() == (sent, None)
        assert counted.reads == before + 2
        theirs.sendall(sent)
        theirs.close()
        assert transport._sock_recv() == (sent, None)
        data, problem = transport._sock_recv()
        assert not data
        assert "disconnected" in str(problem)


class Endless(socket.socket):
    """A socket that has as much as anybody wants, of which TLS unpacks some too early."""

    reads = 0
    unpacks = 0

    def recv(self, size: int, *_: int) -> bytes:
        self.reads += 1
        if self.reads > 100:
            raise BlockingIOError
        return bytes(size)

    def pending(self) -> int:
        return int(self.reads < self.unpacks)


@pytest.mark.parametrize(("unpacks", "reads"), [(0, 16), (20, 20)])
def test_a_connection_that_always_has_more_does_not_keep_the_others_waiting(
    unpacks: int, reads: int
) -> None:
    with Endless() as endless:
        endless.unpacks = unpacks
        transport = KafkaTCPTransport(None, endless)
        read_all(transport)
        data, problem = transport._sock_recv()
    assert problem is None
    assert len(data) == reads * 1024 * 1024
    assert endless.reads == reads
