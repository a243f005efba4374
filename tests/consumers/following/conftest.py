"""A place to follow topics in: a broker, a database, members that note what they were told."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from consumers.following.following import Following
from consumers.following.offsets import Offsets
from consumers.following.step_writing import Apply
from consumers.kafka.client import Client
from consumers.kafka.clients import ClientSettings, client
from domain.events import Recorded
from tests import looking
from tests.consumers.following.publisher import Publisher
from tests.school import wait_until


@pytest.fixture(params=["kafka-python", "confluent"])
def broker(kafka: str, request: pytest.FixtureRequest) -> Client:
    """The broker, by each library."""
    return client(ClientSettings(kafka, library=request.param))


@pytest.fixture
def publisher(broker: Client, topic_prefix: str) -> Iterator[Publisher]:
    with Publisher(broker, topic_prefix) as made:
        yield made


class Place:
    """A database with a table of what was applied, in the order in which it was."""

    def __init__(self, dsn: str, broker: Client, publisher: Publisher) -> None:
        self.dsn, self.broker, self.publisher = dsn, broker, publisher
        self.members = ExitStack()
        with self.connect() as db:
            Offsets("").create(db)
            db.execute("CREATE TABLE seen (n bigserial, position bigint, member text)")
            db.execute("CREATE TABLE parked (position bigint, value bytea, error text)")

    def connect(self, options: str = "") -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True, options=options)

    def rows(self, statement: Any) -> list[Any]:
        return looking.rows(self.dsn, statement)

    def seen(self) -> list[int]:
        """The positions that were applied, in the order in which that was committed."""
        return [position for (position,) in self.rows("SELECT position FROM seen ORDER BY n")]

    def by(self, name: str) -> set[int]:
        """The positions that a member applied."""
        return {p for p, member in self.rows("SELECT position, member FROM seen") if member == name}

    def member(
        self,
        name: str = "one",
        *,
        group: str = "readers",
        offsets: Offsets | None = None,
        before: Callable[[Sequence[Recorded]], None] = lambda _: None,
        apply: Apply | None = None,
        options: str = "",
        **more: Any,
    ) -> "Member":
        """A member of the group that writes down what it is told; it runs."""

        def note(db: psycopg.Connection[Any], events: Sequence[Recorded], _: object) -> None:
            assert [e.position for e in events] == sorted({e.position for e in events})
            with db.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO seen (position, member) VALUES (%s, %s)",
                    [(e.position, name) for e in events],
                )
            before(events)

        following = Following(
            self.broker,
            lambda: self.connect(options),
            group=f"{self.publisher.names['courses']}.{group}",
            topics=self.publisher.names,
            offsets=offsets or Offsets("readers"),
            apply=apply or note,
            **more,
        )
        member = Member(following)
        self.members.callback(member.leave)
        return member


class Member:
    """A member of a group in a thread of its own."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self._stop = threading.Event()
        self._thread = threading.Thread(target=following.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, reached: Callable[[Following], Any]) -> None:
        wait_until(lambda: reached(self.following))

    def error_of(self, partition: Any) -> str | None:
        state = self.following.state().get(partition)
        return None if state is None else state.error


def all_of(place: Place, count: int) -> None:
    """Wait until so many events were applied, each once."""
    wait_until(lambda: len(place.seen()) >= count)
    assert sorted(place.seen()) == list(range(1, count + 1))


@pytest.fixture
def logs() -> Iterator[Sequence[Any]]:
    """What was logged; it takes long to draw every variable of a traceback for the terminal."""
    with capture_logs() as logged:
        yield logged


@pytest.fixture
def place(dsn: str, broker: Client, publisher: Publisher, logs: Sequence[Any]) -> Iterator[Place]:
    made = Place(dsn, broker, publisher)
    with made.members:
        yield made
