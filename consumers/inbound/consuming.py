"""Reads the inbound topics as a member of a group, and has their messages carried out.

The client of Kafka works in the thread that runs this; the commands work in an event loop
elsewhere. The thread never waits for a command: it goes on polling, so that the broker knows
the member alive, and stops fetching while enough is under way.
"""

import random
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from consumers.inbound.carrying import Inlet
from consumers.inbound.lanes import Lanes, Standing
from consumers.kafka.client import (
    Client,
    Consumer,
    KafkaError,
    Message,
    NewTopic,
    OffsetOutOfRangeError,
    Partition,
)
from domain.errors import OutcomeUnknownError, UnavailableError

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[Any]]], Any]
"""Awaits something in the event loop of the commands."""

logger = structlog.get_logger(__name__)

PARTITIONS: Final = 6
KEPT_FOR: Final = timedelta(days=30)
"""So long the broker keeps messages in topics that are made here."""

SETTINGS: Final = {
    "retention.ms": str(KEPT_FOR // timedelta(milliseconds=1)),
    "cleanup.policy": "delete",
    # Not as the sender likes it: which codecs can be read depends on what is installed here.
    "compression.type": "gzip",
}
"""Of topics that are made here."""

AT_ONCE: Final = 500
POLL: Final = 0.25
POLL_WHILE_FULL: Final = 0.02
LEAVING: Final = 5.0
"""Seconds that what is under way has to end, when the process is asked to."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
STEADY_AFTER: Final = 100
"""Polls that went well; the next failure is the first one again."""

LOOK_AGAIN: Final = 60.0
"""Seconds until it is looked again whether topics of others are there."""

NO_ID: Final = UUID(int=0)
"""Of a topic whose broker tells none."""


class Inbound:
    """One member of the group that reads the inbound topics."""

    def __init__(
        self,
        client: Client,
        inlets: Collection[Inlet],
        lanes: Lanes,
        run: Run,
        *,
        group: str,
        replicas: int = 1,
    ) -> None:
        """Make a member; ``follow`` joins the group.

        Args:
            client: of the cluster.
            inlets: the topics.
            lanes: works off their messages, in the event loop behind ``run``.
            run: awaits something there.
            group: the name of the group.
            replicas: of topics that are missing and made.
        """
        self._client = client
        self._topics = [inlet.topic for inlet in inlets]
        self._ours = {inlet.topic for inlet in inlets if inlet.ours}
        self._lanes = lanes
        self._run = run
        self._group = group
        self._replicas = replicas
        self._failure: Exception | None = None
        self._polls = 0
        self._ids: Mapping[str, UUID] = {}
        self._looked_at = 0.0
        self.error: str | None = None

    def follow(self, stop: threading.Event) -> None:
        """Read until told to stop, whatever becomes of Kafka and of the database."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            self._polls = 0
            try:
                self._read(stop)
            except (KafkaError, UnavailableError, OutcomeUnknownError) as error:
                if self._polls > STEADY_AFTER:
                    pause = FIRST_PAUSE
                self.error = f"{type(error).__name__}: {error}"
                logger.warning("inbound topics cannot be read", error=self.error, again_in=pause)
                stop.wait(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, LONGEST_PAUSE)

    def _read(self, stop: threading.Event) -> None:
        ids = self._ids = self._ensured()
        consumer = self._client.consumer(self._group)
        mine: set[Partition] = set()

        def assigned(partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
            mine.update(partitions)
            try:
                return self._begin({p: ids.get(p.topic, NO_ID) for p in partitions})
            except Exception as error:  # noqa: BLE001 - raised after the poll; libraries swallow it
                self._failure = error
                return dict.fromkeys(partitions)

        def revoked(partitions: Collection[Partition]) -> None:
            mine.difference_update(partitions)
            self._end(partitions)

        try:
            consumer.subscribe(list(ids), on_assigned=assigned, on_revoked=revoked)
            logger.info("inbound topics are read", group=self._group, topics=list(ids))
            if missing := [name for name in self._topics if name not in ids]:
                # It may be a name that was never right, and nothing else would tell.
                logger.warning("topics are not there yet", topics=missing, again_in=LOOK_AGAIN)
            self._poll(consumer, stop)
            self._run(partial(self._lanes.drain, LEAVING))
            self._commit(consumer, self._run(self._standing))
        finally:
            self._failure = None
            consumer.close()
            self._end(mine)

    def _poll(self, consumer: Consumer, stop: threading.Event) -> None:
        paused: frozenset[Partition] = frozenset()
        while not stop.is_set():
            messages: Sequence[Message] = ()
            lost: Collection[Partition] = ()
            full = bool(paused) and paused >= consumer.assignment()
            try:
                messages = consumer.poll(POLL_WHILE_FULL if full else POLL, limit=AT_ONCE)
            except OffsetOutOfRangeError as error:
                lost = error.partitions
            if self._failure is not None:
                raise self._failure
            if lost:
                self._find_place(consumer, lost)
            standing: Standing = self._run(partial(self._lanes.take, messages))
            self._commit(consumer, standing)
            self._polls += 1
            self.error = None
            self._refuse_new_topics()
            # Told again each time: a partition may have been given away and back meanwhile.
            if standing.full:
                consumer.pause(standing.full)
            if paused - standing.full:
                consumer.resume(paused - standing.full)
            paused = standing.full

    def _commit(self, consumer: Consumer, standing: Standing) -> None:
        if standing.saved:
            owned = consumer.assignment()
            consumer.commit({p: n for p, n in standing.saved.items() if p in owned})

    async def _standing(self) -> Standing:
        return self._lanes.standing()

    def _begin(self, partitions: Mapping[Partition, UUID]) -> Mapping[Partition, int | None]:
        found: Mapping[Partition, int | None] = self._run(partial(self._lanes.begin, partitions))
        return found

    def _end(self, partitions: Collection[Partition]) -> None:
        if partitions:
            self._run(partial(self._lanes.end, list(partitions)))

    def _find_place(self, consumer: Consumer, partitions: Collection[Partition]) -> None:
        """Go on where a partition does not hold the message that would be next.

        Raises:
            KafkaError: the topic was made anew; it is begun with afresh.
        """
        if self._ensured() != self._ids:
            raise KafkaError("an inbound topic was made anew")
        first, end = consumer.begin_offsets(partitions), consumer.end_offsets(partitions)
        for partition in partitions:
            held = range(first[partition], end[partition])
            consumer.seek(partition, self._run(partial(self._lanes.skip, partition, held)))

    def _refuse_new_topics(self) -> None:
        """Begin anew when a topic of others has appeared that was missing.

        Raises:
            KafkaError: one has.
        """
        if len(self._ids) == len(self._topics):
            return
        if time.monotonic() - self._looked_at > LOOK_AGAIN and self._ensured() != self._ids:
            raise KafkaError("there are other topics than before")

    def _ensured(self) -> Mapping[str, UUID]:
        """The ids of the topics; those of ours that are missing are made."""
        self._looked_at = time.monotonic()
        admin = self._client.admin()
        try:
            found = admin.topics(self._topics)
            if missing := [name for name in self._ours if name not in found]:
                admin.create(
                    [NewTopic(name, PARTITIONS, self._replicas, SETTINGS) for name in missing]
                )
                found = admin.topics(self._topics)
        finally:
            admin.close()
        if not found or not self._ours <= found.keys():
            raise KafkaError("the inbound topics are not there yet")
        return {name: topic.id or NO_ID for name, topic in found.items()}
