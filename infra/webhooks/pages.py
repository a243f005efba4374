"""Stretches of the log that all webhooks share: read once, rendered once.

Webhooks that are up to date stand at the same place and ask for the same events; those that
catch up go through the log alone and push each other's pages out, which costs a read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson
from psycopg import AsyncConnection

from api.cloudevents import COLUMNS, StoredEvent, structured
from infra.log.reader import LogGapError
from infra.postgres import Row, fetch_all

EVENTS: Final = 500
BYTES: Final = 4 * 1024 * 1024
"""Of one page, but for its first event, which may be as large as it is."""

KEPT_PAGES: Final = 64
KEPT_BYTES: Final = 64 * 1024 * 1024

READ: Final = f"""
SELECT {COLUMNS} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
        - octet_length(data) AS bytes_before
    FROM (
        SELECT {COLUMNS} FROM gradelog.events
        WHERE position > %b::bigint ORDER BY position LIMIT %b::bigint
    ) AS e
) AS e
WHERE bytes_before < %b::bigint ORDER BY position
"""  # noqa: S608 - put together from constants


class Wanted(NamedTuple):
    """Which events somebody wants: of these types, or any; of this course, or any."""

    types: frozenset[str]
    course_id: str | None

    def takes(self, entry: "Entry") -> bool:
        """Whether an event is among them."""
        if self.types and entry.stored.type not in self.types:
            return False
        return self.course_id is None or entry.course_id == self.course_id


@dataclass(slots=True)
class Entry:
    """One event of the log."""

    stored: StoredEvent
    _course_id: str | None = None
    _has_course: bool = False
    _text: bytes | None = None

    @property
    def course_id(self) -> str | None:
        """The course that the event is about, if it is about one."""
        if not self._has_course:
            found = orjson.loads(self.stored.data).get("course_id")
            self._course_id = found if isinstance(found, str) else None
            self._has_course = True
        return self._course_id

    def text(self, source: str) -> bytes:
        """The event as a CloudEvent."""
        if self._text is None:
            self._text = structured(self.stored, source=source)
        return self._text


@dataclass(frozen=True, slots=True)
class Page:
    """The events after ``after`` up to ``end``, without a gap."""

    after: int
    end: int
    entries: Sequence[Entry]
    size: int

    def beyond(self, position: int) -> Sequence[Entry]:
        """Those of its events that come after a position inside of it."""
        return self.entries[position - self.after :]


Run = Callable[[Callable[[AsyncConnection[Row]], Awaitable[Page]]], Awaitable[Page]]


@dataclass(slots=True)
class Pages:
    """Reads the log for all tasks of one event loop.

    ``run`` carries out a question to the database.
    """

    run: Run
    reads: int = 0
    _kept: OrderedDict[int, Page] = field(default_factory=OrderedDict)
    _reading: dict[int, asyncio.Task[Page]] = field(default_factory=dict)

    async def after(self, position: int) -> Page:
        """A page with what comes right after a position; an empty one where the log ends.

        Raises:
            LogGapError: the log was damaged.
            UnavailableError: the database does not answer.
        """
        for page in reversed(self._kept.values()):
            if page.after <= position < page.end:
                self._kept.move_to_end(page.after)
                return page
        task = self._reading.get(position)
        if task is None:
            task = asyncio.create_task(self._read(position))
            self._reading[position] = task
            task.add_done_callback(lambda _: self._reading.pop(position, None))
        # Whoever asked first may go away; the others still wait for the page.
        return await asyncio.shield(task)

    async def _read(self, position: int) -> Page:
        async def ask(db: AsyncConnection[Row]) -> Page:
            rows = await fetch_all(db, READ, (position, EVENTS, BYTES))
            return _page(position, rows)

        self.reads += 1
        page = await self.run(ask)
        if page.entries:
            self._kept[position] = page
            self._kept.move_to_end(position)
            while len(self._kept) > 1 and (
                len(self._kept) > KEPT_PAGES
                or sum(kept.size for kept in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)
        return page


def _page(after: int, rows: Sequence[Row]) -> Page:
    entries = [Entry(StoredEvent(*row)) for row in rows]
    for expected, entry in enumerate(entries, after + 1):
        if entry.stored.position != expected:
            raise LogGapError(f"position {expected} of the log is missing")
    size = sum(len(entry.stored.data) for entry in entries)
    return Page(after, after + len(entries), entries, size)
