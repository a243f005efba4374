"""The published schemas are those of the code, and the page about them is true."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from consumers.inbound import schemas
from consumers.inbound.decoding import decoder
from consumers.inbound.models import PREFIX, ROSTER, SCORES, Closed, type_of
from consumers.inbound.requests import RejectedError
from consumers.kafka.client import Message, Partition

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "inbound.md").read_text()
EXAMPLES = [json.loads(found) for found in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
DECODE = decoder((*SCORES, *ROSTER), via="test")


def message(type_: str, data: Any) -> Message:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "1",
        "ce_source": "/test",
        "ce_type": type_,
        "content-type": "application/json",
    }
    value = json.dumps(data).encode()
    return Message(
        Partition("any", 0), 0, None, value, [(n, v.encode()) for n, v in headers.items()], 0
    )


def is_taken(type_: str, data: Any) -> bool:
    try:
        DECODE(message(type_, data))
    except RejectedError:
        return False
    return True


def fits(type_: str, data: Any) -> bool:
    schema = schemas()[type_]
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(data)


def test_the_published_schemas_are_those_of_the_code() -> None:
    # Written by: gradelog inbound schemas docs/schemas
    published = {
        path.name.removesuffix(".json"): json.loads(path.read_text())
        for path in (DOCS / "schemas").glob(f"{PREFIX}*.json")
    }
    assert published == schemas()


@pytest.mark.parametrize("model", [*SCORES, *ROSTER])
def test_a_schema_is_a_schema_and_its_type_is_on_the_page(model: type[Closed]) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas()[type_of(model)])
    assert f"`{type_of(model)}`" in PAGE


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken_as_one_type_at_least(example: Any) -> None:
    taken = {type_ for type_ in schemas() if is_taken(type_, example)}
    assert taken
    assert taken == {type_ for type_ in schemas() if fits(type_, example)}


ITEM = {"student_id": "a", "course_id": "c", "item_id": "i", "item_type": "t"}
POINTS = {"points_earned": 1, "points_possible": 2}
UUID = {"submission_uuid": "6f0a1d0e-0c52-4a3e-9a6b-2f6c1f8a4d11"}


@pytest.mark.parametrize(
    ("type_", "data", "taken"),
    [
        ("ScoreReported", {**POINTS, **UUID, "student_item": None}, True),
        ("ScoreReported", {**POINTS, **UUID, "create_submission": False}, True),
        ("ScoreReported", {**POINTS, **UUID, "create_submission": True}, False),
        ("ScoreReported", {**POINTS, **UUID, "student_item": ITEM}, False),
        ("ScoreReported", {**POINTS, "submission_uuid": None, "student_item": ITEM}, True),
        ("ScoreReported", {**POINTS, "submission_uuid": None, "student_item": None}, False),
        ("ScoreReported", {**POINTS, **UUID, "scored_by": "two\nlines"}, False),
        ("EnrollmentChanged", {"course_id": "c", "username": None, "user_id": None}, False),
        ("EnrollmentChanged", {"course_id": "c", "username": None, "user_id": 1.0}, True),
    ],
)
def test_what_goes_together_is_in_the_schema(type_: str, data: Any, taken: bool) -> None:
    assert is_taken(PREFIX + type_, data) is taken
    assert fits(PREFIX + type_, data) is taken


@pytest.mark.parametrize(
    ("moment", "taken"),
    [
        ("2026-03-01T12:00:00Z", True),
        ("2026-03-01t12:00:00.123456789+05:30", True),
        ("2026-03-01T12:00:00", False),
        ("2026-03-01", False),
        ("1700000000", False),
        (1700000000, False),
        ("2026-02-30T12:00:00Z", False),
        ("2026-03-01T12:00:00+99:00", False),
        ("\u0662026-03-01T12:00:00Z", False),
    ],
)
def test_a_moment_is_one_without_guessing(moment: object, taken: bool) -> None:
    enrollment = {"username": "ada", "course_id": "c", "enrolled_at": moment}
    assert is_taken(PREFIX + "EnrollmentChanged", enrollment) is taken


def test_what_is_wrong_with_a_moment_is_told_without_it() -> None:
    enrollment = {"username": "ada", "course_id": "c", "enrolled_at": "2026-02-30T12:00:00Z"}
    with pytest.raises(RejectedError) as rejected:
        DECODE(message(PREFIX + "EnrollmentChanged", enrollment))
    assert "enrolled_at" in rejected.value.detail
    assert "02-30" not in rejected.value.detail


def test_schema_and_code_refuse_the_same() -> None:
    for example in EXAMPLES:
        (type_, *_) = [type_ for type_ in schemas() if is_taken(type_, example)]
        for name in example:
            for value in (True, 3.5, 2.0, "", [], {}, "\0", -1, 2**60, None):
                changed = {**example, name: value}
                assert is_taken(type_, changed) == fits(type_, changed), (type_, name, value)
        assert not is_taken(type_, {**example, "more": 1})
        assert not fits(type_, {**example, "more": 1})
