"""The types of events as others have to know them: names, versions, and JSON Schemas.

One source for the catalogue over HTTP, the AsyncAPI document and ``docs/events.md``: the
event classes themselves.
"""

import inspect
import types
import typing
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import domain.courses.course
import domain.grades.application
import domain.learners.application
import domain.submissions.application  # noqa: F401 - they register their events
from domain.events import Event, fields_of, registered

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_SCALARS: Final[dict[Any, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$"},
    types.NoneType: {"type": "null"},
}


def event_types() -> list[type[Event]]:
    """The event types of the domain, by stored name."""
    return [kind for kind in registered() if kind.__module__.startswith("domain.")]


def description(kind: type[Event]) -> str:
    """What happened, in words."""
    return inspect.cleandoc(kind.__doc__ or "")


def json_schema(kind: type[Event]) -> Schema:
    """What the data of an event of this type looks like.

    Further fields are allowed: a later version may have some, and nobody shall stumble.
    """
    properties = {name: schema_of(hint) for name, hint in fields_of(kind).items()}
    required = list(properties)
    if kind.class_version > 1:
        properties["class_version"] = {"const": kind.class_version}
        required.append("class_version")
    return {
        "title": kind.TOPIC,
        "description": description(kind),
        "type": "object",
        "properties": properties,
        "required": required,
    }


def schema_of(annotation: Any) -> Schema:
    """A field's type as JSON Schema.

    Raises:
        TypeError: no JSON value is known for it.
    """
    if annotation in _SCALARS:
        return dict(_SCALARS[annotation])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {types.UnionType, typing.Union}:
        return _any_of([schema_of(argument) for argument in arguments])
    if origin is list:
        return _with("array", "items", schema_of(arguments[0]))
    if origin is dict:
        return _with("object", "additionalProperties", schema_of(arguments[1]))
    raise TypeError(f"JSON Schema has no word for {annotation!r}")


def _any_of(schemas: Sequence[Schema]) -> Schema:
    """One of these; types that need no more than their name are listed."""
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": list(schemas)}


def _with(type_: str, name: str, schema: Schema) -> Schema:
    return {"type": type_, name: schema} if schema else {"type": type_}
