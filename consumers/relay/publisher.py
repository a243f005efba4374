"""Sends events and marks with one producer, and knows what of it is stored.

What a message says about the log is true whoever sends it and however often: an event's
``previous`` is the position of the event before it in its partition, a mark's says that up
to its position there is nothing behind that. So a repeat is a repeat to every reader, and a
message that is ahead of a missing one shows it. Of the relay they need only that nothing is
left out: all that was acknowledged is counted from the first without a gap.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import orjson

from consumers.kafka.client import KafkaError, MessageTooLargeError, Partition, Producer, Topic
from consumers.leading import StuckError
from consumers.leased import LeaseLostError
from consumers.messages import Reached, event_headers, mark, partition_of, place_of, time_text
from consumers.relay.store import RelayStore
from projections.read_model import Row

MOST_MESSAGES: Final = 20_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""On their way at a time. Less than any client's buffer, so that sending never waits for long."""

STEP_EVENTS: Final = 250
STEP_BYTES: Final = 1024 * 1024
"""Sent between two looks at the clock and at what is stored."""

MOST_PLACES: Final = 200_000
NOT_RENEWED: Final = "the lease was not renewed in time"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class SilenceError(KafkaError):
    """Kafka has not acknowledged anything for too long."""


class _Step(NamedTuple):
    """What was sent when, and where that leads: once it is acknowledged, it may be saved."""

    sent: int
    bytes: int
    position: int
    moved: Mapping[Partition, int]


@dataclass(slots=True)
class Figures:
    """What a relay did so far. Terms are with the lease; waiting is for Kafka, in seconds."""

    events: int = 0
    marks: int = 0
    saves: int = 0
    terms: int = 0
    waiting: float = 0.0


