"""Events as they happen: Server-Sent Events that go on where the reader was.

A reader gets from the database what there is after the position that he names, and is then
told what is added, by position, so that nothing is left out and nothing comes twice. What
is sent now and then while nothing happens also names a position: who has asked for little
need not look through the same part of the log again after a broken connection.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.cloudevents import StoredEvent, structured
from api.event_pages import Selection
from api.http.calls import ANSWERED
from api.http.events_live import Live
from api.http.responses import POSITION, gone, pass_on
from domain.errors import UnavailableError

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "text/event-stream"
PAGE: Final = 1000
RETRY: Final = 1000
"""Milliseconds after which a browser comes again."""

FAREWELL: Final = 1.0
_NEW_LINES: Final = bytes.maketrans(b"\r\n", b"  ")


def rendered(stored: StoredEvent, *, source: str) -> bytes:
    """An event as it is sent."""
    # A line break of JSON stands between its words: inside of texts it is escaped.
    data = structured(stored, source=source).translate(_NEW_LINES)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.position, stored.type.encode(), data)


class EventStream(Response):
    """An answer that goes on until its reader leaves, or may not read any more."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        live: Live,
        selection: Selection,
        *,
        after: int,
        head: int,
        keep_alive: float,
        allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        """Make the answer.

        Args:
            live: all who listen.
            selection: what is wanted.
            after: the position that the reader has seen.
            head: where the log ends.
            keep_alive: seconds after which something is sent even if nothing happens.
            allowed: asked as often, whether the reader may go on.
        """
        super().__init__(
            headers={
                POSITION: str(head),
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                "Vary": "Accept, Authorization",
            }
        )
        del self.headers["content-length"]
        self._live = live
        self._selection = selection
        self._position = after
        self._keep_alive = keep_alive
        self._allowed = allowed
        self._due = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader leaves; only the head of it for HEAD."""
        scope[ANSWERED] = time.perf_counter()
        if scope["method"] == "HEAD":
            await send(self._start())
            await send({"type": "http.response.body", "body": b""})
            return
        sending = asyncio.create_task(self._go_on(send))
        left = asyncio.create_task(gone(receive))
        with self._live.counted(sending):
            try:
                await asyncio.wait({sending, left}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, left):
                    task.cancel()
                await asyncio.wait({sending, left})
        failure = None if sending.cancelled() else sending.exception()
        if not left.cancelled():
            return
        if failure is not None:
            raise failure  # breaks the connection off
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await send({"type": "http.response.body", "body": b""})

    def _start(self) -> dict[str, object]:
        return {"type": "http.response.start", "status": 200, "headers": self.raw_headers}

    async def _go_on(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        # Readers who came all at once, when a server had started, do not go on in step.
        self._due = loop.time() + self._keep_alive * random.random()  # noqa: S311
        await send(self._start())
        await pass_on(send, b"retry: %d\n\n" % RETRY)
        live = self._live
        try:
            while True:
                async with live.listening(self._selection) as listener:
                    while self._position < listener.begins_after and not listener.lost:
                        await self._catch_up(send)
                    while not listener.lost:
                        batch = await listener.next(until=self._due)
                        if batch is not None:
                            count, text = batch.after(self._position)
                            await self._send(send, count, text, batch.last)
                        elif not listener.lost:
                            self._position = max(self._position, live.position)
                        await self._keep(send)
        except _OverError:
            return
        except UnavailableError as error:
            logger.warning("a stream of events ends: %s", error)

    async def _catch_up(self, send: Send) -> None:
        page = await self._live.pages.page(self._selection, after=self._position, limit=PAGE)
        text = b"".join([self._live.render(stored) for stored in page.events])
        await self._send(send, len(page.events), text, page.position)
        await self._keep(send)

    async def _send(self, send: Send, count: int, text: bytes, position: int) -> None:
        if text:
            await pass_on(send, text)
            self._live.figures.sent += count
        self._position = max(self._position, position)

    async def _keep(self, send: Send) -> None:
        """Say something now and then, to a reader who still may read."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            return
        if not await self._allowed():
            raise _OverError
        await pass_on(send, b": keep-alive\nid: %d\n\n" % self._position)
        self._due = loop.time() + self._keep_alive


class _OverError(Exception):
    """The reader may not read any more."""
