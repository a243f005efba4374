"""What has to be done to answer from read models, whoever does it.

Tasks and threads wait each in their own way; so all that is decided between two waits is
decided here, by generators that yield what is to be done next.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from api.backend import ReadModelStatus
from domain.errors import UnavailableError
from infra.postgres import Row
from infra.read_statements import (
    ALIVE,
    BEGIN,
    DECLARE,
    FETCH,
    GRADED,
    GRADING,
    NAMESPACE,
    NO_JIT,
    POSITIONS,
    ROLLBACK,
    SNAPSHOT,
    WATCH,
    answer_of,
    goal,
    has_reached,
    not_built,
    question,
    statuses_of,
    too_late,
    with_numbers,
)
from infra.statements import NoAnswerInTimeError
from projections.read_model import Answer, Query, ReadModel, StreamQuery

T = TypeVar("T")

PATIENCE: Final = 5.0
"""Seconds within which one of the connections must turn out to be sound."""


# --- what is to be done -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Take:
    """Take a connection out of the pool."""


@dataclass(frozen=True, slots=True)
class Give:
    """Put a connection back."""

    db: Any


@dataclass(frozen=True, slots=True)
class Run:
    """Run a statement, its arguments as ``$1``, ``$2``, …; the answer are its rows."""

    db: Any
    statement: bytes
    arguments: Sequence[Any] = ()
    prepare: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until a read model has reached a position; the answer is False when time is over.

    No connection and no snapshot is held meanwhile.
    """

    schema: str
    position: int
    deadline: float


Steps = Generator[Take | Give | Run | Wait, Any, T]


# --- taking connections -----------------------------------------------------------------------


_NOT_BUILT: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
_LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, PoolTimeout | TooManyRequests):
        return UnavailableError("all connections to the database are in use")
    return UnavailableError(f"the database does not answer: {error}")


def _may_retry(error: Exception) -> bool:
    """Whether a new connection may help: not for who waited too long, here or there."""
    return not isinstance(
        error,
        PoolTimeout
        | PoolClosed
        | TooManyRequests
        | psycopg.errors.QueryCanceled
        | NoAnswerInTimeError,
    )


def _take() -> Steps[Any]:
    return (yield Take())


def _take_sound() -> Steps[Any]:
    """Take a connection that answers; those that do not are thrown away by the pool."""
    deadline = time.monotonic() + PATIENCE
    while True:
        db = yield Take()
        try:
            yield Run(db, ALIVE)
        except BaseException as error:
            yield Give(db)
            is_broken = isinstance(error, _LOST) and _may_retry(error)
            if not is_broken or time.monotonic() > deadline:
                raise
        else:
            return db


def _once_more(work: Callable[[Steps[Any]], Steps[T]]) -> Steps[T]:
    """Do what takes a connection; once more if that was lost, with one that answers.

    More than one may be broken: those in the pool, and those that the pool was just making.
    """
    try:
        return (yield from work(_take()))
    except _LOST as error:
        if not _may_retry(error):
            raise _unavailable(error) from error
    try:
        return (yield from work(_take_sound()))
    except _LOST as error:
        raise _unavailable(error) from error


def _rows(statement: bytes, arguments: Sequence[Any] = ()) -> Steps[list[Row]]:
    """Run one statement; return its rows."""

    def run(taking: Steps[Any]) -> Steps[list[Row]]:
        db = yield from taking
        try:
            rows: list[Row] = yield Run(db, statement, arguments, prepare=True)
        finally:
            yield Give(db)
        return rows

    return _once_more(run)


# --- answering --------------------------------------------------------------------------------


def standings() -> Steps[Mapping[str, Row]]:
    """Where all read models and the grading stand: schema, position, and whether it failed."""
    return {row[0]: row for row in (yield from _rows(WATCH))}


def is_over(standing: Row | None, wanted: Wait) -> bool:
    """Whether a wait is over: reached, failed, or gone."""
    if standing is None:
        return True
    _, position, failed = standing
    return bool(failed) or position >= wanted.position


def positions(models: Sequence[type[ReadModel]]) -> Steps[Mapping[str, ReadModelStatus]]:
    """Where each read model stands, by name."""
    return statuses_of(models, (yield from _rows(POSITIONS)))


