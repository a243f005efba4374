"""Writes to the event bus of Open edX what happens in the log, each signal at least once.

It follows the log by itself, with a position of its own: the event bus may be away for a day
while the relay to our own topics goes on. A crash or a second process repeat signals with
the same id and leave none out. A signal that cannot be made or sent holds up those after it,
and says so: nothing is left out in silence.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final, Protocol

import psycopg
import structlog
from psycopg import Connection

from consumers.kafka.client import Client, KafkaError
from consumers.leased import LeaseLostError
from consumers.openedx.encoding import Encoded, encode
from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.sending import Sending
from consumers.openedx.store import OpenEdxStore
from consumers.openedx.translating import TYPES, Facts, signals_of
from consumers.relay.publisher import StuckError
from domain.events import Recorded
from projections.log import LogReader
from projections.read_model import Row

logger = structlog.get_logger(__name__)

LIFETIME: Final = 10.0
"""Seconds that the lease of a process that died keeps others waiting."""

BATCH: Final = 1000
SAVE_WITHIN: Final = 1.0
IDLE: Final = 0.25
SHORTEST_PAUSE: Final = 0.002
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 15.0


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
            except StuckError as error:
                logger.error("the event bus stands still", error=_told(error))  # noqa: TRY400
            except Exception:
                logger.exception("writing to the event bus stumbled")
            if time.monotonic() - began > 2 * LONGEST_RETRY:
                pause = FIRST_RETRY
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    def _stand_by(self, db: Connection[Row], stop: threading.Event) -> None:
        store = OpenEdxStore(db, holder=self.holder, lifetime=self._lifetime)
        while not stop.is_set():
            if not store.is_free():
                stop.wait(min(1.0, self._lifetime / 4))
                continue
            try:
                # Whoever cannot reach the topics leaves the lease to somebody who can.
                counts = self._partitions()
                if not store.acquire():
                    continue
                try:
                    self._work(db, store, counts, stop)
                finally:
                    with suppress(psycopg.Error):
                        store.release()
            except LeaseLostError:
                raise
            except Exception as error:
                with suppress(psycopg.Error):
                    store.note(_told(error))
                raise

    def _partitions(self) -> dict[str, int]:
        """How many partitions the topics have. They belong to the event bus: none is made."""
        with closing(self._client.admin()) as admin:
            found = admin.topics(sorted(set(self._topics.values())))
        if missing := sorted(set(self._topics.values()) - set(found)):
            raise KafkaError(f"there is no topic {', '.join(missing)}")
        return {name: topic.partitions for name, topic in found.items()}

    def _work(
        self,
        db: Connection[Row],
        store: OpenEdxStore,
        counts: Mapping[str, int],
        stop: threading.Event,
    ) -> None:
        logger.info("the event bus is written to", position=store.position)
        with closing(self._client.producer()) as producer:
            work = Sending(producer, store, save_within=min(SAVE_WITHIN, self._lifetime / 4))
            try:
                self._follow(db, work, counts, stop)
            except LeaseLostError:
                # What is not stored yet is for somebody else to send.
                producer.close(0.0)
                raise
            except Exception:
                # Else all that was sent before it would be sent again with every new try.
                with suppress(Exception):
                    work.wind_up()
                raise
            work.wind_up()

    def _follow(
        self,
        db: Connection[Row],
        work: Sending,
        counts: Mapping[str, int],
        stop: threading.Event,
    ) -> None:
        position = work.position
        while not stop.is_set():
            found = self._reader.read(db, after=position, limit=self._batch, types=TYPES)
            if found.events:
                self._send(db, work, found.events, counts, stop)
                if stop.is_set():
                    return
            position = found.end
            work.reached(position)
            work.tick(caught_up=not len(found))
            if not len(found):
                stop.wait(IDLE)

    def _send(
        self,
        db: Connection[Row],
        work: Sending,
        events: Sequence[Recorded],
        counts: Mapping[str, int],
        stop: threading.Event,
    ) -> None:
        facts = self._gatherer.gather(db, events)
        for recorded in events:
            for topic, message in self._messages(recorded, facts):
                work.send(topic, counts[topic], message, recorded)
            work.reached(recorded.position)
            work.tick()
            while work.is_full and not stop.wait(SHORTEST_PAUSE):
                work.tick()
            if stop.is_set():
                return

    def _messages(self, recorded: Recorded, facts: Facts) -> list[tuple[str, Encoded]]:
        """The messages of an event, with their topics.

        Raises:
            StuckError: one cannot be made.
            RegistryError: a schema has no number and gets none.
        """
        try:
            return [
                (
                    topic,
                    encode(
                        signal,
                        recorded,
                        topic=topic,
                        registry=self._registry,
                        source=self._source,
                        host=self._host,
                    ),
                )
                for signal in signals_of(recorded, facts, self._topics.keys(), pii=self._pii)
                for topic in [self._topics[signal.type]]
            ]
        except RegistryError:
            raise
        except Exception as error:
            # Not its text: that may quote what somebody wrote.
            raise StuckError(recorded.position, type(error).__name__) from error


def _told(error: Exception) -> str:
    """The error in one line. The details of a server error may hold values of a row."""
    if isinstance(error, StuckError):
        return str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
