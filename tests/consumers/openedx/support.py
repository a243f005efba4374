"""The libraries of Open edX at the other end, and an event bus of the test's own."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consumers.kafka.client import Consumer, Message, Partition
from tests.consumers.openedx.registry_server import SchemaRegistry
from tests.infra.cli.support import eventually

OFFICIAL = Path(__file__).with_name("official.py")


def official(task: str, given: Any, registry: SchemaRegistry | None = None) -> Any:
    """Let the libraries of Open edX do something."""
    done = subprocess.run(
        [sys.executable, str(OFFICIAL), task, registry.url if registry else "http://nobody"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def officially_read(messages: Sequence[Message], registry: SchemaRegistry) -> list[Any]:
    """What a service of Open edX reads in messages: its metadata and data."""
    found: list[Any] = official(
        "read",
        [
            {
                "topic": message.partition.topic,
                "value": encoded(message.value or b""),
                "headers": [[name, encoded(raw)] for name, raw in message.headers],
            }
            for message in messages
        ],
        registry,
    )
    return found


def read_topic(consumer: Consumer, topic: str, partitions: int = 2) -> list[Message]:
    """All messages that a topic holds, when nobody writes to it any more."""
    places = [Partition(topic, number) for number in range(partitions)]
    consumer.assign(dict.fromkeys(places))
    held = sum(consumer.end_offsets(places).values())
    found: list[Message] = []
    eventually(lambda: len(found) >= held or found.extend(consumer.poll(0.2, limit=1000)))
    return found


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def header(message: Message, name: str) -> str:
    (found,) = (raw.decode() for known, raw in message.headers if known == name)
    return found
