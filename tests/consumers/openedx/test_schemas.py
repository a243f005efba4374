"""The schemas are those of the library that Open edX itself uses."""

import json
from importlib.resources import files

import pytest

from consumers.openedx.signals import (
    KEY_FIELDS,
    ORA_SUBMISSION,
    READ,
    key_of,
    value_of,
)
from infra.settings import EVENT_BUS_TYPES
from tests.consumers.openedx.support import official

TYPES = (*KEY_FIELDS, *READ)


@pytest.fixture(scope="module")
def theirs() -> dict[str, object]:
    return official("schemas", TYPES)


@pytest.mark.parametrize("type_", [type_ for type_ in TYPES if type_ != ORA_SUBMISSION])
def test_a_schema_is_what_the_library_makes(theirs: dict[str, object], type_: str) -> None:
    assert json.loads(value_of(type_).text) == theirs[type_]


def test_the_library_has_no_schema_of_submissions_yet(theirs: dict[str, object]) -> None:
    # Release 11.2.0 has, and it is ours; this one knows no lists of maps.
    assert "list arguments" in str(theirs[ORA_SUBMISSION])


def test_a_key_has_the_schema_of_its_field() -> None:
    assert {type_: json.loads(key_of(type_).text) for type_ in KEY_FIELDS} == {
        type_: {"name": path.rpartition(".")[2], "type": "string"}
        for type_, path in KEY_FIELDS.items()
    }


def test_every_type_has_a_file_and_a_setting() -> None:
    directory = files("consumers.openedx").joinpath("schemas")
    assert {path.name.removesuffix(".json") for path in directory.iterdir()} == set(TYPES)
    assert set(EVENT_BUS_TYPES) == set(TYPES)