def _graded(model: type[ReadModel], at_least: int, deadline: float, *, latest: bool) -> Steps[int]:
    """Wait until all up to a position is graded; return where the last of it was recorded.

    A score has no effect on rows before the grading has recorded what follows from it.
    """
    while True:
        rows = yield from _rows(GRADED)
        position, recorded_at, head = rows[0]
        at_least, latest = max(at_least, head if latest else 0), False
        if position >= at_least:
            return int(max(at_least, recorded_at))
        if not (yield Wait(GRADING, at_least, deadline)):
            raise UnavailableError(
                f"the grading, which {model.name} follows, has not reached position {at_least}"
                " in time"
            )


def ask(query: Query[T], at_least: int, wait: float, *, latest: bool) -> Steps[Answer[T]]:
    """Answer one question, as soon as the read model has applied what must be seen."""
    model, schema = query.model, query.model.schema()
    deadline = time.monotonic() + wait
    try:
        if query.graded and (at_least or latest):
            at_least = yield from _graded(model, at_least, deadline, latest=latest)
            latest = False
        while True:
            statement = question(query.statement, schema, head=latest)
            rows = yield from _rows(statement, query.arguments)
            if not rows:
                raise not_built(model)
            standing = rows[0]
            at_least, latest = goal(standing, at_least, latest=latest), False
            if not standing[4]:
                continue
            if has_reached(model, standing, at_least):
                return answer_of(query, rows)
            if not (yield Wait(schema, at_least, deadline)):
                raise too_late(model, at_least)
    except _NOT_BUILT:
        raise not_built(model) from None


# --- streams ----------------------------------------------------------------------------------


def open_stream(
    query: StreamQuery[Any], at_least: int, wait: float, *, latest: bool
) -> Steps[tuple[Any, int]]:
    """Open the cursor of a stream; return its connection and the position it stands for."""
    model = query.model
    deadline = time.monotonic() + wait
    try:
        if query.graded and (at_least or latest):
            at_least = yield from _graded(model, at_least, deadline, latest=latest)
            latest = False
        while True:
            db, position, at_least = yield from _once_more(
                partial(_try_to_open, query, at_least, latest=latest)
            )
            if db is not None:
                return db, position
            latest = False
            if not (yield Wait(model.schema(), at_least, deadline)):
                raise too_late(model, at_least)
    except _NOT_BUILT:
        raise not_built(model) from None


def _try_to_open(
    query: StreamQuery[Any], at_least: int, taking: Steps[Any], *, latest: bool
) -> Steps[tuple[Any | None, int, int]]:
    """The connection, None if it is too early; where it stands; and what must be seen."""
    db = yield from taking
    opened = False
    try:
        opened, position, at_least = yield from _declare(db, query, at_least, latest=latest)
        return (db if opened else None), position, at_least
    finally:
        if not opened:
            yield from close_stream(db)


def _declare(
    db: Any, query: StreamQuery[Any], at_least: int, *, latest: bool
) -> Steps[tuple[bool, int, int]]:
    """Whether the cursor stands, where, and what must be seen."""
    model, schema = query.model, query.model.schema()
    while True:
        yield Run(db, BEGIN)
        yield Run(db, NO_JIT)
        rows = yield Run(db, SNAPSHOT, (schema,), prepare=True)
        if not rows:
            raise not_built(model)
        standing = rows[0]
        position = int(standing[0])
        at_least, latest = goal(standing, at_least, latest=latest), False
        if not has_reached(model, standing, at_least):
            return False, position, at_least
        # Prepared, the cursor could not be declared with another query next time.
        yield Run(db, DECLARE + with_numbers(query.statement), query.arguments)
        rows = yield Run(db, NAMESPACE, (schema,), prepare=True)
        if rows[0][0] == standing[4]:
            return True, position, at_least
        yield Run(db, ROLLBACK)


def fetch(db: Any) -> Steps[list[Row]]:
    """The next rows of a stream, ``CHUNK`` unless it ends."""
    try:
        rows: list[Row] = yield Run(db, FETCH)
    except _LOST as error:
        raise _unavailable(error) from error
    return rows


def close_stream(db: Any) -> Steps[None]:
    """End the stream on a connection and give that back."""
    try:
        with suppress(psycopg.Error):
            yield Run(db, ROLLBACK)
    finally:
        yield Give(db)
