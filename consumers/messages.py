"""Events of the log as Kafka messages: CloudEvents 1.0 in binary mode, and back.

The value is the JSON of the event as the log holds it; everything else is a header. Beside
the attributes of CloudEvents stand those that make the log's order checkable: ``position`` in
the one total order, and ``previous``, the position of the event before it in its partition. A
reader that has applied a partition up to P takes a message if ``previous`` is at most P and
``position`` is above: whatever is repeated or out of order shows itself.

Between events stand marks (type ``gradelog.Reached``): every event of the partition up to the
mark's position stands before it, also if the partition has been quiet for long.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID, SafeUUID

import orjson

from consumers.kafka.client import Message
from domain.events import NOBODY, Provenance, Recorded, event_type, from_state

JSON: Final = b"application/json"
SPECVERSION: Final = b"1.0"
REACHED: Final = "gradelog.Reached"
_REACHED: Final = REACHED.encode()

COURSES: Final = "courses"
PEOPLE: Final = "people"
"""Topics, after the prefix."""

LAST_POSITION: Final = 2**63 - 1

_PROVENANCE: Final = {
    "actor": "ce_actor",
    "on_behalf_of": "ce_onbehalfof",
    "request_id": "ce_requestid",
    "trace": "ce_traceparent",
    "cause": "ce_cause",
    "via": "ce_via",
}
_PROVENANCE_HEADERS: Final = tuple(_PROVENANCE.values())
_REQUIRED: Final = (
    *("ce_id", "ce_type", "ce_position", "ce_previous", "ce_time", "ce_subject"),
    "ce_streamversion",
)


class BadMessageError(Exception):
    """A message is not what its topic is for; the message says why."""


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


@dataclass(frozen=True, slots=True)
class Reached:
    """A mark: every event of the partition up to ``position`` stands before it.

    Attributes:
        position: of the last event of the log that was published before.
        previous: position of the last event of this partition; 0 if there is none.
        graded: what every event up to here means for grades is recorded,
        graded_at: at positions up to here.
    """

    position: int
    previous: int
    graded: int
    graded_at: int


class Positioned(NamedTuple):
    """An event of a topic and the position of the one before it in its partition."""

    previous: int
    recorded: Recorded


class Passed(NamedTuple):
    """An event that nobody wants: only its place."""

    previous: int
    position: int


def headers_of(stored: StoredEvent, *, previous: int, source: bytes) -> list[tuple[str, bytes]]:
    """The headers of an event's message."""
    return event_headers(
        stored.position,
        previous,
        str(stored.event_id).encode(),
        stored.type.encode(),
        time_text(stored.recorded_at).encode(),
        str(stored.stream_id).encode(),
        stored.version,
        stored.metadata,
        source,
    )


def event_headers(
    position: int,
    previous: int,
    event_id: bytes,
    type_: bytes,
    time: bytes,
    stream_id: bytes,
    version: int,
    metadata: str,
    source: bytes,
) -> list[tuple[str, bytes]]:
    """The same from texts, for who has thousands of events a second to send."""
    made = [
        ("ce_specversion", SPECVERSION),
        ("ce_id", event_id),
        ("ce_source", source),
        ("ce_type", type_),
        ("ce_time", time),
        ("ce_subject", stream_id),
        ("content-type", JSON),
        ("ce_position", b"%d" % position),
        ("ce_previous", b"%d" % previous),
        ("ce_streamversion", b"%d" % version),
    ]
    if metadata != "{}":
        made += _provenance_headers(metadata)
    return made


def time_text(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, with microseconds and ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=256)
def _provenance_headers(metadata: str) -> list[tuple[str, bytes]]:
    found: Mapping[str, Any] = orjson.loads(metadata)
    return [
        (header, str(found[name]).encode()) for name, header in _PROVENANCE.items() if name in found
    ]


def mark(reached: Reached, *, source: bytes, at: datetime) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The value and the headers of a mark's message."""
    value = orjson.dumps(
        {
            "position": reached.position,
            "graded": reached.graded,
            "graded_at": reached.graded_at,
        }
    )
    return value, [
        ("ce_specversion", SPECVERSION),
        ("ce_id", f"reached-{reached.position}-{reached.graded}".encode()),
        ("ce_source", source),
        ("ce_type", _REACHED),
        ("ce_time", time_text(at).encode()),
        ("content-type", JSON),
        ("ce_position", b"%d" % reached.position),
        ("ce_previous", b"%d" % reached.previous),
    ]


def parse(message: Message) -> Positioned | Reached:
    """The event or the mark of a message.

    Raises:
        BadMessageError: it is neither.
        UnknownEventTypeError: a newer version of gradelog wrote the event.
    """
    found = parse_wanted(message, None)
    assert not isinstance(found, Passed)
    return found


