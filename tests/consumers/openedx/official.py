"""What the libraries of Open edX make of it, in a process of its own, because they need Django.

Reads JSON from standard input and writes JSON to standard output::

    python official.py schemas|read|write REGISTRY

Release 10.5 of ``openedx-events`` knows no lists of maps, which stand in one of the types; that
much of a later release is added to it here.
"""

import base64
import json
import sys
import warnings
from datetime import datetime
from typing import Any


def main(task: str, registry: str) -> Any:
    import django
    from django.conf import settings

    warnings.simplefilter("ignore")
    settings.configure(
        INSTALLED_APPS=["openedx_events"],
        SECRET_KEY="x",
        USE_TZ=True,
        EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL=registry,
        EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS="nobody:9092",
        EVENTS_SERVICE_NAME="lms",
    )
    django.setup()
    return globals()[task](json.load(sys.stdin))


def signal(type_: str) -> Any:
    import openedx_events.learning.signals  # noqa: F401  # they make themselves known
    from openedx_events.tooling import OpenEdxPublicSignal

    return OpenEdxPublicSignal.get_signal_by_type(type_)


def lists_of_maps() -> Any:
    """What release 10.6 brought to the library: ``parts`` of answers. Before, it refuses them."""
    import attr
    from openedx_events.event_bus.avro.custom_serializers import BaseCustomTypeAvroSerializer
    from openedx_events.learning.data import ORASubmissionAnswer

    as_avro: Any = {"type": "array", "items": {"type": "map", "values": "string"}}

    class ListOfMaps(BaseCustomTypeAvroSerializer):
        cls = attr.fields(ORASubmissionAnswer).parts.type
        field_type = as_avro

        @staticmethod
        def serialize(obj: Any) -> Any:
            return obj

        @staticmethod
        def deserialize(data: Any) -> Any:
            return data

    return ListOfMaps


def deserializer(kind: Any) -> Any:
    """How a signal is read; one with lists of maps as later releases do."""
    from openedx_events.event_bus.avro.deserializer import AvroSignalDeserializer

    class Later(AvroSignalDeserializer):
        def custom_type_serializers(self) -> list[Any]:
            return [lists_of_maps()]

    try:
        return AvroSignalDeserializer(kind)
    except TypeError:
        return Later(kind)


def schemas(types: list[str]) -> dict[str, str]:
    """The Avro schema of each type, as it is registered."""
    return {type_: deserializer(signal(type_)).schema_string() for type_ in types}


def read(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``edx-event-bus-kafka`` hands to whoever listens."""
    import attr
    from confluent_kafka.serialization import MessageField, SerializationContext
    from edx_event_bus_kafka.internal import consumer
    from edx_event_bus_kafka.internal.config import get_schema_registry_client
    from edx_event_bus_kafka.internal.utils import _get_metadata_from_headers

    consumer.AvroSignalDeserializer = deserializer
    client = get_schema_registry_client()
    found = []
    for message in messages:
        headers = [(name, base64.b64decode(raw)) for name, raw in message["headers"]]
        metadata = _get_metadata_from_headers(headers)
        context = SerializationContext(message["topic"], MessageField.VALUE, headers)
        data = consumer.get_deserializer(signal(metadata.event_type), client)(
            base64.b64decode(message["value"]), context
        )
        found.append(
            {
                "metadata": attr.asdict(metadata),
                "data": {name: attr.asdict(value) for name, value in data.items()},
            }
        )
    return found


def write(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that ``edx-event-bus-kafka`` would send."""
    from confluent_kafka.serialization import MessageField, SerializationContext
    from edx_event_bus_kafka.internal.producer import extract_event_key, get_serializers
    from edx_event_bus_kafka.internal.utils import _get_headers_from_metadata

    found = []
    for event in events:
        kind = signal(event["type"])
        data = {name: made(cls, event["data"][name]) for name, cls in kind.init_data.items()}
        metadata = kind.generate_signal_metadata(time=None)
        headers = _get_headers_from_metadata(metadata)
        keys, values = get_serializers(kind, event["key_field"])
        key = extract_event_key(data, event["key_field"])
        topic = event["topic"]
        found.append(
            {
                "key": encoded(keys(key, SerializationContext(topic, MessageField.KEY, headers))),
                "value": encoded(
                    values(data, SerializationContext(topic, MessageField.VALUE, headers))
                ),
                "headers": [[name, encoded(raw)] for name, raw in headers.items()],
            }
        )
    return found


def made(cls: Any, value: Any) -> Any:
    """A value of the library's classes from plain JSON."""
    from opaque_keys.edx.keys import CourseKey

    if value is None:
        return None
    if hasattr(cls, "__attrs_attrs__"):
        types = {field.name: field.type for field in cls.__attrs_attrs__}
        return cls(**{name: made(types[name], one) for name, one in value.items()})
    if cls is CourseKey:
        return CourseKey.from_string(value)
    if cls is datetime:
        return datetime.fromisoformat(value)
    return value


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), default=str))
