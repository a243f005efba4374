"""Values in PostgreSQL's binary format, arrays of them made in one pass.

The driver dumps an array element by element through a dumper object; for the thousands of
small values of an append batch that costs several times what the server needs to store
them. Source: PostgreSQL, ``array_recv``.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

_INT4, _TEXT, _UUID, _BYTEA, _TIMESTAMPTZ = 23, 25, 2950, 17, 1184
_HEADER: Final = struct.Struct("!iiIii")
_EMPTY: Final = struct.Struct("!iiI")
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTHS: Final = [struct.pack("!i", n) for n in range(4096)]
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def integers(values: Sequence[int]) -> bytes:
    """``integer[]``."""
    flat = [part for value in values for part in (4, value)]
    return _array(_INT4, len(values), [struct.pack(f"!{len(flat)}i", *flat)])


def uuids(values: Sequence[bytes | None]) -> bytes:
    """``uuid[]``, from the 16 bytes of each."""
    return _array(
        _UUID,
        len(values),
        [_NULL if value is None else b"\0\0\0\x10" + value for value in values],
        nulls=None in values,
    )


def byte_strings(values: Sequence[bytes | None]) -> bytes:
    """``bytea[]``."""
    return _array(_BYTEA, len(values), _sized(values), nulls=None in values)


def texts(values: Sequence[str]) -> bytes:
    """``text[]``."""
    return _array(_TEXT, len(values), _sized([value.encode() for value in values]))


def timestamps(values: Sequence[datetime | None]) -> bytes:
    """``timestamptz[]``."""
    return _array(
        _TIMESTAMPTZ,
        len(values),
        [_NULL if value is None else b"\0\0\0\x08" + timestamp(value) for value in values],
        nulls=None in values,
    )


def timestamp(value: datetime) -> bytes:
    """One ``timestamptz``."""
    return struct.pack("!q", (value - _EPOCH) // _MICROSECOND)


def _array(oid: int, count: int, elements: Sequence[bytes], *, nulls: bool = False) -> bytes:
    if not count:
        return _EMPTY.pack(0, 0, oid)
    return b"".join((_HEADER.pack(1, nulls, oid, count, 1), *elements))


def _sized(values: Sequence[bytes | None]) -> list[bytes]:
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            length = len(value)
            parts.append(_LENGTHS[length] if length < 4096 else struct.pack("!i", length))
            parts.append(value)
    return parts
