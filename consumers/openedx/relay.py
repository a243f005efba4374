"""Writes to the event bus of Open edX what happens in the log, each signal at least once.

It follows the log by itself, with a position of its own: the event bus may be away for a day
while the relay to our own topics goes on. A crash or a second process repeat signals with
the same id and leave none out.
"""

import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final, Protocol

import psycopg
import structlog
from psycopg import Connection

from consumers.kafka.client import Client, KafkaError, Partition, Producer
from consumers.messages import partition_of
from consumers.openedx.encoding import encode
from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.store import LeaseLostError, OpenEdxStore
from consumers.openedx.translating import TYPES, Facts, signals_of
from domain.events import Recorded
from projections.log import LogReader
from projections.read_model import Row

logger = structlog.get_logger(__name__)

LIFETIME: Final = 10.0
"""Seconds that the lease of a process that died keeps others waiting."""

BATCH: Final = 1000
MOST_ON_THEIR_WAY: Final = 10_000
SAVE_WITHIN: Final = 1.0
IDLE: Final = 0.25
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 15.0
WIND_UP: Final = 3.0


class Gatherer(Protocol):
    """Finds what signals need beside the events."""

    def gather(self, db: Connection[Row], events: Sequence[Recorded]) -> Facts:
        """Find it for these events."""


class OpenEdxRelay:
    """Follows the log and writes to the event bus, or stands by, until it is told to stop."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        reader: LogReader,
        gatherer: Gatherer,
        registry: Registry,
        topics: Mapping[str, str],
        *,
        source: str,
        pii: bool = False,
        lifetime: float = LIFETIME,
        batch: int = BATCH,
    ) -> None:
        """Make it.

        Args:
            client: of the cluster with the event bus.
            connect: opens a connection to the database of the log, in autocommit mode.
            reader: reads the log.
            gatherer: finds what signals need beside the events.
            registry: where schemas are registered.
            topics: whole names of topics by type of signal; other types are not written.
            source: the ``source`` of the messages.
            pii: tell names, addresses and answers.
            lifetime: seconds that the lease lasts without being renewed.
            batch: most events to read at once.
        """
        self._client = client
        self._connect = connect
        self._reader = reader
        self._gatherer = gatherer
        self._registry = registry
        self._topics = dict(topics)
        self._source = source
        self._pii = pii
        self._lifetime = lifetime
        self._batch = batch
        self._host = socket.gethostname()
        self.holder = f"{self._host}:{os.getpid()}:{secrets.token_hex(4)}"
        self.written = 0
        """Signals that are stored, repeats included."""

    def run(self, stop: threading.Event) -> None:
        """Work or stand by until ``stop`` is set, whatever happens to the others."""
        pause = FIRST_RETRY
        while not stop.is_set():
            began = time.monotonic()
            try:
                with self._connect() as db:
                    self._stand_by(db, stop)
                continue
            except (
                psycopg.OperationalError,
                psycopg.InterfaceError,
                KafkaError,
                RegistryError,
                LeaseLostError,
            ) as error:
                logger.warning("the event bus is not written to", error=_told(error))
            except Exception:
                logger.exception("writing to the event bus stumbled")
            if time.monotonic() - began > 2 * LONGEST_RETRY:
                pause = FIRST_RETRY
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    def _stand_by(self, db: Connection[Row], stop: threading.Event) -> None:
        store = OpenEdxStore(db, holder=self.holder, lifetime=self._lifetime)
        while not stop.is_set():
            if not store.acquire():
                stop.wait(min(1.0, self._lifetime / 4))
                continue
            try:
                self._work(db, store, stop)
            except Exception as error:
                with suppress(psycopg.Error):
                    store.note(_told(error))
                raise
            finally:
                with suppress(psycopg.Error):
                    store.release()

    def _work(self, db: Connection[Row], store: OpenEdxStore, stop: threading.Event) -> None:
        counts = self._partitions()
        with closing(self._client.producer()) as producer:
            work = _Work(producer, store, save_within=min(SAVE_WITHIN, self._lifetime / 4))
            position = store.position
            logger.info("the event bus is written to", position=position)
            while not stop.is_set():
                work.tick()
                if len(work) > MOST_ON_THEIR_WAY:
                    stop.wait(0.01)
                    continue
                found = self._reader.read(db, after=position, limit=self._batch, types=TYPES)
                if not len(found):
                    stop.wait(IDLE)
                    continue
                self._send(db, work, found.events, counts, stop)
                if stop.is_set():
                    break
                position = found.end
                work.reached(position)
            with suppress(KafkaError):
                producer.flush(WIND_UP)
                work.tick()
            work.save()
            self.written += work.stored

    def _partitions(self) -> dict[str, int]:
        """How many partitions the topics have. They belong to the event bus: none is made."""
        with closing(self._client.admin()) as admin:
            found = admin.topics(sorted(set(self._topics.values())))
        if missing := sorted(set(self._topics.values()) - set(found)):
            raise KafkaError(f"there is no topic {', '.join(missing)}")
        return {name: topic.partitions for name, topic in found.items()}

    def _send(
        self,
        db: Connection[Row],
        work: "_Work",
        events: Sequence[Recorded],
        counts: Mapping[str, int],
        stop: threading.Event,
    ) -> None:
        if not events:
            return
        facts = self._gatherer.gather(db, events)
        wanted = self._topics.keys()
        for recorded in events:
            for signal in signals_of(recorded, facts, wanted, pii=self._pii):
                topic = self._topics[signal.type]
                message = encode(
                    signal,
                    recorded,
                    topic=topic,
                    registry=self._registry,
                    source=self._source,
                    host=self._host,
                )
                work.producer.send(
                    Partition(topic, partition_of(message.key, counts[topic])),
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                    timestamp=int(recorded.recorded_at.timestamp() * 1000),
                )
            work.tick()
            if stop.is_set():
                return


class _Work:
    """What was sent, how much of it is stored, and up to where that reaches in the log."""

    def __init__(self, producer: Producer, store: OpenEdxStore, *, save_within: float) -> None:
        self.producer = producer
        self._store = store
        self._save_within = save_within
        self._saved_at = time.monotonic()
        self._steps: deque[tuple[int, int]] = deque()  # messages sent, position reached
        self._position = store.position
        self.stored = 0

    def __len__(self) -> int:
        return self.producer.sent - self.stored

    def reached(self, position: int) -> None:
        """Everything up to here is sent."""
        self._steps.append((self.producer.sent, position))

    def tick(self) -> None:
        """Look at what is stored and at the clock.

        Raises:
            DeliveryError: something was not stored.
            LeaseLostError: somebody else may write now.
        """
        self.stored = self.producer.acknowledged()
        while self._steps and self._steps[0][0] <= self.stored:
            self._position = self._steps.popleft()[1]
        if not self._store.is_ours:
            raise LeaseLostError("the lease has run out")
        if time.monotonic() - self._saved_at >= self._save_within:
            self.save()

    def save(self) -> None:
        """Note how far it is."""
        self._store.save(self._position)
        self._saved_at = time.monotonic()


def _told(error: Exception) -> str:
    """The error in one line. The details of a server error may hold values of a row."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
