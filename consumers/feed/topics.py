"""How many partitions the topic of courses has, looked at from time to time.

In a thread of its own: whoever tells readers what is new never waits for a broker that does
not answer.
"""

import threading
from typing import Final, Self

import structlog

from consumers.kafka.client import Admin, Client, KafkaError
from consumers.messages import COURSES, topic_names

logger = structlog.get_logger(__name__)

EVERY: Final = 5.0


class PartitionCount:
    """The number as it was not long ago."""

    def __init__(self, client: Client, prefix: str, *, every: float = EVERY) -> None:
        """Make it; it looks when it is asked to, and from time to time while it is entered."""
        self._client = client
        self._topic = topic_names(prefix)[COURSES]
        self._every = every
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._admin: Admin | None = None
        self.found: int | None = None
        """None as long as there is no topic, or nobody could look."""

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="count of partitions", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)  # it may wait for a broker; it does not hold up anybody

    def look(self) -> int | None:
        """The number now; what was found before if no broker tells."""
        try:
            if self._admin is None:
                self._admin = self._client.admin()
            topic = self._admin.topics([self._topic]).get(self._topic)
        except KafkaError as error:
            logger.warning("topics cannot be looked at", error=str(error))
            self._close()
        else:
            if topic is not None:
                self.found = topic.partitions
        return self.found

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            except Exception:
                logger.exception("the count of partitions stumbled")
                self._close()
        self._close()

    def _close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()
