"""Writes to the event bus of Open edX what happens in the log, each signal at least once.

It follows the log by itself, with a position of its own: the event bus may be away for a day
while the relay to our own topics goes on. A crash or a second process repeat signals with
the same id and leave none out. A signal that cannot be made or sent holds up those after it,
and says so: nothing is left out in silence.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final, Protocol

import structlog
from psycopg import Connection

from consumers.kafka.client import Admin, Client, KafkaError, Topic
from consumers.leading import StuckError, take_turns
from consumers.leased import LeaseLostError, new_holder
from consumers.openedx.encoding import Encoded, encode
from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.sending import Sending
from consumers.openedx.store import OpenEdxStore
from consumers.openedx.translating import TYPES, Facts, signals_of
from domain.events import Recorded
from projections.log import Batch, LogReader
from projections.read_model import Row

logger = structlog.get_logger(__name__)

LIFETIME: Final = 10.0
"""Seconds that the lease of a process that died keeps others waiting."""

BATCH: Final = 1000
SAVE_WITHIN: Final = 1.0
IDLE: Final = 0.25
SHORTEST_PAUSE: Final = 0.002
TOPICS_EVERY: Final = 5.0
RETRY: Final = 15.0
"""Seconds until what went wrong is tried again, at most."""


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
        retry: float = RETRY,
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
            retry: seconds until what went wrong is tried again, at most.
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
        self._retry = retry
        self._batch = self._at_once = batch
        self._host = socket.gethostname()
        self.holder = new_holder()

    def run(self, stop: threading.Event) -> None:
        """Work or stand by until ``stop`` is set, whatever happens to the others."""
        take_turns(
            "the event bus",
            self._connect,
            lambda db: OpenEdxStore(db, holder=self.holder, lifetime=self._lifetime),
            lambda store: self._try_to_work(store, stop),
            stop,
            passing=(KafkaError, RegistryError),
            longest_pause=self._retry,
        )

    def _try_to_work(self, store: OpenEdxStore, stop: threading.Event) -> None:
        with closing(self._client.admin()) as admin:
            # Whoever cannot reach the topics leaves the lease to somebody who can.
            found = self._find_topics(admin)
            with store.held() as ours:
                if ours:
                    logger.info("the event bus is written to", position=store.position)
                    self._work(store, admin, found, stop)

    def _find_topics(self, admin: Admin) -> Mapping[str, Topic]:
        """The topics as they are now. They belong to the event bus: none is made."""
        names = set(self._topics.values())
        found = admin.topics(sorted(names))
        if missing := sorted(names.difference(found)):
            raise KafkaError(f"there is no topic {', '.join(missing)}")
        return found

    def _work(
        self,
        store: OpenEdxStore,
        admin: Admin,
        topics: Mapping[str, Topic],
        stop: threading.Event,
    ) -> None:
        with closing(self._client.producer()) as producer:
            work = Sending(producer, store, save_within=min(SAVE_WITHIN, self._lifetime / 4))
            try:
                self._follow(store.db, work, admin, topics, stop)
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
        admin: Admin,
        topics: Mapping[str, Topic],
        stop: threading.Event,
    ) -> None:
        """Write until told to stop, or until the topics are others than they were."""
        position = work.position
        look_at = time.monotonic() + TOPICS_EVERY
        while not stop.is_set():
            if self._at_once < self._batch:
                # What comes next may cost the lease: it shall not cost what is done.
                self._let_be_stored(work, stop)
                work.save()
            found, facts = self._read(db, position)
            if found.events:
                self._send(work, found.events, facts, topics, stop)
                if stop.is_set():
                    return
            position = found.end
            work.reached(position)
            work.tick(caught_up=not len(found))
            if time.monotonic() >= look_at:
                if not self._are_still(topics, work, admin, stop):
                    logger.warning("topics of the event bus have changed")
                    return
                look_at = time.monotonic() + TOPICS_EVERY
            if not len(found):
                stop.wait(IDLE)

    def _are_still(
        self, topics: Mapping[str, Topic], work: Sending, admin: Admin, stop: threading.Event
    ) -> bool:
        """Whether the topics are what they were: keys have other places in one that has grown."""
        # A broker that owes answers is waited for, and not asked whatever else.
        self._let_be_stored(work, stop)
        return stop.is_set() or self._find_topics(admin) == topics

    def _let_be_stored(self, work: Sending, stop: threading.Event) -> None:
        while not work.has_stored_all and not stop.wait(SHORTEST_PAUSE):
            work.tick()

    def _read(self, db: Connection[Row], after: int) -> tuple[Batch, Facts]:
        """What follows a position and what its signals need: no more than the lease outlasts.

        Of two who need longer each would lose the lease to the other before it has sent
        anything, for ever. A question that is not answered in time was too large as well.
        """
        began = time.monotonic()
        try:
            found = self._reader.read(db, after=after, limit=self._at_once, types=TYPES)
            return found, self._gatherer.gather(db, found.events) if found.events else Facts()
        finally:
            taken = time.monotonic() - began
            if taken > self._lifetime / 4:
                self._at_once = max(self._at_once // 2, 1)
            elif taken < self._lifetime / 16:
                self._at_once = min(self._at_once * 2, self._batch)

    def _send(
        self,
        work: Sending,
        events: Sequence[Recorded],
        facts: Facts,
        topics: Mapping[str, Topic],
        stop: threading.Event,
    ) -> None:
        for recorded in events:
            for topic, message in self._messages(recorded, facts):
                work.send(topic, topics[topic].partitions, message, recorded)
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
