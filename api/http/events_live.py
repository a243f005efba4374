"""Who follows the end of the log: one reads it, and all who listen are told what they want.

However many listen, the log is read once a process, an event is rendered once, and what
several want alike is put together once. Nobody waits for anybody: each listener has a queue
of bounded size, and who does not empty it is told so, left out, and comes again when he has
read in the database what he missed. While nobody listens nothing is read.
"""

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from api.cloudevents import StoredEvent
from api.event_pages import EventPages, Page, Selection
from api.http.events_wanted import Wanted
from domain.errors import UnavailableError

logger = logging.getLogger(__name__)

QUEUE_BYTES: Final = 1024 * 1024
QUEUE_BATCHES: Final = 256
"""What may wait for one listener; the texts are shared by all who want the same."""

WOKEN_AT_A_TIME: Final = 16
"""Listeners that write one after the other before requests have their turn."""

SHORTEST_PAUSE: Final = 0.05
PAUSE_FOR_EACH: Final = 0.0005
"""Seconds between two readings, and more of them for each listener that was told something:
whatever is written meanwhile is told at once."""

LONGEST_PAUSE: Final = 0.2
"""Where the pause ends that doubles while nobody wants what is written."""

STUMBLED: Final = 1.0
START_LIMIT: Final = 10.0

Render = Callable[[StoredEvent], bytes]


@dataclass(slots=True)
class Figures:
    """What there is and was, for the metrics."""

    open: int = 0
    sent: int = 0
    fell_behind: int = 0
    refused: int = 0


class Batch:
    """What one reading of the log has for everybody of one selection."""

    def __init__(self, positions: Sequence[int], texts: Sequence[bytes]) -> None:
        """Make it of events in their order, at least one."""
        self._positions = positions
        self._texts = texts
        self._whole = b"".join(texts)

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self._positions[-1]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self._whole)

    def after(self, position: int) -> tuple[int, bytes]:
        """How many events stand after a position, and their text."""
        start = bisect_right(self._positions, position)
        text = b"".join(self._texts[start:]) if start else self._whole
        return len(self._positions) - start, text


class Listener:
    """Somebody who is told what is added to the log after ``begins_after``."""

    def __init__(self, begins_after: int) -> None:
        self.begins_after = begins_after
        self.lost = False
        self._waiting: deque[Batch] = deque()
        self._bytes = 0
        self._woken = asyncio.Event()

    def offer(self, batch: Batch) -> bool:
        """Put something into the queue; whether it was taken."""
        full = self._bytes + batch.size > QUEUE_BYTES or len(self._waiting) >= QUEUE_BATCHES
        if self._waiting and full:
            self.lose()
            return False
        self._waiting.append(batch)
        self._bytes += batch.size
        return True

    def lose(self) -> None:
        """Tell it no more."""
        self.lost = True
        self._waiting.clear()
        self._woken.set()

    def wake(self) -> None:
        """Let it look into its queue."""
        self._woken.set()

    async def next(self, *, until: float) -> Batch | None:
        """What comes next; None when time is over, or when it is lost."""
        if not self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    while not self._waiting and not self.lost:
                        self._woken.clear()
                        await self._woken.wait()
        if not self._waiting:
            return None
        batch = self._waiting.popleft()
        self._bytes -= batch.size
        return batch


