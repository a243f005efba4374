"""A service with a database of its own, which subscribes to topics of the test."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from consumers.kafka.client import Client
from consumers.kafka.clients import ClientSettings, client
from consumers.subscriber import Subscriber
from domain.events import Recorded
from tests import looking
from tests.consumers.following.publisher import Publisher
from tests.school import wait_until


@pytest.fixture
def broker(kafka: str) -> Client:
    return client(ClientSettings(kafka))


@pytest.fixture
def publisher(broker: Client, topic_prefix: str) -> Iterator[Publisher]:
    with Publisher(broker, topic_prefix) as made:
        yield made


class Service:
    """Its database, its handled events in the order in which they were committed."""

    def __init__(self, kafka: str, dsn: str, prefix: str) -> None:
        self.kafka, self.dsn, self.prefix = kafka, dsn, prefix
        self.running = ExitStack()
        self.logged: Sequence[Mapping[str, Any]] = ()
        with psycopg.connect(dsn) as db:
            db.execute("CREATE TABLE handled (n bigserial, position bigint)")

    def subscriber(self, **more: Any) -> Subscriber:
        settings = {"retry_after": 0.02, "prefix": self.prefix, **more}
        return Subscriber(self.kafka, self.dsn, self.prefix, **settings)

    def asking(self) -> Subscriber:
        """One that is not run, and has the patience to ask once."""
        kafka = ClientSettings(self.kafka, timeout=60.0)
        return Subscriber(kafka, self.dsn, self.prefix, prefix=self.prefix)

    def run(
        self, before: Callable[[Sequence[Recorded]], None] = lambda _: None, **more: Any
    ) -> Subscriber:
        """Run a subscriber that notes each event; until the end of the test."""
        subscriber = self.subscriber(**more)
        self.start(subscriber, self.noting(before))
        return subscriber

    def start(self, subscriber: Subscriber, handle: Any = None) -> Callable[[], None]:
        """Run a subscriber; return what stops it."""
        stop = threading.Event()
        thread = threading.Thread(
            target=subscriber.run, args=(handle,), kwargs={"stop": stop}, daemon=True
        )
        thread.start()

        def leave() -> None:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

        self.running.callback(leave)
        return leave

    @staticmethod
    def noting(before: Callable[[Sequence[Recorded]], None] = lambda _: None) -> Any:
        def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
            for recorded in events:
                db.execute("INSERT INTO handled (position) VALUES (%s)", (recorded.position,))
            before(events)

        return handle

    def rows(self, statement: Any) -> list[Any]:
        return looking.rows(self.dsn, statement)

    def handled(self) -> list[int]:
        return [p for (p,) in self.rows("SELECT position FROM handled ORDER BY n")]

    def until(self, positions: Sequence[int]) -> None:
        """Wait until these events are handled, each once and nothing else."""
        # After a death the others have to wait until the group notices.
        wait_until(lambda: len(self.handled()) >= len(positions), within=60)
        assert sorted(self.handled()) == list(positions)


def failing_at(*positions: int) -> Callable[[Sequence[Recorded]], None]:
    def before(events: Sequence[Recorded]) -> None:
        found = {e.position for e in events}.intersection(positions)
        if found:
            raise ValueError(f"cannot handle {min(found)}")

    return before


def parked_are(service: Service, count: int) -> None:
    subscriber = service.subscriber()
    wait_until(lambda: len(subscriber.parked()) == count)


@pytest.fixture
def service(kafka: str, dsn: str, publisher: Publisher, topic_prefix: str) -> Iterator[Service]:
    made = Service(kafka, dsn, topic_prefix)
    # Not to draw every variable of a traceback for the terminal, which takes long.
    with capture_logs() as made.logged, made.running:
        yield made
