"""The event catalogue says what the code says."""

import re
from importlib import import_module
from pathlib import Path

from api.event_types import event_types
from infra.catalogue import catalogue

DOCS = Path(__file__).parents[2] / "docs"


def test_the_catalogue_is_the_one_of_this_code() -> None:
    assert (DOCS / "events.md").read_text() == catalogue()


def test_the_classes_can_be_imported_from_where_the_catalogue_says() -> None:
    topics = re.findall(r"^## `(.+?)`", catalogue(), re.MULTILINE)
    classes = re.findall(r"^Class: `(.+)\.(\w+)`\.$", catalogue(), re.MULTILINE)
    found = [getattr(import_module(module), name) for module, name in classes]
    assert dict(zip(topics, found, strict=True)) == {kind.TOPIC: kind for kind in event_types()}
