"""Takes the record batches of kafka-python apart, in one pass and straight into messages.

The library fetches them, checks and decompresses them, and knows what was taken back. But it
reads a record with some thirty calls, makes an object with properties of it, and of that another
one with fields that nobody asks for.
"""

import inspect
from collections.abc import Iterable, Iterator
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
    except (IndexError, ValueError) as error:
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
        length, at = decode_varint(data, at)
        end = at + length
        _, at = decode_varint(data, at)
        later, at = decode_varint(data, at)
        further, at = decode_varint(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        count, at = decode_varint(data, at)
        if count < 0:
            raise ValueError("a record has less than no headers")
        headers = []
        for _ in range(count):
            size = data[at]
            if size & 0x81:
                size, at = decode_varint(data, at)
                if size < 0:
                    raise ValueError("a header has no name")
                start = at
            else:
                size >>= 1
                start = at + 1
            at = start + size
            name = data[start:at].decode()
            size = data[at]
            if size & 0x81:
                text, at = _bytes(data, at)
                headers.append((name, text))
            else:
                start = at + 1
                at = start + (size >> 1)
                headers.append((name, data[start:at]))
        if at != end:
            raise ValueError("a record is not as long as it says")
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


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(data, at)
    return (None, at) if size < 0 else (data[at : at + size], at + size)
