"""The settings of a block: from the policy or the XML, as their types want them.

A value in XML is text that may hold JSON: ``true``, ``1.5``, ``"text"``, ``null``. It is taken
as what it decodes to if its field has that type, else as the text that it is.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from api.olx.errors import quoted
from domain.courses.blocks import LARGEST_GROUP

LONGEST_VALUE: Final = 10_000
LONGEST_TEXT: Final = 1_000
LARGEST_NUMBER: Final = 1e9

_PARTITION: Final = re.compile(r"\d{1,10}", re.ASCII)


class Settings:
    """What one block says itself; nothing here is inherited.

    Each method returns None for a value that is not set, is reset by ``null``, or cannot be
    used; only the last is told to ``complain``.
    """

    def __init__(
        self,
        attributes: Mapping[str, str],
        policy: Mapping[str, Any],
        complain: Callable[[str], None],
    ) -> None:
        self._attributes = attributes
        self._policy = policy
        self.complain = complain

    def text(self, name: str) -> str | None:
        """Text; a number or a truth value in XML is text where text is wanted."""
        value, raw = self._value(name)
        if value is None:
            return None
        if isinstance(value, str):
            found = value
        elif raw is not None:
            found = raw
        elif isinstance(value, int | float):
            found = str(value)
        else:
            self._refuse(name, value, "no text")
            return None
        if len(found) > LONGEST_TEXT:
            self.complain(f"{name} is cut to {LONGEST_TEXT:,} characters")
        return found[:LONGEST_TEXT]

    def flag(self, name: str) -> bool | None:
        """A truth value."""
        value, _ = self._value(name)
        match value:
            case None:
                return None
            case bool() | 0 | 1:
                return bool(value)
            case str() if value.lower() in {"true", "false", ""}:
                return value.lower() == "true"
        self._refuse(name, value, "neither true nor false")
        return None

    def number(self, name: str) -> float | None:
        """A number that points can be counted with."""
        value, _ = self._value(name)
        if value is None or value == "":
            return None
        try:
            found = float(value) if isinstance(value, str | int | float) else math.nan
        except ValueError:
            found = math.nan
        if 0 <= found <= LARGEST_NUMBER:
            return found
        self._refuse(name, value, "no number of points")
        return None

    def moment(self, name: str) -> datetime | None:
        """A time in UTC: as text, where one without a zone is in UTC, or in milliseconds."""
        value, _ = self._value(name)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, str):
                found = datetime.fromisoformat(value.strip())
                return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return datetime.fromtimestamp(value / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            pass
        self._refuse(name, value, "no time")
        return None

    def groups(self, name: str) -> dict[str, list[int]] | None:
        """Who may see the block: for each partition of the learners the groups that may."""
        value, _ = self._value(name)
        if value is None:
            return None
        if isinstance(value, dict) and all(_is_access(*item) for item in value.items()):
            return {partition: groups for partition, groups in value.items() if groups}
        self._refuse(name, value, "no groups by partition")
        return None

    def _value(self, name: str) -> tuple[Any, str | None]:
        """The value, None if it is not set; and the text that it was in XML."""
        if name in self._policy:
            return self._policy[name], None
        raw = self._attributes.get(name)
        if raw is None or len(raw) > LONGEST_VALUE or "\\u0000" in raw:
            return raw, raw
        try:
            return orjson.loads(raw), raw
        except orjson.JSONDecodeError:
            return raw, raw

    def _refuse(self, name: str, value: object, why: str) -> None:
        told = quoted(value if isinstance(value, str) else repr(value))
        self.complain(f"{name} {told} is {why} and left out")


def _is_access(partition: str, groups: object) -> bool:
    return (
        bool(_PARTITION.fullmatch(partition))
        and isinstance(groups, list | None)
        and all(type(group) is int and 0 <= group <= LARGEST_GROUP for group in groups or ())
    )
