"""The event catalogue, made from the code: what ``docs/events.md`` holds."""

import inspect
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain.events import CreatedEvent, Event, fields_of, registered
from projections.registry import READ_MODELS

HEADER: Final = """# Event catalogue

Every event type that the log may hold, made from the code by `gradelog events catalogue`.

An event is stored under its type in the column `type`, its fields as JSON in `data`. Who
caused it and why stands beside it in `metadata`: `actor`, `on_behalf_of`, `request_id`,
`trace`, `cause`, `via`. `timestamp` is the moment of the decision, which results show as
`created_at`; `recorded_at`, a column, is the moment at which the log took it. Times are ISO
8601 in UTC. A text that a learner or grader wrote is sealed: `1:` and the base64 of key id,
nonce and AES-256-GCM ciphertext.
"""

_JSON_NAMES: Final = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Any: "any value",
    UUID: "string (uuid)",
    datetime: "string (date-time)",
}


def catalogue() -> str:
    """The catalogue as Markdown."""
    ours = [kind for kind in registered() if kind.__module__.startswith("domain.")]
    return "\n".join([HEADER, *(line for kind in ours for line in _entry(kind))]).rstrip() + "\n"


def _entry(kind: type[Event]) -> Iterator[str]:
    yield f"## `{kind.TOPIC}` (version {kind.class_version})\n"
    yield inspect.cleandoc(kind.__doc__ or "") + "\n"
    if issubclass(kind, CreatedEvent):
        yield "First event of its stream.\n"
    models = [model.name for model in READ_MODELS if kind in model.folds]
    yield f"Read models: {', '.join(f'`{name}`' for name in models) or 'none'}.\n"
    yield "| field | type |"
    yield "|---|---|"
    for name, annotation in fields_of(kind).items():
        yield f"| `{name}` | {_named(annotation)} |"
    yield ""


def _named(annotation: Any) -> str:
    """A field's type in the words of JSON."""
    if annotation in _JSON_NAMES:
        return _JSON_NAMES[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {types.UnionType, typing.Union}:
        return " or ".join("null" if a is types.NoneType else _named(a) for a in arguments)
    if origin is list:
        return f"array of {_named(arguments[0])}"
    if origin is dict:
        return f"object of {_named(arguments[1])}"
    raise TypeError(f"the catalogue has no word for {annotation!r}")
