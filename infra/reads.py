"""Asks read models in PostgreSQL, after they have applied what the reader must see.

``PostgresReads`` is for the tasks of an event loop, ``SyncReads`` for threads. What they do
is the same and stands in ``read_steps``; here is how each of them does it.
"""

import asyncio
import threading
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar, cast

from psycopg import AsyncConnection, Connection

from api.backend import ReadModelStatus
from domain.errors import UnavailableError
from infra import read_steps
from infra.postgres import LOG_SCHEMA, Row, async_pool, pool
from infra.read_statements import CHUNK
from infra.read_steps import Give, Run, Steps, Take, Wait, is_over
from infra.statements import statements_of
from projections.read_model import Answer, Query, ReadModel, StreamQuery
from projections.registry import READ_MODELS

T = TypeVar("T")

LONGEST_WAIT: Final = 5.0
GRACE: Final = 1.0
"""Seconds that we wait longer than the server works on a statement."""

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25


def _search_path(models: Sequence[type[ReadModel]]) -> list[str]:
    return [*(model.schema() for model in models), LOG_SCHEMA]


# --- for tasks ------------------------------------------------------------------------------


class PostgresReads:
    """Answers the tasks of one event loop. It is ``api.backend.Reads``."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 8,
        timeout: float = 10.0,
        wait: float = LONGEST_WAIT,
        models: Sequence[type[ReadModel]] = READ_MODELS,
    ) -> None:
        """Make it; ``open`` connects.

        Args:
            dsn: connection string of the database.
            size: most connections.
            timeout: seconds after which the server gives up a statement; of a stream, each
                chunk has as long.
            wait: most seconds to wait for a read model.
            models: the read models of this code.
        """
        self._models = models
        self._wait = wait
        self._timeout = timeout + GRACE
        self._pool = async_pool(
            dsn, size=size, statement_timeout=timeout, search_path=_search_path(models)
        )
        self._watcher = _Watcher(lambda: self._do(read_steps.standings()))

    async def open(self) -> None:
        """Begin to connect, without waiting for it."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._watcher.close()
        await self._pool.close()

    async def ask(self, query: Query[T], *, at_least: int = 0, latest: bool = False) -> Answer[T]:
        """Answer one question; see ``api.backend.Reads``."""
        return await self._do(read_steps.ask(query, at_least, self._wait, latest=latest))

    @asynccontextmanager
    async def stream(
        self, query: StreamQuery[T], *, at_least: int = 0, latest: bool = False
    ) -> AsyncIterator[Answer[AsyncIterator[Sequence[T]]]]:
        """Answer a large question in chunks, all of one snapshot; see ``api.backend.Reads``.

        Memory holds one chunk. The connection goes back at the end of the block, whether
        all chunks were taken or not.
        """
        steps = read_steps.open_stream(query, at_least, self._wait, latest=latest)
        db, position = await self._do(steps)
        try:
            yield Answer(self._chunks(db, query), position)
        finally:
            await self._do(read_steps.close_stream(db))

    async def positions(self) -> Mapping[str, ReadModelStatus]:
        """Where each read model of this version stands, by name."""
        return await self._do(read_steps.positions(self._models))

    async def _chunks(
        self, db: AsyncConnection[Row], query: StreamQuery[T]
    ) -> AsyncIterator[Sequence[T]]:
        full = True
        while full:
            rows = await self._do(read_steps.fetch(db))
            full = len(rows) == CHUNK
            if rows:
                yield [query.parse(row) for row in rows]

    async def _do(self, steps: Steps[T]) -> T:
        found: Any = None
        failure: BaseException | None = None
        try:
            while True:
                step = steps.send(found) if failure is None else steps.throw(failure)
                found, failure = None, None
                try:
                    match step:
                        case Run():
                            found = await statements_of(step.db).run_async(
                                *(step.db, step.statement, step.arguments),
                                prepare=step.prepare,
                                timeout=self._timeout,
                            )
                        case Take():
                            found = await self._pool.getconn()
                        case Give():
                            await self._pool.putconn(step.db)
                        case Wait():
                            found = await self._watcher.wait(step)
                except BaseException as error:  # noqa: BLE001 - the steps know what to do
                    failure = error
        except StopIteration as done:
            return cast(T, done.value)
        finally:
            failure = None  # it holds this frame, and would hold it with all that is in it


