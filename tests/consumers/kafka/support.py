"""What tests of the port do again and again."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from consumers.kafka.client import Consumer, Message, Partition, Producer

PATIENCE = 60.0


def send_numbers(producer: Producer, topic: str, numbers: Sequence[int], partitions: int) -> None:
    """Send numbers to the partitions in turn."""
    for number in numbers:
        producer.send(
            Partition(topic, number % partitions),
            key=None,
            value=str(number).encode(),
            headers=[("number", b"%d" % number)],
        )
    producer.flush(PATIENCE)


def read(consumer: Consumer, count: int, *, limit: int = 1000) -> list[Message]:
    """Read so many messages, and wait for them."""
    found: list[Message] = []
    until(lambda: found.extend(consumer.poll(0.2, limit=limit)) or len(found) >= count)
    return found


def values(messages: Collection[Message]) -> dict[int, list[int]]:
    """The numbers in messages, by partition."""
    found: dict[int, list[int]] = {}
    for message in messages:
        found.setdefault(message.partition.number, []).append(int(message.value or b""))
    return found


def until(reached: Callable[[], bool]) -> None:
    """Wait for a condition, whose question does the waiting."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "it does not come"


class Reader:
    """A member of a group that keeps, as a read model does, how far it has read."""

    def __init__(self, consumer: Consumer, topic: str, kept: dict[Partition, int]) -> None:
        self.consumer = consumer
        self.kept = kept
        self.read: list[Message] = []
        self.given: list[Partition] = []
        self.taken: list[Partition] = []
        consumer.subscribe([topic], on_assigned=self._assigned, on_revoked=self._revoked)

    def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        self.given += partitions
        return {partition: self.kept.get(partition) for partition in partitions}

    def _revoked(self, partitions: Collection[Partition]) -> None:
        self.taken += partitions

    def poll(self, timeout: float = 0.1, *, limit: int = 100) -> None:
        for message in self.consumer.poll(timeout, limit=limit):
            self.read.append(message)
            self.kept[message.partition] = message.offset + 1
        self.consumer.commit(self.kept)


def poll_until(reached: Callable[[], bool], *readers: Reader) -> None:
    """Let readers read until a condition holds."""

    def look() -> bool:
        for reader in readers:
            reader.poll()
        return reached()

    until(look)
