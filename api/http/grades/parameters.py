"""Reading requests as the peer does: what is not known is ignored, of repeated values the last counts.

The native interfaces refuse what they do not know; clients of this one have always been let
through, so only what cannot be understood is refused.
"""

import math
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote_to_bytes

from api.http.calls import Call
from api.http.grades.errors import NOT_FOUND, ApiError, invalid_field
from domain.keys import CourseKey, InvalidKeyError, parse_course_key

_COURSE_IN_PATH: Final = re.compile(r"[^/+]+(?:/|\+)[^/+]+(?:/|\+)[^/?]+")
LARGEST_NUMBER: Final = 2**63 - 1


class Parameters:
    """The parameters of a query."""

    def __init__(self, call: Call) -> None:
        """Read them.

        Raises:
            ApiError: 400: one holds a null character, which nothing here has.
        """
        raw = call.scope["query_string"].decode("latin-1")
        self._values = parse_qs(raw, keep_blank_values=True)
        if "%00" in raw and any("\0" in v for values in self._values.values() for v in values):
            raise ApiError(400, "Null characters are not allowed.")

    def get(self, name: str) -> str | None:
        """The last value; None when the parameter is not there."""
        values = self._values.get(name)
        return values[-1] if values else None

    def text(self, name: str) -> str:
        """The last value; empty when the parameter is not there."""
        return self.get(name) or ""

    def all(self, name: str) -> Sequence[str]:
        """All values, in their order."""
        return self._values.get(name, ())

    def number(self, name: str) -> float | None:
        """A number; None when the parameter is not there or empty.

        Raises:
            ApiError: 400: something else.
        """
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise invalid_field(name, "Enter a number.")
        return value

    def boolean(self, name: str) -> bool:
        """A flag; False when the parameter is not there or empty.

        Raises:
            ApiError: 400: none of the six spellings.
        """
        match self.text(name):
            case "" | "False" | "false" | "0":
                return False
            case "True" | "true" | "1":
                return True
        raise ApiError(400, "Invalid Boolean Value.")


def whole_number(text: str) -> int | None:
    """What a text says as an integer that an id can be; None when it says none."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST_NUMBER else None


def path_text(call: Call, name: str) -> str:
    """A parameter of the path, decoded.

    Raises:
        ApiError: 404: it is no text, so there is nothing of that name.
    """
    try:
        text = unquote_to_bytes(call.scope["path_params"][name]).decode()
    except UnicodeDecodeError:
        raise ApiError(404, NOT_FOUND) from None
    if "\0" in text:
        raise ApiError(404, NOT_FOUND)
    return text


def course_in_path(call: Call) -> str:
    """The course in the path, as text that looks like the key of one.

    Raises:
        ApiError: 404: it does not, so in the peer there is no such route.
    """
    text = path_text(call, "course_id")
    if _COURSE_IN_PATH.fullmatch(text) is None:
        raise ApiError(404, NOT_FOUND)
    return text


def course_at_start_of_path(call: Call) -> str:
    """The same where anything may follow after a slash.

    Raises:
        ApiError: 404.
    """
    text = path_text(call, "course_id")
    found = _COURSE_IN_PATH.match(text)
    if found is None or text[found.end() : found.end() + 1] not in ("", "/"):
        raise ApiError(404, NOT_FOUND)
    return found[0]


def course_in_query(text: str) -> str:
    """A course in the query. No key holds a space: it was a plus that nobody escaped."""
    return text.replace(" ", "+")


def course_key(text: str) -> CourseKey | None:
    """The key that a text is, without a branch; None when it is none."""
    try:
        return parse_course_key(text).without_branch
    except InvalidKeyError:
        return None
