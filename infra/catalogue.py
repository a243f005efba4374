"""The event catalogue, made from the code: what ``docs/events.md`` holds."""

from collections.abc import Iterator
from typing import Final

from api.event_types import Schema, description, event_types, schema_of
from domain.events import CreatedEvent, Event, fields_of
from projections.registry import READ_MODELS

HEADER: Final = """# Event catalogue

Every event type that the log may hold, made from the code by `gradelog events catalogue`.

An event is stored under its type in the column `type`, its fields as JSON in `data`. Who
caused it and why stands beside it in `metadata`: `actor`, `on_behalf_of`, `request_id`,
`trace`, `cause`, `via`. `timestamp` is the moment of the decision, which results show as
`created_at`; `recorded_at`, a column, is the moment at which the log took it. Times are ISO
8601 in UTC. A text that a learner or grader wrote is sealed: `1:` and the base64 of key id,
nonce and AES-256-GCM ciphertext. The class is what [subscribers](subscriber.md) in Python import.
"""


def catalogue() -> str:
    """The catalogue as Markdown."""
    entries = (line for kind in event_types() for line in _entry(kind))
    return "\n".join([HEADER, *entries]).rstrip() + "\n"


def _entry(kind: type[Event]) -> Iterator[str]:
    yield f"## `{kind.TOPIC}` (version {kind.class_version})\n"
    yield description(kind) + "\n"
    if issubclass(kind, CreatedEvent):
        yield "First event of its stream.\n"
    models = [model.name for model in READ_MODELS if kind in model.folds]
    yield f"Read models: {', '.join(f'`{name}`' for name in models) or 'none'}.\n"
    yield f"Class: `{kind.__module__}.{kind.__qualname__}`.\n"
    yield "| field | type |"
    yield "|---|---|"
    for name, annotation in fields_of(kind).items():
        yield f"| `{name}` | {_named(schema_of(annotation))} |"
    yield ""


def _named(schema: Schema) -> str:
    """A field's JSON Schema in words."""
    if "anyOf" in schema:
        return " or ".join(_named(option) for option in schema["anyOf"])
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"array of {_named(schema.get('items', {}))}"
    if kind == "object":
        return f"object of {_named(schema.get('additionalProperties', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)
