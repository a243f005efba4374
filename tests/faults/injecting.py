"""Puts into topics what should not be there: repeats, messages out of order, and rubbish."""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, Final, Self

from consumers.kafka.client import Client, Headers, Message, Partition, Producer
from consumers.messages import topic_names
from consumers.relay.log import read
from consumers.relay.publisher import Figures, Publisher
from consumers.relay.store import RelayStore
from infra.relay import connect

STRETCH: Final = 200
PATIENCE: Final = 120.0


class Injector:
    """Sends to the topics of a prefix as anybody could who may write to them."""

    def __init__(self, client: Client, prefix: str, chance: random.Random) -> None:
        self._client = client
        self._names = list(topic_names(prefix).values())
        self._chance = chance
        self._open = ExitStack()
        self._admin = self._open.enter_context(closing(client.admin()))
        self._producer = self._open.enter_context(closing(client.producer()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def repeat(self) -> int:
        """Send a stretch of a partition again, in any order, some of it broken; how much it was.

        What was broken has its place in the log still, where readers have been already.
        """
        stretch = self._stretch(self._chance.choice(self._partitions()))
        self._chance.shuffle(stretch)
        for message in stretch:
            value = message.value or b""
            if self._chance.random() < 0.2:
                value = value[: len(value) // 2]
            self._send(message.partition, message.key, value, message.headers)
        self._producer.flush(PATIENCE)
        return len(stretch)

    def rubbish(self) -> int:
        """Send what is no message of the log at all to every partition; how much it was."""
        partitions = self._partitions()
        for partition in partitions:
            some: Sequence[tuple[bytes | None, bytes, Headers]] = [
                (None, b"", []),
                (b"key", self._chance.randbytes(100), [("ce_type", b"\xff\xfe")]),
                (b"key", b'{"a": 1}', [("ce_type", b"grades.ScoreSet"), ("ce_position", b"x")]),
            ]
            self._send(partition, *self._chance.choice(some))
        self._producer.flush(PATIENCE)
        return len(partitions)

    def _partitions(self) -> list[Partition]:
        found = self._admin.topics(self._names).values()
        return [Partition(topic.name, n) for topic in found for n in range(topic.partitions)]

    def _stretch(self, partition: Partition) -> list[Message]:
        """Some messages that stand one after the other."""
        found: list[Message] = []
        with closing(self._client.consumer()) as consumer:
            first = consumer.begin_offsets([partition])[partition]
            end = consumer.end_offsets([partition])[partition]
            if end > first:
                begin = self._chance.randrange(first, end)
                end = min(end, begin + STRETCH)
                consumer.assign({partition: begin})
                while begin < end and (messages := consumer.poll(PATIENCE, limit=STRETCH)):
                    found += messages
                    begin = messages[-1].offset + 1
        return found[:STRETCH]

    def _send(
        self, partition: Partition, key: bytes | None, value: bytes, headers: Headers
    ) -> None:
        self._producer.send(partition, key=key, value=value, headers=headers)


class ShufflingProducer:
    """Sends in any order what it was given, and some of it twice."""

    def __init__(self, producer: Producer, chance: random.Random) -> None:
        self._producer = producer
        self._chance = chance
        self._kept: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def send(self, partition: Partition, **message: Any) -> None:
        self._kept.append(lambda: self._producer.send(partition, **message))

    def let_go(self) -> int:
        """How many messages it sent."""
        again = self._chance.sample(self._kept, len(self._kept) // 4)
        everything = [*self._kept, *again]
        self._chance.shuffle(everything)
        for send in everything:
            send()
        self._producer.flush(PATIENCE)
        return len(everything)


def publish_out_of_order(
    dsn: str, client: Client, prefix: str, chance: random.Random, *, count: int = 500
) -> int:
    """Take the lease as a relay would and send what comes next in any order; save nothing.

    Returns:
        how many messages it sent; 0 if another relay holds the lease, or nothing comes next.
    """
    with ExitStack() as stack:
        db = stack.enter_context(connect(dsn))
        store = RelayStore(db, holder="shuffler:0:0", lifetime=60)
        if not store.acquire():
            return 0
        stack.callback(store.release)
        admin = stack.enter_context(closing(client.admin()))
        found = admin.topics(list(topic_names(prefix).values()))
        noted = store.topics()
        if {name: one.id for name, one in noted.items()} != {n: t.id for n, t in found.items()}:
            return 0
        producer = stack.enter_context(closing(client.producer()))
        shuffling = ShufflingProducer(producer, chance)
        topics = {purpose: found[name] for purpose, name in topic_names(prefix).items()}
        publisher = Publisher(shuffling, store, topics, source=b"/gradelog", figures=Figures())
        for _ in publisher.send(read(db, after=store.position, limit=count).events):
            pass
        return shuffling.let_go()
