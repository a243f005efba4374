"""A member of a subscription: follows the topics, counts attempts and parks what fails.

An attempt is counted in the database before it is made. What raises is counted like what kills
the process: when a stretch of messages did not come to its end, each of them goes alone, so
that what is counted is the one message at fault. What ended because the database was lost is
nobody's fault, and not counted; unless it is lost with the same message again and again.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection

from consumers.faults import message_of
from consumers.following import Following
from consumers.kafka.client import (
    Client,
    Consumer,
    KafkaError,
    Message,
    Partition,
    Topic,
)
from consumers.messages import Passed, partition_of, place_in_log
from consumers.offsets import OffsetsHeldError
from consumers.steps import Entry, Step
from consumers.subscriber_tables import FEW_LOSSES, Tables, Tries
from consumers.subscriber_topics import PartitionsChangedError, SubscribedTopics, ask, partitions_of
from consumers.watch import Watch
from domain.events import Recorded, UnknownEventTypeError
from projections.read_model import Row

logger = structlog.get_logger(__name__)

Handle = Callable[[Connection[Row], Sequence[Recorded]], None]

SETTLE_EVERY: Final = 5.0
LOOKS: Final = 2
"""Looks at the topics that may have begun before."""

LOSSES: Final = 10
"""How often the database may be lost with a message that goes alone before it is parked."""

STAND_STILL: Final = 5.0
"""Seconds between two looks whether somebody has said how to go on."""

_BEHIND: Final = "an earlier message of its key is parked"
_STOOD_STILL: Final = "25P03"
"""The server ended a transaction in which nothing was done for long."""


class ParkingFollowing(Following):
    """Follows the topics for a subscriber."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        *,
        prefix: str,
        topics: Mapping[str, str],
        tables: Tables,
        handle: Handle,
        attempts: int,
        block: bool,
        **more: Any,
    ) -> None:
        """Make a member; see ``Following`` for what is not here.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database, in autocommit mode.
            prefix: how the names of the topics begin.
            topics: as for ``Following``.
            tables: where attempts are counted and messages parked.
            handle: what the subscriber does with events.
            attempts: how often a message is tried before it is parked.
            block: park what comes after a parked message of the same key.
            more: of ``Following``.
        """

        def apply(db: Connection[Row], events: Sequence[Recorded], _: object) -> None:
            if events:
                handle(db, events)

        super().__init__(
            client,
            connect,
            group="",  # the database tells
            topics=topics,
            offsets=tables.offsets,
            apply=apply,
            on_bad=self._park_unreadable,
            on_poison=self._park_poison,
            **more,
        )
        self._prefix = prefix
        self._tables = tables
        self._attempts = attempts
        self._block = block
        self._tries: dict[Partition, Tries] = {}
        self._alone: Entry | None = None
        self._begun: Step | None = None
        self._not_counted: tuple[Step, Exception] | None = None
        self._subscribed = SubscribedTopics(tables, topics.values())
        self._found: Mapping[str, Topic] = {}
        self._lowest: Mapping[str, int] | None = None
        self._lowest_at, self._settle_at = 0, 0.0
        self._watch = Watch(client, self._topics, self._there)

    # --- topics -----------------------------------------------------------------------------

    @property
    def found(self) -> Mapping[str, Topic]:
        """The topics as they were when this member joined."""
        return self._found

    @property
    def ends(self) -> Mapping[Partition, int]:
        """The offset of the next message of each partition, whoever reads it, where it is known."""
        return self._watch.ends()

    def _there(self) -> list[Partition]:
        """The partitions that are there for sure; those of a topic made anew may be fewer."""
        ids = self._watch.topic_ids()
        return partitions_of(t for t in self._found.values() if ids.get(t.name) == t.id)

    def _join(self, stop: threading.Event) -> None:
        try:
            self._database.open()
            if not self._database.is_there:
                return
            db = self._connected()
            self.group = self._tables.group(db, self._prefix)
            self._find_topics(db)
        except PartitionsChangedError as error:
            before = self._trouble
            self._trouble = f"nothing can be read: {message_of(error)}"
            if before != self._trouble:
                logger.warning("nothing can be read", error=message_of(error))
            stop.wait(STAND_STILL)
            return
        except psycopg.Error as error:
            self._lost(error)
            return
        super()._join(stop)

    def _find_topics(self, db: Connection[Row]) -> None:
        found = ask(self._client, self._topics)
        self._subscribed.lay_out(db, found.values())
        self._found, self._lowest = found, None
        self._watch.look_soon()

    def _load(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        if not partitions:
            return super()._load(partitions)
        with self._connected().transaction():
            known = self._subscribed.known(self._connected(), locked=True)
            for topic, number in partitions:
                if topic not in self._found or known.get(topic) != self._found[topic].partitions:
                    raise KafkaError(f"the partitions of {topic} have changed")
                if number >= known[topic]:
                    raise KafkaError(f"the topic {topic} has more partitions than {known[topic]}")
            return super()._load(partitions)

    def _look_around(self, consumer: Consumer) -> None:
        self._take_back()
        for name, id_ in self._watch.topic_ids().items():
            if id_ is not None and name in self._found and self._found[name].id != id_:
                # Perhaps with another number of partitions: that is looked at in joining.
                raise KafkaError(f"the topic {name} was made anew")
        self._settle()
        super()._look_around(consumer)

    def _begin_anew(self, consumer: Consumer, partitions: Collection[Partition]) -> None:
        self._check_topics()
        super()._begin_anew(consumer, partitions)

    def _check_topics(self) -> None:
        found = ask(self._client, self._topics)
        if any(found.get(name) != topic for name, topic in self._found.items()):
            raise KafkaError("a topic was made anew")

    def _is_in_place(self, step: Step) -> bool:
        """Whether every event is where its key belongs, as far as the topics are known here.

        Otherwise a topic was perhaps made anew with other partitions, which is not seen at once.
        """
        return all(
            entry.message.key is not None
            and partition_of(entry.message.key, self._found[entry.partition.topic].partitions)
            == entry.partition.number
            for entry in step.entries
            if isinstance(entry.item, Recorded | Passed)
        )

    def _settle(self) -> None:
        """Note from time to time up to where all is handled.

        Of a topic that is made anew that is told only if its id was seen to be the old one
        after the positions were read.
        """
        now = time.monotonic()
        if self._lowest is None:
            if now >= self._settle_at:
                self._lowest = self._subscribed.lowest(self._connected())
                self._lowest_at = self._watch.looks
        elif self._watch.looks > self._lowest_at + LOOKS:
            ids = self._watch.topic_ids()
            same = {name for name, topic in self._found.items() if ids.get(name) == topic.id}
            sure = {name: position for name, position in self._lowest.items() if name in same}
            self._subscribed.settle(self._connected(), sure)
            self._lowest, self._settle_at = None, now + SETTLE_EVERY

    # --- attempts ---------------------------------------------------------------------------

    def _begin(self, step: Step) -> None:
        self._alone = None
        if not self._is_in_place(step):
            self._check_topics()
        try:
            if any(type(entry.item) is Recorded for entry in step.entries):
                tries = self._count(step)
                while any(entry.offset <= tries[entry.partition].careful for entry in step.entries):
                    first, rest = step.cut(1)
                    self._begin_alone(first)
                    step = self._still_ours(rest)
            self._carry_out(step)
        except Exception as error:
            if self._begun is not None and self._is_innocent(error):
                self._not_counted = self._begun, error
            raise
        finally:
            self._begun = None

    def _is_innocent(self, error: Exception) -> bool:
        """Whether an attempt came to no end for a reason that is none of the message's."""
        if isinstance(error, psycopg.Error) and error.sqlstate == _STOOD_STILL:
            return False
        db = self._database
        closed_by_handler = db.is_there and db.connection().closed and not db.connection().broken
        return not closed_by_handler

    def _count(
        self, step: Step, *, alone: bool = False, careful: bool = False
    ) -> dict[Partition, Tries]:
        self._begun = None
        self._tries = self._tables.begin(self._connected(), step, alone=alone, careful=careful)
        self._begun = step
        return self._tries

    def _take_back(self) -> None:
        """Let the attempt not count with which the database was lost."""
        if self._not_counted is None:
            return
        step, error = self._not_counted
        losses = self._tables.take_back(self._connected(), step, message_of(error))
        self._not_counted = None
        if len(step.entries) == 1 and losses >= FEW_LOSSES:
            self._stop(step.entries[0].partition, error)  # for the others to go on

    def _begin_alone(self, step: Step) -> None:
        (entry,) = step.entries
        tries = self._count(step, alone=True)
        self._alone = entry
        tried, _, losses, lost_with = tries[entry.partition]
        if tried > self._attempts and isinstance(entry.item, Recorded):
            self._at_fault(step, entry, ProcessEndedError(tried - 1))
        elif losses >= LOSSES and isinstance(entry.item, Recorded):
            self._at_fault(step, entry, DatabaseLostError(losses, lost_with))
        else:
            self._carry_out(step)
        self._alone = None

    def _at_fault(self, step: Step, entry: Entry, error: Exception) -> None:
        if self._alone != entry and isinstance(entry.item, Recorded):
            # Found by halving: it is counted now, and goes alone from now on.
            self._count(step, alone=True, careful=True)
        super()._at_fault(step, entry, error)

    def _stop(self, partition: Partition, error: Exception) -> None:
        if isinstance(error, OffsetsHeldError) and self._begun is not None:
            self._tables.take_back(self._connected(), self._begun.of(partition))
        super()._stop(partition, error)

    def _written(self, step: Step) -> None:
        super()._written(step)
        for partition in step.after:
            self._faults.forget(partition)  # also if nothing but its position was written

    # --- parking ----------------------------------------------------------------------------

    def _handle(self, db: Connection[Row], step: Step) -> None:
        super()._handle(db, self._parked_behind(db, step) if self._block else step)

    def _parked_behind(self, db: Connection[Row], step: Step) -> Step:
        """Park events of keys that have a parked message; the step without them."""
        keys = {_key(e) for e in step.entries if type(e.item) is Recorded}
        blocked = self._tables.parked.blocked(db, keys) if keys else set()
        if not blocked:
            return step
        entries = []
        for entry in step.entries:
            if isinstance(entry.item, Recorded) and _key(entry) in blocked:
                self._park(db, entry.message, entry.item.position, _BEHIND, 0)
                passed = Passed(entry.position, entry.position)
                entries.append(entry._replace(item=passed))
            else:
                entries.append(entry)
        return Step(entries, step.before, step.after)

    def _park_unreadable(self, db: Connection[Row], message: Message, error: Exception) -> bool:
        if type(error) is UnknownEventTypeError and self._wanted is not None:
            return True  # newer than this code, and not what was asked for
        place = place_in_log(message)
        self._park(db, message, place and place[1], message_of(error), 1)
        return True

    def _park_poison(
        self, db: Connection[Row], recorded: Recorded, message: Message, error: Exception
    ) -> bool:
        tried = self._tries[message.partition].attempts
        if isinstance(error, DatabaseLostError):
            tried = error.times
        elif tried < self._attempts:
            return False
        else:
            tried = min(tried, self._attempts)
        self._park(db, message, recorded.position, message_of(error), tried)
        return True

    def _park(
        self,
        db: Connection[Row],
        message: Message,
        position: int | None,
        error: str,
        attempts: int,
    ) -> None:
        followed = self._followed.get(message.partition)
        topic_id = None if followed is None else followed.topic_id
        self._tables.parked.park(db, message, position, error, attempts, topic_id=topic_id)


class ProcessEndedError(Exception):
    """Every process that handled a message has ended before it was done."""

    def __init__(self, times: int) -> None:
        super().__init__(
            f"the process ended {times} times while it handled this message, or stood still"
        )


class DatabaseLostError(Exception):
    """The database was lost each time that a message was handled."""

    def __init__(self, times: int, error: str | None) -> None:
        super().__init__(f"lost {times} times while this message was handled: {error}")
        self.times = times


def _key(entry: Entry) -> tuple[str, bytes]:
    return entry.partition.topic, entry.message.key or b""
