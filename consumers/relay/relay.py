"""The relay: publishes the log to Kafka, every event, in order, and never in the way of a write.

Any number of relays may run. One holds the lease and works; the others look every now and
then whether it still does. Whoever begins, begins right after the position that was saved
last, and saves only what Kafka has stored: so a crash, a lost answer or a second relay repeat
messages and leave none out. That a repeat is harmless is written in ``publisher``.
"""

import selectors
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Final

import psycopg
import structlog
from psycopg import Connection

from consumers.kafka.client import Admin, Client, KafkaError, Topic
from consumers.leading import take_turns
from consumers.leased import LeaseLostError, new_holder
from consumers.relay.log import BATCH, LogAhead
from consumers.relay.publisher import Figures, Publisher
from consumers.relay.store import NotedTopic, RelayStore
from consumers.relay.topics import (
    TopicsChangedError,
    TopicSettings,
    are_others,
    check_partitions,
    check_placement,
    make_missing,
    still_the_same,
)
from projections.read_model import Row
from projections.runner import CHANNEL

logger = structlog.get_logger(__name__)

LIFETIME: Final = 10.0
"""Seconds that the lease of a relay that died keeps others waiting."""

SAVE_EVERY: Final = 0.1
TOPICS_EVERY: Final = 5.0
MARK_EVERY: Final = 1.0
SHORTEST_MARK: Final = 0.25
"""Seconds between two marks: while there is much to publish, and at least."""

SILENCE: Final = 30.0
"""Seconds without any acknowledgement after which a producer is given up."""

SHORTEST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25
RETRY: Final = 5.0
"""Seconds until what went wrong is tried again, at most."""

PROMPTLY: Final = 0.2
"""Seconds to wait for the last messages before looking for more events."""

WIND_UP: Final = 3.0
"""Seconds that a relay that is told to stop waits for what it has sent."""


