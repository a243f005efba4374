"""A grader and an LMS that write to the inbound topics, and whoever carries that out."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from confluent_kafka import Producer as LibraryProducer
from kafka import KafkaAdminClient, TopicPartition

from consumers.inbound.consuming import PARTITIONS, Inbound
from consumers.kafka.client import NewTopic, Partition
from consumers.kafka.clients import ClientSettings, client
from consumers.messages import partition_of
from infra.inbound import inbound
from infra.settings import Settings
from tests import looking
from tests.infra.cli.support import eventually

GRADER = "/graders/lab"
KINDS = ("scores", "roster")
# More than what is carried out: that has to be told from what the broker refuses.
LARGE = {"max.message.bytes": "4194304"}
NUMBERS = count(1)

FIGURES = """
SELECT coalesce(sum(carried_out), 0)::int, coalesce(sum(repeated), 0)::int,
    coalesce(sum(rejected), 0)::int
FROM gradelog.inbound_offsets
"""


@contextmanager
def admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=bootstrap, client_id="tests")
    try:
        yield made
    finally:
        made.close()


@dataclass
class Post:
    """Writes messages to the inbound topics."""

    bootstrap: str
    prefix: str
    sent: int = 0

    def __post_init__(self) -> None:
        self.kafka = client(ClientSettings(self.bootstrap, client_id="tests"))
        kafka = self.kafka.admin()
        kafka.create([NewTopic(self.topic(kind), PARTITIONS, settings=LARGE) for kind in KINDS])
        kafka.close()
        self._producer = self.kafka.producer()

    def topic(self, kind: str) -> str:
        return f"{self.prefix}.inbound.{kind}"

    def scores(self, type_: str, data: Any, **more: Any) -> str:
        return self.event("scores", type_, data, **more)

    def roster(self, type_: str, data: Any, **more: Any) -> str:
        return self.event("roster", type_, data, **more)

    def event(
        self,
        kind: str,
        type_: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002
        source: str = GRADER,
        key: str | None = "one",
        trace: str | None = None,
        structured: bool = False,
    ) -> str:
        """Send a CloudEvent; its id."""
        message_id = id or f"m-{next(NUMBERS)}"
        attributes = {
            "specversion": "1.0",
            "id": message_id,
            "source": source,
            "type": f"gradelog.inbound.{type_}",
            **({"traceparent": trace} if trace else {}),
        }
        if structured:
            value = json.dumps({**attributes, "data": data}).encode()
            headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
        else:
            value = json.dumps(data).encode()
            headers = {f"ce_{name}": text for name, text in attributes.items()}
            headers["content-type"] = "application/json"
        self.raw(kind, value, headers, key=key)
        return message_id

    def raw(
        self,
        kind: str,
        value: bytes,
        headers: Mapping[str, str | bytes],
        *,
        key: str | None = "one",
        partition: int | None = None,
    ) -> None:
        """Send anything."""
        if partition is None:
            partition = partition_of((key or str(self.sent)).encode(), PARTITIONS)
        self._producer.send(
            Partition(self.topic(kind), partition),
            key=None if key is None else key.encode(),
            value=value,
            headers=[(n, v if isinstance(v, bytes) else v.encode()) for n, v in headers.items()],
        )
        self.sent += 1

    def strange(
        self, kind: str, value: bytes | None, headers: Mapping[str, str | bytes | None]
    ) -> None:
        """Send what our own client does not: no value, headers without a value."""
        self.flush()
        other = LibraryProducer({"bootstrap.servers": self.bootstrap})
        other.produce(
            self.topic(kind),
            value,
            b"one",
            partition=partition_of(b"one", PARTITIONS),
            headers=list(headers.items()),
        )
        assert other.flush(30) == 0
        self.sent += 1

    def flush(self) -> None:
        self._producer.flush(30)

    def lose(self, kind: str, *, before: int) -> None:
        """Let the broker delete the first messages of the partition that holds any."""
        self.flush()
        partition = TopicPartition(self.topic(kind), partition_of(b"one", PARTITIONS))
        with admin(self.bootstrap) as kafka:
            kafka.delete_records({partition: before})

    def make_anew(self) -> None:
        """Delete the topics and make them again."""
        self.flush()
        names = [self.topic(kind) for kind in KINDS]
        kafka = self.kafka.admin()
        kafka.delete(names)
        eventually(lambda: not kafka.topics(names))
        kafka.create([NewTopic(name, PARTITIONS) for name in names])
        eventually(lambda: len(kafka.topics(names)) == len(names))
        kafka.close()
        self._producer.close()
        self._producer = self.kafka.producer()

    def committed(self, group: str) -> dict[Partition, int]:
        """What the broker believes to be read next."""
        with admin(self.bootstrap) as kafka:
            found = kafka.list_group_offsets({group: None})[group]
        return {Partition(p.topic, p.partition): offset.offset for p, offset in found.items()}

    def close(self) -> None:
        self._producer.close()


@dataclass
class Desk:
    """The database on which messages are carried out, and the settings that name it."""

    dsn: str
    settings: Settings
    post: Post

    @contextmanager
    def member(self) -> Iterator[Inbound]:
        """A member of the group that reads the topics, in a thread."""
        stop = threading.Event()
        failed: list[BaseException] = []
        with inbound(self.settings, self.dsn) as made:

            def follow() -> None:
                try:
                    made.follow(stop)
                except BaseException as error:  # noqa: BLE001 - told below
                    failed.append(error)

            thread = threading.Thread(target=follow, daemon=True)
            thread.start()
            try:
                yield made
            finally:
                stop.set()
                thread.join(60)
                assert not thread.is_alive()
        assert not failed, failed

    def carried_out(self) -> None:
        """Have everything that was sent carried out or parked."""
        with self.member():
            self.wait()

    def carried_out_again(self, count: int) -> None:
        """Read so many more messages than were sent, because some are read once more."""
        with self.member():
            self.post.sent += count
            self.wait()

    def wait(self, *, within: float = 60.0) -> None:
        """Wait until something has become of every message that was sent."""
        self.post.flush()
        eventually(lambda: sum(self.figures()) >= self.post.sent, within=within)

    def figures(self) -> tuple[int, int, int]:
        """How many were carried out, were repeats, were rejected."""
        ((carried_out, repeated, rejected),) = self.rows(FIGURES)
        return carried_out, repeated, rejected

    def rows(self, statement: Any, *arguments: Any) -> list[Any]:
        return looking.rows(self.dsn, statement, *arguments)

    def events(self, *types: str) -> list[dict[str, Any]]:
        """The fields of all events of these types, in order."""
        statement = "SELECT data FROM gradelog.events WHERE type = ANY (%s) ORDER BY position"
        return [json.loads(data) for (data,) in self.rows(statement, list(types))]

    def parked(self) -> list[tuple[str, str]]:
        """Reasons and details."""
        return self.rows("SELECT reason, detail FROM gradelog.inbound_parked ORDER BY id")
