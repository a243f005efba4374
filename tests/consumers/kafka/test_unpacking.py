"""Batches taken apart in one pass, against what the library itself reads in them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from consumers.kafka.client import Message, Partition
from consumers.kafka.kafka_python_unpacking import _unpacking, of_batch, of_records

PARTITION = Partition("scores", 3)
GZIP, NOT_COMPRESSED = 1, 0

Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

texts = st.none() | st.binary(max_size=70) | st.binary(min_size=8200, max_size=8300)
records = st.tuples(
    st.integers(0, 2**41),
    texts,
    texts,
    st.lists(st.tuples(st.text(max_size=70), texts), max_size=20),
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


@given(st.lists(records, min_size=1, max_size=5), st.sampled_from([NOT_COMPRESSED, GZIP]))
def test_the_same_messages_are_found(made: list[Record], compression: int) -> None:
    data = batch_of(made, compression)
    found = as_ours(data)
    assert found == as_theirs(data)
    assert [(m.offset, m.timestamp) for m in found] == [(n, r[0]) for n, r in enumerate(made)]


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_what_the_library_refuses_is_refused(made: list[Record], data: st.DataObject) -> None:
    """Damage that a checksum would have shown: no other message than the library's comes of it."""
    whole = bytearray(batch_of(made))
    place = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        expected = as_theirs(bytes(whole))
    except CorruptRecordError:
        with pytest.raises(CorruptRecordError):
            as_ours(bytes(whole))
    else:
        assert as_ours(bytes(whole)) == expected


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_what_ends_too_early_or_too_late_is_refused(
    made: list[Record], data: st.DataObject
) -> None:
    whole = batch_of(made)
    with pytest.raises(CorruptRecordError):
        as_ours(whole + b"\0")
    end = data.draw(st.integers(DefaultRecordBatch.HEADER_STRUCT.size, len(whole) - 1))
    with pytest.raises(CorruptRecordError):
        as_ours(whole[:end])


@given(
    st.lists(st.lists(records, min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(0, 12),
    st.integers(1, 5),
)
def test_several_batches_are_read_bit_by_bit_from_any_offset(
    batches: list[list[Record]], begin: int, limit: int
) -> None:
    fetched, offset = b"", 0
    for made in batches:
        fetched += offset.to_bytes(8) + batch_of(made)[8:]
        offset += len(made)

    def read(kind: type) -> list[tuple[int, int, int]]:
        part = kind(begin, TopicPartition(*PARTITION), MemoryRecords(fetched))
        found = []
        while part:
            taken = part.take(limit)
            found += [(one.offset, one.timestamp, part.leader_epoch) for one in taken]
        return [*found, (part.next_fetch_offset, 0, 0)]

    theirs = Fetcher.PartitionRecords
    assert read(_unpacking(theirs)) == read(theirs)


def test_a_wrong_checksum_is_told() -> None:
    damaged = bytearray(batch_of([(1, b"key", b"value", [])]))
    damaged[-2] ^= 1
    part = _unpacking(Fetcher.PartitionRecords)(
        0, TopicPartition(*PARTITION), MemoryRecords(bytes(damaged))
    )
    with pytest.raises(CorruptRecordError, match="checksum"):
        part.take(10)
