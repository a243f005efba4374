"""Follows the topics of the log so that each event has its effect exactly once.

Kafka gives every message at least once: whoever publishes may repeat, and whoever reads may
begin again. What makes it exactly once is kept on this side: where each partition stands is
written in the same PostgreSQL transaction as what was made of its events. Kafka's group says
only who reads which partition; if it is mistaken for a while, and two believe that they read
the same one, the second of them finds the partition moved and writes nothing.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from typing import Final
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection

from consumers.following.chain import Chain
from consumers.following.faults import FIRST_RETRY
from consumers.following.followed import Followed, PartitionState
from consumers.following.offsets import Offsets
from consumers.following.reader_database import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    DatabaseGoneError,
)
from consumers.following.reading import read_step
from consumers.following.step_writing import Apply, OnBad, OnMarks, OnPoison, StepWriting
from consumers.following.steps import Item, Step, Unreadable
from consumers.following.watch import Watch
from consumers.kafka.client import (
    Client,
    Consumer,
    KafkaError,
    Message,
    OffsetOutOfRangeError,
    Partition,
    UnknownTopicError,
)
from domain.events import Event, Recorded
from projections.bulk import collector_paused
from projections.read_model import Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

BATCH: Final = 2000
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
POLL: Final = 0.2
"""Seconds to wait for messages, and at most until it is seen that the reader shall stop."""

FEW: Final = 8
"""One in so many of a batch: when fewer came, there is no more to wait for."""

MOVE_EVERY: Final = 1.0
"""Seconds between two times that it is written how far a reader is who is not told of marks."""

TELL_GROUP_EVERY: Final = 1.0
COMPARE_EVERY: Final = 2.0
"""Seconds between two looks whether somebody else has moved a partition that is quiet."""

GAP_PATIENCE: Final = 10.0
"""Seconds that a gap may be open before it is told as an error."""

OnCaughtUp = Callable[[Connection[Row]], None]


class Following(StepWriting):
    """Reads topics as one member of a group until it is told to stop."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        *,
        group: str,
        topics: Mapping[str, str],
        offsets: Offsets,
        apply: Apply,
        types: AbstractSet[type[Event]] | None = None,
        batch: int = BATCH,
        on_marks: OnMarks | None = None,
        on_bad: OnBad | None = None,
        on_poison: OnPoison | None = None,
        on_caught_up: OnCaughtUp | None = None,
        retry_after: float = FIRST_RETRY,
    ) -> None:
        """Make a member, which joins when it runs.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database, in autocommit mode.
            group: who share the partitions.
            topics: names of the topics by what they are for, as ``messages.topic_names``.
            offsets: where it is kept up to where each partition is applied.
            apply: writes what events mean.
            types: the events it is told of; positions advance on all. None for all.
            batch: most messages in one transaction.
            on_marks: told of the last mark of each partition, after ``apply``, in its transaction.
            on_bad: told of a message that is no event of this code; if it says True, the
                message is taken care of. Otherwise the partition stops there.
            on_poison: told of an event that ``apply`` fails on, in a transaction of its own;
                if it says True, the event is taken care of. Otherwise its partition stops there.
            on_caught_up: called, outside of a transaction, when all that there was is applied.
            retry_after: seconds until a partition that was stopped is tried again; each
                further time takes twice as long, up to a minute.
        """
        super().__init__(
            connect,
            offsets=offsets,
            apply=apply,
            on_marks=on_marks,
            on_bad=on_bad,
            on_poison=on_poison,
            retry_after=retry_after,
        )
        self._client = client
        self.group = group
        self._topics = frozenset(topics.values())
        self._wanted = None if types is None else frozenset(t.TOPIC.encode() for t in types)
        self._batch = batch
        self._on_caught_up = on_caught_up
        self._consumer: Consumer | None = None
        self._stopping = threading.Event()
        self._changed: set[Partition] = set()
        self._failure: Exception | None = None
        self._to_tell: dict[Partition, int] = {}
        self._tell_at, self._compare_at, self._move_at = 0.0, 0.0, 0.0
        self._moved, self._read_at = True, 0.0
        self._missing_since: int | None = None
        self._watch = Watch(client, self._topics, lambda: list(self._followed))
        self._trouble: str | None = None

    # --- for those who look after it --------------------------------------------------------

    @property
    def error(self) -> str | None:
        """What is wrong with this member; None if nothing is."""
        return self._trouble or self._watch.error

    @property
    def positions(self) -> dict[Partition, int]:
        """Up to where each partition that this member reads is applied."""
        return {p: followed.standing.position for p, followed in dict(self._followed).items()}

    def state(self) -> dict[Partition, PartitionState]:
        """Where each partition stands that this member reads."""
        ends, now = self._watch.ends(), time.monotonic()
        found = {}
        for partition, followed in dict(self._followed).items():
            standing, end = followed.standing, ends.get(partition)
            lag = None if end is None else max(0, end - standing.next_offset)
            error = self._error_of(partition, followed, now)
            found[partition] = PartitionState(standing.position, standing.next_offset, lag, error)
        return found

    def _error_of(self, partition: Partition, followed: Followed, now: float) -> str | None:
        error = self._faults.error_of(partition)
        if error is not None:
            return error
        missing, since = followed.chain.missing, followed.gap_since
        if missing is None or since is None or now - since < GAP_PATIENCE:
            return None
        return f"something after position {missing[0]} and up to {missing[1]} is missing"

    # --- running ----------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set, whatever happens to Kafka or the database."""
        self._stopping = stop
        pause = FIRST_PAUSE
        with self._watch, closing(self._database):  # who cannot join may have it, too
            while not stop.is_set():
                began = time.monotonic()
                try:
                    self._join(stop)
                except KafkaError as error:
                    self._tell("Kafka refuses", error)
                except Exception as error:
                    # A defect, or an operator's mistake. What it is about may come right
                    # again; a reader that has gone never does.
                    logger.exception("following stumbled")
                    self._trouble = in_one_line(error)
                if time.monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _join(self, stop: threading.Event) -> None:
        """Be a member of the group for as long as it goes well."""
        self._consumer = consumer = self._client.consumer(self.group)
        self._missing_since = None
        try:
            consumer.subscribe(self._topics, on_assigned=self._assigned, on_revoked=self._revoked)
            while not stop.is_set():
                self._turn(consumer)
        finally:
            with suppress(KafkaError):
                self._tell_group(consumer)
            self._followed.clear()
            self._faults.clear()
            consumer.close()
            self._consumer = None
            self._drop_database()

    def _turn(self, consumer: Consumer) -> None:
        try:
            self._database.open()
            if not self._database.is_there:
                # Nothing is taken, but a member that does not poll is dead.
                consumer.pause(consumer.assignment())
                self._poll(consumer, FIRST_PAUSE, limit=1)
                return
            self._look_around(consumer)
            messages = self._collect(consumer)
            if messages:
                with collector_paused():
                    self._take(messages)
                self._read_at = time.monotonic()
            else:
                self._rest()
            if time.monotonic() >= self._move_at:
                self._move()
        except DatabaseGoneError as error:
            self._lost(error)
        except psycopg.Error as error:
            operational = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            if not operational and not self._database.is_lost_by(error):
                raise
            self._lost(error)
        if time.monotonic() >= self._tell_at:
            self._tell_group(consumer)

    def _rest(self) -> None:
        """Nothing came: perhaps there is nothing more."""
        tell = self._on_caught_up if self._moved and self._followed else None
        if tell is None and self._trouble is None:
            return
        if self._followed and not self._is_caught_up():
            return
        self._is_well()
        if tell is not None:
            tell(self._connected())
            self._moved = False

    def _is_well(self) -> None:
        self._database.is_well()
        if self._missing_since is None:
            self._trouble = None

    def _is_caught_up(self) -> bool:
        if not self._followed or self._faults:
            return False
        ends = self._watch.ends_since(self._read_at)
        return ends is not None and all(
            partition in ends and followed.standing.next_offset >= ends[partition]
            for partition, followed in self._followed.items()
        )

    # --- the database -----------------------------------------------------------------------

    def _lost(self, error: Exception) -> None:
        self.figures.reconnects += 1
        self._tell("the database is lost", error)
        self._followed.clear()
        self._database.lose()

    def _drop_database(self) -> None:
        """Forget the connection, and with it all that was read and is not written."""
        self._followed.clear()
        self._database.close()

    # --- partitions come and go -------------------------------------------------------------

    def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        self._changed.update(partitions)
        try:
            for partition in partitions:
                self._faults.forget(partition)
            if not self._database.is_there:
                return dict.fromkeys(partitions)  # loaded and sought later
            return self._load(partitions)
        except Exception as error:  # noqa: BLE001 - raised where it is not the library's affair
            self._failure = error
            return dict.fromkeys(partitions)

    def _revoked(self, partitions: Collection[Partition]) -> None:
        """What was read and is not written is somebody else's now."""
        self._changed.update(partitions)
        for partition in partitions:
            self._followed.pop(partition, None)
            self._faults.forget(partition)
            self._to_tell.pop(partition, None)

    def _load(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        """Take up partitions where the database has them; return where to read on."""
        if not partitions:
            return {}
        standings = self._offsets.load(self._connected(), partitions)
        ids = self._watch.topic_ids(within=LONGEST_PAUSE)
        begins: dict[Partition, int | None] = {}
        for partition, standing in standings.items():
            before = self._followed.get(partition)
            if before is not None and before.standing != standing:
                self._faults.forget(partition)  # somebody else has got past it
            topic_id = ids.get(partition.topic) or standing.topic_id
            anew = standing.topic_id is not None and topic_id != standing.topic_id
            offset = 0 if anew else standing.next_offset
            chain: Chain[tuple[Item, Message]] = Chain(standing.position, offset)
            self._followed[partition] = Followed(chain, topic_id, standing)
            begins[partition] = offset or None
            if offset:  # of what it was told while it settled, a group may know nothing
                self._to_tell[partition] = offset
            if anew:
                logger.warning("topic was made anew", topic=partition.topic, n=partition.number)
        self._moved, self._read_at = True, time.monotonic()
        return begins

    def _reload(self, consumer: Consumer, partitions: Collection[Partition]) -> None:
        for partition, offset in self._load(partitions).items():
            consumer.seek(partition, offset)
        consumer.resume([p for p in partitions if not self._faults.is_stopped(p)])
        consumer.pause([p for p in partitions if self._faults.is_stopped(p)])

    def _look_around(self, consumer: Consumer) -> None:
        """Take up what is ours and not loaded; try again what was stopped."""
        self._wait_for_topics()
        assigned = consumer.assignment()
        missing = [p for p in assigned if p not in self._followed]
        now, ids = time.monotonic(), self._watch.topic_ids()
        anew = [
            partition
            for partition, followed in self._followed.items()
            if partition in assigned and _is_anew(followed.topic_id, ids.get(partition.topic))
        ]
        wanted = {*missing, *self._faults.try_again(assigned), *anew, *self._moved_elsewhere(now)}
        if wanted:
            self._reload(consumer, wanted)
        for followed in self._followed.values():
            if followed.chain.missing is None:
                followed.gap_since = None
            elif followed.gap_since is None:
                followed.gap_since = now

    def _moved_elsewhere(self, now: float) -> list[Partition]:
        """Partitions that somebody has moved, who perhaps wants them to be read again."""
        if now < self._compare_at:
            return []
        self._compare_at = now + COMPARE_EVERY
        standings = self._offsets.load_all(self._connected())
        return [p for p, f in self._followed.items() if standings.get(p) != f.standing]

    def _stop(self, partition: Partition, error: Exception) -> None:
        self._faults.stop(partition, error)
        if self._consumer is not None and partition in self._consumer.assignment():
            self._consumer.pause([partition])

    # --- reading ----------------------------------------------------------------------------

    def _collect(self, consumer: Consumer) -> list[Message]:
        """What comes next, up to a batch; nothing if nothing comes."""
        began = time.perf_counter()
        collected = list(self._poll(consumer, POLL, limit=self._batch))
        size = sum(len(message.value or b"") for message in collected)
        while self._batch // FEW < len(collected) < self._batch and size < MAX_BATCH_BYTES:
            more = self._poll(consumer, 0, limit=self._batch - len(collected))
            if self._changed:
                collected = [m for m in collected if m.partition not in self._changed]
            if not more:
                break
            collected += more
            size += sum(len(message.value or b"") for message in more)
        self.figures.polling += time.perf_counter() - began
        return collected

    def _poll(self, consumer: Consumer, timeout: float, *, limit: int) -> Sequence[Message]:
        self._changed.clear()
        try:
            messages = consumer.poll(timeout, limit=limit)
        except OffsetOutOfRangeError as error:
            # Cut off at the beginning, or made anew: what is there tells which.
            logger.warning("offset is out of range; read from the first one", where=str(error))
            self._watch.look_soon()
            self._begin_anew(consumer, error.partitions)
            return ()
        except UnknownTopicError as error:
            # It is raised at once, and again until the topic is there.
            self._topic_is_missing(error)
            self._stopping.wait(POLL)
            return ()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return messages

    def _topic_is_missing(self, error: UnknownTopicError) -> None:
        if self._missing_since is None:
            self._missing_since = self._watch.looks
            self._tell("a topic is missing", error)
        self._watch.look_soon()

    def _wait_for_topics(self) -> None:
        """Join anew when a topic that was missing is there: libraries hold on to the old one.

        Raises:
            UnknownTopicError: it is there.
        """
        # One look may have been under way when it was missed; the next has seen what is now.
        since = self._missing_since
        if since is not None and self._watch.looks > since + 1 and not self._watch.missing():
            raise UnknownTopicError("a topic was made anew")

    def _begin_anew(self, consumer: Consumer, partitions: Collection[Partition]) -> None:
        self._changed.update(partitions)
        for partition in partitions:
            followed = self._followed.get(partition)
            if followed is not None:
                followed.chain = Chain(followed.standing.position)
            consumer.seek(partition, None)

    def _take(self, messages: Sequence[Message]) -> None:
        """Carry out what these messages say."""
        began = time.perf_counter()
        here = {p: f for p, f in self._followed.items() if not self._faults.is_stopped(p)}
        self._here = here
        step, gaps = read_step(messages, here, self._wanted)
        read = time.perf_counter()
        self.figures.parsing += read - began
        if self._is_news(step):
            self._begin(step)
        for partition, error in gaps.items():
            self._stop(partition, error)
        self.figures.writing += time.perf_counter() - read
        self.figures.messages += len(messages)
        self.figures.repeats += len(messages) - len(step.entries)
        self.figures.batches += 1

    def _is_news(self, step: Step) -> bool:
        """Whether a step has to be written now. Otherwise only positions move, which can wait."""
        return self._on_marks is not None or any(
            isinstance(entry.item, Recorded | Unreadable) for entry in step.entries
        )

    # --- writing ----------------------------------------------------------------------------

    def _move(self) -> None:
        """Write how far the partitions are whose news were for nobody."""
        self._move_at = time.monotonic() + MOVE_EVERY
        moved = {
            partition: followed
            for partition, followed in self._followed.items()
            if followed.reached() != followed.standing and not self._faults.is_stopped(partition)
        }
        if moved:
            self._here = moved
            before = {partition: followed.standing for partition, followed in moved.items()}
            after = {partition: followed.reached() for partition, followed in moved.items()}
            self._carry_out(Step((), before, after))

    def _begin(self, step: Step) -> None:
        self._carry_out(step)

    def _written(self, step: Step) -> None:
        super()._written(step)
        for partition, standing in step.after.items():
            self._to_tell[partition] = standing.next_offset
        self._moved = True
        self._is_well()

    def _moved_by_others(self, partitions: Collection[Partition]) -> None:
        self.figures.fenced += 1
        logger.warning("partitions were moved by somebody else", n=len(partitions))
        consumer = self._consumer
        if consumer is None:
            return
        assigned = consumer.assignment()
        self._reload(consumer, [p for p in partitions if p in assigned])

    # --- telling ----------------------------------------------------------------------------

    def _tell_group(self, consumer: Consumer) -> None:
        """Tell the group how far it is, for those who measure lag; nothing depends on it."""
        self._tell_at = time.monotonic() + TELL_GROUP_EVERY
        if self._to_tell:
            assigned = consumer.assignment()
            consumer.commit({p: n for p, n in self._to_tell.items() if p in assigned})
            self._to_tell.clear()

    def _tell(self, what: str, error: Exception) -> None:
        self._trouble = f"{what}: {in_one_line(error)}"
        logger.warning(what, group=self.group, error=in_one_line(error))


def _is_anew(followed: UUID | None, found: UUID | None) -> bool:
    return found is not None and followed != found
