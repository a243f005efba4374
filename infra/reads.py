"""Asks read models in PostgreSQL, after they have applied what the reader must see.

An answer and the position it stands for come from one statement, so from one snapshot.
``PostgresReads`` is for the tasks of an event loop, ``SyncReads`` for threads.
"""

import asyncio
import itertools
import re
import threading
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, LiteralString, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, Connection, sql
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from api.backend import ReadModelStatus
from domain.errors import UnavailableError
from infra.postgres import LOG_SCHEMA, Row, async_pool, pool
from infra.statements import statements_of
from projections.positions import BUILDING, FAILED
from projections.read_model import Answer, Query, ReadModel, StreamQuery
from projections.registry import READ_MODELS

T = TypeVar("T")

CHUNK: Final = 2000
LONGEST_WAIT: Final = 5.0
GRACE: Final = 1.0
"""Seconds that we wait longer than the server works on a statement."""

FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25

MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class _Run:
    """Run a statement; the answer are its rows.

    What is prepared has its arguments as ``$1``, the rest as ``%b``.
    """

    statement: bytes
    arguments: Sequence[Any] = ()
    prepare: bool = True


@dataclass(frozen=True, slots=True)
class _Wait:
    """Wait until a read model has reached a position; the answer is False when time is over.

    No connection and no snapshot is held meanwhile.
    """

    schema: str
    position: int


# A rebuild may put new tables under the name between the planning of a statement and its
# snapshot. The name was looked up when the statement was planned; when the catalogue of the
# snapshot says something else, rows and position may not belong together.
_STANDING: Final = """
SELECT position, state, error, {head} AS head,
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {schema}) = {schema}::regnamespace
        AS same
FROM gradelog.read_models WHERE schema = {schema}
"""
# Where read models are fed from Kafka, the log is elsewhere: its end is as far as is known.
_HEAD: Final = """
greatest((SELECT coalesce(max(position), 0) FROM gradelog.events),
    (SELECT head FROM gradelog.kafka_feed))
"""
_ASK: Final = """
SELECT m.*, q.* FROM ({standing}) AS m
LEFT JOIN LATERAL (SELECT true AS found, q.* FROM ({query}) AS q) AS q ON true
"""
_PLACEHOLDER: Final = re.compile("%[bs]")
_FOUND: Final = 5
"""The column that tells an answer without rows from an empty one."""

_BEGIN: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_NO_JIT: Final = b"SET LOCAL jit = off"  # compiling takes longer than the first chunks
_ROLLBACK: Final = b"ROLLBACK"
_SNAPSHOT: Final = f"""
SELECT position, state, error, {_HEAD},
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = schema)
FROM gradelog.read_models WHERE schema = $1
""".encode()  # noqa: S608 - a constant
_DECLARE: Final = b"DECLARE stream NO SCROLL CURSOR FOR "
_NAMESPACE: Final = b"SELECT to_regnamespace($1)::oid"
_FETCH: Final = _Run(f"FETCH FORWARD {CHUNK} FROM stream".encode(), prepare=False)

_POSITIONS: Final = _Run(
    f"""
SELECT schema, position, state, error, {_HEAD} FROM gradelog.read_models
UNION ALL
SELECT '', 0, CASE WHEN EXISTS (SELECT FROM gradelog.kafka_feed) THEN 'fed' ELSE '' END, NULL, {_HEAD}
""".encode()  # noqa: S608 - a constant
)
_FED: Final = "fed"
_GRADING: Final = "grading"
_WATCH: Final = _Run(
    b"""
SELECT schema, position, error IS NOT NULL FROM gradelog.read_models
UNION ALL SELECT 'grading', position, false FROM gradelog.grading_progress
"""
)
_GRADED: Final = _Run(
    f"SELECT position, recorded_at_position, {_HEAD} FROM gradelog.grading_progress".encode()  # noqa: S608 - a constant
)


