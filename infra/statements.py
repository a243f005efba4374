"""Statements straight on libpq, for questions that are asked thousands of times a second.

The driver's cursor needs several times as long for its own state as the server for a row
that it finds by its key. This drives the same connections by hand.
"""

import asyncio
import select
import time
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.types.numeric import Int8BinaryDumper

from infra.postgres import Row

_GOOD: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class NoAnswerInTimeError(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class Statements:
    """The statements of one connection, which one thread or task uses at a time.

    Arguments stand as ``$1``, ``$2``, … in a statement; integers are sent as ``bigint``.
    """

    def __init__(self, db: Connection[Row] | AsyncConnection[Row]) -> None:
        # One type for all integers, or each size would need a prepared statement of its own.
        db.adapters.register_dumper(int, Int8BinaryDumper)
        self._pgconn = db.pgconn
        self._transformer = Transformer(db)
        self._names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    def run(
        self, statement: bytes, arguments: Sequence[Any], *, timeout: float, prepare: bool = True
    ) -> list[Row]:
        """Run a statement of a blocking connection; return its rows.

        Raises:
            psycopg.Error: the server refused, the connection broke, or no answer came in time;
                then the connection is closed.
        """
        deadline = time.monotonic() + timeout
        values, types, formats = self._dump(arguments)
        if not prepare:
            self._send_once(statement, values, types, formats)
            return self._rows(self._exchange(deadline))
        name = self._names.get((statement, types))
        if name is None:
            name = self._new_name()
            self._pgconn.send_prepare(name, statement, types)
            self._result(self._exchange(deadline))
            self._names[statement, types] = name
        self._send(name, values, formats)
        return self._rows(self._exchange(deadline))

    async def run_async(
        self,
        db: AsyncConnection[Row],
        statement: bytes,
        arguments: Sequence[Any],
        *,
        timeout: float,  # noqa: ASYNC109 - the same as for threads
        prepare: bool = True,
    ) -> list[Row]:
        """The same for a task; ``db`` is the connection."""
        values, types, formats = self._dump(arguments)
        try:
            async with asyncio.timeout(timeout):
                if not prepare:
                    self._send_once(statement, values, types, formats)
                    return self._rows(await db.wait(execute(self._pgconn)))
                name = self._names.get((statement, types))
                if name is None:
                    name = self._new_name()
                    self._pgconn.send_prepare(name, statement, types)
                    self._result(await db.wait(execute(self._pgconn)))
                    self._names[statement, types] = name
                self._send(name, values, formats)
                return self._rows(await db.wait(execute(self._pgconn)))
        except TimeoutError:
            self._pgconn.finish()
            raise NoAnswerInTimeError("the server did not answer in time") from None

    def _dump(
        self, arguments: Sequence[Any]
    ) -> tuple[Sequence[Any], tuple[int, ...], Sequence[Format]]:
        transformer = self._transformer
        values = transformer.dump_sequence(arguments, [PyFormat.BINARY] * len(arguments))
        # What has no type of its own, such as an empty list, is sent as text.
        return values, transformer.types or (), transformer.formats or ()

    def _new_name(self) -> bytes:
        return b"gradelog_%d" % len(self._names)

    def _send(self, name: bytes, values: Sequence[Any], formats: Sequence[Format]) -> None:
        self._pgconn.send_query_prepared(name, values, formats, result_format=Format.BINARY)

    def _send_once(
        self,
        statement: bytes,
        values: Sequence[Any],
        types: Sequence[int],
        formats: Sequence[Format],
    ) -> None:
        self._pgconn.send_query_params(
            statement, values, types, formats, result_format=Format.BINARY
        )

    def _exchange(self, deadline: float) -> list[PGresult]:
        """Send the rest of what is to be sent, and read all results."""
        pgconn = self._pgconn
        if pgconn.flush():
            self._poll.modify(pgconn.socket, select.POLLIN | select.POLLOUT)
            while pgconn.flush():
                self._await(deadline)
            self._poll.modify(pgconn.socket, select.POLLIN)
        results: list[PGresult] = []
        while True:
            if pgconn.is_busy():
                self._await(deadline)
            elif (result := pgconn.get_result()) is None:
                return results
            else:
                results.append(result)

    def _await(self, deadline: float) -> None:
        """Wait until the connection can go on, and take what has come."""
        left = deadline - time.monotonic()
        if not self._poll.poll(max(0.0, left) * 1000):
            self._pgconn.finish()
            raise NoAnswerInTimeError("the server did not answer in time")
        self._pgconn.consume_input()

    def _result(self, results: Sequence[PGresult]) -> PGresult:
        (result,) = results
        if result.status not in _GOOD:
            raise psycopg.errors.error_from_result(result)
        return result

    def _rows(self, results: Sequence[PGresult]) -> list[Row]:
        result = self._result(results)
        transformer = self._transformer
        transformer.set_pgresult(result, set_loaders=True, format=Format.BINARY)
        return transformer.load_rows(0, result.ntuples, tuple)


_known: Final[WeakKeyDictionary[Connection[Row] | AsyncConnection[Row], Statements]] = (
    WeakKeyDictionary()
)


def statements_of(db: Connection[Row] | AsyncConnection[Row]) -> Statements:
    """The prepared statements of a connection, kept as long as it lives."""
    found = _known.get(db)
    if found is None:
        found = _known[db] = Statements(db)
    return found
