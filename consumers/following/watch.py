"""Looks from time to time at what changes seldom: which topics there are, and how long they are.

It has a thread and connections of its own. Whoever reads the topics never waits for a broker
that does not answer.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Self
from uuid import UUID

import structlog

from consumers.kafka.client import Admin, Client, Consumer, KafkaError, Partition

logger = structlog.get_logger(__name__)

EVERY: Final = 3.0
LONGEST: Final = 30.0
SOONEST: Final = 0.25
"""Seconds between two looks, at least, however often one is asked for."""

STALE: Final = 15.0
"""Seconds after which an end that was seen says nothing any more."""


class Watch:
    """The ids and ends of some topics as they were not long ago."""

    def __init__(
        self,
        client: Client,
        topics: Collection[str],
        partitions: Callable[[], Collection[Partition]],
        *,
        every: float = EVERY,
    ) -> None:
        """Make a watch, which looks once it is entered; ``error`` says why it cannot.

        Args:
            client: makes connections.
            topics: which to look at.
            partitions: whose ends matter at the moment.
            every: seconds between two looks.
        """
        self._client = client
        self._topics = topics
        self._partitions = partitions
        self._every = every
        self._ids: Mapping[str, UUID | None] | None = None
        self._ends: Mapping[Partition, int] = {}
        self._began = 0.0
        self._looks = 0
        self.error: str | None = None
        self._wake, self._looked = threading.Event(), threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="watch over topics", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)  # it may wait for a broker; it does not hold up anybody

    def topic_ids(self, *, within: float = 0.0) -> Mapping[str, UUID | None]:
        """The ids of those that exist; waits for the first look, but not for long."""
        if within:
            self._looked.wait(within)
        return self._ids or {}

    def missing(self) -> list[str]:
        """Those of the topics that do not exist."""
        ids = self._ids
        return [] if ids is None else [topic for topic in self._topics if topic not in ids]

    @property
    def looks(self) -> int:
        """How often it has looked."""
        return self._looks

    def ends(self) -> Mapping[Partition, int]:
        """The offset of the next message of each partition, where it is known."""
        return self._ends if time.monotonic() - self._began < STALE else {}

    def ends_since(self, moment: float) -> Mapping[Partition, int] | None:
        """The same if it was found after a moment (monotonic); else None, and it is looked at."""
        if self._began >= moment:
            return self._ends
        self._wake.set()
        return None

    def look_soon(self) -> None:
        """Something speaks for a change."""
        self._wake.set()

    def _run(self) -> None:
        admin: Admin | None = None
        consumer: Consumer | None = None
        pause = self._every
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                admin = admin or self._client.admin()
                found = admin.topics(self._topics)
                self._ids = {name: topic.id for name, topic in found.items()}
                self._looks += 1
                self._looked.set()
                consumer = consumer or self._client.consumer()
                wanted = [p for p in self._partitions() if p.topic in self._ids]
                if wanted:
                    self._ends = dict(consumer.end_offsets(wanted))
                    self._began = began
                pause, self.error = self._every, None
            except KafkaError as error:
                logger.warning("topics cannot be looked at", error=str(error))
                self.error = f"topics cannot be looked at: {error}"
                _close(admin, consumer)
                admin = consumer = None
                pause = min(pause * 2, LONGEST)
            except Exception:
                logger.exception("watch over topics stumbled")
                _close(admin, consumer)
                admin = consumer = None
                pause = LONGEST
            self._stopped.wait(SOONEST)
            self._wake.wait(pause)
            self._wake.clear()
        _close(admin, consumer)


def _close(admin: Admin | None, consumer: Consumer | None) -> None:
    if admin is not None:
        admin.close()
    if consumer is not None:
        consumer.close()
