"""What a bulk update asks for: read as leniently as the peer does, refused where that fails.

A request that cannot be understood is refused whole, before anything is applied. What only
turns out to be impossible, such as a learner who is not there, fails alone.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from api.http.grades.errors import ApiError
from api.http.grades.parameters import LARGEST_NUMBER
from domain.keys import BlockKey, InvalidKeyError, parse_block_key

MOST_ITEMS: Final = 10_000
LONGEST_COMMENT: Final = 300
COMPONENTS: Final = {
    "earned_all_override": "earned_all",
    "possible_all_override": "possible_all",
    "earned_graded_override": "earned_graded",
    "possible_graded_override": "possible_graded",
}
"""What clients send, and the component of a subsection's grade that it is about."""


class Item(NamedTuple):
    """One override that is asked for.

    ``user_id`` is None where nobody can have what was given; ``usage_key`` is None where the
    text is no key. ``given_user_id`` and ``given_usage_id`` are echoed.
    """

    given_user_id: Any
    given_usage_id: Any
    user_id: int | None
    usage_key: BlockKey | None
    requested: Mapping[str, float | None]
    comment: str | None


def read_items(body: bytes) -> list[Item]:
    """The items of a body; an empty body has none.

    Raises:
        ApiError: 400: it cannot be understood. 413: too many of them.
    """
    if not body.strip():
        return []
    found = _parsed(body)
    if not isinstance(found, list):
        raise ApiError(400, "The body must be a list of overrides.")
    if len(found) > MOST_ITEMS:
        raise ApiError(413, f"The body has more than {MOST_ITEMS} overrides.")
    return [_item(number, value) for number, value in enumerate(found)]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ApiError(400, "JSON parse error - nested too deeply") from None
    except ValueError as error:  # no UTF-8, no JSON, or an integer of thousands of digits
        raise ApiError(400, f"JSON parse error - {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")


def _item(number: int, value: Any) -> Item:
    if not isinstance(value, dict):
        raise _refused(number, "must be an object")
    if missing := [name for name in ("user_id", "usage_id", "grade") if name not in value]:
        raise _refused(number, f"lacks {', '.join(missing)}")
    usage_id, grade = value["usage_id"], value["grade"]
    if not isinstance(usage_id, str | None):
        raise _refused(number, "must have text as usage_id")
    if not isinstance(grade, dict):
        raise _refused(number, "must have an object as grade")
    return Item(
        value["user_id"],
        usage_id,
        _user_id(number, value["user_id"]),
        _usage_key(usage_id),
        {
            component: _points(number, name, grade[name])
            for name, component in COMPONENTS.items()
            if name in grade
        },
        _comment(number, grade.get("comment")),
    )


def _user_id(number: int, value: Any) -> int | None:
    """A number of a user. Nothing stands for the caller here, as it does in the peer by mistake."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _refused(number, "must have a whole number as user_id")
    try:
        found = int(value)
    except ValueError:
        raise _refused(number, "must have a whole number as user_id") from None
    return found if 0 < found <= LARGEST_NUMBER else None


def _usage_key(value: str | None) -> BlockKey | None:
    try:
        key = parse_block_key(value or "")
    except InvalidKeyError:
        return None
    return BlockKey(key.course.without_branch, key.block_type, key.block_id)


def _points(number: int, name: str, value: Any) -> float | None:
    """Points; clients send what was typed in, as text."""
    if value is None:
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise _refused(number, f"must have a number or null as {name}")
    return found


def _comment(number: int, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        raise _refused(number, "must have text as comment")
    if len(value) > LONGEST_COMMENT:
        raise _refused(number, f"has a comment of more than {LONGEST_COMMENT} characters")
    return value


def _is_unicode(text: str) -> bool:
    """Whether no half of a surrogate pair stands alone in it."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _refused(number: int, why: str) -> ApiError:
    return ApiError(400, f"Item {number} {why}.")