class Publisher:
    """Sends what follows a position, in order, with a producer of its own."""

    def __init__(
        self,
        producer: Producer,
        store: RelayStore,
        topics: Mapping[str, Topic],
        *,
        source: bytes,
        figures: Figures,
    ) -> None:
        """Begin after the position of the store.

        Args:
            producer: nobody else uses it, and nobody has before.
            store: holds the lease.
            topics: by what they are for.
            source: of the messages.
            figures: counts on.
        """
        self._producer = producer
        self._store = store
        self._topics = topics
        self._source = source
        self._figures = figures
        self._places: dict[tuple[str, bytes], Partition] = {}
        self._last = store.partitions()
        self._moved: dict[Partition, int] = {}
        self._bytes = 0
        self._steps: deque[_Step] = deque()
        self._stored = _Step(0, 0, store.position, {})
        self._unsaved: dict[Partition, int] = {}
        self._acknowledged = 0
        self.is_proven = False
        """Whether Kafka has stored the first step. Those after it wait for that: else they
        would be sent again and again, while something of the first cannot be stored."""

        self._heard = time.monotonic()
        self.position = store.position

    # --- sending ----------------------------------------------------------------------------

    def send(self, events: Sequence[Row]) -> Iterator[None]:
        """Send rows of ``relay.log``; stops after each step to let the caller look around.

        Raises:
            StuckError: one of them is too large; those before it were sent.
            LeaseLostError: the lease may be somebody else's by now.
            KafkaError: what was sent may be lost.
        """
        self._expect_answers()
        at, time_, timestamp = _EPOCH, b"", 0
        began_at = sent = self._bytes
        count = 0
        # The names of the loop that runs for every event of the log.
        producer_send, last, moved = self._producer.send, self._last, self._moved
        source, loads, monotonic = self._source, orjson.loads, time.monotonic
        for position, stream_id, version, type_, data, metadata, event_id, recorded_at in events:
            # A relay that was frozen finds out before it sends anything more. What its client
            # still had to send when it froze arrives late and is a repeat, or ahead of what
            # the next holder sends, which readers wait for: see above.
            if monotonic() >= self._store.lease_ends:
                raise LeaseLostError(NOT_RENEWED)
            if recorded_at != at:  # neighbours were mostly recorded together
                at = recorded_at
                time_ = time_text(at).encode()
                timestamp = (at - _EPOCH) // _MILLISECOND
            place = place_of(loads(data))
            partition = self._places.get(place) or self._place(place)
            try:
                producer_send(
                    partition,
                    key=place[1],
                    value=data,
                    headers=event_headers(
                        *(position, last.get(partition, 0), event_id, type_, time_),
                        *(stream_id, version, metadata, source),
                    ),
                    timestamp=timestamp,
                )
            except MessageTooLargeError as error:
                self._bytes = sent
                self._figures.events += count
                self._note_step()
                raise StuckError(position, error) from error
            last[partition] = moved[partition] = self.position = position
            sent += len(data)
            count += 1
            if count >= STEP_EVENTS or sent - began_at >= STEP_BYTES:
                self._bytes = began_at = sent
                self._figures.events += count
                count = 0
                moved = self._note_step()
                yield
        self._bytes = sent
        self._figures.events += count
        self._note_step()
        yield

    def send_marks(self, graded: int, graded_at: int) -> None:
        """Tell every partition up to where all events are in the topics.

        Raises:
            LeaseLostError: the lease may be somebody else's by now.
            KafkaError: what was sent may be lost.
        """
        if not self._store.is_ours:
            raise LeaseLostError(NOT_RENEWED)
        self._expect_answers()
        now = datetime.now(UTC)
        milliseconds = int(now.timestamp() * 1000)
        for topic in self._topics.values():
            for number in range(topic.partitions):
                partition = Partition(topic.name, number)
                reached = Reached(self.position, self._last.get(partition, 0), graded, graded_at)
                value, headers = mark(reached, source=self._source, at=now)
                self._producer.send(
                    partition, key=None, value=value, headers=headers, timestamp=milliseconds
                )
                self._figures.marks += 1

    def flush(self, timeout: float) -> None:
        """Let what is on its way be sent at once, and wait for it for a while."""
        began = time.monotonic()
        try:
            self._producer.flush(timeout)
        except KafkaError:
            self._producer.acknowledged()  # tells if it was lost; else it takes longer
        finally:
            self._figures.waiting += time.monotonic() - began

    # --- what is stored ---------------------------------------------------------------------

    def look(self) -> None:
        """Find out what is stored by now.

        Raises:
            DeliveryError: something is not, and will not be.
        """
        acknowledged = self._producer.acknowledged()
        if acknowledged > self._acknowledged or acknowledged == self._producer.sent:
            self._heard = time.monotonic()
        self._acknowledged = acknowledged
        steps = self._steps
        while steps and steps[0].sent <= acknowledged:
            self._stored = steps.popleft()
            self.is_proven = True
            self._unsaved.update(self._stored.moved)

    @property
    def is_full(self) -> bool:
        """Whether enough is on its way."""
        return (
            (bool(self._steps) and not self.is_proven)
            or self._producer.sent - self._acknowledged > MOST_MESSAGES
            or self._bytes - self._stored.bytes > MOST_BYTES
        )

    @property
    def has_stored_all(self) -> bool:
        """Whether nothing is on its way, as far as was looked."""
        return self._acknowledged == self._producer.sent

    def was_heard(self, within: float) -> bool:
        """Whether Kafka answers what is sent, or nothing is."""
        return time.monotonic() - self._heard <= within

    def check_silence(self, longest: float) -> None:
        """Give up on a producer that nobody answers.

        Raises:
            SilenceError: for so many seconds nothing was acknowledged of what was sent.
        """
        if not self.has_stored_all and time.monotonic() - self._heard > longest:
            partition = self._producer.waits_for
            place = f" in {partition.topic}[{partition.number}]" if partition else ""
            raise SilenceError(
                f"Kafka has not acknowledged what comes next{place} for {longest:.0f} seconds"
            )

    @property
    def is_ahead_of_store(self) -> bool:
        """Whether more is stored than was saved."""
        return self._stored.position > self._store.position

    def save(self, *, well: bool) -> None:
        """Save what is stored, and renew the lease.

        Raises:
            LeaseLostError: another relay has taken over.
        """
        self._store.save(self._stored.position, self._unsaved, well=well)
        self._unsaved.clear()
        self._figures.saves += 1

    # --- inside -----------------------------------------------------------------------------

    def _expect_answers(self) -> None:
        """Whoever was asked nothing owes no answer, however long nobody looked."""
        if self.has_stored_all:
            self._heard = time.monotonic()

    def _place(self, place: tuple[str, bytes]) -> Partition:
        purpose, key = place
        topic = self._topics[purpose]
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        partition = Partition(topic.name, partition_of(key, topic.partitions))
        self._places[place] = partition
        return partition

    def _note_step(self) -> dict[Partition, int]:
        if self._moved:
            step = _Step(self._producer.sent, self._bytes, self.position, self._moved)
            self._steps.append(step)
            self._moved = {}
        return self._moved
