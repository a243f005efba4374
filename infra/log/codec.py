"""Events as they are stored: JSON text beside a stored name, metadata beside the event."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson

from domain.events import NOBODY, Event, Provenance, Recorded, from_state, to_state


def _default(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in an event")


def encode_event(event: Event) -> bytes:
    """The fields of an event as JSON; times in UTC with ``Z``."""
    return orjson.dumps(to_state(event), default=_default, option=orjson.OPT_UTC_Z)


def decode_event(type_: str, data: str, stream_id: UUID, version: int) -> Event:
    """The event of a stored row, upcast to its current version."""
    return from_state(type_, orjson.loads(data), stream_id, version)


@lru_cache(maxsize=64)
def encode_provenance(provenance: Provenance) -> str:
    """The metadata of an append as JSON."""
    if provenance is NOBODY:
        return "{}"
    return orjson.dumps(provenance.as_dict()).decode()


def decode_provenance(metadata: str) -> Provenance:
    """Read what ``encode_provenance`` wrote."""
    return NOBODY if metadata == "{}" else Provenance.from_dict(orjson.loads(metadata))


RECORDED_COLUMNS: Final = (
    "position, stream_id, version, type, data, metadata, event_id, recorded_at"
)
"""What ``decode_rows`` wants of the table ``events``."""


def decode_rows(rows: Iterable[Sequence[Any]]) -> list[Recorded]:
    """Rows of ``RECORDED_COLUMNS`` as recorded events.

    Raises:
        UnknownEventTypeError: a newer version of the code wrote one of them.
    """
    recorded = []
    metadata_seen, provenance = "{}", NOBODY
    for position, stream_id, version, type_, data, metadata, event_id, recorded_at in rows:
        if metadata != metadata_seen:  # neighbours were mostly caused by the same request
            metadata_seen, provenance = metadata, decode_provenance(metadata)
        recorded.append(
            Recorded(
                position,
                from_state(type_, orjson.loads(data), stream_id, version),
                type_,
                event_id,
                recorded_at,
                provenance,
            )
        )
    return recorded
