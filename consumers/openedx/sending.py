"""Sends messages with one producer, and knows how much of the log is stored on the event bus."""

import time
from collections import deque
from contextlib import suppress
from typing import Final

from consumers.kafka.client import KafkaError, MessageTooLargeError, Partition, Producer
from consumers.leading import StuckError
from consumers.openedx.encoding import Encoded, partition_of
from consumers.openedx.store import OpenEdxStore
from domain.events import Recorded

MOST_ON_THEIR_WAY: Final = 500
MOST_BYTES: Final = 16 * 1024 * 1024
"""Messages, and bytes of them. With one more that is as large as may be, still less than any
client's buffer: sending that waited for room there would outlast the lease."""

WIND_UP: Final = 3.0


class Sending:
    """What was sent, how much of it is stored, and up to where that reaches in the log."""

    def __init__(self, producer: Producer, store: OpenEdxStore, *, save_within: float) -> None:
        self._producer = producer
        self._store = store
        self._save_within = save_within
        self._saved_at = time.monotonic()
        self._steps: deque[tuple[int, int]] = deque()  # messages sent, position reached
        self._sizes: deque[int] = deque()  # of the messages on their way
        self._bytes = 0
        self._stored = 0
        self.position = store.position
        """Everything up to here is stored."""

    @property
    def is_full(self) -> bool:
        """Whether enough is on its way.

        No more than is stored already: what comes before a message that cannot be stored would
        be sent again with every new try, and so it becomes less with each of them.
        """
        on_their_way = self._producer.sent - self._stored
        return (
            on_their_way >= min(MOST_ON_THEIR_WAY, max(1, self._stored))
            or self._bytes >= MOST_BYTES
        )

    @property
    def has_stored_all(self) -> bool:
        """Whether nothing is on its way, as far as was looked."""
        return self._stored == self._producer.sent

    def send(self, topic: str, partitions: int, message: Encoded, recorded: Recorded) -> None:
        """Put a message on its way.

        Raises:
            LeaseLostError: somebody else may write now. To make the message may have taken
                long, and one that comes after what that somebody wrote would tell old news.
            StuckError: it is too large.
        """
        if not self._store.is_ours:
            self.save(well=False)
        try:
            self._producer.send(
                Partition(topic, partition_of(message.key, partitions)),
                key=message.key,
                value=message.value,
                headers=message.headers,
                timestamp=int(recorded.recorded_at.timestamp() * 1000),
            )
        except MessageTooLargeError as error:
            raise StuckError(recorded.position, error) from error
        self._sizes.append(len(message.value))
        self._bytes += len(message.value)

    def reached(self, position: int) -> None:
        """Everything up to here is sent."""
        self._steps.append((self._producer.sent, position))

    def tick(self, *, caught_up: bool = False) -> None:
        """Look at what is stored and at the clock.

        Raises:
            DeliveryError: something was not stored.
            LeaseLostError: somebody else may write now.
        """
        stored = self._producer.acknowledged()
        for _ in range(stored - self._stored):
            self._bytes -= self._sizes.popleft()
        self._stored = stored
        while self._steps and self._steps[0][0] <= self._stored:
            self.position = self._steps.popleft()[1]
        if time.monotonic() - self._saved_at >= self._save_within:
            self.save(well=caught_up and self.has_stored_all)

    def wind_up(self) -> None:
        """Wait a little for what was sent, and save how far it came."""
        with suppress(KafkaError):
            self._producer.flush(WIND_UP)
            self.tick()
        self.save(well=False)

    def save(self, *, well: bool = False) -> None:
        """Save how far it came, and keep the lease.

        Raises:
            LeaseLostError: somebody else may write now.
        """
        self._store.save(self.position, well=well)
        self._saved_at = time.monotonic()
