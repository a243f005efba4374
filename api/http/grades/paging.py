"""Pages over enrolments by their ids, forwards and backwards, as the peer's framework makes them.

The cursor is base64 of ``o=<offset>&r=1&p=<enrolment id>``, each part only where it says
something. Ids are unique, so an offset is read but never written.

Source: Django REST framework, ``CursorPagination``.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlencode

from api.http.calls import Call, raw_path
from api.http.cookies import base_of
from api.http.grades.errors import ApiError
from api.http.grades.parameters import LARGEST_NUMBER, Parameters
from projections.gradebook.queries import LARGEST_PAGE

T = TypeVar("T")

DEFAULT_PAGE: Final = 50
LARGEST_OFFSET: Final = 1000


class Cursor(NamedTuple):
    """Where a page begins."""

    offset: int = 0
    backward: bool = False
    position: int | None = None

    def encoded(self) -> str:
        """The text that callers hand back."""
        parts: dict[str, int] = {}
        if self.offset:
            parts["o"] = self.offset
        if self.backward:
            parts["r"] = 1
        if self.position is not None:
            parts["p"] = self.position
        return base64.b64encode(urlencode(parts).encode()).decode()


class Bounds(NamedTuple):
    """What to ask of a query for a page."""

    after: int | None
    before: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of which size is asked for."""

    size: int
    cursor: Cursor

    @property
    def bounds(self) -> Bounds:
        """One entry more than shown, which tells whether the list goes on."""
        limit = self.cursor.offset + self.size + 1
        if self.cursor.backward:
            before = LARGEST_NUMBER if self.cursor.position is None else self.cursor.position
            return Bounds(None, before, limit)
        return Bounds(self.cursor.position, None, limit)

    def cut(self, rows: Sequence[T]) -> tuple[list[T], bool]:
        """What is shown of the rows that were found, and whether there are more of them."""
        found = rows[self.cursor.offset :]
        shown = list(found[: self.size])
        if self.cursor.backward:
            shown.reverse()
        return shown, len(found) > self.size

    def links(self, call: Call, ids: Sequence[int], *, more: bool) -> dict[str, str | None]:
        """The addresses of the pages around, by the ids of the entries that are shown."""
        came_from = self.cursor.position is not None or self.cursor.offset > 0
        has_next, has_previous = (came_from, more) if self.cursor.backward else (more, came_from)
        following = Cursor(position=ids[-1] if ids else self.cursor.position)
        preceding = Cursor(backward=True, position=ids[0] if ids else self.cursor.position)
        return {
            "next": address(call, cursor=following.encoded()) if has_next else None,
            "previous": address(call, cursor=preceding.encoded()) if has_previous else None,
        }


def read_page(query: Parameters) -> Page:
    """Which page is asked for.

    Raises:
        ApiError: 404: the cursor is none.
    """
    try:
        size = int(query.text("page_size"))
    except ValueError:
        size = 0
    if size <= 0:
        size = DEFAULT_PAGE
    cursor = _read_cursor(query.text("cursor"))
    # The peer knows no limit; we never hold more than this of a course in memory at once.
    return Page(min(size, LARGEST_PAGE - cursor.offset - 1), cursor)


def _read_cursor(text: str) -> Cursor:
    try:
        parts = parse_qs(base64.b64decode(text).decode("ascii"), keep_blank_values=True)
        offset = int(parts.get("o", ["0"])[0])
        backward = bool(int(parts.get("r", ["0"])[0]))
        position = int(parts["p"][0]) if "p" in parts else None
    except (binascii.Error, ValueError):
        raise ApiError(404, "Invalid cursor") from None
    if offset < 0 or (position is not None and abs(position) > LARGEST_NUMBER):
        raise ApiError(404, "Invalid cursor")
    return Cursor(min(offset, LARGEST_OFFSET), backward, position)


def base(call: Call) -> str:
    """Where the caller finds this server, without a slash at the end."""
    found = base_of(call)
    return found.origin + found.path


def address(call: Call, **parameters: Any) -> str:
    """The address of this request with some parameters set otherwise, sorted by name."""
    query = parse_qs(call.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query.update({name: [value] for name, value in parameters.items()})
    return f"{base(call)}{raw_path(call.scope)}?{urlencode(sorted(query.items()), doseq=True)}"
