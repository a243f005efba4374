"""Both libraries behind the port, on one broker; every test runs with each of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from consumers.kafka.client import Admin, Client, Consumer, NewTopic, Producer
from consumers.kafka.clients import ClientSettings, Library, client

LARGE = {"max.message.bytes": str(32 * 1024 * 1024)}

SLOW = 30.0
"""Seconds that a question may take, and for which a member may be silent. The processes of a busy
machine do not run for many seconds at a time; nobody here waits for who is dead."""


@pytest.fixture(params=["kafka-python", "confluent"])
def library(request: pytest.FixtureRequest) -> Library:
    return request.param


@pytest.fixture
def kafka_client(kafka: str, library: Library, monkeypatch: pytest.MonkeyPatch) -> Client:
    for module in ("confluent_consumer", "kafka_python_consumer"):
        monkeypatch.setattr(f"consumers.kafka.{module}.SESSION_TIMEOUT", SLOW)
    return client(ClientSettings(kafka, library=library, timeout=SLOW))


@pytest.fixture
def until_the_end() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def admin(kafka_client: Client, until_the_end: ExitStack) -> Admin:
    return until_the_end.enter_context(closing(kafka_client.admin()))


@pytest.fixture
def producer(kafka_client: Client, until_the_end: ExitStack) -> Producer:
    return until_the_end.enter_context(closing(kafka_client.producer()))


@pytest.fixture
def consumer(kafka_client: Client, until_the_end: ExitStack) -> Consumer:
    """A consumer without a group."""
    return until_the_end.enter_context(closing(kafka_client.consumer()))


@pytest.fixture
def member(
    kafka_client: Client, until_the_end: ExitStack, topic_prefix: str
) -> Callable[[], Consumer]:
    """Makes members of the test's group."""
    return lambda: until_the_end.enter_context(closing(kafka_client.consumer(topic_prefix)))


@pytest.fixture
def topic(admin: Admin, topic_prefix: str) -> str:
    """A topic with four partitions."""
    name = f"{topic_prefix}.numbers"
    admin.create([NewTopic(name, 4, settings=LARGE)])
    return name
