"""Subscribe to what happens in gradelog, from another service, with its own PostgreSQL.

    subscriber = Subscriber(
        kafka="kafka:9092", database="postgresql://…/certificates", name="certificates"
    )

    @subscriber.on(CoursePassedFirstTime)
    def issue(db, recorded):
        db.execute("INSERT INTO certificates …", (recorded.event.user_id, …))

    subscriber.run()

Each event is handled once: what a handler writes with ``db`` and where the subscriber stands
are one transaction. A handler that also does something else, such as sending a mail, may do
that again after a crash. What fails again and again is parked with its reason; the rest goes on.
"""

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg import Connection

import domain.courses.course
import domain.grades.grade_import
import domain.grades.learner_grades
import domain.grades.problem_state
import domain.learners.cohort
import domain.learners.enrollment
import domain.learners.user
import domain.submissions.student_item
import domain.submissions.team_submission  # noqa: F401 - whoever reads events knows them all
from consumers.followed import PartitionState
from consumers.following import message_of
from consumers.kafka.client import Client, KafkaError, Partition
from consumers.kafka.clients import ClientSettings, client
from consumers.messages import Positioned, parse, topic_names
from consumers.subscriber_following import Handle, ParkingFollowing
from consumers.subscriber_tables import Parked, Tables
from domain.events import Event, Recorded
from projections.read_model import Row

__all__ = ["HandleEach", "Parked", "Status", "Subscriber"]

logger = structlog.get_logger(__name__)

SCHEMA: Final = "gradelog_subscriber"
ATTEMPTS: Final = 3
BATCH: Final = 500

HandleEach = Callable[[Connection[Row], Recorded], None]
F = TypeVar("F", bound=HandleEach)


@dataclass(frozen=True, slots=True)
class Status:
    """How a subscription is.

    Attributes:
        partitions: where each partition stands, whoever reads it.
        lag: messages that nobody has handled yet; None when Kafka does not tell.
        parked: how many messages are parked.
        error: what is wrong with this member; None if nothing is.
    """

    partitions: dict[Partition, PartitionState]
    lag: int | None
    parked: int
    error: str | None


