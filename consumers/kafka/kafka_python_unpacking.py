"""Takes the record batches of kafka-python apart, in one pass and straight into messages.

The library fetches them, checks and decompresses them, and knows what was taken back. But it
reads a record with some thirty calls, makes an object with properties of it, and of that another
one with fields that nobody asks for.
"""

import inspect
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

from consumers.kafka.client import Message, Partition

_UNPACK: Final = ["self", "tp", "records", "key_deserializer", "value_deserializer"]
_OF_A_PART: Final = (
    *("_consume_aborted_transactions_up_to", "_contains_abort_marker", "_is_batch_aborted"),
    "drain",
)
_OF_A_BATCH: Final = ("_maybe_uncompress", "_buffer", "_pos")
_MAGIC: Final = 2

_LENGTHS: Final = 500
_ALIKE: Final = 4
"""Of headers of so many lengths, and of so many kinds of each, it is remembered how they are
divided. More would be those of somebody who has no two messages alike."""


def unpack_in_one_pass(consumer: KafkaConsumer) -> None:
    """Let a consumer return messages instead of the library's records, if it can be told so."""
    fetcher: Any = getattr(consumer, "_fetcher", None)
    theirs = getattr(fetcher, "PartitionRecords", None)
    unpack = getattr(theirs, "_unpack_records", None)
    if (
        unpack is not None
        and [*inspect.signature(unpack).parameters] == _UNPACK
        and all(hasattr(theirs, name) for name in _OF_A_PART)
        and all(hasattr(DefaultRecordBatch, name) for name in _OF_A_BATCH)
    ):
        fetcher.PartitionRecords = _unpacking(theirs)


def _unpacking(theirs: Any) -> Any:
    class PartitionRecords(theirs):  # type: ignore[misc]
        """What was fetched of a partition."""

        def _unpack_records(
            self, tp: TopicPartition, records: Any, *_deserializers: None
        ) -> Iterator[Message]:
            partition = Partition(*tp)
            while (batch := records.next_batch()) is not None:
                if self.check_crcs and not batch.validate_crc():
                    raise CorruptRecordError(
                        f"The checksum of the batch at offset {batch.base_offset} of"
                        f" {tp.topic}[{tp.partition}] does not fit."
                    )
                self.bytes_read += batch.size_in_bytes
                if batch.magic != _MAGIC:  # of before Kafka 0.11, with which nobody hurries
                    for message in of_records(partition, batch):
                        self.next_fetch_offset = message.offset + 1
                        yield message
                    continue
                self.leader_epoch = batch.leader_epoch
                if not self._is_passed_over(batch):
                    for message in of_batch(partition, batch):
                        self.next_fetch_offset = message.offset + 1
                        yield message
                # Also where the last of its records were left out when the topic was compacted.
                self.next_fetch_offset = batch.next_offset
            self.drain()

        def _is_passed_over(self, batch: DefaultRecordBatch) -> bool:
            """Whether nothing of a batch is for a reader of what was not taken back."""
            if self.isolation_level and batch.has_producer_id():
                self._consume_aborted_transactions_up_to(batch.last_offset)
                # Compaction may leave the batch of a marker without it: the library stumbles there.
                if batch.records_count and self._contains_abort_marker(batch):
                    self.aborted_producer_ids.discard(batch.producer_id)
                elif self._is_batch_aborted(batch):
                    return True
            return bool(batch.is_control_batch)

    return PartitionRecords


def of_records(partition: Partition, records: Iterable[Any]) -> Iterator[Message]:
    """The messages of the library's records."""
    for record in records:
        yield Message(
            partition, record.offset, record.key, record.value, record.headers, record.timestamp
        )


def of_batch(partition: Partition, batch: DefaultRecordBatch) -> list[Message]:
    """The messages of a batch that is checked and not read yet.

    Raises:
        CorruptRecordError: it is not what it says.
    """
    batch._maybe_uncompress()  # noqa: SLF001
    try:
        return _messages(partition, batch, bytes(batch._buffer), batch._pos)  # noqa: SLF001
    except (IndexError, ValueError, struct.error) as error:
        raise CorruptRecordError(
            f"The batch at offset {batch.base_offset} of {partition.topic}[{partition.number}]"
            f" cannot be read: {error}"
        ) from None