class Relay:
    """Publishes the log, or stands by, until it is told to stop."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        topics: TopicSettings,
        *,
        source: str,
        lifetime: float = LIFETIME,
        retry: float = RETRY,
        silence: float = SILENCE,
        batch: int = BATCH,
    ) -> None:
        """Make a relay.

        Args:
            client: of the cluster to publish to.
            connect: opens a connection to the database of the log, in autocommit mode.
            topics: which topics there are.
            source: the ``source`` of the messages.
            lifetime: seconds that the lease lasts without being renewed.
            retry: seconds until what went wrong is tried again, at most.
            silence: seconds without any acknowledgement after which a producer is given up.
            batch: most events to read at once.
        """
        self._client = client
        self._connect = connect
        self._topics = topics
        self._source = source.encode()
        self._lifetime = lifetime
        self._retry = retry
        self._silence = silence
        self._batch = batch
        self.holder = new_holder()
        self.figures = Figures()

    def run(self, stop: threading.Event) -> None:
        """Work or stand by until ``stop`` is set, whatever happens to Kafka or the database."""
        take_turns(
            "relay",
            self._connect,
            self._store,
            lambda store: self._try_to_work(store, stop),
            stop,
            passing=KafkaError,
            longest_pause=self._retry,
        )

    def _store(self, db: Connection[Row]) -> RelayStore:
        # Without a handler the driver would keep every notification.
        db.add_notify_handler(lambda _: None)
        db.execute(f"LISTEN {CHANNEL}")
        return RelayStore(db, holder=self.holder, lifetime=self._lifetime)

    def _try_to_work(self, store: RelayStore, stop: threading.Event) -> None:
        with closing(self._client.admin()) as admin:
            # Whoever cannot reach Kafka leaves the lease to somebody who can.
            admin.topics(list(self._topics.names.values()))
            with store.held() as ours:
                if not ours:
                    return
                logger.info("relay works", holder=self.holder, position=store.position)
                self.figures.terms += 1
                try:
                    self._work(store, admin, stop)
                except TopicsChangedError as error:
                    logger.warning("relay begins anew", reason=str(error))
            logger.info("relay stopped", position=store.position)

    def _work(self, store: RelayStore, admin: Admin, stop: threading.Event) -> None:
        """Publish until told to stop."""
        found = make_missing(admin, self._topics, stop)
        check_partitions(self._topics, found)
        noted = store.topics()
        others = are_others(found, noted)
        check_placement(self._client, found, noted)
        if others and store.position:
            logger.warning("topics are new, the whole log is published again")
        if not others:
            found = {name: _with_id(topic, noted[name]) for name, topic in found.items()}
        store.note_topics(found.values(), begin_again=others)
        noted = {name: NotedTopic(topic.id, topic.partitions) for name, topic in found.items()}
        topics = {purpose: found[name] for purpose, name in self._topics.names.items()}
        with closing(self._client.producer()) as producer:
            publisher = Publisher(
                producer, store, topics, source=self._source, figures=self.figures
            )
            work = _Work(
                publisher,
                store,
                lambda: still_the_same(admin, self._topics, noted),
                save_within=self._lifetime / 4,
                silence=self._silence,
            )
            ahead = LogAhead(self._connect, batch=self._batch)
            try:
                self._follow(store.db, work, ahead, stop)
            except (LeaseLostError, TopicsChangedError, psycopg.Error):
                raise
            except Exception:
                # Else what Kafka has stored by now would be sent again with every new try.
                with suppress(Exception):
                    work.wind_up()
                raise
            finally:
                ahead.close()
            work.wind_up()

    # --- following --------------------------------------------------------------------------

    def _follow(
        self, db: Connection[Row], work: "_Work", ahead: LogAhead, stop: threading.Event
    ) -> None:
        publisher, pause = work.publisher, SHORTEST_PAUSE
        with selectors.DefaultSelector() as selector:
            selector.register(db.fileno(), selectors.EVENT_READ)
            while not stop.is_set():
                stretch = ahead.read(db, after=publisher.position)
                # To make topics and to read the first batch may take as long as a short
                # lease lasts; whoever then finds it over would begin so again and again.
                work.renew()
                for _ in publisher.send(stretch.events) if stretch.events else ():
                    work.tick(caught_up=False)
                    self._wait_for_room(work, stop)
                    if stop.is_set():
                        return
                if stretch.full:
                    continue
                work.tick(caught_up=True)
                if not publisher.has_stored_all:
                    publisher.flush(PROMPTLY)
                    work.tick(caught_up=True)
                pause = (
                    SHORTEST_PAUSE if stretch.events else min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
                )
                selector.select(pause)

    def _wait_for_room(self, work: "_Work", stop: threading.Event) -> None:
        if not work.publisher.is_full:
            return
        if not work.publisher.is_proven:
            work.publisher.flush(PROMPTLY)
            work.tick(caught_up=False)
        began = time.monotonic()
        while work.publisher.is_full and not stop.wait(SHORTEST_PAUSE):
            work.tick(caught_up=False)
        self.figures.waiting += time.monotonic() - began


class _Work:
    """What has to be done besides while events are published, and when."""

    def __init__(
        self,
        publisher: Publisher,
        store: RelayStore,
        check_topics: Callable[[], None],
        *,
        save_within: float,
        silence: float,
    ) -> None:
        self.publisher = publisher
        self._store = store
        self._check_topics = check_topics
        self._save_within = save_within
        self._silence = silence
        self._saved_at = float("-inf")
        self._checked_at = time.monotonic()
        self._marks = _Marks()

    def tick(self, *, caught_up: bool) -> None:
        """Look at what is stored and at the clock."""
        publisher = self.publisher
        publisher.look()
        publisher.check_silence(self._silence)
        now = time.monotonic()
        if self._marks.are_due(now, publisher.position, caught_up=caught_up):
            self._mark(now, caught_up=caught_up)
        since = now - self._saved_at
        if since >= self._save_within or (since >= SAVE_EVERY and publisher.is_ahead_of_store):
            publisher.save(well=caught_up and publisher.has_stored_all)
            self._saved_at = now
        # A broker that owes answers is waited for, and not asked whatever else.
        if now - self._checked_at >= TOPICS_EVERY and publisher.was_heard(1.0):
            self._check_topics()
            self._checked_at = time.monotonic()

    def renew(self) -> None:
        """Save how far it is if the lease has not been renewed for a while."""
        now = time.monotonic()
        if now - self._saved_at >= self._save_within:
            self.publisher.save(well=False)
            self._saved_at = now

    def wind_up(self) -> None:
        """Wait a little for what was sent, and save how far it came."""
        with suppress(KafkaError):
            self.publisher.flush(WIND_UP)
            self.publisher.look()
        self.publisher.save(well=False)

    def _mark(self, now: float, *, caught_up: bool) -> None:
        position = self.publisher.position
        told = self._marks.told(position, self._store.grading, caught_up=caught_up)
        if self._marks.note(now, told):
            self.publisher.send_marks(*told.promise)


@dataclass(frozen=True, slots=True)
class _Told:
    """What marks say: up to where events are published, and grades are recorded in them."""

    position: int
    promise: tuple[int, int]


class _Marks:
    """When marks are sent, and what they promise."""

    def __init__(self) -> None:
        self._last: _Told | None = None
        self._looked_at = self._sent_at = float("-inf")
        self._promise = (0, 0)
        self._next: tuple[int, int] | None = None

    def are_due(self, now: float, position: int, *, caught_up: bool) -> bool:
        """Whether to look if there is something to tell."""
        if now - self._looked_at < SHORTEST_MARK:
            return False
        if not caught_up:
            return now - self._sent_at >= MARK_EVERY
        last = self._last
        return last is None or last.position != position or last.promise[0] < position

    def told(
        self, position: int, grading: Callable[[], tuple[int, int]], *, caught_up: bool
    ) -> _Told:
        """What a mark says now.

        How far grades are may already stand at a position that is not published. Then it
        has to wait until that is.
        """
        if self._next is None or caught_up:
            self._next = grading()
        graded, graded_at = self._next
        if graded_at <= position:
            self._promise, self._next = (min(graded, position), graded_at), None
        return _Told(position, self._promise)

    def note(self, now: float, told: _Told) -> bool:
        """Whether that is news; then it is sent."""
        self._looked_at = now
        if told == self._last:
            return False
        self._last, self._sent_at = told, now
        return True


def _with_id(topic: Topic, noted: NotedTopic) -> Topic:
    return replace(topic, id=topic.id or noted.id)
