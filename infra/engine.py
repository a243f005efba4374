"""The event loop behind callers that are threads.

Everything that writes is asynchronous, so that concurrent commands share transactions. A
thread hands its command to the one loop of the process and sleeps until it is done. The
hand-over costs one wake-up of the loop for all threads that come at the same time.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import uvloop

from domain.errors import OutcomeUnknownError, UnavailableError

T = TypeVar("T")

GRACE: Final = 5.0
"""Seconds that a thread waits beyond the limits of what it has asked for."""


class _Ticket:
    """What one thread waits for."""

    __slots__ = ("done", "error", "make", "result")

    def __init__(self, make: Callable[[], Awaitable[Any]]) -> None:
        self.make = make
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class Engine:
    """Runs an event loop in a thread of its own."""

    def __init__(self, *, limit: float) -> None:
        """Make an engine.

        Args:
            limit: seconds within which everything that is asked of it ends by itself.
        """
        self._limit = limit
        self._loop = uvloop.new_event_loop()
        self._inbox: deque[_Ticket] = deque()
        self._woken = False
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="gradelog engine", daemon=True)
        self._thread.start()

    def run(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await something on the loop; return its result or raise its error.

        Raises:
            OutcomeUnknownError: it did not end in time.
            UnavailableError: the engine is closed.
        """
        if self._closed:
            raise UnavailableError("gradelog is closed in this process")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a task of the event loop must await, not block the loop")
        ticket = _Ticket(make)
        self._inbox.append(ticket)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._take)
        if not ticket.done.acquire(timeout=self._limit + GRACE):
            raise OutcomeUnknownError("the command did not end in time")
        if ticket.error is not None:
            raise ticket.error
        return cast(T, ticket.result)

    def close(self) -> None:
        """Finish what is under way and stop the loop."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(self._limit + GRACE)

    def _take(self) -> None:
        self._woken = False
        while self._inbox:
            task = self._loop.create_task(self._serve(self._inbox.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, ticket: _Ticket) -> None:
        try:
            ticket.result = await ticket.make()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            ticket.error = error
        finally:
            ticket.done.release()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            if self._tasks:
                waiting = asyncio.wait(self._tasks, timeout=self._limit)
                self._loop.run_until_complete(waiting)
        finally:
            with contextlib.suppress(Exception):
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
