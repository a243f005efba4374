"""The client of kafka-python: pure Python, and the one that is used unless another is named."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from uuid import UUID

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from consumers.kafka.client import KafkaError, NewTopic, Topic, UnknownTopicError
from consumers.kafka.kafka_python_connecting import Connections
from consumers.kafka.kafka_python_consumer import KafkaPythonConsumer
from consumers.kafka.kafka_python_producer import KafkaPythonProducer
from consumers.kafka.kafka_python_settings import check_compression, common, readable
from consumers.kafka.logs import quieten
from consumers.kafka.settings import ClientSettings

_NO_TOPIC: Final = kafka_errors.UnknownTopicOrPartitionError.errno
_EXISTS: Final = kafka_errors.TopicAlreadyExistsError.errno


class KafkaPythonClient:
    """Makes producers, consumers and admins of kafka-python."""

    def __init__(self, settings: ClientSettings) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            KafkaError: the compression needs a package that is not installed.
        """
        check_compression(settings)
        quieten("kafka")
        self._settings = settings

    def producer(self) -> KafkaPythonProducer:
        """A producer; connects when it first sends."""
        return KafkaPythonProducer(self._settings)

    def consumer(self, group: str | None = None) -> KafkaPythonConsumer:
        """A consumer, in a group or alone. It never begins anywhere by itself."""
        return KafkaPythonConsumer(self._settings, group)

    def admin(self) -> "KafkaPythonAdmin":
        """An admin.

        Raises:
            KafkaError: no broker can be reached.
        """
        return KafkaPythonAdmin(self._settings)


class KafkaPythonAdmin:
    """Looks after topics."""

    def __init__(self, settings: ClientSettings) -> None:
        milliseconds = int(settings.timeout * 1000)
        connections = Connections(settings)
        with connections.begun():
            self._admin = KafkaAdminClient(
                **common(settings),
                bootstrap_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds,
                kafka_client=connections,
            )

    def topics(self, names: Collection[str]) -> Mapping[str, Topic]:
        """Those of the topics that exist."""
        if not names:
            return {}
        with _translated():
            found = self._admin.describe_topics(sorted(names))
        topics = {}
        for described in found:
            error = described["error_code"]
            if error == _NO_TOPIC:
                continue
            if error:
                kind = kafka_errors.for_code(error).__name__
                raise KafkaError(f"the topic {described['name']} cannot be described: {kind}")
            id_ = described["topic_id"]
            topics[described["name"]] = Topic(
                described["name"],
                UUID(str(id_)) if id_ else None,
                len(described["partitions"]),
            )
        return topics

    def create(self, topics: Collection[NewTopic]) -> None:
        """Create topics; one that somebody else creates meanwhile is left as it is."""
        if not topics:
            return
        wanted = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replicas,
                "configs": dict(topic.settings or {}),
            }
            for topic in topics
        }
        with _translated():
            answer = self._admin.create_topics(wanted, raise_errors=False)
            _check("created", answer["topics"], {_EXISTS})
            self._admin.wait_for_topics(list(wanted))

    def delete(self, names: Collection[str]) -> None:
        """Delete topics with all their messages; one that is gone already is no error."""
        if not names:
            return
        with _translated():
            answer = self._admin.delete_topics(sorted(names), raise_errors=False)
            _check("deleted", answer["topics"], {_NO_TOPIC})

    def close(self) -> None:
        """Close the connections. Never fails."""
        with suppress(Exception):
            self._admin.close()


def _check(done: str, answers: Collection[Mapping[str, Any]], expected: Collection[int]) -> None:
    for answer in answers:
        error = answer["error_code"]
        if error and error not in expected:
            kind = kafka_errors.for_code(error).__name__
            reason = answer.get("error_message") or kind
            raise KafkaError(f"the topic {answer['name']} cannot be {done}: {reason}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaError:
        raise
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise UnknownTopicError(readable(error)) from error
    except Exception as error:
        raise KafkaError(readable(error)) from error
