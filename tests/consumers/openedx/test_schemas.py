"""The schemas are those of the library that Open edX itself uses."""

import json
from importlib.resources import files

import pytest

from consumers.openedx.signals import KEY_FIELDS, READ, key_of, value_of
from infra.settings import EVENT_BUS_TYPES, EVENT_BUS_WRITTEN
from tests.consumers.openedx.support import official

TYPES = (*KEY_FIELDS, *READ)


@pytest.fixture(scope="module")
def theirs() -> dict[str, str]:
    return official("schemas", TYPES)


@pytest.mark.parametrize("type_", TYPES)
def test_a_schema_is_what_the_library_makes(theirs: dict[str, str], type_: str) -> None:
    # To the letter: there are registries that know a schema by its text.
    assert value_of(type_).text == theirs[type_]


def test_a_key_has_the_schema_of_its_field() -> None:
    assert {type_: json.loads(key_of(type_).text) for type_ in KEY_FIELDS} == {
        type_: {"name": path.rpartition(".")[2], "type": "string"}
        for type_, path in KEY_FIELDS.items()
    }


def test_every_type_has_a_file_and_a_setting() -> None:
    directory = files("consumers.openedx").joinpath("schemas")
    assert {path.name.removesuffix(".json") for path in directory.iterdir()} == set(TYPES)
    assert set(EVENT_BUS_TYPES) == set(TYPES)
    assert set(EVENT_BUS_WRITTEN) == set(KEY_FIELDS)