@lru_cache(maxsize=1000)
def _statement(query: LiteralString, schema: str, *, head: bool) -> bytes:
    """A question together with where its read model stands."""
    standing = sql.SQL(_STANDING).format(
        head=sql.SQL(_HEAD if head else "NULL::bigint"), schema=sql.Literal(schema)
    )
    whole = sql.SQL(_ASK).format(standing=standing, query=sql.SQL(query)).as_string(None)
    number = itertools.count(1)
    return _PLACEHOLDER.sub(lambda _: f"${next(number)}", whole).encode()


# --- what one statement found ---------------------------------------------------------------


def _enough(model: type[ReadModel], standing: Sequence[Any], needed: int) -> bool:
    """Whether a read model has applied what the reader must see; False: not yet.

    Raises:
        UnavailableError: it never will as things stand, or its rows never served.
    """
    position, state, error = standing[:3]
    if state == BUILDING:
        reason = f"and has failed: {error}" if error else f"and stands at position {position}"
        raise UnavailableError(f"the read model {model.name} is being built {reason}")
    if position >= needed:
        return True
    if state == FAILED:
        raise UnavailableError(
            f"the read model {model.name} has failed and stands at position {position}: {error}"
        )
    return False


def _needed(standing: Sequence[Any], at_least: int, *, latest: bool) -> int:
    return max(at_least, standing[3]) if latest else at_least


def _missing(model: type[ReadModel]) -> UnavailableError:
    return UnavailableError(f"the read model {model.name} (version {model.version}) is not built")


def _late(model: type[ReadModel], needed: int) -> UnavailableError:
    return UnavailableError(
        f"the read model {model.name} has not reached position {needed} in time"
    )


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, PoolTimeout | TooManyRequests):
        return UnavailableError("all connections to the database are in use")
    return UnavailableError(f"the database does not answer: {error}")


_NOT_BUILT: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
_LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)


def _may_retry(error: Exception) -> bool:
    """Whether a new connection may help: not for who waited too long, here or there."""
    return not isinstance(
        error, PoolTimeout | PoolClosed | TooManyRequests | psycopg.errors.QueryCanceled
    )


def _answer(query: Query[T], rows: list[Row]) -> Answer[T]:
    position = rows[0][0]
    if rows[0][_FOUND] is None:
        return Answer(query.parse([]), position)
    return Answer(query.parse([row[_FOUND + 1 :] for row in rows]), position)


def _statuses(models: Sequence[type[ReadModel]], rows: list[Row]) -> Mapping[str, ReadModelStatus]:
    found = {row[0]: row for row in rows}
    head = rows[0][4]
    # Which of them are fed from Kafka is up to those who do it; all the same there must be one.
    is_fed = found.pop("")[2] == _FED and bool(found)
    statuses = {}
    for model in models:
        row = found.get(model.schema())
        if row is None and is_fed:
            continue
        if row is None:
            statuses[model.name] = ReadModelStatus(model, MISSING, 0, head)
            continue
        _, position, state, error, _ = row
        statuses[model.name] = ReadModelStatus(
            model, FAILED if error else state, position, head, error
        )
    return statuses


# --- what has to be done, whoever waits for it ----------------------------------------------


Steps = Generator[_Run | _Wait, Any, T]


def _graded(model: type[ReadModel], at_least: int, *, latest: bool) -> Steps[int]:
    """Wait until all up to a position is graded; return where the last of it was recorded.

    A score has no effect on rows before the grading has recorded what follows from it.
    """
    while True:
        rows = yield _GRADED
        position, recorded_at, head = rows[0]
        at_least, latest = max(at_least, head if latest else 0), False
        if position >= at_least:
            return int(max(at_least, recorded_at))
        if not (yield _Wait(_GRADING, at_least)):
            raise UnavailableError(
                f"the grading, which {model.name} follows, has not reached position {at_least}"
                " in time"
            )


