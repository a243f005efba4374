"""What gradelog asks of a Kafka client, whichever library does it.

A client is used by one thread. Errors of the libraries come out as ``KafkaError``; whatever
can be waited for has a limit.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

Headers = Sequence[tuple[str, bytes]]


class KafkaError(Exception):
    """Kafka cannot do what was asked, now or at all; the message says what."""


class DeliveryError(KafkaError):
    """A message was not stored, or perhaps it was: nothing sent after it may be relied on."""


class MessageTooLargeError(KafkaError):
    """A message is larger than the topic or the client takes."""


class UnknownTopicError(KafkaError):
    """There is no such topic."""


class OffsetOutOfRangeError(KafkaError):
    """A partition does not hold the offset that was to be read next."""

    def __init__(self, partitions: Collection["Partition"]) -> None:
        super().__init__(", ".join(f"{p.topic}[{p.number}]" for p in partitions))
        self.partitions = frozenset(partitions)


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


def not_stored(partition: Partition, size: int, reason: str) -> str:
    """What to say of a message that Kafka refused: with what makes it be found in a log."""
    return (
        f"{partition.topic}[{partition.number}]: a message of {size} bytes is not stored: {reason}"
    )


class Message(NamedTuple):
    """A message as it stands in a partition. ``timestamp`` is in milliseconds since 1970."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be created. ``settings`` are the broker's names and values."""

    name: str
    partitions: int
    replicas: int = 1
    settings: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker knows it; one made anew under the same name has another id."""

    name: str
    id: UUID | None
    partitions: int


class Producer(Protocol):
    """Sends messages, each stored once and in order a partition, by all in-sync replicas."""

    def send(
        self,
        partition: Partition,
        *,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        timestamp: int | None = None,
    ) -> None:
        """Put a message on its way.

        Waits while the buffer is full.

        Raises:
            MessageTooLargeError: nothing was sent.
            DeliveryError: an earlier message was not stored.
            KafkaError: the buffer stayed full for too long, or there is no such partition.
        """

    @property
    def sent(self) -> int:
        """How many messages were put on their way."""

    def acknowledged(self) -> int:
        """How many of them are stored for sure, counted from the first without a gap.

        Raises:
            DeliveryError: one of them was not stored. Nothing more will be; close it.
        """

    @property
    def waits_for(self) -> Partition | None:
        """Where the first message goes that is not stored yet, as far as was looked."""

    def flush(self, timeout: float) -> None:
        """Wait until all that was sent is stored.

        Raises:
            DeliveryError: one of them was not stored.
            KafkaError: it takes longer than ``timeout`` seconds.
        """

    def close(self, timeout: float = 1.0) -> None:
        """Give up what is not stored yet. Never fails, never takes much longer."""


Assigned = Callable[[Collection[Partition]], Mapping[Partition, int | None]]
"""Told which partitions are read from now on; answers where each begins. None: its first offset."""

Revoked = Callable[[Collection[Partition]], None]
"""Told which partitions are not read any more. Whoever reads them may read them already."""


class Consumer(Protocol):
    """Reads partitions that a group shares, or that it was given."""

    def subscribe(
        self, topics: Collection[str], *, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        """Share the partitions of topics with the group; the broker says who reads which.

        The two functions are called inside ``poll`` and ``close``.
        """

    def assign(self, offsets: Mapping[Partition, int | None]) -> None:
        """Read these partitions from these offsets, without a group."""

    def poll(self, timeout: float, *, limit: int) -> Sequence[Message]:
        """What comes next of each partition, in its order; nothing if nothing comes in time.

        Raises:
            OffsetOutOfRangeError: of what is to be read next. ``seek`` goes on.
            UnknownTopicError: a topic is gone, or another one has its name now; not every
                library notices the second. From now on every time: close the consumer.
            KafkaError: the broker refuses or answers nonsense. That it cannot be reached
                is not told here: the client goes on trying.
        """

    def seek(self, partition: Partition, offset: int | None) -> None:
        """Go on with this offset of a partition that is read; None: with its first."""

    def pause(self, partitions: Collection[Partition]) -> None:
        """Return nothing of these partitions until ``resume``; the group keeps them ours."""

    def resume(self, partitions: Collection[Partition]) -> None:
        """Return messages of these partitions again."""

    def assignment(self) -> frozenset[Partition]:
        """Which partitions are read now."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell the group's coordinator what is to be read next, for those who measure lag.

        Best effort and without waiting: where to begin is kept elsewhere.
        """

    def begin_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The first offset that each of these partitions holds."""

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset of the next message of each of these partitions."""

    def close(self, timeout: float = 5.0) -> None:
        """Leave the group. Never fails."""


class Admin(Protocol):
    """Looks after topics."""

    def topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """Those of the topics that exist.

        Raises:
            KafkaError: the broker does not answer in time.
        """

    def create(self, topics: Collection[NewTopic]) -> None:
        """Create topics; one that somebody else creates meanwhile is left as it is."""

    def delete(self, names: Collection[str]) -> None:
        """Delete topics with all their messages; one that is gone already is no error."""

    def close(self) -> None:
        """Close the connections. Never fails."""


class Client(Protocol):
    """Makes producers, consumers and admins of one library for one cluster."""

    def producer(self) -> Producer:
        """A producer; connects when it first sends."""

    def consumer(self, group: str | None = None) -> Consumer:
        """A consumer, in a group or alone. It never begins anywhere by itself."""

    def admin(self) -> Admin:
        """An admin.

        Raises:
            KafkaError: no broker can be reached.
        """
