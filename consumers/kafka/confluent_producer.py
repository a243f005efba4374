"""Sends messages with confluent-kafka."""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException
from confluent_kafka import Producer as LibraryProducer

from consumers.kafka.client import (
    DeliveryError,
    Headers,
    KafkaError,
    MessageTooLargeError,
    Partition,
    UnknownTopicError,
    not_stored,
)
from consumers.kafka.confluent_settings import Connecting, common, readable
from consumers.kafka.settings import (
    BATCH,
    BUFFER,
    DELIVERY_TIMEOUT,
    LARGEST_MESSAGE,
    ClientSettings,
)

_SERVE_EVERY: Final = 1_000
"""Messages after which the library may tell what is stored."""

Told = Callable[[LibraryError | None, Any], None]


class ConfluentProducer:
    """Sends messages, each stored once and in order a partition, by all in-sync replicas."""

    def __init__(self, settings: ClientSettings, logger: logging.Logger) -> None:
        self._settings = settings
        self._logger = logger
        self._connecting = Connecting(settings)
        self._producer: LibraryProducer | None = None
        self._counts: dict[str, int] = {}
        # Of each partition, the numbers of its messages on their way. It tells in order
        # what is stored of a partition, but partitions know nothing of each other.
        self._waiting: dict[Partition, deque[int]] = {}
        self._told: dict[Partition, Told] = {}
        self._sent = 0
        self._failure: str | None = None
        self._closed = False

    def send(
        self,
        partition: Partition,
        *,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        timestamp: int | None = None,
    ) -> None:
        """Put a message on its way. Waits while the buffer is full."""
        if self._failure is not None:
            raise DeliveryError(self._failure)
        producer = self._producer or self._connect()
        told = self._told.get(partition) or self._meet(producer, partition)
        topic, number = partition
        rest: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
        deadline: float | None = None
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    key,
                    number,
                    told,
                    headers=headers if isinstance(headers, list) else list(headers),
                    **rest,
                )
                break
            except BufferError:
                deadline = deadline or time.monotonic() + DELIVERY_TIMEOUT
                self._make_room(producer, deadline)
            except KafkaException as error:
                if error.args[0].code() == LibraryError.MSG_SIZE_TOO_LARGE:
                    raise MessageTooLargeError(readable(error)) from None
                raise KafkaError(readable(error)) from error
        self._waiting[partition].append(self._sent)
        self._sent += 1
        if not self._sent % _SERVE_EVERY:
            producer.poll(0)

    @property
    def sent(self) -> int:
        """How many messages were put on their way."""
        return self._sent

    def acknowledged(self) -> int:
        """How many of them are stored for sure, counted from the first without a gap."""
        if self._producer is not None:
            self._producer.poll(0)
        if self._failure is not None:
            raise DeliveryError(self._failure)
        return min(
            (numbers[0] for numbers in self._waiting.values() if numbers), default=self._sent
        )

    @property
    def waits_for(self) -> Partition | None:
        """Where the first message goes that is not stored yet, as far as was looked."""
        waiting = {numbers[0]: partition for partition, numbers in self._waiting.items() if numbers}
        return waiting[min(waiting)] if waiting else None

    def flush(self, timeout: float) -> None:
        """Wait until all that was sent is stored."""
        if self._producer is not None:
            self._producer.flush(timeout)
        if self.acknowledged() < self._sent:
            raise KafkaError(
                f"{self._settings.bootstrap_servers}: not stored after {timeout} seconds"
            )

    def close(self, timeout: float = 1.0) -> None:
        """Give up what is not stored yet. Never fails, never takes much longer."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is None:
            return
        with suppress(Exception):
            if producer.flush(timeout):
                producer.purge()
                producer.flush(timeout)

    def _connect(self) -> LibraryProducer:
        if self._closed:
            raise KafkaError("The producer is closed.")
        try:
            self._producer = LibraryProducer(
                {
                    **common(self._settings),
                    "error_cb": self._connecting,
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": self._settings.codec or "none",
                    "linger.ms": int(self._settings.linger * 1000),
                    "batch.size": BATCH,
                    "message.max.bytes": LARGEST_MESSAGE,
                    "delivery.timeout.ms": int(DELIVERY_TIMEOUT * 1000),
                    "queue.buffering.max.kbytes": BUFFER // 1024,
                    "queue.buffering.max.messages": 1_000_000,
                },
                logger=self._logger,
            )
        except (KafkaException, ValueError) as error:
            raise KafkaError(readable(error)) from error
        return self._producer

    def _meet(self, producer: LibraryProducer, partition: Partition) -> Told:
        """Make sure that a partition exists: the library would find out much later."""
        topic, number = partition
        if number >= self._counts.get(topic, 0):
            try:
                found = producer.list_topics(topic, self._settings.timeout).topics[topic]
            except KafkaException as error:
                producer.poll(0)  # calls ``_connecting``
                raise KafkaError(self._connecting.explained(error)) from error
            if found.error is not None:
                raise UnknownTopicError(f"{topic}: {readable(found.error)}")
            self._counts[topic] = len(found.partitions)
            if number >= len(found.partitions):
                raise KafkaError(f"{topic} has no partition {number}")
        numbers = self._waiting.setdefault(partition, deque())

        def told(error: LibraryError | None, message: Any) -> None:
            if error is None:
                numbers.popleft()
            elif self._failure is None:
                self._failure = not_stored(partition, len(message), readable(error))

        self._told[partition] = told
        return told

    def _make_room(self, producer: LibraryProducer, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise KafkaError(
                f"{self._settings.bootstrap_servers}:"
                f" the buffer stayed full for {DELIVERY_TIMEOUT} seconds"
            )
        producer.poll(min(left, 0.1))
        if self._failure is not None:
            raise DeliveryError(self._failure)
