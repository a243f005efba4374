"""Relays in threads, from a log of the test's own to topics of the test's own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from consumers.kafka.client import Client
from consumers.kafka.clients import ClientSettings, client
from consumers.relay.relay import Relay
from consumers.relay.topics import TopicSettings
from infra.relay import connect

PARTITIONS = 4

LIFETIME = 40.0
"""Seconds. A relay that does not run for a while on a busy machine has its lease still, and
repeats nothing; nobody here waits for the lease of a dead one, unless it says so."""


class School:
    """A log and its topics: makes relays between the two."""

    def __init__(self, dsn: str, kafka_client: Client, prefix: str) -> None:
        self.dsn = dsn
        self.client = kafka_client
        self.prefix = prefix
        self.topics = TopicSettings(prefix, PARTITIONS)

    def relay(
        self,
        *,
        kafka_client: Client | None = None,
        batch: int = 500,
        lifetime: float = LIFETIME,
    ) -> Relay:
        return Relay(
            kafka_client or self.client,
            lambda: connect(self.dsn),
            self.topics,
            source="/school",
            lifetime=lifetime,
            retry=0.3,
            batch=batch,
        )

    @contextmanager
    def relaying(self, *, batch: int = 500, lifetime: float = LIFETIME) -> Iterator[Relay]:
        """A relay at work."""
        with running(self.relay(batch=batch, lifetime=lifetime)) as relay:
            yield relay


@contextmanager
def running(relay: Relay) -> Iterator[Relay]:
    """A relay in a thread, until the end."""
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(params=["kafka-python", "confluent"])
def each_client(request: pytest.FixtureRequest, kafka: str) -> Client:
    return client(ClientSettings(kafka, library=request.param))


@pytest.fixture
def kafka_client(kafka: str) -> Client:
    return client(ClientSettings(kafka))


@pytest.fixture
def make_school(dsn: str, topic_prefix: str) -> Callable[[Client], School]:
    return lambda kafka_client: School(dsn, kafka_client, topic_prefix)


@pytest.fixture
def school(make_school: Callable[[Client], School], kafka_client: Client) -> School:
    return make_school(kafka_client)
