"""The AsyncAPI 3.0 document: what is published and what is taken in, made of the event types.

Seen from here: what we publish we ``send``, to Kafka and over streams, and commands we
``receive``. Messages on Kafka have the event's own JSON as value and the rest in headers; a
stream has both in one JSON object.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from api.cloudevents import DATA_CONTENT_TYPE, MEDIA_TYPE, PROVENANCE, SPECVERSION
from api.event_types import Schema, description, event_types, json_schema, schema_of
from domain.events import Event, fields_of

Document = dict[str, Any]

REACHED: Final = "gradelog.Reached"
STREAM: Final = "/api/events/v1/stream/"
_MESSAGES: Final = "#/components/messages/"
_SCHEMAS: Final = "#/components/schemas/"
_ON_STREAMS: Final = "streamed."
_DEFINITIONS: Final = "#/$defs/"

_DESCRIPTION: Final = """\
Every event of the log is published to Kafka, those of a course with the course as key to one \
topic and all others to another, and can be read as Server-Sent Events. Learners' and graders' \
texts in events are sealed."""


@dataclass(frozen=True, slots=True)
class Topics:
    """What topics are called, and what is taken from which.

    Attributes:
        courses: events that name a course.
        people: all others.
        inbound: topics of commands, to the JSON Schemas of their messages by type.
    """

    courses: str = "gradelog.courses"
    people: str = "gradelog.people"
    inbound: Mapping[str, Mapping[str, Schema]] = field(default_factory=dict)


def describe(topics: Topics, *, version: str) -> Document:
    """The document, but for where it is found; see ``found_at``.

    Args:
        topics: of Kafka.
        version: of this program.
    """
    every = [kind.TOPIC for kind in event_types()]
    of_courses = [kind.TOPIC for kind in event_types() if _names_course(kind) is not False]
    of_people = [kind.TOPIC for kind in event_types() if _names_course(kind) is not True]
    channels = {
        "courses": _topic(topics.courses, "The history of courses.", [*of_courses, REACHED]),
        "people": _topic(topics.people, "Facts that no course owns.", [*of_people, REACHED]),
        "stream": _stream(every),
    }
    operations = {
        "publishCourses": _operation("send", "courses", "Publishes what befalls courses."),
        "publishPeople": _operation("send", "people", "Publishes everything else."),
        "streamEvents": _operation("send", "stream", "Sends events as they happen.")
        | {"bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}}},
    }
    for name, found in topics.inbound.items():
        key = name.rpartition(".")[2]
        channels[f"inbound-{key}"] = _topic(name, "Commands to be carried out.", list(found))
        operations[f"carryOut-{key}"] = _operation(
            "receive", f"inbound-{key}", "Carries out each command once."
        )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "gradelog",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": DATA_CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(topics),
            "schemas": _schemas(topics),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def found_at(document: Document, url: str) -> Document:
    """The whole document: with the servers, of which this one is found at an address."""
    return document | {"servers": _servers(url)}


def _names_course(kind: type[Event]) -> bool | None:
    """Whether an event names a course; None if one may and another may not."""
    annotation = fields_of(kind).get("course_id")
    if annotation is None:
        return False
    return None if "null" in schema_of(annotation)["type"] else True


def _servers(url: str) -> Document:
    where = urlsplit(url)
    http: Document = {
        "host": where.netloc,
        "protocol": where.scheme,
        "description": "This server.",
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
    }
    if where.path.strip("/"):
        http["pathname"] = where.path.rstrip("/")
    return {
        "kafka": {
            "host": "{brokers}",
            "protocol": "kafka",
            "description": "Apache Kafka, wherever it runs.",
            "variables": {
                "brokers": {"default": "localhost:9092", "description": "Where Kafka is found."}
            },
        },
        "http": http,
    }


def _topic(address: str, text: str, types: list[str]) -> Document:
    return {
        "address": address,
        "description": text,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {type_: {"$ref": _MESSAGES + type_} for type_ in types},
    }


def _stream(types: list[str]) -> Document:
    return {
        "address": STREAM,
        "description": "The log as it grows, as Server-Sent Events: the id of an event is its"
        " position, its name the type.",
        "servers": [{"$ref": "#/servers/http"}],
        "messages": {type_: {"$ref": _MESSAGES + _ON_STREAMS + type_} for type_ in types},
    }


def _operation(action: str, channel: str, summary: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
    }


# --- messages ---------------------------------------------------------------------------------


_KEYS: Final = {
    True: "The course_id of the event.",
    False: "The user_id of the event.",
    None: "The course_id of the event, or its user_id where it names no course.",
}


def _messages(topics: Topics) -> Document:
    messages: Document = {
        REACHED: _message(
            REACHED,
            "Every event of the partition up to this position stands before this mark.",
        )
    }
    for kind in event_types():
        text = description(kind)
        messages[kind.TOPIC] = _message(kind.TOPIC, text, key=_KEYS[_names_course(kind)])
        messages[_ON_STREAMS + kind.TOPIC] = {
            "name": kind.TOPIC,
            "title": kind.TOPIC.partition(".")[2],
            "summary": _first_line(text),
            "contentType": MEDIA_TYPE,
            "payload": {
                "allOf": [
                    {"$ref": _SCHEMAS + "CloudEvent"},
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": kind.TOPIC},
                            "data": {"$ref": _SCHEMAS + kind.TOPIC},
                        },
                    },
                ]
            },
        }
    for found in topics.inbound.values():
        for type_, schema in found.items():
            messages[type_] = _message(type_, schema.get("description", type_), inbound=True)
    return messages


def _message(type_: str, text: str, *, key: str | None = None, inbound: bool = False) -> Document:
    headers = "CommandHeaders" if inbound else "EventHeaders"
    message: Document = {
        "name": type_,
        "title": type_.rpartition(".")[2],
        "summary": _first_line(text),
        "contentType": DATA_CONTENT_TYPE,
        "headers": {"$ref": _SCHEMAS + ("MarkHeaders" if type_ == REACHED else headers)},
        "payload": {"$ref": _SCHEMAS + type_},
    }
    if key is not None:
        message["bindings"] = {
            "kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}
        }
    return message


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


# --- schemas ----------------------------------------------------------------------------------

_UUID: Final = {"type": "string", "format": "uuid"}
_TIME: Final = {"type": "string", "format": "date-time"}
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]+$"}
_TEXT: Final = {"type": "string"}


def _schemas(topics: Topics) -> Document:
    schemas: Document = {
        "CloudEvent": _object(
            {
                "specversion": {"const": SPECVERSION},
                "id": _UUID,
                "source": {"type": "string", "format": "uri-reference"},
                "type": _TEXT,
                "time": _TIME,
                "subject": _UUID,
                "datacontenttype": {"const": DATA_CONTENT_TYPE},
                "position": {"type": "integer", "minimum": 1},
                "streamversion": {"type": "integer", "minimum": 1},
                "data": {"type": "object"},
            },
            **dict.fromkeys(PROVENANCE.values(), _TEXT),
        ),
        "EventHeaders": _headers(
            {"ce_subject": _UUID, "ce_streamversion": _NUMBER, "ce_id": _UUID},
            {f"ce_{name}": _TEXT for name in PROVENANCE.values()},
        ),
        "MarkHeaders": _headers({"ce_id": _TEXT}, {}),
        REACHED: _object(
            {
                name: {"type": "integer", "minimum": 0}
                for name in ("position", "graded", "graded_at")
            }
        ),
    }
    for kind in event_types():
        schemas[kind.TOPIC] = json_schema(kind)
    if topics.inbound:
        schemas["CommandHeaders"] = _object(
            {
                "ce_specversion": {"const": SPECVERSION},
                "ce_id": {"type": "string", "description": "With the source it makes repeats."},
                "ce_source": _TEXT,
                "ce_type": _TEXT,
                "content-type": {"const": DATA_CONTENT_TYPE},
            },
            ce_traceparent=_TEXT,
        )
    for found in topics.inbound.values():
        for type_, schema in found.items():
            schemas |= _lifted(type_, schema)
    return schemas


def _headers(own: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    common = {
        "ce_specversion": {"const": SPECVERSION},
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_type": _TEXT,
        "ce_time": _TIME,
        "content-type": {"const": DATA_CONTENT_TYPE},
        "ce_position": _NUMBER,
        "ce_previous": {
            **_NUMBER,
            "description": "Position of the event before it in the partition; 0 for none.",
        },
    }
    return _object(common | dict(own), **optional)


def _object(required: Mapping[str, Any], **optional: Any) -> Schema:
    return {
        "type": "object",
        "properties": dict(required) | optional,
        "required": list(required),
    }


def _lifted(type_: str, schema: Schema) -> Document:
    """A schema with its definitions beside it: references lead through the whole document."""
    definitions = schema.get("$defs", {})
    own = {name: value for name, value in schema.items() if name not in ("$defs", "$schema")}
    return {
        type_: _referring(own, type_),
        **{f"{type_}.{name}": _referring(inner, type_) for name, inner in definitions.items()},
    }


def _referring(value: Any, type_: str) -> Any:
    match value:
        case {"$ref": str(reference)} if reference.startswith(_DEFINITIONS):
            others = {name: inner for name, inner in value.items() if name != "$ref"}
            name = reference.removeprefix(_DEFINITIONS)
            return {"$ref": f"{_SCHEMAS}{type_}.{name}", **_referring(others, type_)}
        case dict():
            return {name: _referring(inner, type_) for name, inner in value.items()}
        case list():
            return [_referring(inner, type_) for inner in value]
        case _:
            return value
