"""Rules of the values that a course is made of, and the list of all that breaks them.

A caller who publishes a course of thousands of blocks wants to know everything that is wrong
with it at once, so a rule notes what it finds and goes on with something harmless.
"""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from domain.courses.errors import CourseRequestError
from domain.errors import Fault

MAX_NAME: Final = 1000
MAX_SLUG: Final = 255
MAX_POINTS: Final = 1_000_000_000.0
MAX_MOMENT: Final = 64
MAX_FAULTS: Final = 100
"""More than these are counted and not told."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

Loc = tuple[str | int, ...]


class Faults:
    """Everything that is wrong with one command."""

    def __init__(self) -> None:
        self.found: list[Fault] = []
        self.untold = 0

    def add(self, loc: Loc, msg: str, kind: str = "invalid") -> None:
        """Note that something is wrong."""
        if len(self.found) < MAX_FAULTS:
            self.found.append(Fault(loc, msg, kind))
        else:
            self.untold += 1

    def refuse_if_any(self) -> None:
        """Raise with all that was noted.

        Raises:
            CourseRequestError: something was.
        """
        if self.untold:
            self.found.append(Fault((), f"{self.untold} more are wrong.", "more"))
        if self.found:
            raise CourseRequestError(self.found)

    # --- values -------------------------------------------------------------------------------

    def text(self, loc: Loc, value: object, limit: int, *, blank: bool = False) -> str:
        """Text that can be stored everywhere, as it is."""
        if not isinstance(value, str):
            self.add(loc, "Not a valid string.", "string_type")
        elif not blank and not value.strip():
            self.add(loc, "This field may not be blank.", "blank")
        elif len(value) > limit:
            self.add(loc, f"Ensure this field has no more than {limit} characters.", "max_length")
        elif "\0" in value:
            self.add(loc, "Null characters are not allowed.", "null_characters_not_allowed")
        elif not value.isascii() and _SURROGATE.search(value):
            self.add(
                loc, "Surrogate characters are not allowed.", "surrogate_characters_not_allowed"
            )
        else:
            return value
        return ""

    def flag(self, loc: Loc, value: object) -> bool:
        """True or false."""
        if isinstance(value, bool):
            return value
        self.add(loc, "Must be true or false.", "bool_type")
        return False

    def number(self, loc: Loc, value: object, largest: float = MAX_POINTS) -> float:
        """A finite number from 0 on."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.add(loc, "A number is required.", "float_type")
        elif not 0 <= value <= largest:
            self.add(loc, f"A number from 0 to {largest:g} is required.", "range")
        else:
            return float(value)
        return 0.0

    def count(self, loc: Loc, value: object, largest: int) -> int:
        """A whole number from 0 on; ``3.0`` is one."""
        number = self.number(loc, value, largest)
        if number.is_integer():
            return int(number)
        self.add(loc, "A whole number is required.", "int_type")
        return 0

    def moment(self, loc: Loc, value: object) -> datetime | None:
        """A time in UTC, which it is taken as when it says nothing else."""
        if isinstance(value, str) and len(value) <= MAX_MOMENT:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                value = None
        if isinstance(value, datetime):
            try:
                aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
                return aware.astimezone(UTC)
            except OverflowError:
                pass
        self.add(loc, "Not a time in ISO 8601.", "datetime")
        return None

    def mapping(self, loc: Loc, value: object) -> Mapping[str, Any]:
        """An object of JSON."""
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return value
        self.add(loc, "Input should be an object.", "object_type")
        return {}

    def items(self, loc: Loc, value: object, limit: int) -> list[Any]:
        """A list of JSON."""
        if not isinstance(value, list | tuple):
            self.add(loc, "Input should be a list.", "list_type")
        elif len(value) > limit:
            self.add(loc, f"Ensure this list has no more than {limit} entries.", "too_long")
        else:
            return list(value)
        return []

    def known(self, loc: Loc, value: Mapping[str, Any], names: Collection[str]) -> None:
        """Nothing but members of these names."""
        for name in value:
            if name not in names:
                self.add((*loc, name), "Unknown field.", "unknown")


def moment_text(moment: datetime) -> str:
    """A time in UTC as it stands inside of lists in events."""
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