def _messages(
    partition: Partition, batch: DefaultRecordBatch, data: bytes, at: int
) -> list[Message]:
    """What stands in the bytes of a batch from a place on.

    A record is: length, attributes, timestamp and offset less those of the batch, key, value,
    headers; each number of variable length, each text after its length, -1 for none. Numbers
    of one byte are most of them, and of two halves in one: their double if they are not below 0.
    """
    first_offset = batch.base_offset
    first_time, appended = batch.first_timestamp, batch.max_timestamp
    is_appended = batch.timestamp_type == batch.LOG_APPEND_TIME
    messages = []
    for _ in range(batch.records_count):
        length, at = _number(data, at)
        end = at + length
        _, at = _number(data, at)
        later, at = _number(data, at)
        further, at = _number(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        for layout in _layouts.get(end - at, ()):
            headers = layout.read(data, at)
            if headers is not None:
                break
        else:
            headers = _headers(data, at, end)
        at = end
        messages.append(
            Message(
                partition,
                first_offset + further,
                key,
                value,
                headers,  # type: ignore[arg-type]  # a stranger's may have no value
                appended if is_appended else first_time + later,
            )
        )
    if at != len(data):
        raise ValueError("more stands in it than it says")
    return messages


def _headers(data: bytes, begin: int, end: int) -> list[tuple[str, bytes | None]]:
    """The headers that stand there, one after the other."""
    count, at = _number(data, begin)
    if count < 0:
        raise ValueError("a record has less than no headers")
    headers: list[tuple[str, bytes | None]] = []
    values: list[slice] = []
    for _ in range(count):
        size = data[at]
        if size & 0x81:
            size, at = _number(data, at)
            if size < 0:
                raise ValueError("a header has no name")
            start = at
        else:
            size >>= 1
            start = at + 1
        at = start + size
        name = data[start:at].decode()
        text, at = _bytes(data, at)
        headers.append((name, text))
        if text is not None:
            values.append(slice(at - len(text) - begin, at - begin))
    if at != end:
        raise ValueError("a record is not as long as it says")
    if len(values) == count:
        _learn(data[begin:end], [name for name, _ in headers], values)
    return headers


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number and where the next thing begins. Most of them are of one or two bytes."""
    low = data[at]
    if low < 0x80:
        return low >> 1 ^ -(low & 1), at + 1
    high = data[at + 1]
    if high < 0x80:
        return (low & 0x7F | high << 7) >> 1 ^ -(low & 1), at + 2
    found: tuple[int, int] = decode_varint(data, at)
    return found


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _number(data, at)
    return (None, at) if size < 0 else (data[at : at + size], at + size)


class _Layout:
    """How headers are divided: of many messages alike, which is seen sooner than found out."""

    __slots__ = ("_between", "_divide", "_names")

    def __init__(self, block: bytes, names: Sequence[str], values: Sequence[slice]) -> None:
        """Of headers that were read, and of where their values are."""
        self._names = names
        sizes, end = "", 0
        between = []
        for value in values:
            between.append(block[end : value.start])
            sizes += f"{value.start - end}s{value.stop - value.start}s"
            end = value.stop
        self._between = tuple(between)
        self._divide = struct.Struct(sizes).unpack_from

    def read(self, data: bytes, at: int) -> list[tuple[str, bytes | None]] | None:
        """The headers that begin there; None if they are others, or divided in another way."""
        parts = self._divide(data, at)
        if parts[::2] != self._between:  # the count, the names, and the length of every text
            return None
        return [*zip(self._names, parts[1::2], strict=True)]


_layouts: Final[dict[int, list[_Layout]]] = {}
"""By the bytes of all headers together."""


def _learn(block: bytes, names: Sequence[str], values: Sequence[slice]) -> None:
    known = _layouts.setdefault(len(block), []) if len(_layouts) < _LENGTHS else []
    if names and len(known) < _ALIKE:
        known.append(_Layout(block, names, values))
