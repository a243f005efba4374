"""Batches taken apart in one pass, against what the library itself reads in them."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import calc_crc32c

from consumers.kafka.client import Consumer, Message, Partition, Producer
from consumers.kafka.kafka_python_unpacking import (
    _ALIKE,
    _LENGTHS,
    _layouts,
    _unpacking,
    of_batch,
    of_records,
)
from tests.consumers.kafka.support import read, send_numbers, values

PARTITION = Partition("scores", 3)
GZIP, NOT_COMPRESSED = 1, 0

Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

texts = st.none() | st.binary(max_size=70) | st.integers(8190, 8194).map(lambda size: b"." * size)
"""Of lengths that take one, two and three bytes."""

records = st.tuples(
    st.integers(0, 2**41),
    texts,
    texts,
    st.lists(st.tuples(st.text(max_size=70), texts), max_size=4),
)


def batch_of(made: Sequence[Record], compression: int = NOT_COMPRESSED) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**30,
    )
    for number, (timestamp, key, value, headers) in enumerate(made):
        builder.append(number, timestamp, key, value, headers)
    return bytes(builder.build())


def as_ours(data: bytes) -> list[Message]:
    return of_batch(PARTITION, DefaultRecordBatch(data))


def as_theirs(data: bytes) -> list[Message]:
    return list(of_records(PARTITION, DefaultRecordBatch(data)))


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """Begin without knowing how headers are divided, and leave nothing of it to others."""
    _layouts.clear()
    yield
    _layouts.clear()


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=5), st.sampled_from([NOT_COMPRESSED, GZIP]))
def test_the_same_messages_are_found(made: list[Record], compression: int) -> None:
    data = batch_of(made, compression)
    found = as_ours(data)
    assert found == as_theirs(data)
    assert [(m.offset, m.timestamp) for m in found] == [(n, r[0]) for n, r in enumerate(made)]


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_what_the_library_refuses_is_refused(made: list[Record], data: st.DataObject) -> None:
    """Damage that a checksum would have shown: no other message than the library's comes of it."""
    whole = bytearray(batch_of(made))
    as_ours(bytes(whole))  # how its headers are divided is known from here on
    place = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        expected = as_theirs(bytes(whole))
    except CorruptRecordError:
        with pytest.raises(CorruptRecordError):
            as_ours(bytes(whole))
    else:
        assert as_ours(bytes(whole)) == expected


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_what_ends_too_early_or_too_late_is_refused(
    made: list[Record], data: st.DataObject
) -> None:
    whole = batch_of(made)
    as_ours(whole)
    with pytest.raises(CorruptRecordError):
        as_ours(whole + b"\0")
    end = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(whole) - 1))
    with pytest.raises(CorruptRecordError):
        as_ours(whole[:end])


few = st.binary(max_size=2)
alike = st.tuples(
    st.just(0),
    st.none(),
    st.none(),
    st.lists(st.tuples(st.sampled_from(["a", "b", "cd", ""]), st.none() | few), max_size=3),
)
"""So short that many are of one length, and divided in one way or another."""


@settings(deadline=None)
@given(st.lists(alike, min_size=1, max_size=20))
def test_headers_of_one_length_are_told_apart(made: list[Record]) -> None:
    data = batch_of(made)
    assert as_ours(data) == as_ours(data) == as_theirs(data)


def test_headers_like_those_before_are_not_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def message(type_: bytes, position: int) -> Record:
        headers: list[tuple[str, bytes | None]] = [
            ("ce_type", type_),
            ("ce_subject", b"%036d" % position),
            ("ce_position", b"%d" % position),
        ]
        return position, b"course", b"{}", headers

    as_ours(batch_of([message(b"scored", 1000), message(b"submitted", 1001)]))
    monkeypatch.setattr("consumers.kafka.kafka_python_unpacking._headers", never)
    data = batch_of([message(b"erased", 77)])
    with pytest.raises(AssertionError):
        as_ours(data)  # a position of two digits was not seen before
    data = batch_of([message(b"erased", 9002), message(b"dismissed", 9003)])
    assert as_ours(data) == as_theirs(data)


def test_of_headers_that_are_never_alike_only_some_are_remembered() -> None:
    made = [(0, None, None, [("name", b"." * size)]) for size in range(2 * _LENGTHS)]
    made += [(0, None, None, [(chr(n), b"value")]) for n in range(97, 97 + 2 * _ALIKE)]
    data = batch_of(made)
    assert as_ours(data) == as_ours(data) == as_theirs(data)
    assert len(_layouts) <= _LENGTHS
    assert max(map(len, _layouts.values())) <= _ALIKE


HEADER = DefaultRecordBatch.HEADER_STRUCT
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"


@dataclass(frozen=True)
class Stored:
    """A batch as a broker keeps it.

    Attributes:
        after: how many offsets before it hold nothing any more.
        places: the offsets in it that still hold a record.
        size: how many there were.
        sender: the number of an idempotent sender, or -1.
        marker: what it says of the sender's transaction instead.
    """

    after: int
    places: Sequence[int]
    size: int
    epoch: int = 0
    sender: int = -1
    is_transactional: bool = False
    is_dated_by_broker: bool = False
    marker: bytes | None = None

    def bytes_at(self, offset: int) -> bytes:
        builder = DefaultRecordBatchBuilder(2, 0, self.is_transactional, self.sender, 0, 0, 2**30)
        for place in self.places:
            builder.append(place, 1000 + place, self.marker, b"value", [("name", b"value")])
        made = builder.build()
        fields = list(HEADER.unpack_from(made))
        fields[0], fields[2], fields[6] = offset, self.epoch, self.size - 1
        fields[5] |= DefaultRecordBatch.TIMESTAMP_TYPE_MASK * self.is_dated_by_broker
        fields[5] |= DefaultRecordBatch.CONTROL_MASK * (self.marker is not None)
        HEADER.pack_into(made, 0, *fields)
        checksum = calc_crc32c(memoryview(made)[DefaultRecordBatch.ATTRIBUTES_OFFSET :])
        struct.pack_into(">I", made, DefaultRecordBatch.CRC_OFFSET, checksum)
        return bytes(made)


