"""A member of a subscription joins: for its own database, and topics as they were laid out.

Before anything is read, the database says which group that is, and whether what it knows of
partitions is of those that there are.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection

from consumers.following.following import Following
from consumers.following.steps import Step
from consumers.following.watch import Watch
from consumers.kafka.client import Client, Consumer, KafkaError, Partition, Topic
from consumers.messages import Passed, partition_of
from consumers.subscriber.tables import Tables
from consumers.subscriber.topics import PartitionsChangedError, SubscribedTopics, ask, partitions_of
from domain.events import Recorded
from projections.read_model import Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

SETTLE_EVERY: Final = 5.0
LOOKS: Final = 2
"""Looks at the topics that may have begun before."""

STAND_STILL: Final = 5.0
"""Seconds between two looks whether somebody has said how to go on."""


class SubscribedFollowing(Following):
    """Follows the topics of a subscription, as long as they are those that it knows."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        *,
        prefix: str,
        topics: Mapping[str, str],
        tables: Tables,
        **more: Any,
    ) -> None:
        """Make a member; see ``Following`` for what is not here.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database, in autocommit mode.
            prefix: how the names of the topics begin.
            topics: as for ``Following``.
            tables: of the subscription.
            more: of ``Following``.
        """
        super().__init__(
            client,
            connect,
            group="",  # the database tells
            topics=topics,
            offsets=tables.offsets,
            **more,
        )
        self._prefix = prefix
        self._tables = tables
        self._subscribed = SubscribedTopics(tables, topics.values())
        self._found: Mapping[str, Topic] = {}
        self._lowest: Mapping[str, int] | None = None
        self._lowest_at, self._settle_at = 0, 0.0
        self._watch = Watch(client, self._topics, self._there)

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
            self._trouble = f"nothing can be read: {in_one_line(error)}"
            if before != self._trouble:
                logger.warning("nothing can be read", error=in_one_line(error))
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

    def _begin(self, step: Step) -> None:
        if not self._is_in_place(step):
            self._check_topics()
        self._try(step)

    def _try(self, step: Step) -> None:
        """Carry out a step whose events are where they belong."""
        self._carry_out(step)
