"""Chooses the library that the settings name."""

from importlib.util import find_spec

from consumers.kafka.client import Client, KafkaError
from consumers.kafka.settings import ClientSettings, Library

__all__ = ["ClientSettings", "Library", "client"]


def client(settings: ClientSettings) -> Client:
    """A client for this cluster. Nothing is connected yet.

    Raises:
        KafkaError: the library, or what it compresses with, is not installed.
    """
    if settings.library == "kafka-python":
        from consumers.kafka.kafka_python import KafkaPythonClient  # noqa: PLC0415

        return KafkaPythonClient(settings)
    if settings.library == "confluent":
        if find_spec("confluent_kafka") is None:
            raise KafkaError(
                "The Kafka client confluent needs the package confluent-kafka:"
                " pip install 'gradelog[confluent]'"
            )
        from consumers.kafka.confluent import ConfluentClient  # noqa: PLC0415

        return ConfluentClient(settings)
    raise KafkaError(f"There is no Kafka client {settings.library!r}.")
