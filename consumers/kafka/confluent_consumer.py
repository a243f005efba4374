"""Reads messages with confluent-kafka."""

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka import Consumer as LibraryConsumer
from confluent_kafka import KafkaError as LibraryError

from consumers.kafka.client import (
    Assigned,
    KafkaError,
    Message,
    OffsetOutOfRangeError,
    Partition,
    Revoked,
    UnknownTopicError,
)
from consumers.kafka.confluent_settings import common, readable
from consumers.kafka.confluent_topics import TopicWatch
from consumers.kafka.settings import (
    HEARTBEAT,
    LARGEST_MESSAGE,
    MAX_POLL_INTERVAL,
    METADATA_MAX_AGE,
    SESSION_TIMEOUT,
    ClientSettings,
)

logger = logging.getLogger(__name__)

_OUT_OF_RANGE: Final = frozenset(
    {LibraryError._AUTO_OFFSET_RESET, LibraryError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
)
_NO_TOPIC: Final = LibraryError(LibraryError.UNKNOWN_TOPIC_OR_PART).str()
_REFUSED: Final = frozenset(
    {
        LibraryError._AUTHENTICATION,  # noqa: SLF001
        LibraryError._SSL,  # noqa: SLF001
        LibraryError.TOPIC_AUTHORIZATION_FAILED,
        LibraryError.GROUP_AUTHORIZATION_FAILED,
        LibraryError.CLUSTER_AUTHORIZATION_FAILED,
        LibraryError.SASL_AUTHENTICATION_FAILED,
        LibraryError._BAD_MSG,  # noqa: SLF001
    }
)


class ConfluentConsumer:
    """Reads partitions that a group shares, or that it was given."""

    def __init__(self, settings: ClientSettings, group: str | None, log: logging.Logger) -> None:
        self._settings = settings
        self._group = group
        self._topics: tuple[str, ...] = ()
        self._watch = TopicWatch(settings, log)
        self._gone: UnknownTopicError | None = None
        self._on_assigned: Assigned = dict.fromkeys
        self._on_revoked: Revoked = lambda _: None
        self._reading: set[Partition] = set()
        self._waiting: set[Partition] = set()  # assigned, but where they begin is not known yet
        self._paused: set[Partition] = set()
        self._changed: set[Partition] = set()
        self._problem: BaseException | None = None
        self._late: list[Any] = []  # what the library gave together with a problem
        self._closed = False
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._seen: set[str] = set()  # topics that were there
        try:
            self._consumer = LibraryConsumer(
                {**_config(settings, group), "error_cb": self._on_error}, logger=log
            )
        except (KafkaException, ValueError) as error:
            raise KafkaError(readable(error)) from error

    def subscribe(
        self, topics: Collection[str], *, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        """Share the partitions of topics with the group; the broker says who reads which."""
        if self._group is None:
            raise ValueError("only a member of a group can subscribe")
        self._topics = tuple(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        with _translated():
            self._consumer.subscribe(
                list(topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._revoked,
            )

    def assign(self, offsets: Mapping[Partition, int | None]) -> None:
        """Read these partitions from these offsets, without a group."""
        self._reading = set(offsets)
        self._paused &= self._reading
        self._late.clear()
        with _translated():
            self._consumer.unassign()
            self._consumer.incremental_assign(
                [_at(partition, offset) for partition, offset in offsets.items()]
            )
            self._pause(self._paused)

    def poll(self, timeout: float, *, limit: int) -> Sequence[Message]:
        """What comes next of each partition, in its order; nothing if nothing comes in time."""
        if self._closed:
            raise KafkaError("The consumer is closed.")
        self._look_for_topics()
        deadline = time.monotonic() + timeout
        while True:
            if self._waiting:
                self._place()
            found = self._fetch(max(0.0, deadline - time.monotonic()), limit)
            if self._problem is not None:
                problem, self._problem, self._late = self._problem, None, list(found)
                raise problem
            messages = self._messages(found)
            if messages or time.monotonic() >= deadline:
                return messages

    def seek(self, partition: Partition, offset: int | None) -> None:
        """Go on with this offset of a partition that is read; None: with its first."""
        if partition not in self._reading:
            raise KafkaError(f"{partition} is not read")
        self._late = [found for found in self._late if _place_of(found) != partition]
        with _translated():
            # The library's own seek fails while a partition is only just being fetched, or
            # is not fetched any more because its offset was out of range.
            self._consumer.incremental_unassign([TopicPartition(*partition)])
            self._consumer.incremental_assign([_at(partition, offset)])
            self._pause(self._paused & {partition})

    def pause(self, partitions: Collection[Partition]) -> None:
        """Return nothing of these partitions until ``resume``; the group keeps them ours."""
        self._paused.update(partitions)
        with _translated():
            self._pause(self._reading & set(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Return messages of these partitions again."""
        self._paused.difference_update(partitions)
        with _translated():
            self._consumer.resume([TopicPartition(*one) for one in self._reading & set(partitions)])

    def assignment(self) -> frozenset[Partition]:
        """Which partitions are read now."""
        return frozenset(self._reading)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell the group's coordinator what is to be read next, for those who measure lag."""
        if self._group is None or not offsets:
            return
        with suppress(Exception):
            self._consumer.commit(
                offsets=[_at(partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )

    def begin_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The first offset that each of these partitions holds."""
        return {partition: low for partition, (low, _) in self._watermarks(partitions)}

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset of the next message of each of these partitions."""
        return {partition: high for partition, (_, high) in self._watermarks(partitions)}

    def close(self, timeout: float = 5.0) -> None:
        """Leave the group. Never fails."""
        if self._closed:
            return
        self._closed = True
        reading, self._reading = frozenset(self._reading), set()
        if reading and self._topics:
            try:
                self._on_revoked(reading)
            except Exception:
                logger.exception("What stops with the consumer has failed.")
        # The library takes as long as it likes, above all without a broker.
        leaving = threading.Thread(target=self._leave, name="kafka-leave", daemon=True)
        leaving.start()
        leaving.join(timeout)

    def _leave(self) -> None:
        with suppress(Exception):
            self._consumer.close()

    # The library calls these inside ``poll``. An exception would make it drop the messages
    # that it is about to return, so it is raised afterwards.

    def _assigned(self, consumer: LibraryConsumer, found: Sequence[TopicPartition]) -> None:
        partitions = frozenset(Partition(one.topic, one.partition) for one in found)
        begins: Mapping[Partition, int | None] = {}
        held: frozenset[Partition] = frozenset()
        try:
            if partitions and not self._closed:
                begins = self._on_assigned(partitions)
        except BaseException as error:  # noqa: BLE001
            self._problem = self._problem or error
            # The group needs its answer now; a later poll asks again where they begin.
            held = partitions
        self._waiting |= held
        self._reading |= partitions - held
        self._seen.update(partition.topic for partition in partitions)
        self._changed |= partitions
        consumer.incremental_assign(
            [_at(partition, begins.get(partition)) for partition in partitions]
        )
        # It remembers what was paused when the partition was ours before.
        still = held | self._paused & partitions
        self._pause(still)
        if going := partitions - still:
            consumer.resume([TopicPartition(*partition) for partition in going])

    def _revoked(self, consumer: LibraryConsumer, found: Sequence[TopicPartition]) -> None:
        partitions = {Partition(one.topic, one.partition) for one in found}
        gone = frozenset(partitions & self._reading)
        self._reading -= partitions
        self._waiting -= partitions
        self._paused -= partitions
        self._changed |= partitions
        self._late = [one for one in self._late if _place_of(one) not in partitions]
        try:
            if gone:
                self._on_revoked(gone)
        except BaseException as error:  # noqa: BLE001
            self._problem = self._problem or error
        consumer.incremental_unassign(list(found))

    def _on_error(self, error: LibraryError) -> None:
        if error.fatal() or error.code() in _REFUSED:
            self._problem = self._problem or KafkaError(readable(error))

    def _place(self) -> None:
        """Ask again where partitions begin, after the question has failed."""
        waiting = frozenset(self._waiting)
        begins = self._on_assigned(waiting)
        with _translated():
            self._consumer.incremental_unassign([TopicPartition(*one) for one in waiting])
            self._consumer.incremental_assign([_at(one, begins.get(one)) for one in waiting])
            self._consumer.resume([TopicPartition(*one) for one in waiting - self._paused])
        self._waiting -= waiting
        self._reading |= waiting

    def _look_for_topics(self) -> None:
        if self._gone is not None:
            raise self._gone
        try:
            topics = {*self._topics, *(place.topic for place in self._reading)}
            self._watch.look(topics, seen=self._seen)
        except UnknownTopicError as gone:
            self._gone = gone
            raise

    def _fetch(self, timeout: float, limit: int) -> Sequence[Any]:
        if self._late:
            late, self._late = self._late, []
            return late
        with _translated():
            # Asked for many, the library waits until there are so many.
            first = self._consumer.poll(timeout)
            if first is None:
                return ()
            self._changed.clear()
            rest = self._consumer.consume(limit - 1, 0) if limit > 1 else []
            # It has itself dropped what it held of partitions that went meanwhile.
            return rest if _place_of(first) in self._changed else [first, *rest]

    def _pause(self, partitions: Collection[Partition]) -> None:
        if partitions:
            self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def _watermarks(
        self, partitions: Collection[Partition]
    ) -> Iterator[tuple[Partition, tuple[int, int]]]:
        deadline = time.monotonic() + self._settings.timeout
        for partition in partitions:
            left = max(0.001, deadline - time.monotonic())
            place = f"{partition.topic}[{partition.number}]"
            try:
                found = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=left
                )
            except KafkaException as error:
                raise KafkaError(f"{place}: {readable(error)}") from error
            if found is None:
                raise KafkaError(f"{place}: not answered in {self._settings.timeout} seconds")
            yield partition, found

    def _messages(self, found: Sequence[Any]) -> list[Message]:
        reading, known = self._reading, self._partitions
        messages: list[Message] = []
        for place, message in enumerate(found):
            error = message.error()
            if error is not None:
                if messages:  # first what came before it
                    self._late = list(found[place:])
                    break
                self._late = list(found[place + 1 :])
                self._note(error, message)
                self._late = []
                continue
            where = (message.topic(), message.partition())
            partition = known.get(where) or self._meet(where)
            if partition in reading:
                messages.append(
                    Message(
                        partition,
                        message.offset(),
                        message.key(),
                        message.value(),
                        message.headers() or [],
                        message.timestamp()[1],
                    )
                )
        return messages

    def _meet(self, where: tuple[str, int]) -> Partition:
        self._seen.add(where[0])
        return self._partitions.setdefault(where, Partition(*where))

    def _note(self, error: LibraryError, message: Any) -> None:
        code = error.code()
        if code in _OUT_OF_RANGE:
            partition = Partition(message.topic(), message.partition())
            if _NO_TOPIC in error.str():  # so it cannot tell the first offset either
                self._gone = UnknownTopicError(f"{partition.topic} is gone")
                raise self._gone
            if partition in self._reading:
                raise OffsetOutOfRangeError([partition])
        elif error.fatal() or code in _REFUSED:
            raise KafkaError(readable(error))


def _config(settings: ClientSettings, group: str | None) -> dict[str, Any]:
    return {
        **common(settings),
        # The library wants a group even of those who are alone; it is never made.
        "group.id": group or f"{settings.client_id}-alone-{uuid4().hex}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "topic.metadata.propagation.max.ms": int(METADATA_MAX_AGE * 1000),
        "isolation.level": "read_committed",  # what a sender has taken back was never sent
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(SESSION_TIMEOUT * 1000),
        "heartbeat.interval.ms": int(HEARTBEAT * 1000),
        "max.poll.interval.ms": int(MAX_POLL_INTERVAL * 1000),
        "fetch.max.bytes": LARGEST_MESSAGE,
        "message.max.bytes": LARGEST_MESSAGE,
        "receive.message.max.bytes": 3 * LARGEST_MESSAGE,
        "queued.max.messages.kbytes": LARGEST_MESSAGE // 1024,
    }


def _at(partition: Partition, offset: int | None) -> TopicPartition:
    return TopicPartition(*partition, OFFSET_BEGINNING if offset is None else offset)


def _place_of(message: Any) -> tuple[str, int]:
    return message.topic(), message.partition()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise KafkaError(readable(error)) from error
