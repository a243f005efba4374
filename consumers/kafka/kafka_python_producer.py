"""Sends messages with kafka-python."""

import time
from collections import deque
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from consumers.kafka.client import (
    DeliveryError,
    Headers,
    KafkaError,
    MessageTooLargeError,
    Partition,
    not_stored,
)
from consumers.kafka.kafka_python_appending import Appending
from consumers.kafka.kafka_python_connecting import Connections
from consumers.kafka.kafka_python_settings import common, readable
from consumers.kafka.settings import (
    BATCH,
    BUFFER,
    DELIVERY_TIMEOUT,
    LARGEST_MESSAGE,
    ClientSettings,
)


class KafkaPythonProducer:
    """Sends messages, each stored once and in order a partition, by all in-sync replicas."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._producer: KafkaProducer | None = None
        self._append: Appending | None = None
        # The library's futures, bytes, and where they go.
        self._waiting: deque[tuple[Any, int, Partition]] = deque()
        self._bytes = 0
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
        append = self._append or self._connect()
        size = len(value) + (len(key) if key else 0) + 64
        if self._bytes + size > BUFFER:
            self._make_room(size)
        try:
            future = append(partition, key, value, headers, timestamp)
        except kafka_errors.MessageSizeTooLargeError as error:
            raise MessageTooLargeError(readable(error)) from None
        except Exception as error:
            raise KafkaError(readable(error)) from error
        self._waiting.append((future, size, partition))
        self._bytes += size
        self._sent += 1

    @property
    def sent(self) -> int:
        """How many messages were put on their way."""
        return self._sent

    def acknowledged(self) -> int:
        """How many of them are stored for sure, counted from the first without a gap."""
        if self._failure is not None:
            raise DeliveryError(self._failure)
        waiting = self._waiting
        while waiting and waiting[0][0].is_done:
            future, size, partition = waiting[0]
            if future.exception is not None:
                self._failure = not_stored(partition, size, readable(future.exception))
                raise DeliveryError(self._failure) from future.exception
            waiting.popleft()
            self._bytes -= size
        return self._sent - len(waiting)

    @property
    def waits_for(self) -> Partition | None:
        """Where the first message goes that is not stored yet, as far as was looked."""
        return self._waiting[0][2] if self._waiting else None

    def flush(self, timeout: float) -> None:
        """Wait until all that was sent is stored."""
        deadline = time.monotonic() + timeout
        if self._waiting and self._producer is not None:
            try:
                self._producer.flush(timeout)
            except kafka_errors.KafkaTimeoutError:
                pass  # counted below
            except Exception as error:
                raise KafkaError(readable(error)) from error
        while self.acknowledged() < self._sent:
            # The library wakes who flushes before it has told every single future.
            self._wait(deadline, f"not stored after {timeout} seconds")

    def close(self, timeout: float = 1.0) -> None:
        """Give up what is not stored yet. Never fails, never takes much longer."""
        self._closed = True
        producer, self._producer, self._append = self._producer, None, None
        if producer is None:
            return
        try:
            producer.close(timeout)
        except Exception:  # noqa: BLE001  # typically the messages that nobody takes
            with suppress(Exception):
                # The library's own way to give up stands behind a flush that must succeed.
                producer._sender.force_close()  # noqa: SLF001
                producer.close(1.0)

    def _connect(self) -> Appending:
        if self._closed:
            raise KafkaError("The producer is closed.")
        settings = self._settings
        milliseconds = int(settings.timeout * 1000)
        connections = Connections(settings)
        with connections.begun():
            self._producer = KafkaProducer(
                **common(settings),
                acks="all",
                enable_idempotence=True,
                compression_type=settings.codec,
                linger_ms=int(settings.linger * 1000),
                batch_size=BATCH,
                max_request_size=LARGEST_MESSAGE,
                delivery_timeout_ms=int(DELIVERY_TIMEOUT * 1000),
                max_block_ms=milliseconds,
                bootstrap_timeout_ms=milliseconds,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                kafka_client=connections,
            )
        self._append = Appending(self._producer)
        return self._append

    def _make_room(self, size: int) -> None:
        """Wait until there is room in the buffer, which the library does not bound itself."""
        deadline = time.monotonic() + DELIVERY_TIMEOUT
        self.acknowledged()
        while self._waiting and self._bytes + size > BUFFER:
            self._wait(deadline, f"the buffer stayed full for {DELIVERY_TIMEOUT} seconds")
            self.acknowledged()

    def _wait(self, deadline: float, problem: str) -> None:
        """Wait for the first message that is not stored yet."""
        future = self._waiting[0][0]
        with suppress(kafka_errors.KafkaError):  # a failure is told by ``acknowledged``
            future.get(max(0.0, deadline - time.monotonic()))
        if not future.is_done:
            raise KafkaError(f"{self._settings.bootstrap_servers}: {problem}")