def _asking(query: Query[T], at_least: int, *, latest: bool) -> Steps[Answer[T]]:
    model, schema = query.model, query.model.schema()
    if query.graded and (at_least or latest):
        at_least, latest = (yield from _graded(model, at_least, latest=latest)), False
    while True:
        statement = _statement(query.statement, schema, head=latest)
        rows = yield _Run(statement, query.arguments)
        if not rows:
            raise _missing(model)
        standing = rows[0]
        at_least, latest = _needed(standing, at_least, latest=latest), False
        if not standing[4]:
            continue
        if _enough(model, standing, at_least):
            return _answer(query, rows)
        if not (yield _Wait(schema, at_least)):
            raise _late(model, at_least)


def _opening(query: StreamQuery[Any], at_least: int, *, latest: bool) -> Steps[int]:
    """Open the cursor of a stream; return the position that it stands for."""
    model, schema = query.model, query.model.schema()
    if query.graded and (at_least or latest):
        at_least, latest = (yield from _graded(model, at_least, latest=latest)), False
    while True:
        yield _Run(_BEGIN, prepare=False)
        yield _Run(_NO_JIT, prepare=False)
        rows = yield _Run(_SNAPSHOT, (schema,))
        if not rows:
            raise _missing(model)
        standing = rows[0]
        at_least, latest = _needed(standing, at_least, latest=latest), False
        if _enough(model, standing, at_least):
            # Prepared, the cursor could not be declared with another query next time.
            yield _Run(_DECLARE + query.statement.encode(), query.arguments, prepare=False)
            if (yield _Run(_NAMESPACE, (schema,)))[0][0] == standing[4]:
                return int(standing[0])
            yield _Run(_ROLLBACK, prepare=False)
        elif not (yield _Wait(schema, at_least)):
            raise _late(model, at_least)


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
        self._watcher = _Watcher(self._run)

    async def open(self) -> None:
        """Begin to connect, without waiting for it."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._watcher.close()
        await self._pool.close()

    async def ask(self, query: Query[T], *, at_least: int = 0, latest: bool = False) -> Answer[T]:
        """Answer one question; see ``api.backend.Reads``."""
        steps = _asking(query, at_least, latest=latest)
        deadline = time.monotonic() + self._wait
        found: Any = None
        try:
            while True:
                step = steps.send(found)
                if isinstance(step, _Run):
                    found = await self._run(step)
                else:
                    found = await self._watcher.wait(step, deadline)
        except StopIteration as done:
            return cast(Answer[T], done.value)
        except _NOT_BUILT:
            raise _missing(query.model) from None

    @asynccontextmanager
    async def stream(
        self, query: StreamQuery[T], *, at_least: int = 0, latest: bool = False
    ) -> AsyncIterator[Answer[AsyncIterator[Sequence[T]]]]:
        """Answer a large question in chunks, all of one snapshot; see ``api.backend.Reads``.

        Memory holds one chunk. The connection goes back at the end of the block, whether
        all chunks were taken or not.
        """
        db, position = await self._open_stream(query, at_least, latest=latest)
        try:
            yield Answer(_chunks(db, query, self._timeout), position)
        finally:
            await self._release(db)

    async def positions(self) -> Mapping[str, ReadModelStatus]:
        """Where each read model of this version stands, by name."""
        return _statuses(self._models, await self._run(_POSITIONS))

    async def _run(self, step: _Run) -> list[Row]:
        """Run a statement; once more when the connection was lost."""
        for last in (False, True):
            try:
                db = await self._pool.getconn()
                try:
                    return await _rows(db, step, self._timeout)
                finally:
                    await self._pool.putconn(db)
            except _LOST as error:
                if last or not _may_retry(error):
                    raise _unavailable(error) from error
            # The others were lost with it.
            await self._pool.check()
        raise AssertionError

    async def _open_stream(
        self, query: StreamQuery[T], at_least: int, *, latest: bool
    ) -> tuple[AsyncConnection[Row], int]:
        deadline = time.monotonic() + self._wait
        for last in (False, True):
            try:
                return await self._try_open_stream(
                    _opening(query, at_least, latest=latest), deadline
                )
            except _NOT_BUILT:
                raise _missing(query.model) from None
            except _LOST as error:
                if last or not _may_retry(error):
                    raise _unavailable(error) from error
            await self._pool.check()
        raise AssertionError

    async def _try_open_stream(
        self, steps: Steps[int], deadline: float
    ) -> tuple[AsyncConnection[Row], int]:
        db: AsyncConnection[Row] | None = None
        found: Any = None
        try:
            while True:
                step = steps.send(found)
                if isinstance(step, _Run):
                    db = db or await self._pool.getconn()
                    found = await _rows(db, step, self._timeout)
                else:
                    if db is not None:
                        await self._release(db)
                        db = None
                    found = await self._watcher.wait(step, deadline)
        except StopIteration as done:
            assert db is not None
            return db, done.value
        except BaseException:
            if db is not None:
                await self._release(db)
            raise

    async def _release(self, db: AsyncConnection[Row]) -> None:
        with suppress(psycopg.Error):
            await db.rollback()
        await self._pool.putconn(db)


async def _rows(db: AsyncConnection[Row], step: _Run, timeout: float) -> list[Row]:  # noqa: ASYNC109
    if step.prepare:
        return await statements_of(db).run_async(
            db, step.statement, step.arguments, timeout=timeout
        )
    async with db.cursor(binary=True) as cursor:
        await cursor.execute(step.statement, step.arguments, prepare=False)
        return await cursor.fetchall() if cursor.description else []


async def _chunks(
    db: AsyncConnection[Row],
    query: StreamQuery[T],
    timeout: float,  # noqa: ASYNC109
) -> AsyncIterator[Sequence[T]]:
    full = True
    while full:
        try:
            rows = await _rows(db, _FETCH, timeout)
        except _LOST as error:
            raise _unavailable(error) from error
        full = len(rows) == CHUNK
        if rows:
            yield [query.parse(row) for row in rows]


class _Watcher:
    """Looks where the read models stand, for all tasks that wait, as long as any waits."""

    def __init__(self, run: Callable[[_Run], Awaitable[list[Row]]]) -> None:
        self._run = run
        self._waiting: dict[asyncio.Future[bool], _Wait] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE

    async def wait(self, wanted: _Wait, deadline: float) -> bool:
        """Wait until the position is reached or the read model fails; False: not in time."""
        reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = wanted
        self._pause = FIRST_PAUSE
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
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
                    self._tell(await self._run(_WATCH))
        finally:
            self._task = None

    def _tell(self, rows: list[Row]) -> None:
        standing = {row[0]: row for row in rows}
        for reached, wanted in list(self._waiting.items()):
            if not reached.done() and _is_over(standing.get(wanted.schema), wanted):
                reached.set_result(True)


def _is_over(standing: Row | None, wanted: _Wait) -> bool:
    """Whether a wait is over: reached, failed, or gone."""
    if standing is None:
        return True
    _, position, failed = standing
    return bool(failed) or position >= wanted.position


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
        self._watcher = _SyncWatcher(self._run)

    def open(self) -> None:
        """Begin to connect, without waiting for it."""
        self._pool.open()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def ask(self, query: Query[T], *, at_least: int = 0, latest: bool = False) -> Answer[T]:
        """Answer one question; see ``api.backend.Reads``."""
        steps = _asking(query, at_least, latest=latest)
        deadline = time.monotonic() + self._wait
        found: Any = None
        try:
            while True:
                step = steps.send(found)
                if isinstance(step, _Run):
                    found = self._run(step)
                else:
                    found = self._watcher.wait(step, deadline)
        except StopIteration as done:
            return cast(Answer[T], done.value)
        except _NOT_BUILT:
            raise _missing(query.model) from None

    @contextmanager
    def stream(
        self, query: StreamQuery[T], *, at_least: int = 0, latest: bool = False
    ) -> Iterator[Answer[Iterator[Sequence[T]]]]:
        """Answer a large question in chunks, all of one snapshot; see ``PostgresReads``."""
        db, position = self._open_stream(query, at_least, latest=latest)
        try:
            yield Answer(_sync_chunks(db, query, self._timeout), position)
        finally:
            self._release(db)

    def positions(self) -> Mapping[str, ReadModelStatus]:
        """Where each read model of this version stands, by name."""
        return _statuses(self._models, self._run(_POSITIONS))

    def _run(self, step: _Run) -> list[Row]:
        for last in (False, True):
            try:
                db = self._pool.getconn()
                try:
                    return _sync_rows(db, step, self._timeout)
                finally:
                    self._pool.putconn(db)
            except _LOST as error:
                if last or not _may_retry(error):
                    raise _unavailable(error) from error
            self._pool.check()
        raise AssertionError

    def _open_stream(
        self, query: StreamQuery[T], at_least: int, *, latest: bool
    ) -> tuple[Connection[Row], int]:
        deadline = time.monotonic() + self._wait
        for last in (False, True):
            try:
                return self._try_open_stream(_opening(query, at_least, latest=latest), deadline)
            except _NOT_BUILT:
                raise _missing(query.model) from None
            except _LOST as error:
                if last or not _may_retry(error):
                    raise _unavailable(error) from error
            self._pool.check()
        raise AssertionError

    def _try_open_stream(self, steps: Steps[int], deadline: float) -> tuple[Connection[Row], int]:
        db: Connection[Row] | None = None
        found: Any = None
        try:
            while True:
                step = steps.send(found)
                if isinstance(step, _Run):
                    db = db or self._pool.getconn()
                    found = _sync_rows(db, step, self._timeout)
                else:
                    if db is not None:
                        self._release(db)
                        db = None
                    found = self._watcher.wait(step, deadline)
        except StopIteration as done:
            assert db is not None
            return db, done.value
        except BaseException:
            if db is not None:
                self._release(db)
            raise

    def _release(self, db: Connection[Row]) -> None:
        with suppress(psycopg.Error):
            db.rollback()
        self._pool.putconn(db)


def _sync_rows(db: Connection[Row], step: _Run, timeout: float) -> list[Row]:
    if step.prepare:
        return statements_of(db).run(step.statement, step.arguments, timeout=timeout)
    with db.cursor(binary=True) as cursor:
        cursor.execute(step.statement, step.arguments, prepare=False)
        return cursor.fetchall() if cursor.description else []


def _sync_chunks(
    db: Connection[Row], query: StreamQuery[T], timeout: float
) -> Iterator[Sequence[T]]:
    full = True
    while full:
        try:
            rows = _sync_rows(db, _FETCH, timeout)
        except _LOST as error:
            raise _unavailable(error) from error
        full = len(rows) == CHUNK
        if rows:
            yield [query.parse(row) for row in rows]


class _SyncWatcher:
    """One of the threads that wait looks where the read models stand, for all of them."""

    def __init__(self, run: Callable[[_Run], list[Row]]) -> None:
        self._run = run
        self._standing: dict[str, Row] = {}
        self._looks = 0
        self._somebody_looks = False
        self._changed = threading.Condition()

    def wait(self, wanted: _Wait, deadline: float) -> bool:
        """Wait until the position is reached or the read model fails; False: not in time."""
        pause = FIRST_PAUSE
        with self._changed:
            # An old look may show a failure from which the read model has recovered since.
            first = self._looks + 1
            while True:
                left = deadline - time.monotonic()
                if self._looks >= first and _is_over(self._standing.get(wanted.schema), wanted):
                    return True
                if left <= 0:
                    return False
                if self._somebody_looks:
                    self._changed.wait(left)
                    continue
                self._somebody_looks = True
                self._changed.release()
                found: list[Row] | None = None
                try:
                    time.sleep(min(pause, left))
                    with suppress(UnavailableError):
                        found = self._run(_WATCH)
                finally:
                    self._changed.acquire()
                    self._somebody_looks = False
                    if found is not None:
                        self._standing = {row[0]: row for row in found}
                        self._looks += 1
                    self._changed.notify_all()
                pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
