"""Field rules of the submissions interface: what is coerced, what is refused, with which text.

Source: edx-submissions' serializers and the framework rules under them.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from domain.submissions.errors import FieldMessage, SubmissionRequestError

T = TypeVar("T")

MAX_ANSWER_SIZE = 102_400
"""Characters of an answer's JSON text, all non-ASCII escaped; the limit is inclusive."""

MAX_ANSWER_DEPTH = 500
"""Arrays and objects inside each other; what is nested deeper cannot be read everywhere."""

MAX_TOP_SUBMISSIONS = 100
MAX_INTEGER = 2_147_483_647

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}(\.0*)?\s*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SURROGATE = re.compile("[\ud800-\udfff]")
_encode = json.JSONEncoder(allow_nan=False).encode
_NOT_SERIALIZABLE = FieldMessage("Answer value must be JSON-serializable", "invalid")
_DATETIME_FORMAT = FieldMessage(
    "Datetime has wrong format. Use one of these formats instead: "
    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
    "invalid",
)
REQUIRED = FieldMessage("This field is required.", "required")
NULL = FieldMessage("This field may not be null.", "null")
UNKNOWN_FIELD = FieldMessage("Unknown field.", "unknown")
NOT_UNIQUE = FieldMessage(
    "The fields course_id, student_id, item_id must make a unique set.", "unique"
)


class FieldError(Exception):
    """One value breaks one or more rules of its field."""

    def __init__(self, *messages: FieldMessage) -> None:
        super().__init__(*messages)
        self.messages = list(messages)


class StudentItemKey(NamedTuple):
    """Whose work at what: the first three identify a student item."""

    student_id: str
    course_id: str
    item_id: str
    item_type: str

    def as_dict(self) -> dict[str, str]:
        """The StudentItemDict of the interface."""
        return self._asdict()


_TEXT_LIMITS = {"student_id": 255, "course_id": 255, "item_id": 255, "item_type": 100}


def text(
    value: object, *, max_length: int | None, allow_blank: bool = False, trim: bool = True
) -> str:
    """Text, trimmed unless told otherwise. Numbers become text; booleans are refused."""
    if value is None:
        raise FieldError(NULL)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FieldError(FieldMessage("Not a valid string.", "invalid"))
    try:
        given = str(value)
    except ValueError:  # an integer of thousands of digits
        raise FieldError(FieldMessage("Not a valid string.", "invalid")) from None
    trimmed = given.strip() if trim else given
    if not allow_blank and not trimmed.strip():
        raise FieldError(FieldMessage("This field may not be blank.", "blank"))
    messages = []
    if max_length is not None and len(trimmed) > max_length:
        messages.append(
            FieldMessage(
                f"Ensure this field has no more than {max_length} characters.", "max_length"
            )
        )
    if "\0" in trimmed:
        messages.append(
            FieldMessage("Null characters are not allowed.", "null_characters_not_allowed")
        )
    if not trimmed.isascii() and (surrogate := _SURROGATE.search(trimmed)):
        messages.append(
            FieldMessage(
                f"Surrogate characters are not allowed: U+{ord(surrogate[0]):X}.",
                "surrogate_characters_not_allowed",
            )
        )
    if messages:
        raise FieldError(*messages)
    return trimmed


def storable(*texts: object) -> bool:
    """Whether these can be found: nothing is stored under a key that is no such text."""
    return all(
        isinstance(given, str)
        and "\0" not in given
        and (given.isascii() or not _SURROGATE.search(given))
        for given in texts
    )


def integer(value: object) -> int:
    """A whole number from 0 to 2147483647; ``"3"`` and ``3.0`` are numbers, ``true`` is not."""
    if value is None:
        raise FieldError(NULL)
    if type(value) is int:
        number = value
    elif isinstance(value, str | int | float) and _INTEGER.fullmatch(str(value)):
        number = int(str(value).strip().split(".", 1)[0])
    else:
        raise FieldError(FieldMessage("A valid integer is required.", "invalid"))
    if number < 0:
        raise FieldError(
            FieldMessage("Ensure this value is greater than or equal to 0.", "min_value")
        )
    if number > MAX_INTEGER:
        raise FieldError(
            FieldMessage(f"Ensure this value is less than or equal to {MAX_INTEGER}.", "max_value")
        )
    return number


def checked_attempt_number(number: int) -> int:
    """The number that an attempt gets by itself, which has the same bound.

    Raises:
        SubmissionRequestError: the last attempt has the largest number already.
    """
    form = Form()
    form.check("attempt_number", integer, number)
    form.refuse_if_bad()
    return number


