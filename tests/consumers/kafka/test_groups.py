"""Members of a group share partitions and hand them over with their places."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing

import pytest

from consumers.kafka.client import Admin, Client, Consumer, Partition, Producer, UnknownTopicError
from tests.consumers.kafka.support import Reader, poll_until, send_numbers, until, values

pytestmark = pytest.mark.kafka


def places(topic: str) -> set[Partition]:
    return {Partition(topic, number) for number in range(4)}


def test_one_member_reads_everything_from_where_it_says(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    send_numbers(producer, topic, range(40), 4)
    reader = Reader(member(), topic, {Partition(topic, 0): 9, Partition(topic, 1): 10})
    poll_until(lambda: len(reader.read) >= 21, reader)
    assert values(reader.read) == {0: [36], 2: [*range(2, 40, 4)], 3: [*range(3, 40, 4)]}
    assert set(reader.given) == places(topic)
    assert reader.consumer.assignment() == places(topic)


def test_members_share_and_hand_over_and_nothing_is_read_twice_or_never(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    kept: dict[Partition, int] = {}
    send_numbers(producer, topic, range(400), 4)
    first = Reader(member(), topic, kept)
    poll_until(lambda: len(first.read) >= 50, first)
    second = Reader(member(), topic, kept)
    poll_until(
        lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 2,
        first,
        second,
    )
    assert first.consumer.assignment() | second.consumer.assignment() == places(topic)
    assert set(first.taken) == second.consumer.assignment()
    send_numbers(producer, topic, range(400, 800), 4)
    third = Reader(member(), topic, kept)
    poll_until(lambda: bool(third.consumer.assignment()), first, second, third)
    # The third leaves in the middle of its partition; the others go on exactly there.
    third.poll(limit=3)
    left = third.consumer.assignment()
    third.consumer.close()
    assert left <= set(third.taken)
    assert third.consumer.assignment() == frozenset()
    readers = (first, second)
    poll_until(lambda: sum(len(reader.consumer.assignment()) for reader in readers) == 4, *readers)
    send_numbers(producer, topic, range(800, 1000), 4)
    everything = lambda: [*first.read, *second.read, *third.read]  # noqa: E731
    poll_until(lambda: len(everything()) >= 1000, *readers)
    found = everything()
    assert sorted(int(message.value or b"") for message in found) == [*range(1000)]
    for reader in (first, second, third):
        for number in range(4):
            offsets = [m.offset for m in reader.read if m.partition.number == number]
            assert offsets == sorted(offsets)


def test_pausing_keeps_the_partition_in_the_group(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    send_numbers(producer, topic, range(4), 4)
    reader = Reader(member(), topic, {})
    poll_until(lambda: len(reader.read) == 4, reader)
    reader.consumer.pause(places(topic))
    send_numbers(producer, topic, range(4, 8), 4)
    assert list(reader.consumer.poll(1.0, limit=10)) == []
    assert reader.consumer.assignment() == places(topic)
    reader.consumer.resume(places(topic))
    poll_until(lambda: len(reader.read) == 8, reader)


def test_a_partition_paused_as_it_is_assigned_waits(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    send_numbers(producer, topic, range(8), 4)
    consumer, held = member(), Partition(topic, 2)

    def assigned(partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        consumer.pause([held])
        return dict.fromkeys(partitions)

    consumer.subscribe([topic], on_assigned=assigned, on_revoked=lambda _: None)
    found = []
    until(lambda: found.extend(consumer.poll(0.2, limit=10)) or len(found) == 6)
    assert list(consumer.poll(0.5, limit=10)) == []
    consumer.resume([held])
    until(lambda: found.extend(consumer.poll(0.2, limit=10)) or len(found) == 8)
    assert values(found)[2] == [2, 6]


def test_whoever_cannot_say_where_to_begin_is_asked_again(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    send_numbers(producer, topic, range(8), 4)
    asked: list[frozenset[Partition]] = []

    def assigned(partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
        asked.append(frozenset(partitions))
        if len(asked) < 3:
            raise RuntimeError("the database is away")
        return dict.fromkeys(partitions, 1)

    consumer = member()
    consumer.subscribe([topic], on_assigned=assigned, on_revoked=lambda _: None)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="away"):
            until(lambda: bool(consumer.poll(0.2, limit=10)))
        assert consumer.assignment() == frozenset()
    found = []
    until(lambda: found.extend(consumer.poll(0.2, limit=10)) or len(found) == 4)
    assert values(found) == {0: [4], 1: [5], 2: [6], 3: [7]}
    assert set(asked) == {frozenset(places(topic))}


def test_members_that_poll_short_and_seldom_come_to_rest(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    kept: dict[Partition, int] = {}
    readers = [Reader(member(), topic, kept) for _ in range(3)]

    def at_rest() -> bool:
        for reader in readers:
            time.sleep(0.1)  # what a batch takes; whatever the group decides, it decides now
            reader.poll(0.001)
        return sorted(len(reader.consumer.assignment()) for reader in readers) == [1, 1, 2]

    until(at_rest)
    send_numbers(producer, topic, range(40), 4)
    poll_until(lambda: sum(len(reader.read) for reader in readers) == 40, *readers)


def test_a_member_that_works_while_the_group_settles_stays_in_it(
    member: Callable[[], Consumer], topic: str
) -> None:
    first = Reader(member(), topic, {})
    until(lambda: first.poll(0.05) or first.consumer.assignment() == places(topic))
    # Members find out that they know the topic only now, and join again; that ends meanwhile.
    first.poll(0.001)
    time.sleep(0.5)
    second = Reader(member(), topic, {})
    both = [first, second]
    poll_until(lambda: [len(one.consumer.assignment()) for one in both] == [2, 2], *both)
    assert first.consumer.assignment() | second.consumer.assignment() == places(topic)


def test_committed_offsets_are_there_for_those_who_measure_and_for_nobody_else(
    member: Callable[[], Consumer], producer: Producer, topic: str
) -> None:
    send_numbers(producer, topic, range(8), 4)
    reader = Reader(member(), topic, {})
    poll_until(lambda: len(reader.read) == 8, reader)
    reader.consumer.commit(reader.kept)
    reader.consumer.close()
    again = Reader(member(), topic, {})  # has forgotten everything, and begins at the beginning
    poll_until(lambda: len(again.read) == 8, again)
    assert values(again.read) == values(reader.read)


def test_a_group_waits_for_its_topic(
    member: Callable[[], Consumer], admin: Admin, topic_prefix: str
) -> None:
    name = f"{topic_prefix}.later"
    reader = Reader(member(), name, {})
    for _ in range(5):
        reader.poll(0.2)
    assert reader.given == []


def test_a_deleted_topic_is_told_to_the_group(
    member: Callable[[], Consumer], admin: Admin, topic: str
) -> None:
    reader = Reader(member(), topic, {})
    poll_until(lambda: reader.consumer.assignment() == places(topic), reader)
    admin.delete([topic])
    with pytest.raises(UnknownTopicError, match=topic):
        poll_until(lambda: False, reader)


def test_without_a_group_nothing_is_shared(kafka_client: Client, topic: str) -> None:
    with closing(kafka_client.consumer()) as alone, pytest.raises(ValueError, match="group"):
        alone.subscribe([topic], on_assigned=dict.fromkeys, on_revoked=lambda _: None)