def parse_wanted(
    message: Message, wanted: AbstractSet[bytes] | None, *, after: int = 0
) -> Positioned | Passed | Reached:
    """The same, but what nobody wants is not read.

    Args:
        message: as it came.
        wanted: stored names of types; None for all.
        after: events up to this position are not wanted whatever their type.

    Raises:
        BadMessageError: it is neither an event nor a mark.
        UnknownEventTypeError: a newer version of gradelog wrote the event.
    """
    headers = dict(message.headers)
    try:
        type_ = headers["ce_type"]
        position = int(headers["ce_position"])
        if not 0 <= position <= LAST_POSITION:
            raise BadMessageError("there is no such position")
        if type_ == _REACHED:
            return _reached(position, headers, message.value or b"")
        if position > after and (wanted is None or type_ in wanted):
            return _event(type_, position, headers, message.value or b"")
        _type_name(type_)
        return Passed(int(headers["ce_previous"]), position)
    except KeyError as error:
        if error.args and str(error.args[0]) in (*_REQUIRED, "content-type"):
            raise BadMessageError(f"the header {error.args[0]} is missing") from None
        raise BadMessageError(f"the field {error.args[0]} is missing") from None
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise BadMessageError(f"{type(error).__name__}: {error}") from None


def place_in_log(message: Message) -> tuple[int, int] | None:
    """``previous`` and ``position`` of a message that may be unreadable otherwise."""
    headers = dict(message.headers)
    try:
        previous, position = int(headers["ce_previous"]), int(headers["ce_position"])
    except (KeyError, ValueError, TypeError):
        return None
    return (previous, position) if 0 <= previous <= position <= LAST_POSITION else None


def _event(type_: bytes, position: int, headers: Mapping[str, bytes], value: bytes) -> Positioned:
    name = _type_name(type_)
    state = orjson.loads(value)
    if type(state) is not dict:
        raise BadMessageError("the value is not a JSON object")
    return Positioned(
        int(headers["ce_previous"]),
        Recorded(
            position,
            from_state(
                name, state, _stream_id(headers["ce_subject"]), int(headers["ce_streamversion"])
            ),
            name,
            _uuid(headers["ce_id"]),
            datetime.fromisoformat(headers["ce_time"].decode()),
            _provenance(*[headers.get(header) for header in _PROVENANCE_HEADERS]),
        ),
    )


@lru_cache(maxsize=1000)
def _type_name(type_: bytes) -> str:
    """The stored name of an event type that is known."""
    name = type_.decode()
    event_type(name)
    return name


_new: Final = object.__new__
_set_int: Final = UUID.__dict__["int"].__set__
_set_is_safe: Final = UUID.__dict__["is_safe"].__set__
_UNKNOWN: Final = SafeUUID.unknown


def _uuid(text: bytes) -> UUID:
    # The checks of UUID() cost more than the rest of the headers together; those that are
    # needed are here.
    digits = text.replace(b"-", b"")
    if len(text) != 36 or len(digits) != 32:
        raise ValueError(f"{text.decode()!r} is not a UUID")
    found = _new(UUID)
    _set_int(found, int(digits, 16))
    _set_is_safe(found, _UNKNOWN)
    return found


_stream_id: Final = lru_cache(maxsize=20_000)(_uuid)
"""Of a stream there are mostly several events close together."""


@lru_cache(maxsize=1000)
def _provenance(*values: bytes | None) -> Provenance:
    """The same caller for many events, and the same request for several."""
    if not any(values):
        return NOBODY
    return Provenance(*[None if value is None else value.decode() for value in values])


def _reached(position: int, headers: Mapping[str, bytes], value: bytes) -> Reached:
    found = orjson.loads(value)
    return Reached(
        position,
        int(headers["ce_previous"]),
        int(found["graded"]),
        int(found["graded_at"]),
    )


# --- which topic and partition -----------------------------------------------------------------


def topic_names(prefix: str) -> dict[str, str]:
    """The topics of events by what they are for: ``courses`` and ``people``."""
    return {name: f"{prefix}.{name}" for name in (COURSES, PEOPLE)}


def place_of(data: Mapping[str, Any]) -> tuple[str, bytes]:
    """Where an event belongs: ``courses`` or ``people``, and its key there."""
    course_id = data.get("course_id")
    if course_id is not None:
        return COURSES, str(course_id).encode()
    return PEOPLE, str(data.get("user_id", "")).encode()


@lru_cache(maxsize=100_000)
def partition_of(key: bytes, count: int) -> int:
    """The partition of a key, as the default partitioner of Kafka's own clients finds it."""
    return (_murmur2(key) & 0x7FFFFFFF) % count


_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def _murmur2(data: bytes) -> int:
    """MurmurHash2 in 32 bits, with the seed that Kafka has chosen."""
    h = (_SEED ^ len(data)) & _MASK
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _MIX & _MASK
        k = (k ^ (k >> 24)) * _MIX & _MASK
        h = (h * _MIX & _MASK) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _MIX & _MASK
    h = (h ^ (h >> 13)) * _MIX & _MASK
    return h ^ (h >> 15)


def in_log_order(found: Iterable[Recorded]) -> list[Recorded]:
    """Events of several partitions as the log had them."""
    return sorted(found, key=lambda recorded: recorded.position)
