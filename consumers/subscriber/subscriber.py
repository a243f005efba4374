"""A subscription: its handlers, where it stands, and what it does in ``run``."""

import _thread
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final

import structlog
from psycopg import Connection

from consumers.kafka.client import Client, KafkaError, Partition, Topic
from consumers.kafka.clients import ClientSettings, client
from consumers.messages import topic_names
from consumers.subscriber import database as subscriber_database
from consumers.subscriber.following import Handle, ParkingFollowing
from consumers.subscriber.handlers import Handlers
from consumers.subscriber.parked import Parked
from consumers.subscriber.retrying import Retrying
from consumers.subscriber.status import Status, status_of
from consumers.subscriber.tables import Tables
from consumers.subscriber.topics import SubscribedTopics, ask, ends_of
from domain.events import Event
from projections.read_model import Row

logger = structlog.get_logger(__name__)

SCHEMA: Final = "gradelog_subscriber"
ATTEMPTS: Final = 3
BATCH: Final = 500


class Subscriber(Handlers):
    """A subscription to the events of one installation of gradelog."""

    def __init__(
        self,
        kafka: str | ClientSettings,
        database: str,
        name: str,
        *,
        prefix: str = "gradelog",
        types: Collection[type[Event]] | None = None,
        attempts: int = ATTEMPTS,
        retry_after: float = 5.0,
        block: bool = False,
        batch: int = BATCH,
        schema: str = SCHEMA,
    ) -> None:
        """Make a subscription. Nothing is connected yet.

        Args:
            kafka: ``host:port`` of brokers with commas between them, or how to get in.
            database: connection string of the subscriber's own PostgreSQL.
            name: of the subscription. Processes of one name share the work.
            prefix: how the names of the topics begin.
            types: the events that ``run`` hands over; None for all. Those given to ``on``
                are added.
            attempts: how often an event is tried before it is parked.
            retry_after: seconds until it is tried for the second time; its partition waits.
                Before each further time it is twice as long, up to a minute.
            block: park all that comes after a parked message of the same course (or, outside
                of courses, the same user), so that order holds. Otherwise they are handled.
            batch: most events in one transaction. Handling them must not take minutes: a
                member that takes none for five minutes loses its partitions to others.
            schema: where the tables of the subscription are. They are created.

        Raises:
            TypeError: ``types`` holds something else.
            psycopg.ProgrammingError: the connection string cannot be read.
        """
        super().__init__(types)
        subscriber_database.check(database)
        settings = ClientSettings(kafka) if isinstance(kafka, str) else kafka
        self._client: Client = client(settings)
        self._database = database
        self._name = name
        self._prefix = prefix
        self._topics = topic_names(prefix)
        self._attempts = attempts
        self._retry_after = retry_after
        self._block = block
        self._batch = batch
        self._tables = Tables(name, schema)
        self._subscribed = SubscribedTopics(self._tables, self._topics.values())
        self._created = False
        self._following: ParkingFollowing | None = None

    def run(self, handle: Handle | None = None, *, stop: threading.Event | None = None) -> None:
        """Handle what happens until told to stop, whatever happens to Kafka or the database.

        Args:
            handle: gets the connection, in a transaction that it must not end, and events
                in the order of the log as far as they are of the same partition. Not
                needed when functions were registered with ``on``.
            stop: ends it when set. Without it, SIGTERM and SIGINT do.
        """
        self._handle = handle or self._handle
        following = ParkingFollowing(
            self._client,
            self._connect,
            prefix=self._prefix,
            topics=self._topics,
            types=self._wanted(),
            batch=self._batch,
            tables=self._tables,
            handle=self._handled,
            attempts=self._attempts,
            block=self._block,
            retry_after=self._retry_after,
        )
        self._following = following
        try:
            with _until_signalled() if stop is None else _given(stop) as ends:
                following.run(ends)
        finally:
            self._following = None

    # --- parked messages --------------------------------------------------------------------

    def parked(self, *, after: int = 0, limit: int | None = None) -> list[Parked]:
        """What was put aside, the oldest first.

        Args:
            after: only those with a greater id.
            limit: the most; None for all.
        """
        with closing(self._connect()) as db:
            return self._tables.parked.all(db, self._topics.values(), after=after, limit=limit)

    def retry(self, *ids: int, handle: Handle | None = None) -> list[int]:
        """Handle parked messages now, each in a transaction of its own; return those that went.

        What fails stays, with its new reason; so does an event that nothing here handles. With
        ``block``, the later ones of the same key are then left alone.

        Args:
            ids: which; all when none is given.
            handle: as for ``run``, unless this subscriber knows it already.

        Raises:
            ValueError: nothing handles the events.
            psycopg.OperationalError: the database is lost.
        """
        self._handle = handle or self._handle
        wanted = self._wanted()
        with closing(self._connect()) as db:
            places = self._tables.parked.places(db, self._topics.values())
            retrying = Retrying(db, self._tables.parked, self._handled, wanted)
            return retrying.retry(places, frozenset(ids), block=self._block)

    def drop(self, *ids: int) -> int:
        """Forget parked messages; return how many there were."""
        with closing(self._connect()) as db:
            return self._tables.parked.drop(db, ids)

    # --- going back, and how it is ----------------------------------------------------------

    def replay(self, position: int = 0) -> None:
        """Handle every event after a position (again), also while members run.

        It is for the subscriber to undo before what it made of them. Messages of later
        events are not parked any more; they come again. A partition that has not reached the
        position goes on from where it is; one that was never read begins after the position.

        Raises:
            ValueError: the position is negative; nothing is changed.
            KafkaError: Kafka does not tell which partitions there are.
            PartitionsChangedError: there are others now, and they have to begin earlier.
        """
        if position < 0:
            raise ValueError(f"no position of the log: {position}")
        found = ask(self._client, self._topics.values())
        with closing(self._connect()) as db:
            self._subscribed.replay(db, position, found)

    def status(self) -> Status:
        """How the subscription is, with all its members.

        Costs a few queries where a member runs in this process, which knows how long the topics
        were some seconds ago; elsewhere Kafka is asked, which takes seconds if it does not answer.

        Raises:
            psycopg.OperationalError: the database does not tell.
        """
        with closing(self._connect()) as db:
            standings, counts = self._tables.standings(db), self._subscribed.known(db)
            parked = self._tables.parked.count(db, self._topics.values())
        names = set(self._topics.values())
        standings = {p: standing for p, standing in standings.items() if p.topic in names}
        following = self._following
        if following is not None:
            errors = {p: state.error for p, state in following.state().items()}
            found, ends, error = following.found, following.ends, following.error
        else:
            errors = {}
            found, ends, error = self._ask_kafka(counts)
        return status_of(standings, counts, found, ends, errors, parked=parked, error=error)

    def _ask_kafka(
        self, counts: Mapping[str, int]
    ) -> tuple[Mapping[str, Topic], Mapping[Partition, int], str | None]:
        try:
            found = ask(self._client, self._topics.values())
            ends = ends_of(self._client, found.values())
        except KafkaError as error:
            return {}, {}, f"Kafka does not tell: {error}"
        for name in self._topics.values():
            if name not in found:
                return found, ends, f"there is no topic {name}"
            count = found[name].partitions
            if counts.get(name, count) != count:
                known = counts[name]
                return found, ends, f"{name} has {count} partitions, and was read with {known}"
        return found, ends, None

    # --- inside -----------------------------------------------------------------------------

    def _connect(self) -> Connection[Row]:
        db = subscriber_database.connect(self._database, self._name)
        try:
            if not self._created:
                self._tables.create(db)
                self._created = True
        except BaseException:
            db.close()
            raise
        return db


@contextmanager
def _given(stop: threading.Event) -> Iterator[threading.Event]:
    yield stop


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """Something that SIGTERM and SIGINT set; for a thread that is not the main one, nothing does."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_number: int, _frame: object) -> None:
        # Whom it interrupts may be waiting for the event, and hold the lock that setting it takes.
        _thread.start_new_thread(stop.set, ())

    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