class Subscriber:
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
        """
        settings = ClientSettings(kafka) if isinstance(kafka, str) else kafka
        self._client: Client = client(settings)
        self._database = database
        self._name = name
        self._topics = topic_names(prefix)
        self._types = None if types is None else frozenset(types)
        self._attempts = attempts
        self._retry_after = retry_after
        self._block = block
        self._batch = batch
        self._tables = Tables(name, schema)
        self._created = False
        self._each: dict[type[Event], HandleEach] = {}
        self._handle: Handle | None = None
        self._following: ParkingFollowing | None = None

    def on(self, *types: type[Event]) -> Callable[[F], F]:
        """Let a function handle the events of these types, one at a time.

        It gets the connection, in a transaction that it must not end, and the event.
        """

        def note(handle: F) -> F:
            for type_ in types:
                if type_ in self._each:
                    raise ValueError(f"{type_.TOPIC} is handled by another function already")
                self._each[type_] = handle
            return handle

        return note

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
            group=f"gradelog-subscriber.{self._name}",
            topics=self._topics,
            types=self._wanted(),
            batch=self._batch,
            tables=self._tables,
            handle=self._handled,
            attempts=self._attempts,
            block=self._block,
        )
        following.retry_after = self._retry_after
        self._following = following
        with _until_signalled() if stop is None else _given(stop) as ends:
            following.run(ends)

    # --- parked messages --------------------------------------------------------------------

    def parked(self) -> list[Parked]:
        """What was put aside, the oldest first."""
        with closing(self._connect()) as db:
            return self._tables.parked(db)

    def retry(self, *ids: int, handle: Handle | None = None) -> list[int]:
        """Handle parked messages now, each in a transaction of its own; return those that went.

        What fails stays, with its new reason. With ``block``, the later ones of the same key
        are then left alone.

        Args:
            ids: which; all when none is given.
            handle: as for ``run``, unless this subscriber knows it already.
        """
        self._handle = handle or self._handle
        done: list[int] = []
        held: set[tuple[str, bytes | None]] = set()
        with closing(self._connect()) as db:
            for parked in self._tables.parked(db):
                key = (parked.message.partition.topic, parked.message.key)
                wanted = not ids or parked.id in ids
                if wanted and key not in held and self._retried(db, parked.id):
                    done.append(parked.id)
                elif self._block:
                    held.add(key)
        return done

    def drop(self, *ids: int) -> int:
        """Forget parked messages; return how many there were."""
        with closing(self._connect()) as db:
            return self._tables.drop(db, ids)

    def _retried(self, db: Connection[Row], id_: int) -> bool:
        try:
            with db.transaction():
                parked = self._tables.lock(db, id_)
                if parked is None:
                    return False  # somebody else is busy with it
                found = parse(parked.message)
                assert isinstance(found, Positioned)
                self._tables.drop(db, [id_])
                self._handled(db, [found.recorded])
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - told of the message
            logger.warning("parked message fails again", id=id_, error=message_of(error))
            self._tables.failed(db, id_, message_of(error))
            return False
        return True

    # --- going back, and how it is ----------------------------------------------------------

    def replay(self, position: int = 0) -> None:
        """Handle every event after a position (again), also while members run.

        It is for the subscriber to undo before what it made of them. Messages of later
        events are not parked any more; they come again.

        Raises:
            KafkaError: Kafka does not tell which partitions there are.
        """
        admin = self._client.admin()
        try:
            found = admin.topics(self._topics.values())
        finally:
            admin.close()
        partitions = [Partition(t.name, n) for t in found.values() for n in range(t.partitions)]
        with closing(self._connect()) as db:
            self._tables.replay(db, position, partitions)

    def status(self) -> Status:
        """How the subscription is, with all its members.

        Raises:
            psycopg.OperationalError: the database does not tell.
        """
        with closing(self._connect()) as db:
            standings, parked = self._tables.standings(db), self._tables.count(db)
        ends = self._ends(list(standings))
        own = {} if self._following is None else self._following.state()
        partitions = {}
        for partition, standing in standings.items():
            end = None if ends is None else ends.get(partition)
            lag = None if end is None else max(0, end - standing.next_offset)
            error = own[partition].error if partition in own else None
            partitions[partition] = PartitionState(
                standing.position, standing.next_offset, lag, error
            )
        lags = [state.lag for state in partitions.values()]
        lag = None if ends is None else sum(found for found in lags if found is not None)
        error = None if self._following is None else self._following.error
        return Status(partitions, lag, parked, error)

    def _ends(self, partitions: Collection[Partition]) -> dict[Partition, int] | None:
        consumer = self._client.consumer()
        try:
            return dict(consumer.end_offsets(partitions)) if partitions else {}
        except KafkaError:
            return None
        finally:
            consumer.close()

    # --- inside -----------------------------------------------------------------------------

    def _wanted(self) -> frozenset[type[Event]] | None:
        if self._handle is None and not self._each:
            raise ValueError("nothing handles the events: give run a function, or use on")
        if self._handle is not None and self._types is None:
            return None
        return (self._types or frozenset()) | self._each.keys()

    def _handled(self, db: Connection[Row], events: Sequence[Recorded]) -> None:
        for recorded in events if self._each else ():
            each = self._each.get(type(recorded.event))
            if each is not None:
                each(db, recorded)
        if self._handle is not None:
            self._handle(db, events)

    def _connect(self) -> Connection[Row]:
        settings: dict[str, Any] = {
            "connect_timeout": 5,
            "application_name": f"gradelog subscriber {self._name}",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
        }
        db: Connection[Row] = psycopg.connect(self._database, autocommit=True, **settings)
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
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