class Live:
    """All who listen in this process."""

    def __init__(self, pages: EventPages, render: Render, *, limit: int) -> None:
        """Make it.

        Args:
            pages: reads the log.
            render: makes of an event what is sent.
            limit: how many may listen.
        """
        self.pages = pages
        self.render = render
        self.figures = Figures()
        self.position = 0
        """Up to where everybody has been told what he wants, or has it in his queue."""
        self._limit = limit
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups: dict[Selection, set[Listener]] = {}
        self._wanted = Wanted()
        self._reader: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._pause = SHORTEST_PAUSE

    @property
    def is_full(self) -> bool:
        """Whether nobody else may come: too many are here, or all have to go."""
        return self._ending or len(self._tasks) >= self._limit

    @contextmanager
    def counted(self, task: "asyncio.Task[None]") -> Iterator[None]:
        """Count a task among those who listen, which are cancelled when this ends."""
        self._tasks.add(task)
        self.figures.open = len(self._tasks)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self.figures.open = len(self._tasks)
            if not self._tasks:
                self._stop()

    def end(self) -> None:
        """Let everybody go, because the process ends. May be called more than once."""
        self._ending = True
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End, and stop reading."""
        self.end()
        reader = self._reader
        self._stop()
        if reader is not None:
            await asyncio.wait({reader})

    @asynccontextmanager
    async def listening(self, selection: Selection) -> AsyncIterator[Listener]:
        """Be told what is added from this moment on.

        Raises:
            UnavailableError: the log cannot be read.
        """
        await self._reading()
        listener = Listener(self.position)
        self._groups.setdefault(selection, set()).add(listener)
        self._wanted.add(selection)
        try:
            yield listener
        finally:
            self._leave(selection, listener)

    def _leave(self, selection: Selection, listener: Listener) -> None:
        group = self._groups[selection]
        group.discard(listener)
        if not group:
            del self._groups[selection]
            self._wanted.remove(selection)

    # --- reading ------------------------------------------------------------------------------

    async def _reading(self) -> None:
        """Begin to read, unless that is done already; return when it is known from where."""
        if self._reader is None or self._reader.done():
            self._begun = asyncio.Event()
            self._reader = asyncio.create_task(self._read(self._begun), name="gradelog tail")
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._begun.wait()
        except TimeoutError:
            raise UnavailableError("the end of the log is out of sight") from None

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def _read(self, begun: asyncio.Event) -> None:
        try:
            async with aclosing(self.pages.tail()) as pages:
                async for page in pages:
                    if begun.is_set():
                        await self._tell(page)
                    else:
                        self.position = page.position
                        begun.set()
        except Exception:
            # Whoever listens comes again, and it is tried again then.
            logger.exception("the end of the log cannot be read")
            await asyncio.sleep(STUMBLED)
        finally:
            for group in self._groups.values():
                for listener in group:
                    listener.lose()

    async def _tell(self, page: Page) -> None:
        found = self._found(page.events)
        # No pause between here and the end of the loop: who comes to listen is told
        # everything after this position, and nothing up to it.
        self.position = page.position
        told: list[Listener] = []
        for selection, events in found.items():
            batch = Batch([e.position for e in events], [e.text(self.render) for e in events])
            for listener in self._groups[selection]:
                if listener.lost:
                    continue
                if listener.offer(batch):
                    told.append(listener)
                else:
                    self.figures.fell_behind += 1
        for start in range(0, len(told), WOKEN_AT_A_TIME):
            for listener in told[start : start + WOKEN_AT_A_TIME]:
                listener.wake()
            await asyncio.sleep(0)
        self._pause = SHORTEST_PAUSE if told else min(self._pause * 2, LONGEST_PAUSE)
        if page.position == page.head:
            await asyncio.sleep(self._pause + PAUSE_FOR_EACH * len(told))

    def _found(self, events: Sequence[StoredEvent]) -> Mapping[Selection, list["_Told"]]:
        """What each selection finds in these events."""
        found: dict[Selection, list[_Told]] = {}
        for stored in events:
            event = _Told(stored)
            for selection in self._wanted.by(stored.type, event.fields):
                found.setdefault(selection, []).append(event)
        return found


class _Told:
    """An event that is decoded and rendered once, if at all."""

    __slots__ = ("_fields", "_stored", "_text", "position")

    def __init__(self, stored: StoredEvent) -> None:
        self.position = stored.position
        self._stored = stored
        self._fields: Mapping[str, Any] | None = None
        self._text: bytes | None = None

    def fields(self) -> Mapping[str, Any]:
        if self._fields is None:
            self._fields = orjson.loads(self._stored.data)
        return self._fields

    def text(self, render: Render) -> bytes:
        if self._text is None:
            self._text = render(self._stored)
        return self._text
