"""The Kafka client that the settings ask for."""

from consumers.kafka.client import Client
from consumers.kafka.clients import ClientSettings, client
from consumers.kafka.settings import LINGER
from infra.settings import Settings


def kafka_client(settings: Settings, *, name: str, linger: float = LINGER) -> Client:
    """A client for the cluster of the settings. Nothing is connected yet.

    Args:
        settings: must name brokers.
        name: what the brokers list the client as.
        linger: seconds that a message waits for others to be sent with it, unless flushed.

    Raises:
        KafkaError: there is no such library here.
    """
    assert settings.kafka_bootstrap_servers is not None
    password, ca_file = settings.kafka_password, settings.kafka_ca_file
    return client(
        ClientSettings(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            library=settings.kafka_client,
            client_id=name,
            security_protocol=settings.kafka_security_protocol,
            sasl_mechanism=settings.kafka_sasl_mechanism,
            username=settings.kafka_username,
            password=None if password is None else password.get_secret_value(),
            ca_file=None if ca_file is None else str(ca_file),
            compression=settings.kafka_compression,
            linger=linger,
        )
    )
