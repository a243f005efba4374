"""The log as others may read it, in PostgreSQL: pages of it, and its end as it grows.

There is no index on what stands inside of events: every append would pay for it. Who asks
for one course is told what a bounded part of the log has of it, and goes on from there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, cast

import orjson
import psycopg
import structlog
from psycopg import AsyncConnection

from api.cloudevents import StoredEvent
from api.event_pages import EVERYTHING, Page, Selection
from domain.errors import UnavailableError
from infra.log.bell import CHANNEL
from infra.log.postgres_log import LAST_POSITION
from infra.log.reader import LogGapError
from infra.postgres import Row, Session, options, parameters

logger = structlog.get_logger(__name__)

WINDOW: Final = 50_000
"""Positions that one page of a selection looks through at most."""

PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the event that fills it; the largest events are larger by themselves."""

READERS: Final = 3
"""Pages that are read at a time in one process."""

TAIL_BATCH: Final = 1000
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
PAUSE_GROWTH: Final = 1.5
FIRST_RECONNECT: Final = 0.1
LONGEST_RECONNECT: Final = 2.0

HEAD: Final = "SELECT coalesce(max(position), 0) FROM events"

# A text is looked for before its event is decoded: most that hold it hold it in the field
# that is meant, which is checked afterwards. How large an event is, is known without it.
READ: Final = """
SELECT position, stream_id, version, type, data, metadata, event_id, recorded_at, bytes
FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM (
        SELECT * FROM events
        WHERE position > %b::bigint AND position <= %b::bigint
            AND (%b::text[] IS NULL OR type = ANY (%b::text[]))
            AND (%b::text IS NULL OR strpos(data, %b::text) > 0)
            AND (%b::text IS NULL OR strpos(data, %b::text) > 0)
        ORDER BY position LIMIT %b::bigint
    ) AS e
) AS e
WHERE bytes - octet_length(data) < %b::bigint
ORDER BY position
"""


class PostgresEventPages:
    """``api.event_pages.EventPages`` over the table of events."""

    def __init__(self, dsn: str, *, timeout: float = 10.0, window: int = WINDOW) -> None:
        """Make it; connections are opened when they are needed.

        Args:
            dsn: connection string of the database with the log.
            timeout: seconds after which every page is there or refused.
            window: positions that one page of a selection looks through.
        """
        self._dsn = dsn
        self._timeout = timeout
        self._window = window
        self._sessions = [
            Session(dsn, statement_timeout=timeout, application_name="gradelog events")
            for _ in range(READERS)
        ]
        self._idle = list(self._sessions)
        self._free = asyncio.Semaphore(READERS)

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            await session.close()

    async def page(self, selection: Selection, *, after: int, limit: int) -> Page:
        """What follows a position; see ``EventPages``.

        Raises:
            UnavailableError: the database does not answer, or too many ask at once.
            LogGapError: the log is damaged.
        """

        async def work(db: AsyncConnection[Row]) -> Page:
            return await _read(db, selection, after=after, limit=limit, window=self._window)

        deadline = asyncio.get_running_loop().time() + self._timeout
        async with self._session(deadline) as session:
            left = deadline - asyncio.get_running_loop().time()
            return await session.run(work, within=left)

    async def tail(self) -> AsyncGenerator[Page, None]:
        """The log as it grows from now on, whatever happens to the database.

        Raises:
            LogGapError: the log is damaged.
        """
        position: int | None = None
        pause = FIRST_RECONNECT
        while True:
            try:
                async with await self._connected() as db, aclosing(self._follow(db, position)) as f:
                    async for page in f:
                        position, pause = page.position, FIRST_RECONNECT
                        yield page
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                logger.warning("the end of the log is out of sight", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RECONNECT)

    @asynccontextmanager
    async def _session(self, deadline: float) -> AsyncIterator[Session]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise UnavailableError("too many read the log at once") from None
        session = self._idle.pop()
        try:
            yield session
        finally:
            self._idle.append(session)
            self._free.release()

    async def _connected(self) -> AsyncConnection[Row]:
        async with asyncio.timeout(self._timeout):
            return await AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                **parameters(
                    options=options(statement_timeout=self._timeout),
                    application_name="gradelog tail",
                ),
            )

    async def _follow(
        self, db: AsyncConnection[Row], position: int | None
    ) -> AsyncGenerator[Page, None]:
        async with asyncio.timeout(self._timeout):
            await db.execute(f"LISTEN {CHANNEL}")
            if position is None:
                position = await _head(db)
        yield Page((), position, position)
        pause = FIRST_PAUSE
        while True:
            async with asyncio.timeout(self._timeout):
                page = await _read_end(db, position)
            if page.position > position:
                position, pause = page.position, FIRST_PAUSE
                yield page
            if page.position == page.head:
                # Whoever has appended rings; who does not, is seen a little later.
                async for _ in db.notifies(timeout=pause, stop_after=1):
                    pass
                pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


async def _head(db: AsyncConnection[Row]) -> int:
    async with db.cursor(binary=True) as cursor:
        await cursor.execute(HEAD, prepare=True)
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _read(
    db: AsyncConnection[Row], selection: Selection, *, after: int, limit: int, window: int
) -> Page:
    head = await _head(db)
    if after >= head:
        return Page((), after, head)
    end = head if selection.is_everything else min(after + window, head)
    events, is_full = await _events(db, selection, after=after, end=end, limit=limit)
    if is_full:
        end = events[-1].position
    if selection.is_everything:
        _check(events, after, end)
    if selection.looks_inside:
        events = [event for event in events if _is_wanted(event, selection)]
    return Page(events, end, head)


async def _read_end(db: AsyncConnection[Row], after: int) -> Page:
    """What follows a position, in one question. Its head is only known to be further on."""
    events, is_full = await _events(
        db, EVERYTHING, after=after, end=LAST_POSITION, limit=TAIL_BATCH
    )
    end = events[-1].position if events else after
    _check(events, after, end)
    return Page(events, end, end + is_full)


async def _events(
    db: AsyncConnection[Row], selection: Selection, *, after: int, end: int, limit: int
) -> tuple[list[StoredEvent], bool]:
    """Events that may be wanted, and whether others may follow that there was no room for."""
    types = sorted(selection.types) or None
    marks = [_as_json(selection.course_id), _as_json(selection.student_id)]
    arguments: Sequence[Any] = (
        *(after, end),
        *(types, types),
        *(mark for mark in marks for _ in range(2)),
        *(limit, PAGE_BYTES),
    )
    async with db.cursor(binary=True) as cursor:
        await cursor.execute(READ, arguments, prepare=True)
        rows = await cursor.fetchall()
    is_full = bool(rows) and (len(rows) == limit or rows[-1][-1] >= PAGE_BYTES)
    return [StoredEvent(*row[:-1]) for row in rows], is_full


def _check(events: Sequence[StoredEvent], after: int, end: int) -> None:
    if len(events) != end - after:
        raise LogGapError(f"a position of the log between {after} and {end} is missing")


def _is_wanted(event: StoredEvent, selection: Selection) -> bool:
    return selection.finds(event.type, lambda: cast(dict[str, Any], orjson.loads(event.data)))


def _as_json(text: str | None) -> str | None:
    """A text as it stands in the JSON of an event."""
    return None if text is None else orjson.dumps(text).decode()