def moment(value: object) -> datetime:
    """An aware datetime in UTC. A naive one is taken as UTC."""
    if isinstance(value, datetime):
        parsed = value
    elif isinstance(value, date):
        raise FieldError(FieldMessage("Expected a datetime but got a date.", "date"))
    elif isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise FieldError(_DATETIME_FORMAT) from None
    else:
        raise FieldError(_DATETIME_FORMAT)
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=UTC)
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise FieldError(_DATETIME_FORMAT) from None


def answer_text(answer: object) -> str:
    """The answer as JSON text with all non-ASCII escaped: what is stored.

    Keys keep their order, U+0000, lone surrogates and integers of any length survive.
    """
    if answer is None:
        raise FieldError(NULL)
    try:
        encoded = _encode(answer)
    except (TypeError, ValueError, RecursionError):
        raise FieldError(_NOT_SERIALIZABLE) from None
    if _depth(encoded) > MAX_ANSWER_DEPTH:
        raise FieldError(_NOT_SERIALIZABLE)
    if len(encoded) > MAX_ANSWER_SIZE:
        raise FieldError(FieldMessage("Maximum answer size exceeded.", "invalid"))
    return encoded


def _depth(encoded: str) -> int:
    """How deep a JSON text is nested, or an upper bound when that is low."""
    bound = encoded.count("[") + encoded.count("{")
    if bound <= MAX_ANSWER_DEPTH:
        return bound
    depth = deepest = 0
    for character in _STRING.sub("", encoded):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def student_item(values: object) -> StudentItemKey:
    """Exactly the four keys of a student item, trimmed.

    Raises:
        SubmissionRequestError: with the messages of all bad fields.
    """
    if not isinstance(values, Mapping):
        raise SubmissionRequestError(
            field_errors={
                "non_field_errors": [
                    FieldMessage(
                        f"Invalid data. Expected a dictionary, but got {type(values).__name__}.",
                        "invalid",
                    )
                ]
            }
        )
    try:
        key = StudentItemKey(**values)
    except TypeError:  # the form says which keys are wrong
        pass
    else:
        if all(map(_is_plain, key, _TEXT_LIMITS.values())):
            return key
    form = Form()
    found = {}
    for name, limit in _TEXT_LIMITS.items():
        if name in values:
            found[name] = form.check(name, limited_text(limit), values[name])
        else:
            form.errors[name] = [REQUIRED]
    for name in values:
        if name not in _TEXT_LIMITS:
            form.errors[str(name)] = [UNKNOWN_FIELD]
    form.refuse_if_bad()
    return StudentItemKey(**{name: value for name, value in found.items() if value is not None})


def _is_plain(value: object, max_length: int) -> bool:
    """Whether a text needs neither trimming nor a second look, as nearly all do."""
    return (
        type(value) is str
        and 0 < len(value) <= max_length
        and value.isascii()
        and value.isprintable()
        and value[0] != " " != value[-1]
    )


def limited_text(limit: int) -> Callable[[object], str]:
    """The rule of a text field of at most that many characters."""
    return lambda value: text(value, max_length=limit)


def submission_uuid(value: object) -> UUID:
    """Any form that Python's UUID parser takes.

    Raises:
        SubmissionRequestError: neither text nor a UUID.
        ValueError: text that is no UUID.
    """
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise SubmissionRequestError(f"submission_uuid ({value!r}) must be serializable")
    return UUID(value)


def limit(value: object) -> int | None:
    """How many rows to return; None and 0 mean all.

    Raises:
        SubmissionRequestError: negative, or no integer.
    """
    if value is None:
        return None
    form = Form()
    number = form.check("limit", integer, value)
    form.refuse_if_bad()
    return number or None


def number_of_top_scores(value: object) -> int:
    """A number from 1 to 100.

    Raises:
        SubmissionRequestError: anything else.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value == int(value)
        and 1 <= value <= MAX_TOP_SUBMISSIONS
    ):
        return int(value)
    raise SubmissionRequestError(
        f"Number of top scores must be a number between 1 and {MAX_TOP_SUBMISSIONS}."
    )


@dataclass(slots=True)
class Form:
    """Collects the messages of all bad fields of one record."""

    errors: dict[str, list[FieldMessage]]

    def __init__(self) -> None:
        self.errors = {}

    def check(self, name: str, rule: Callable[[object], T], value: object) -> T | None:
        """Return the value as its field wants it, or note what is wrong and return None."""
        try:
            return rule(value)
        except FieldError as bad:
            self.errors[name] = bad.messages
            return None

    def refuse_if_bad(self, error: type[SubmissionRequestError] = SubmissionRequestError) -> None:
        """Raise the error with all messages, if there are any."""
        if self.errors:
            raise error(field_errors=self.errors)
