"""Hands messages to kafka-python below ``KafkaProducer.send``.

That looks at every message several times over: whether its topic still has the partition, of
what types its headers are, how many bytes it makes, what a debugging log would say of it. This
is a third of all that a message costs; once in a while is often enough.
"""

import inspect
import time
from collections.abc import Callable
from typing import Any, Final

from kafka import KafkaProducer, TopicPartition

from consumers.kafka.client import Headers, Partition
from consumers.kafka.settings import BATCH

_TRUSTED: Final = 0.5
"""Seconds for which a partition that the library has found is taken to be there."""

_EXPECTED: Final = ["tp", "timestamp_ms", "key", "value", "headers"]


class Appending:
    """Appends the messages of one producer; below its front door where that can be done."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._send = producer.send
        self._append, self._wakeup = _below(producer)
        self._trusted: dict[Partition, tuple[TopicPartition, float]] = {}

    def __call__(
        self,
        partition: Partition,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        timestamp: int | None,
    ) -> Any:
        """Put a message on its way; the library's future, or its exception."""
        made = headers if isinstance(headers, list) else list(headers)
        place, until = self._trusted.get(partition) or (None, 0.0)
        append = self._append
        # What the library refuses for its size is far above that of a batch.
        if append is None or place is None or len(value) > BATCH or time.monotonic() > until:
            topic, number = partition
            future = self._send(topic, value, key, made, number, timestamp)
            place = place or TopicPartition(topic, number)
            self._trusted[partition] = place, time.monotonic() + _TRUSTED
            return future
        future, _, is_new, _ = append(place, timestamp, key, value, made)
        if is_new:  # then there is a time to wait for, and the one before it is full
            self._wakeup()
        return future


def _below(producer: KafkaProducer) -> tuple[Callable[..., Any] | None, Callable[[], None]]:
    """What ``send`` ends with, unless the library has changed."""
    append = getattr(getattr(producer, "_accumulator", None), "append", None)
    wakeup = getattr(getattr(producer, "_sender", None), "wakeup", None)
    if append is None or wakeup is None:
        return None, lambda: None
    if [*inspect.signature(append).parameters][: len(_EXPECTED)] != _EXPECTED:
        return None, lambda: None
    return append, wakeup
