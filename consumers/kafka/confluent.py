"""The client of confluent-kafka: the C library librdkafka, for those who need its speed."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic as LibraryTopic

from consumers.kafka.client import KafkaError, NewTopic, Topic
from consumers.kafka.confluent_consumer import ConfluentConsumer
from consumers.kafka.confluent_producer import ConfluentProducer
from consumers.kafka.confluent_settings import Connecting, common, readable
from consumers.kafka.logs import quieten
from consumers.kafka.settings import ClientSettings

LOGGER: Final = "confluent_kafka"
_64_BITS: Final = (1 << 64) - 1
_LOOK_AGAIN: Final = 0.1


class ConfluentClient:
    """Makes producers, consumers and admins of confluent-kafka."""

    def __init__(self, settings: ClientSettings) -> None:
        self._logger = quieten(LOGGER)
        self._settings = settings

    def producer(self) -> ConfluentProducer:
        """A producer; connects when it first sends."""
        return ConfluentProducer(self._settings, self._logger)

    def consumer(self, group: str | None = None) -> ConfluentConsumer:
        """A consumer, in a group or alone. It never begins anywhere by itself."""
        return ConfluentConsumer(self._settings, group, self._logger)

    def admin(self) -> "ConfluentAdmin":
        """An admin.

        Raises:
            KafkaError: no broker can be reached.
        """
        connecting = Connecting(self._settings)
        config = common(self._settings) | {"error_cb": connecting}
        with _translated():
            admin = AdminClient(config, logger=self._logger)
        return ConfluentAdmin(admin, connecting, self._settings.timeout)


class ConfluentAdmin:
    """Looks after topics."""

    def __init__(self, admin: AdminClient, connecting: Connecting, timeout: float) -> None:
        self._admin: AdminClient | None = admin
        self._timeout = timeout
        try:
            admin.list_topics(timeout=timeout)
        except KafkaException as error:
            admin.poll(0)  # calls ``connecting``
            raise KafkaError(connecting.explained(error)) from error

    def topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """Those of the topics that exist."""
        return {
            name: Topic(name, _uuid(described.topic_id), len(described.partitions))
            for name, described in self._described(names).items()
        }

    def create(self, topics: Collection[NewTopic]) -> None:
        """Create topics; one that somebody else creates meanwhile is left as it is."""
        if not topics:
            return
        wanted = [
            LibraryTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=topic.replicas,
                config=dict(topic.settings or {}),
            )
            for topic in topics
        ]
        with _translated():
            asked = self._open().create_topics(
                wanted, operation_timeout=self._timeout, request_timeout=self._timeout
            )
            _answers("created", asked, LibraryError.TOPIC_ALREADY_EXISTS, self._timeout)
        self._wait_for_leaders([topic.name for topic in topics])

    def delete(self, names: Collection[str]) -> None:
        """Delete topics with all their messages; one that is gone already is no error."""
        if not names:
            return
        with _translated():
            asked = self._open().delete_topics(
                sorted(names), operation_timeout=self._timeout, request_timeout=self._timeout
            )
            _answers("deleted", asked, LibraryError.UNKNOWN_TOPIC_OR_PART, self._timeout)

    def close(self) -> None:
        """Close the connections. Never fails."""
        self._admin = None  # the library closes them when nobody holds it

    def _open(self) -> AdminClient:
        if self._admin is None:
            raise KafkaError("The admin is closed.")
        return self._admin

    def _described(self, names: Collection[str]) -> Mapping[str, Any]:
        if not names:
            return {}
        with _translated():
            asked = self._open().describe_topics(
                TopicCollection(sorted(names)), request_timeout=self._timeout
            )
            return _answers("described", asked, LibraryError.UNKNOWN_TOPIC_OR_PART, self._timeout)

    def _wait_for_leaders(self, names: Collection[str]) -> None:
        """Wait until topics can be used: the broker answers before that."""
        deadline = time.monotonic() + self._timeout
        while True:
            found = self._described(names)
            if len(found) == len(names) and all(
                partition.leader is not None and partition.leader.id >= 0
                for described in found.values()
                for partition in described.partitions
            ):
                return
            if time.monotonic() >= deadline:
                raise KafkaError(f"{', '.join(names)}: not ready after {self._timeout} seconds")
            time.sleep(_LOOK_AGAIN)


def _answers(
    done: str, asked: Mapping[str, Any], passed_over: int, timeout: float
) -> dict[str, Any]:
    found = {}
    for name, future in asked.items():
        try:
            found[name] = future.result(timeout + 1)
        except KafkaException as error:
            if error.args[0].code() != passed_over:
                raise KafkaError(f"the topic {name} cannot be {done}: {readable(error)}") from error
    return found


def _uuid(id_: Any) -> UUID | None:
    if id_ is None:
        return None
    return UUID(
        int=(id_.get_most_significant_bits() & _64_BITS) << 64
        | id_.get_least_significant_bits() & _64_BITS
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaError:
        raise
    except Exception as error:
        raise KafkaError(readable(error)) from error