class _Watcher:
    """Looks where the read models stand, for all tasks that wait, as long as any waits."""

    def __init__(self, look: Callable[[], Awaitable[Mapping[str, Row]]]) -> None:
        self._look = look
        self._waiting: dict[asyncio.Future[bool], Wait] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE

    async def wait(self, wanted: Wait) -> bool:
        """Wait until the position is reached or the read model fails; False: not in time."""
        reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = wanted
        self._pause = FIRST_PAUSE
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(wanted.deadline - time.monotonic()):
                return await reached
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(reached, None)

    async def close(self) -> None:
        """Let nobody wait any longer."""
        for reached in self._waiting:
            if not reached.done():
                reached.set_result(False)
        self._waiting.clear()
        if self._task is not None:
            await self._task

    async def _watch(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * PAUSE_GROWTH, LONGEST_PAUSE)
                # Without a database the waiting ends by itself.
                with suppress(UnavailableError):
                    self._tell(await self._look())
        finally:
            self._task = None

    def _tell(self, standings: Mapping[str, Row]) -> None:
        for reached, wanted in list(self._waiting.items()):
            if not reached.done() and is_over(standings.get(wanted.schema), wanted):
                reached.set_result(True)


# --- for threads ----------------------------------------------------------------------------


class SyncReads:
    """The same for threads."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 8,
        timeout: float = 10.0,
        wait: float = LONGEST_WAIT,
        models: Sequence[type[ReadModel]] = READ_MODELS,
    ) -> None:
        """Make it; ``open`` connects. See ``PostgresReads``."""
        self._models = models
        self._wait = wait
        self._timeout = timeout + GRACE
        self._pool = pool(
            dsn, size=size, statement_timeout=timeout, search_path=_search_path(models)
        )
        self._watcher = _SyncWatcher(lambda: self._do(read_steps.standings()))

    def open(self) -> None:
        """Begin to connect, without waiting for it."""
        self._pool.open()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def ask(self, query: Query[T], *, at_least: int = 0, latest: bool = False) -> Answer[T]:
        """Answer one question; see ``api.backend.Reads``."""
        return self._do(read_steps.ask(query, at_least, self._wait, latest=latest))

    @contextmanager
    def stream(
        self, query: StreamQuery[T], *, at_least: int = 0, latest: bool = False
    ) -> Iterator[Answer[Iterator[Sequence[T]]]]:
        """Answer a large question in chunks, all of one snapshot; see ``PostgresReads``."""
        steps = read_steps.open_stream(query, at_least, self._wait, latest=latest)
        db, position = self._do(steps)
        try:
            yield Answer(self._chunks(db, query), position)
        finally:
            self._do(read_steps.close_stream(db))

    def positions(self) -> Mapping[str, ReadModelStatus]:
        """Where each read model of this version stands, by name."""
        return self._do(read_steps.positions(self._models))

    def _chunks(self, db: Connection[Row], query: StreamQuery[T]) -> Iterator[Sequence[T]]:
        full = True
        while full:
            rows = self._do(read_steps.fetch(db))
            full = len(rows) == CHUNK
            if rows:
                yield [query.parse(row) for row in rows]

    def _do(self, steps: Steps[T]) -> T:
        found: Any = None
        failure: BaseException | None = None
        try:
            while True:
                step = steps.send(found) if failure is None else steps.throw(failure)
                found, failure = None, None
                try:
                    match step:
                        case Run():
                            found = statements_of(step.db).run(
                                *(step.statement, step.arguments),
                                prepare=step.prepare,
                                timeout=self._timeout,
                            )
                        case Take():
                            found = self._pool.getconn()
                        case Give():
                            self._pool.putconn(step.db)
                        case Wait():
                            found = self._watcher.wait(step)
                except BaseException as error:  # noqa: BLE001 - the steps know what to do
                    failure = error
        except StopIteration as done:
            return cast(T, done.value)
        finally:
            failure = None  # it holds this frame, and would hold it with all that is in it


class _SyncWatcher:
    """One of the threads that wait looks where the read models stand, for all of them."""

    def __init__(self, look: Callable[[], Mapping[str, Row]]) -> None:
        self._look = look
        self._standings: Mapping[str, Row] = {}
        self._looks = 0
        self._somebody_looks = False
        self._changed = threading.Condition()

    def wait(self, wanted: Wait) -> bool:
        """Wait until the position is reached or the read model fails; False: not in time."""
        pause = FIRST_PAUSE
        with self._changed:
            # An old look may show a failure from which the read model has recovered since.
            first = self._looks + 1
            while True:
                left = wanted.deadline - time.monotonic()
                if self._looks >= first and is_over(self._standings.get(wanted.schema), wanted):
                    return True
                if left <= 0:
                    return False
                if self._somebody_looks:
                    self._changed.wait(left)
                    continue
                self._somebody_looks = True
                self._changed.release()
                found: Mapping[str, Row] | None = None
                try:
                    time.sleep(min(pause, left))
                    with suppress(UnavailableError):
                        found = self._look()
                finally:
                    self._changed.acquire()
                    self._somebody_looks = False
                    if found is not None:
                        self._standings = found
                        self._looks += 1
                    self._changed.notify_all()
                pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
