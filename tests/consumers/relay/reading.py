"""Reads whole topics of events and checks what their readers rely on."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from consumers.kafka.client import Client, Message, Partition
from consumers.messages import Positioned, Reached, parse, partition_of, topic_names
from tests import looking

PATIENCE = 60.0


@dataclass
class Read:
    """What stands in topics, as a reader finds it who takes every event once.

    Attributes:
        messages: everything, repeats too, by partition and in its order.
        taken: the positions of the events that count, in the order in which they do.
        marks: those that came in their turn.
        repeats: how many messages had come before.
        ahead: how many messages came before one that they follow.
    """

    messages: dict[Partition, list[Message]] = field(default_factory=dict)
    taken: dict[Partition, list[int]] = field(default_factory=dict)
    marks: dict[Partition, list[Reached]] = field(default_factory=dict)
    repeats: int = 0
    ahead: int = 0

    @property
    def positions(self) -> list[int]:
        """Positions of all events that count, sorted."""
        return sorted(position for taken in self.taken.values() for position in taken)

    def events(self) -> dict[int, tuple[Message, Positioned]]:
        """The first message of each event by its position."""
        found: dict[int, tuple[Message, Positioned]] = {}
        for messages in self.messages.values():
            for message in messages:
                parsed = parse(message)
                if isinstance(parsed, Positioned):
                    found.setdefault(parsed.recorded.position, (message, parsed))
        return found


def read_topics(client: Client, prefix: str) -> Read:
    """Everything in the topics of a prefix, with the chain of each partition checked.

    Raises:
        AssertionError: something is missing, in the wrong partition, or out of order.
    """
    read = Read()
    found = raw(client, topic_names(prefix).values())
    counts = Counter(partition.topic for partition in found)
    for partition, messages in found.items():
        read.messages[partition] = messages
        for message in messages:
            if message.key is not None:
                assert partition.number == partition_of(message.key, counts[partition.topic])
        _follow(read, partition, messages)
    return read


def raw(client: Client, topics: Collection[str]) -> Mapping[Partition, list[Message]]:
    """Every message of some topics, by partition."""
    admin, consumer = client.admin(), client.consumer()
    try:
        found = {
            Partition(topic.name, number): list[Message]()
            for topic in admin.topics(topics).values()
            for number in range(topic.partitions)
        }
        ends = consumer.end_offsets(found)
        begins = consumer.begin_offsets(found)
        waiting = {partition for partition in found if ends[partition] > begins[partition]}
        if waiting:
            consumer.assign(dict.fromkeys(waiting))
        deadline = time.monotonic() + PATIENCE
        while waiting:
            assert time.monotonic() < deadline, f"nothing comes of {sorted(waiting)}"
            for message in consumer.poll(1.0, limit=5000):
                found[message.partition].append(message)
                if message.offset + 1 >= ends[message.partition]:
                    waiting.discard(message.partition)
        return found
    finally:
        consumer.close()
        admin.close()


def check_against_log(read: Read, dsn: str) -> None:
    """Every event of the log counts exactly once, and nothing else does."""
    rows = looking.rows(dsn, "SELECT position FROM gradelog.events ORDER BY position")
    assert read.positions == [position for (position,) in rows]


def published(dsn: str) -> int:
    """The position that the relay has saved."""
    ((position,),) = looking.rows(dsn, "SELECT position FROM gradelog.relay")
    return int(position)


def wait_until_published(
    dsn: str, position: int, *, alive: Callable[[], bool] = lambda: True
) -> None:
    """Wait for the relay to have saved at least a position."""
    deadline = time.monotonic() + PATIENCE
    while published(dsn) < position:
        assert time.monotonic() < deadline, f"{published(dsn)} of {position} published"
        assert alive()
        time.sleep(0.01)


def _follow(read: Read, partition: Partition, messages: list[Message]) -> None:
    """Take messages by the rule: after what was taken, or not yet, or again."""
    position = 0
    taken: list[int] = []
    marks: list[Reached] = []
    kept: list[tuple[int, int]] = []
    for message in messages:
        parsed = parse(message)
        if isinstance(parsed, Reached):
            if parsed.previous <= position <= parsed.position:
                assert parsed.previous == (taken[-1] if taken else 0), "a mark forgets an event"
                position = parsed.position
                marks.append(parsed)
            continue
        own = parsed.recorded.position
        if own <= position:
            read.repeats += 1
            continue
        if parsed.previous > position:
            read.ahead += 1
            kept.append((parsed.previous, own))
            continue
        assert parsed.previous == (taken[-1] if taken else 0), "the chain is broken"
        taken.append(own)
        position = own
        for previous, later in sorted(kept):
            if previous == position:
                taken.append(later)
                position = later
        kept = [one for one in kept if one[1] > position]
    assert not kept, f"{partition}: what comes before {kept[0]} is missing"
    read.taken[partition], read.marks[partition] = taken, marks
