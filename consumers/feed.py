"""Feeds a read model from the topics of the log, in a database that has no log of its own.

Members of a group share the partitions. What a member makes of the events of its partitions,
and how far it is with each, is one transaction (``following``). The courses have rows of their
own and are folded side by side; the few events that change what courses share, the users, are
folded with nobody beside them, so that no fold misses what another is just writing.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Final

import psycopg
import structlog
from psycopg import Connection

from consumers import feed_database
from consumers.feed_database import FeedError
from consumers.following import BATCH, Following
from consumers.kafka.client import Admin, Client, KafkaError, Message, Partition
from consumers.messages import COURSES, Reached, place_in_log, topic_names
from consumers.offsets import Offsets
from domain.events import Recorded
from projections.bulk import fetch
from projections.read_model import ReadModel, Row

logger = structlog.get_logger(__name__)

TELL_EVERY: Final = 0.02
"""Seconds between two looks at what was applied while something is."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks while nothing is, and at what stands still."""

TOPICS_EVERY: Final = 5.0
FIRST_RECONNECT: Final = 0.1
LONGEST_RECONNECT: Final = 2.0

Opened = Callable[[Sequence[Recorded]], Sequence[Recorded]]
"""Opens what identifies people in events. Fails as a lost database does if it cannot now."""

# The first statement of a fold. Each later one sees what was committed before it, so who waits
# here for the others sees all of what they wrote. Both last as long as the transaction.
_BESIDE_OTHERS: Final = """
SELECT set_config('search_path', %b, true),
    pg_advisory_xact_lock_shared(hashtextextended('gradelog shares ' || %b, 0))
"""
_ALONE: Final = """
SELECT set_config('search_path', %b, true),
    pg_advisory_xact_lock(hashtextextended('gradelog shares ' || %b, 0))
"""


class Feed:
    """A read model, as a member of the group that keeps it up to date."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        model: type[ReadModel],
        *,
        prefix: str,
        opened: Opened,
        moved: Callable[[], None],
        batch: int = BATCH,
    ) -> None:
        """Make a member, which joins when it runs.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database of the read model, in autocommit mode.
            model: what to feed.
            prefix: of the topics.
            opened: opens what identifies people.
            moved: called when something is about to be committed.
            batch: most messages in one transaction.
        """
        self.model = model
        self.schema = model.schema()
        self.offsets = Offsets(f"{prefix}.{self.schema}")
        self._instance = model.copying()
        self._opened = opened
        self._moved = moved
        self._ahead: Mapping[Partition, int] = {}
        self._told: dict[Partition, int] | None = None
        self._told_errors: dict[Partition, str | None] = {}
        self.following = Following(
            client,
            connect,
            group=self.offsets.subscription,
            topics=topic_names(prefix),
            offsets=self.offsets,
            apply=self._apply,
            types=model.folds,
            batch=batch,
            on_marks=self._marked,
            on_bad=_is_of_others,
            on_caught_up=self._caught_up,
        )

    # --- inside the transaction that moves the partitions -----------------------------------

    def _apply(
        self, db: Connection[Row], events: Sequence[Recorded], positions: Mapping[Partition, int]
    ) -> None:
        if events:
            shared = self._instance.shared
            alone = any(type(recorded.event) in shared for recorded in events)
            fetch(db, _ALONE if alone else _BESIDE_OTHERS, self.schema, self.schema)
            self._instance.fold(db, self._opened(events))
        self._ahead = positions
        self._moved()

    def _marked(self, db: Connection[Row], marks: Mapping[Partition, Reached]) -> None:
        feed_database.tell_graded(db, list(marks.values()))

    # --- after it ---------------------------------------------------------------------------

    def _caught_up(self, db: Connection[Row]) -> None:
        # A partition in which nothing ever stood, not even a mark, may be one that nobody has
        # published to yet.
        reached = [p for p, position in self.following.positions.items() if position]
        feed_database.caught_up(db, self.schema, reached)
        self._told = None
        self._moved()

    def has_news(self) -> bool:
        """Whether readers have not been told yet of all that is committed."""
        return self.following.positions != self._told

    def is_waiting(self) -> bool:
        """Whether something was folded and is not committed, as far as it is still ours."""
        reached, ahead = self.following.positions, self._ahead
        return any(reached[p] < position for p, position in ahead.items() if p in reached)

    def tell(self, db: Connection[Row]) -> None:
        """Let readers know how far the read model is, and what stands still."""
        reached = self.following.positions
        errors = {
            partition: None
            if state.error is None
            else f"{partition.topic}[{partition.number}], after position {state.position}:"
            f" {state.error}"
            for partition, state in self.following.state().items()
        }
        if errors != self._told_errors:
            if errors:
                feed_database.tell_errors(db, self.schema, errors)
            self._told_errors = errors
        feed_database.tell(db, self.schema, self.offsets)
        self._told = reached

    def forget_told(self) -> None:
        """Tell everything again: it may not have been written."""
        self._told = None
        self._told_errors = {}


def _is_of_others(_db: Connection[Row], message: Message, error: Exception) -> bool:
    """Whether a message that cannot be read is passed over: if it has no place in the log.

    Whoever may write to a topic could stop every read model for good otherwise. Nothing can
    be lost by it: if it was an event once, the next one says that something is missing.
    """
    if place_in_log(message) is not None:
        return False
    logger.warning(
        "message is not of the log, passed over",
        topic=message.partition.topic,
        partition=message.partition.number,
        offset=message.offset,
        error=str(error),
    )
    return True


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
        self._admin: Admin | None = None
        self._topics_at = 0.0
        self._failure: FeedError | None = None
        self.feeds = [
            Feed(
                client,
                connect,
                model,
                prefix=prefix,
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
            self._look_at_topics(db)

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
            for thread in threads:
                thread.start()
            self._tell_until(stop)
        if self._failure is not None:
            raise self._failure

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._stop.set()
        for thread in threads:
            thread.join(10)
        if self._admin is not None:
            self._admin.close()
            self._admin = None

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
                logger.warning("the database is lost", error=str(error).strip()[:1000])
            except FeedError as error:
                self._failure = error
            except Exception:
                logger.exception("where read models stand cannot be told")
            stop.wait(pause)
            pause = min(pause * 2, LONGEST_RECONNECT)

    def _tell(self, db: Connection[Row], stop: threading.Event) -> None:
        """Tell where the read models stand: soon after they moved, and every now and then."""
        look_at = 0.0
        while not stop.is_set():
            looking = time.monotonic() >= look_at
            for feed in self.feeds:
                if looking or feed.has_news():
                    feed.tell(db)
            if looking:
                look_at = time.monotonic() + LOOK_EVERY
                if time.monotonic() >= self._topics_at:
                    self._look_at_topics(db)
            waiting = any(feed.is_waiting() for feed in self.feeds)
            if self._woken.wait(TELL_EVERY if waiting else LOOK_EVERY):
                self._woken.clear()
                stop.wait(TELL_EVERY)

    def _look_at_topics(self, db: Connection[Row]) -> None:
        """See how many partitions there are, as soon as there are any."""
        self._topics_at = time.monotonic() + TOPICS_EVERY
        name = topic_names(self._prefix)[COURSES]
        try:
            if self._admin is None:
                self._admin = self._client.admin()
            found = self._admin.topics([name]).get(name)
        except KafkaError as error:
            logger.warning("topics cannot be looked at", error=str(error))
            if self._admin is not None:
                self._admin.close()
                self._admin = None
            return
        if found is not None:
            feed_database.check_partitions(db, found.partitions)
