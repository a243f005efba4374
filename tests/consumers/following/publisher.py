"""Puts events into topics the way the relay does, and any other way that a test wants."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from consumers.kafka.client import Client, NewTopic, Partition
from consumers.messages import (
    Reached,
    StoredEvent,
    headers_of,
    mark,
    partition_of,
    place_of,
    topic_names,
)
from domain.events import Event, Recorded, to_state
from infra.log.codec import encode_event, encode_provenance
from tests import facts

SOURCE = b"/gradelog"
AT = datetime(2026, 2, 1, tzinfo=UTC)


def passed(count: int, *, after: int = 0, courses: int = 3) -> list[Recorded]:
    """So many events of the log, of several courses, that say nothing but which they are."""
    return facts.recorded(
        (
            facts.course_passed_first_time(user_id=n, course_id=f"course-v1:Uni+C{n % courses}+1")
            for n in range(after + 1, after + count + 1)
        ),
        after=after,
    )


class Publisher:
    """Sends events and marks, and knows what came before them in each partition."""

    def __init__(self, client: Client, prefix: str, partitions: int = 4) -> None:
        self._admin = client.admin()
        self._producer = client.producer()
        self.names = topic_names(prefix)
        self.partitions = {self.names["courses"]: partitions, self.names["people"]: 1}
        self.previous: dict[Partition, int] = {}
        self.create()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._producer.close()
        self._admin.close()

    def create(self) -> None:
        self._admin.create([NewTopic(name, count) for name, count in self.partitions.items()])

    def delete(self, *names: str) -> None:
        self._admin.delete(names or list(self.partitions))

    def ids(self) -> Mapping[str, object]:
        return {
            name: topic.id for name, topic in self._admin.topics(list(self.names.values())).items()
        }

    def all(self) -> list[Partition]:
        return [Partition(t, n) for t, count in self.partitions.items() for n in range(count)]

    def place(self, event: Event) -> tuple[Partition, bytes]:
        name, key = place_of(to_state(event))
        topic = self.names[name]
        return Partition(topic, partition_of(key, self.partitions[topic])), key

    def publish(self, events: Iterable[Recorded], *, settle: bool = True) -> None:
        """Send events that follow on those sent before."""
        for recorded in events:
            partition, _ = self.place(recorded.event)
            self.send(recorded, previous=self.previous.get(partition, 0))
            self.previous[partition] = recorded.position
        if settle:
            self.flush()

    def send(self, recorded: Recorded, *, previous: int, type_: str | None = None) -> None:
        """Send one event with this link to the one before."""
        partition, key = self.place(recorded.event)
        stored = StoredEvent(
            recorded.position,
            recorded.event.originator_id,
            recorded.event.originator_version,
            type_ or recorded.type,
            encode_event(recorded.event).decode(),
            encode_provenance(recorded.provenance),
            recorded.event_id,
            recorded.recorded_at,
        )
        self._producer.send(
            partition,
            key=key,
            value=stored.data.encode(),
            headers=headers_of(stored, previous=previous, source=SOURCE),
        )

    def mark(self, position: int, *, graded: int = 0) -> None:
        """Tell every partition that the log was published up to a position."""
        for partition in self.all():
            reached = Reached(position, self.previous.get(partition, 0), graded, graded)
            value, headers = mark(reached, source=SOURCE, at=AT)
            self._producer.send(partition, key=None, value=value, headers=headers)
        self.flush()

    def raw(
        self, partition: Partition, value: bytes, headers: Iterable[tuple[str, bytes]] = ()
    ) -> None:
        """Send something that no relay sends."""
        self._producer.send(partition, key=None, value=value, headers=list(headers))
        self.flush()

    def flush(self) -> None:
        self._producer.flush(30)
