"""Feeds several read models of a database, and lets its readers know how far each is."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final
from uuid import uuid4

import psycopg
import structlog
from psycopg import Connection

from consumers.feed import database as feed_database
from consumers.feed.database import FeedError
from consumers.feed.feed import Feed, Opened
from consumers.feed.topics import PartitionCount
from consumers.following.following import BATCH
from consumers.kafka.client import Client
from projections.read_model import ReadModel, Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

TELL_EVERY: Final = 0.02
"""Seconds between two looks at what was applied while something is."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks while nothing is, and at what stands still."""

FIRST_RECONNECT: Final = 0.1
LONGEST_RECONNECT: Final = 2.0


class Feeding:
    """Feeds read models until it is told to stop, each in a thread of its own."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        models: Sequence[type[ReadModel]],
        *,
        prefix: str,
        opening: Callable[[], Opened],
        batch: int = BATCH,
    ) -> None:
        """Make it; ``run`` begins.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database of the read models.
            models: what to feed.
            prefix: of the topics.
            opening: makes for each thread what opens what identifies people.
            batch: most messages in one transaction.
        """
        self._client = client
        self._connect = connect
        self._prefix = prefix
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._partitions = PartitionCount(client, prefix)
        self._failure: FeedError | None = None
        member = uuid4()
        self.feeds = [
            Feed(
                client,
                connect,
                model,
                prefix=prefix,
                member=member,
                opened=opening(),
                moved=self._woken.set,
                batch=batch,
            )
            for model in models
        ]

    def prepare(self) -> None:
        """Mark the database and make the tables.

        Raises:
            FeedError: the database is not for this.
            psycopg.OperationalError: it does not answer.
        """
        with closing(self._connect()) as db:
            feed_database.mark_as_fed(db, self._prefix)
            for feed in self.feeds:
                feed_database.ensure(db, feed.model, feed.offsets)
                feed.following.group = feed_database.group_of(db, feed.offsets)
            if (count := self._partitions.look()) is not None:
                feed_database.check_partitions(db, count)

    def run(self, stop: threading.Event) -> None:
        """Feed until ``stop`` is set, whatever happens to Kafka or the database.

        Raises:
            FeedError: the topics are not those that the database was fed from.
        """
        self._stop = threading.Event()
        threads = [
            threading.Thread(
                target=feed.following.run,
                args=(self._stop,),
                name=f"feed of {feed.model.name}",
                daemon=True,
            )
            for feed in self.feeds
        ]
        with ExitStack() as stack:
            stack.callback(self._end, threads)
            stack.enter_context(self._partitions)
            for thread in threads:
                thread.start()
            self._tell_until(stop)
        if self._failure is not None:
            raise self._failure

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._stop.set()
        for thread in threads:
            thread.join(10)

    def _tell_until(self, stop: threading.Event) -> None:
        pause = FIRST_RECONNECT
        while not stop.is_set() and self._failure is None:
            try:
                with closing(self._connect()) as db:
                    for feed in self.feeds:
                        feed.forget_told()
                    self._tell(db, stop)
                    pause = FIRST_RECONNECT
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                logger.warning("the database is lost", error=in_one_line(error))
            except FeedError as error:
                self._failure = error
            except Exception:
                logger.exception("where read models stand cannot be told")
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_RECONNECT)

    def _tell(self, db: Connection[Row], stop: threading.Event) -> None:
        """Tell where the read models stand: soon after they moved, and every now and then."""
        for feed in self.feeds:
            feed_database.hold(db, feed.schema)
        look_at = 0.0
        while not stop.is_set():
            looking = time.monotonic() >= look_at
            for feed in self.feeds:
                if looking or feed.has_news():
                    feed.tell(db)
            if looking:
                look_at = time.monotonic() + LOOK_EVERY
                if (count := self._partitions.found) is not None:
                    feed_database.check_partitions(db, count)
            waiting = any(feed.is_waiting() for feed in self.feeds)
            if self._woken.wait(TELL_EVERY if waiting else LOOK_EVERY):
                self._woken.clear()
                stop.wait(TELL_EVERY)
