"""Events of the log as CloudEvents 1.0 in structured mode: one JSON object with the event in it.

The attributes are the same that stand in the headers of Kafka messages. What the log stores
as JSON is passed on as it is, never decoded: what is sealed stays sealed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

MEDIA_TYPE: Final = "application/cloudevents+json"
BATCH_MEDIA_TYPE: Final = "application/cloudevents-batch+json"

SPECVERSION: Final = "1.0"
DATA_CONTENT_TYPE: Final = "application/json"

PROVENANCE: Final = {
    "actor": "actor",
    "on_behalf_of": "onbehalfof",
    "request_id": "requestid",
    "trace": "traceparent",
    "cause": "cause",
    "via": "via",
}
"""Extension attributes that tell who and why, by what the log's metadata calls them."""


class StoredEvent(NamedTuple):
    """An event as the log stores it; ``data`` and ``metadata`` are JSON texts."""

    position: int
    stream_id: UUID
    version: int
    type: str
    data: str
    metadata: str
    event_id: UUID
    recorded_at: datetime


COLUMNS: Final = "position, stream_id, version, type, data, metadata, event_id, recorded_at"
"""What ``StoredEvent`` wants of the table ``events``."""


def cloud_event(stored: StoredEvent, *, source: str) -> dict[str, Any]:
    """The attributes and the data, to be written by ``orjson``.

    Args:
        stored: the event.
        source: a URI reference that tells this log from others.
    """
    return {
        "specversion": SPECVERSION,
        "id": str(stored.event_id),
        "source": source,
        "type": stored.type,
        "time": _time_text(stored.recorded_at),
        "subject": str(stored.stream_id),
        "datacontenttype": DATA_CONTENT_TYPE,
        "position": stored.position,
        "streamversion": stored.version,
        **_provenance(stored.metadata),
        "data": orjson.Fragment(stored.data),
    }


def structured(stored: StoredEvent, *, source: str) -> bytes:
    """The event as one JSON text."""
    return orjson.dumps(cloud_event(stored, source=source))


@lru_cache(maxsize=256)  # neighbours were mostly caused by the same request
def _provenance(metadata: str) -> Mapping[str, str]:
    if metadata == "{}":
        return {}
    found = orjson.loads(metadata)
    return {name: str(found[key]) for key, name in PROVENANCE.items() if key in found}


def _time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
