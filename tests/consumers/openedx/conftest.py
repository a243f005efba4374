"""A schema registry, and topics of an event bus."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.kafka.client import Client, Consumer, NewTopic
from consumers.kafka.clients import ClientSettings, client
from consumers.openedx.signals import KEY_FIELDS, READ
from tests.consumers.openedx.registry_server import SchemaRegistry, schema_registry

WRITTEN = "grades"
ROSTER = "roster"


@pytest.fixture
def registry_server() -> Iterator[SchemaRegistry]:
    with schema_registry() as server:
        yield server


@pytest.fixture
def kafka_client(kafka: str) -> Client:
    return client(ClientSettings(kafka))


@pytest.fixture
def bus(kafka_client: Client, topic_prefix: str) -> dict[str, str]:
    """Topics by type, which exist: one for what is written, one for what is read."""
    with closing(kafka_client.admin()) as admin:
        # As deployments of Open edX name them, and as the test cleans up.
        prefix = f"{topic_prefix}.bus"
        admin.create([NewTopic(f"{prefix}-{name}", 2) for name in (WRITTEN, ROSTER)])
    return {**dict.fromkeys(KEY_FIELDS, WRITTEN), **dict.fromkeys(READ, ROSTER)}


@pytest.fixture
def consumer(kafka_client: Client) -> Iterator[Consumer]:
    with closing(kafka_client.consumer()) as made:
        yield made
