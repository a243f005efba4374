"""Every validation text of the interface, and what is coerced instead of refused."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from domain.submissions import fields
from domain.submissions.errors import (
    SubmissionError,
    SubmissionInternalError,
    SubmissionRequestError,
)
from domain.submissions.fields import FieldError

GOOD = {"student_id": "s", "course_id": "c", "item_id": "i", "item_type": "t"}


def errors_of(values: Any) -> dict[str, list[str]]:
    with pytest.raises(SubmissionRequestError) as caught:
        fields.student_item(values)
    assert caught.value.msg == ""
    return caught.value.field_errors


def message_of(rule: Any, value: Any) -> str:
    with pytest.raises(FieldError) as caught:
        rule(value)
    (message,) = caught.value.messages
    assert message.code
    return message


@pytest.mark.parametrize(
    ("value", "text", "code"),
    [
        (None, "This field may not be null.", "null"),
        ("", "This field may not be blank.", "blank"),
        (" \t ", "This field may not be blank.", "blank"),
        (True, "Not a valid string.", "invalid"),
        ([], "Not a valid string.", "invalid"),
        ({}, "Not a valid string.", "invalid"),
        ("x" * 256, "Ensure this field has no more than 255 characters.", "max_length"),
        ("a\0b", "Null characters are not allowed.", "null_characters_not_allowed"),
        (
            "a\ud800b",
            "Surrogate characters are not allowed: U+D800.",
            "surrogate_characters_not_allowed",
        ),
    ],
)
def test_a_bad_text_is_refused_with_its_message(value: Any, text: str, code: str) -> None:
    (message,) = errors_of({**GOOD, "student_id": value})["student_id"]
    assert (message, message.code) == (text, code)


def test_all_bad_fields_are_reported_together() -> None:
    assert errors_of({"student_id": "", "course_id": None, "item_id": "i", "more": 1}) == {
        "student_id": ["This field may not be blank."],
        "course_id": ["This field may not be null."],
        "item_type": ["This field is required."],
        "more": ["Unknown field."],
    }


def test_an_item_type_is_shorter_than_the_other_texts() -> None:
    assert errors_of({**GOOD, "item_type": "x" * 101}) == {
        "item_type": ["Ensure this field has no more than 100 characters."]
    }


def test_numbers_become_text_and_texts_are_trimmed() -> None:
    key = fields.student_item({**GOOD, "student_id": 7, "course_id": 1.5, "item_id": " pad "})
    assert key == ("7", "1.5", "pad", "t")


@pytest.mark.parametrize("value", [None, "text", 3, ["student_id"]])
def test_a_student_item_is_a_dict(value: Any) -> None:
    (message,) = errors_of(value)["non_field_errors"]
    assert message.startswith("Invalid data. Expected a dictionary, but got ")


@pytest.mark.parametrize(("value", "number"), [(3, 3), ("3", 3), (1.0, 1), ("5.0", 5), (0, 0)])
def test_what_reads_as_a_whole_number_is_one(value: Any, number: int) -> None:
    assert fields.integer(value) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "Ensure this value is greater than or equal to 0."),
        (2**31, "Ensure this value is less than or equal to 2147483647."),
        (1.5, "A valid integer is required."),
        (True, "A valid integer is required."),
        ("abc", "A valid integer is required."),
        ("", "A valid integer is required."),
        (float("nan"), "A valid integer is required."),
        (float("inf"), "A valid integer is required."),
        ("1_000", "A valid integer is required."),
        ("٣", "A valid integer is required."),
        ("9" * 5000, "A valid integer is required."),
        ([], "A valid integer is required."),
        (None, "This field may not be null."),
    ],
)
def test_what_does_not_read_as_a_whole_number_is_refused(value: Any, text: str) -> None:
    assert message_of(fields.integer, value) == text


def test_times_are_taken_as_utc() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert fields.moment(noon) == noon
    assert fields.moment(datetime(2026, 3, 1, 12)) == noon  # noqa: DTZ001
    assert fields.moment("2026-03-01T12:00:00Z") == noon
    assert fields.moment("2026-03-01T14:00:00+02:00") == noon
    east = fields.moment(datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))))
    assert (east, east.tzinfo) == (noon, UTC)


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01T00:00:00", 7, print, "0001-01-01T00:00:00+14:00", ""]
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    assert message_of(fields.moment, value) == (
        "Datetime has wrong format. Use one of these formats instead: "
        "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
    )


def test_a_date_is_no_time() -> None:
    assert message_of(fields.moment, date(2026, 3, 1)) == "Expected a datetime but got a date."


@pytest.mark.parametrize("answer", ["", {}, [], 0, False, {"text": "x\0\ud800"}, 2**80])
def test_any_json_value_but_null_is_an_answer(answer: Any) -> None:
    assert json.loads(fields.answer_text(answer)) == answer


def test_an_answer_keeps_its_keys_in_order_and_becomes_plain_json() -> None:
    answer = fields.answer_text({"b": (1, 2), 3: "x"})
    assert json.loads(answer) == {"b": [1, 2], "3": "x"}
    assert list(json.loads(answer)) == ["b", "3"]


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "answer",
    [
        datetime(2026, 3, 1, tzinfo=UTC),
        uuid4(),
        {1, 2},
        b"bytes",
        {(1, 2): 3},
        circular(),
        float("nan"),
        float("inf"),
        [-float("inf")],
        deep(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_no_answer(answer: Any) -> None:
    message = message_of(fields.answer_text, answer)
    assert message == "Answer value must be JSON-serializable"


def test_null_is_no_answer() -> None:
    assert message_of(fields.answer_text, None) == "This field may not be null."


@pytest.mark.parametrize(
    ("character", "most"), [("a", 102398), ("é", 17066), ("🎓", 8533), ("\n", 51199), ('"', 51199)]
)
def test_an_answer_has_a_largest_size_in_characters_of_its_json(character: str, most: int) -> None:
    assert len(fields.answer_text(character * most)) <= 102400
    message = message_of(fields.answer_text, character * (most + 1))
    assert message == "Maximum answer size exceeded."


def test_a_request_error_shows_both_its_arguments() -> None:
    error = SubmissionRequestError("m")
    assert (str(error), error.args, error.field_errors) == ("('m', {})", ("m", {}), {})
    given = {"answer": ["bad"]}
    error = SubmissionRequestError(field_errors=given)
    given["answer"].append("changed later")
    assert str(error) == "('', {'answer': ['bad']})"
    assert repr(error) == "SubmissionRequestError(msg=\"\", field_errors={'answer': ['bad']})"


def test_an_internal_error_may_hold_field_errors() -> None:
    error = SubmissionInternalError({"points_earned": ["bad"]})
    assert str(error) == "{'points_earned': ['bad']}"
    assert isinstance(error, SubmissionError)


@pytest.mark.parametrize("value", [1, 100, 10.0])
def test_up_to_a_hundred_top_scores_may_be_asked_for(value: Any) -> None:
    assert fields.number_of_top_scores(value) == int(value)


@pytest.mark.parametrize("value", [0, 101, -1, "ten", None, 1.5, True, float("nan"), []])
def test_other_numbers_of_top_scores_are_refused(value: Any) -> None:
    with pytest.raises(SubmissionRequestError) as caught:
        fields.number_of_top_scores(value)
    assert caught.value.msg == "Number of top scores must be a number between 1 and 100."