@dataclass(frozen=True)
class Aborted:
    """What a broker tells of a transaction that was taken back."""

    producer_id: int
    first_offset: int


def stored(batches: Sequence[Stored]) -> bytes:
    data, offset = b"", 0
    for batch in batches:
        data += batch.bytes_at(offset + batch.after)
        offset += batch.after + batch.size
    return data


def parts(
    kind: type, data: bytes, begin: int, limit: int, aborted: Sequence[Aborted]
) -> list[tuple[list[tuple[int, int]], int, int]]:
    """What is taken bit by bit, and where the consumer then believes to be."""
    part = kind(
        begin,
        TopicPartition(*PARTITION),
        MemoryRecords(data),
        isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=aborted,
    )
    found = []
    while part:
        taken = [(one.offset, one.timestamp) for one in part.take(limit)]
        found.append((taken, part.next_fetch_offset, part.leader_epoch))
    return found


@st.composite
def kept(draw: st.DrawFn) -> Stored:
    """A batch of any kind, of whose records a compaction has left some."""
    after, epoch = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    sender = draw(st.sampled_from([-1, 7, 8]))
    if sender >= 0 and draw(st.booleans()):
        return Stored(
            after, [0], 1, epoch, sender, True, marker=draw(st.sampled_from([ABORT, COMMIT]))
        )
    size = draw(st.integers(1, 4))
    places = sorted(draw(st.sets(st.integers(0, size - 1))))
    return Stored(
        after, places, size, epoch, sender, sender >= 0 and draw(st.booleans()), draw(st.booleans())
    )


@settings(deadline=None)
@given(
    st.lists(kept(), min_size=1, max_size=6),
    st.lists(st.builds(Aborted, st.sampled_from([7, 8]), st.integers(0, 20)), max_size=4),
    st.integers(0, 12),
    st.integers(1, 5),
)
@example(  # what the same sender sends after its end of what was taken back
    [
        Stored(0, [0], 1, sender=7, is_transactional=True),
        Stored(0, [0], 1, sender=7, is_transactional=True, marker=ABORT),
        Stored(0, [0], 1, sender=7, is_transactional=True),
    ],
    [Aborted(7, 0)],
    0,
    5,
)
def test_several_batches_are_read_bit_by_bit_from_any_offset(
    batches: list[Stored], aborted: list[Aborted], begin: int, limit: int
) -> None:
    theirs = Fetcher.PartitionRecords
    data = stored(batches)
    expected = parts(theirs, data, begin, limit, aborted)
    assert parts(_unpacking(theirs), data, begin, limit, aborted) == expected


def test_a_marker_that_was_compacted_away_holds_nobody_up() -> None:
    emptied = Stored(0, [], 1, sender=7, is_transactional=True, marker=ABORT)
    data = stored([Stored(0, [0], 1), emptied, Stored(0, [0], 1)])
    found = parts(_unpacking(Fetcher.PartitionRecords), data, 0, 10, [])
    assert found == [([(0, 1000), (2, 1000)], 3, 0)]


def test_messages_of_the_format_before_are_read() -> None:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=GZIP, batch_size=2**20)
    for n in range(5):
        builder.append(n, 1000 + n, b"key", b"value" * n)
    data = bytes(builder.build())
    theirs = Fetcher.PartitionRecords
    expected = parts(theirs, data, 2, 2, [])
    assert parts(_unpacking(theirs), data, 2, 2, []) == expected
    assert expected[0][0] == [(2, 1002), (3, 1003)]


def test_a_wrong_checksum_is_told() -> None:
    damaged = bytearray(batch_of([(1, b"key", b"value", [])]))
    damaged[-2] ^= 1
    part = _unpacking(Fetcher.PartitionRecords)(
        0, TopicPartition(*PARTITION), MemoryRecords(bytes(damaged))
    )
    with pytest.raises(CorruptRecordError, match="checksum"):
        part.take(10)


def never(*_: object, **__: object) -> None:
    raise AssertionError("it was read in the other way")


@pytest.mark.kafka
@pytest.mark.parametrize("library", ["kafka-python"])
@pytest.mark.parametrize("has_changed", [False, True])
def test_a_consumer_reads_so_unless_the_library_has_changed(
    producer: Producer,
    consumer: Consumer,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    has_changed: bool,
) -> None:
    theirs = Fetcher.PartitionRecords
    if has_changed:
        unpack = theirs._unpack_records

        def unpack_other(self: Any, *given: Any) -> Any:
            return unpack(self, *given)

        monkeypatch.setattr(theirs, "_unpack_records", unpack_other)
        monkeypatch.setattr("consumers.kafka.kafka_python_unpacking._messages", never)
    else:
        monkeypatch.setattr("kafka.consumer.fetcher.ConsumerRecord", never)
    send_numbers(producer, topic, range(8), 4)
    consumer.assign({Partition(topic, 0): 0, Partition(topic, 1): 1})
    found = read(consumer, 3)
    assert values(found) == {0: [0, 4], 1: [5]}
    assert {type(message) for message in found} == {Message}
    assert {tuple(message.headers) for message in found} == {
        (("number", number),) for number in (b"0", b"4", b"5")
    }
