"""Messages of the event bus as bytes: Avro in the frame of Confluent, CloudEvents in headers."""

import io
import struct
import zlib
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from fastavro import schemaless_reader, schemaless_writer
from fastavro.types import Schema

from consumers.openedx.registry import Registry
from consumers.openedx.signals import LIBRARY, Definition, Signal, key_of, value_of
from domain.events import Recorded

AVRO: Final = b"application/avro"
_FRAME: Final = struct.Struct(">bI")
_MAGIC: Final = 0


class FrameError(Exception):
    """Bytes are not what the event bus carries."""


class Framed(NamedTuple):
    """The number of a schema, and the bytes that it explains."""

    schema_id: int
    body: bytes


class Encoded(NamedTuple):
    """A message of the event bus."""

    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def encode(
    signal: Signal, recorded: Recorded, *, topic: str, registry: Registry, source: str, host: str
) -> Encoded:
    """The message of a signal that an event of the log brought about.

    Raises:
        RegistryError: a schema has no number and gets none.
    """
    return Encoded(
        _framed(key_of(signal.type), signal.key, topic, registry),
        _framed(value_of(signal.type), signal.record, topic, registry),
        [
            ("ce_specversion", b"1.0"),
            ("content-type", AVRO),
            ("ce_datacontenttype", AVRO),
            ("ce_type", signal.type.encode()),
            ("ce_id", str(id_of(signal.type, recorded.event_id)).encode()),
            ("ce_source", source.encode()),
            ("ce_time", recorded.recorded_at.astimezone(UTC).isoformat().encode()),
            ("ce_minorversion", b"0"),
            ("sourcehost", host.encode()),
            ("sourcelib", LIBRARY.encode()),
        ],
    )


def id_of(type_: str, event_id: UUID) -> UUID:
    """The id of a signal: a repeat has the same, and another signal of the event another."""
    return uuid5(event_id, type_)


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key, as the library that Open edX writes with finds it.

    So what is said of a course stays in one partition, whoever of the two says it.

    Source: librdkafka, its partitioner ``consistent_random``.
    """
    return zlib.crc32(key) % count


def open_frame(value: bytes | None) -> Framed:
    """Take a value apart.

    Raises:
        FrameError: it is not framed.
    """
    if value is None or len(value) < _FRAME.size:
        raise FrameError("the value is too short for the frame of a schema registry")
    magic, schema_id = _FRAME.unpack_from(value)
    if magic != _MAGIC:
        raise FrameError(f"the value begins with {magic}, not with 0")
    return Framed(schema_id, value[_FRAME.size :])


def decode(body: bytes, written_by: Schema, read_by: Schema) -> Any:
    """What Avro bytes say, in the schema of the reader.

    Raises:
        FrameError: the bytes or the schemas do not fit.
    """
    data = io.BytesIO(body)
    try:
        found = schemaless_reader(data, written_by, read_by)
    except Exception as error:
        raise FrameError(f"the value does not fit its schema: {error}") from error
    if data.read(1):
        raise FrameError("the value has more bytes than its schema explains")
    return found


def _framed(definition: Definition, content: Any, topic: str, registry: Registry) -> bytes:
    id_ = registry.id_of(f"{topic}-{definition.name}", definition.text)
    out = io.BytesIO()
    out.write(_FRAME.pack(_MAGIC, id_))
    schemaless_writer(out, definition.schema, content)
    return out.getvalue()
