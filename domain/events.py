"""Events, what is known about each, and the registry of their stored names.

An event is what a teacher would say happened. Its stored name (``TOPIC``) and the names
and types of its fields are a promise to everybody who reads the log for years: code may
move and be renamed, they may not. A field is added by raising ``class_version`` and an
``upcast_vN_vN+1`` static method that turns the old state into the new one.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID, SafeUUID

from eventsourcing.domain import Aggregate
from eventsourcing.utils import register_topic

State = dict[str, Any]
"""The fields of an event as plain JSON values, without stream id and version."""


class Event(Aggregate.Event):
    """Something that happened to a stream.

    ``timestamp`` is the moment of the decision; results call it ``created_at``.
    """

    TOPIC: ClassVar[str]
    class_version: ClassVar[int] = 1


class CreatedEvent(Event, Aggregate.Created):
    """The first event of a stream."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who caused an event and on whose behalf: written beside each event, never inside it.

    Attributes:
        actor: the authenticated caller, or the program that acts by itself.
        on_behalf_of: the person for whom a service acts, if it says so.
        request_id: ``X-Request-ID`` of the request.
        trace: W3C ``traceparent``.
        cause: the event id or message id that made a program act.
        via: the feature through which it happened, for example ``http`` or ``import``.
    """

    actor: str | None = None
    on_behalf_of: str | None = None
    request_id: str | None = None
    trace: str | None = None
    cause: str | None = None
    via: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Return what is known, without the rest."""
        found = (
            (name, getattr(self, name))
            for name in ("actor", "on_behalf_of", "request_id", "trace", "cause", "via")
        )
        return {name: value for name, value in found if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``as_dict`` wrote; unknown names of later versions are ignored."""
        return cls(**{f.name: values.get(f.name) for f in dataclasses.fields(cls)})


NOBODY = Provenance()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it stands in the log.

    Attributes:
        position: place in the one total order: 1, 2, 3, … without a gap.
        event: the event, upcast to its current version.
        type: stored name of the event.
        event_id: random id, the same wherever the event is published.
        recorded_at: when the log took it, never earlier than at a lower position.
        provenance: who and why.
    """

    position: int
    event: Event
    type: str
    event_id: UUID
    recorded_at: datetime
    provenance: Provenance = field(default=NOBODY)


E = TypeVar("E", bound=Event)

# --- the registry -----------------------------------------------------------------------

_EVENT_TYPES: dict[str, type[Event]] = {}
_RESERVED = frozenset({"originator_id", "originator_version"})


class UnknownEventTypeError(LookupError):
    """The log holds an event that this version of the code does not know."""


class UnknownEventVersionError(UnknownEventTypeError):
    """The log holds an event of a later version of its type than this code knows."""


def register(*event_types: type[Event]) -> None:
    """Make stored names known. A name is given once and never changes its meaning."""
    for event_type in event_types:
        topic = event_type.TOPIC
        other = _EVENT_TYPES.setdefault(topic, event_type)
        if other is not event_type:
            raise ValueError(f"{topic!r} is the stored name of {other!r} already")
        register_topic(topic, event_type)


def registered() -> Iterator[type[Event]]:
    """All event types, by stored name."""
    return iter([_EVENT_TYPES[topic] for topic in sorted(_EVENT_TYPES)])


def event_type(topic: str) -> type[Event]:
    """The class with this stored name.

    Raises:
        UnknownEventTypeError: no such name; a newer version wrote it, or a module is missing.
    """
    try:
        return _EVENT_TYPES[topic]
    except KeyError:
        raise UnknownEventTypeError(f"no event type has the stored name {topic!r}") from None


def fields_of(event_class: type[Event]) -> dict[str, Any]:
    """Stored fields of an event type and their annotations, in order."""
    hints = typing.get_type_hints(event_class)
    return {
        f.name: hints[f.name] for f in dataclasses.fields(event_class) if f.name not in _RESERVED
    }


def _from_uuid(value: str) -> UUID:
    # Stored in its usual form by ourselves: the checks of UUID() cost more than all the rest.
    found = object.__new__(UUID)
    object.__setattr__(found, "int", int(value.replace("-", ""), 16))
    object.__setattr__(found, "is_safe", SafeUUID.unknown)
    return found


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    UUID: _from_uuid,
    datetime: datetime.fromisoformat,
    Decimal: Decimal,
}


def _converter(annotation: Any) -> Callable[[Any], Any] | None:
    """How a JSON value becomes the annotated Python value; None when it already is."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        inner = [a for a in arguments if a is not type(None)]
        if len(inner) == 1:
            return _converter(inner[0])
    if origin is list:
        convert = _converter(arguments[0])
        if convert is not None:
            return lambda values: [convert(value) for value in values]
    return None


@dataclass(frozen=True, slots=True)
class _Decoder:
    event_class: type[Event]
    converters: tuple[tuple[str, Callable[[Any], Any]], ...]
    version: int


_DECODERS: dict[str, _Decoder] = {}


def _decoder(topic: str) -> _Decoder:
    event_class = event_type(topic)
    found = ((name, _converter(hint)) for name, hint in fields_of(event_class).items())
    decoder = _DECODERS[topic] = _Decoder(
        event_class,
        tuple((name, convert) for name, convert in found if convert is not None),
        event_class.class_version,
    )
    return decoder


def made(event_class: type[E], state: State) -> E:
    """An event of these fields, all of them, which are taken over and not checked."""
    event = object.__new__(event_class)
    object.__setattr__(event, "__dict__", state)
    return event


def to_state(event: Event) -> State:
    """The fields to store. UUIDs, datetimes and Decimals are left to the JSON encoder."""
    state: State = dict(vars(event))
    del state["originator_id"], state["originator_version"]
    version = type(event).class_version
    if version > 1:
        state["class_version"] = version
    return state


def from_state(topic: str, state: State, stream_id: UUID, version: int) -> Event:
    """The event that was stored, upcast to the current version of its type.

    No validation: what is in the log happened. ``state`` is taken over, not copied.

    Raises:
        UnknownEventTypeError: a newer version of the code wrote it.
    """
    decoder = _DECODERS.get(topic) or _decoder(topic)
    stored_version = state.pop("class_version", 1)
    while stored_version < decoder.version:
        getattr(decoder.event_class, f"upcast_v{stored_version}_v{stored_version + 1}")(state)
        stored_version += 1
    if stored_version > decoder.version:
        raise UnknownEventVersionError(
            f"{topic!r} is stored in version {stored_version}, later than {decoder.version}"
        )
    for name, convert in decoder.converters:
        value = state[name]
        if value is not None:
            state[name] = convert(value)
    state["originator_id"] = stream_id
    state["originator_version"] = version
    return made(decoder.event_class, state)
