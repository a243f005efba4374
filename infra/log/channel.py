"""One connection that runs one prepared statement after the other, straight on libpq.

A batch is one statement with a few arrays. The driver's cursor would spend more time on
its state than the server on the batch, so this drives the same connection by hand: send,
wait until readable, read all results. ``run`` returns only when the server is ready for
the next statement, that is after the commit.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from infra.postgres import Row, options, parameters

_GOOD: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})


class NotSentError(Exception):
    """No connection could be opened: the statement never left this process."""


class Channel:
    """A connection for one task at a time; opened when needed, and again when it broke."""

    def __init__(self, dsn: str, *, statement_timeout: float, name: str) -> None:
        """Make a channel.

        Args:
            dsn: connection string of the database.
            statement_timeout: seconds after which the server gives up a statement.
            name: what the server lists the connection as.
        """
        self._dsn = dsn
        self._parameters = parameters(
            # What is acknowledged is on the disk, whatever is usual on this server.
            options=options(statement_timeout=statement_timeout) + " -c synchronous_commit=on",
            application_name=name,
        )
        self._connection: AsyncConnection[Row] | None = None
        self._pgconn: PGconn | None = None
        self._transformer: Any = None
        self._socket = -1
        self._prepared: dict[str, bytes] = {}
        self._results: list[PGresult] = []
        self._answer: asyncio.Future[list[PGresult]] | None = None

    @property
    def usable(self) -> bool:
        """Whether the connection stands and the server waits for a statement."""
        return self._pgconn is not None and (
            self._pgconn.transaction_status == TransactionStatus.IDLE
        )

    async def run(
        self, statement: str, arguments: Sequence[bytes | None], *, deadline: float
    ) -> list[Row]:
        """Run a statement with arguments in binary form; return its rows.

        Any error but one that the server answered with leaves the connection closed.

        Raises:
            NotSentError: the statement was not sent.
            psycopg.Error: the server refused, or the connection broke.
            TimeoutError: no answer before ``deadline``, a time of the event loop.
        """
        try:
            pgconn = self._pgconn or await self._open(deadline)
            name = self._prepared.get(statement)
            if name is None:
                name = f"s{len(self._prepared)}".encode()
                pgconn.send_prepare(name, statement.encode())
                await self._exchange(pgconn, deadline)
                self._prepared[statement] = name
            pgconn.send_query_prepared(
                name, arguments, [Format.BINARY] * len(arguments), result_format=Format.BINARY
            )
            (result,) = await self._exchange(pgconn, deadline)
        except BaseException:
            if not self.usable:
                self._drop()
            raise
        transformer = self._transformer
        transformer.set_pgresult(result, set_loaders=True, format=Format.BINARY)
        rows: list[Row] = transformer.load_rows(0, result.ntuples, tuple)
        return rows

    async def close(self) -> None:
        """Close the connection; the next ``run`` opens another."""
        self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._pgconn = self._connection, None, None
        self._prepared.clear()
        if connection is not None:
            # The number of the socket is remembered: a lost connection has none any more.
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            connection.pgconn.finish()

    async def _open(self, deadline: float) -> PGconn:
        try:
            async with asyncio.timeout_at(deadline):
                self._connection = await AsyncConnection.connect(
                    self._dsn, autocommit=True, **self._parameters
                )
        except (psycopg.Error, TimeoutError) as error:
            raise NotSentError(f"the database does not answer: {error}") from error
        self._pgconn = self._connection.pgconn
        self._pgconn.nonblocking = 1
        self._transformer = Transformer(self._connection)
        self._socket = self._pgconn.socket
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        return self._pgconn

    async def _exchange(self, pgconn: PGconn, deadline: float) -> list[PGresult]:
        """Send what is written, read until the server is ready again.

        Raises:
            psycopg.Error: one of the results is an error.
        """
        loop = asyncio.get_running_loop()
        answer = self._answer = loop.create_future()
        self._results = []
        timer = loop.call_at(deadline, self._expire, answer)
        try:
            if pgconn.flush():
                loop.add_writer(self._socket, self._writable)
            results: list[PGresult] = await answer
        finally:
            timer.cancel()
            self._answer = None
        for result in results:
            if result.status not in _GOOD:
                raise psycopg.errors.error_from_result(result)
        return results

    def _expire(self, answer: asyncio.Future[list[PGresult]]) -> None:
        if not answer.done():
            answer.set_exception(TimeoutError("the server did not answer in time"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        else:  # broken while idle
            self._drop()

    def _writable(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        try:
            if not pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error as error:
            asyncio.get_running_loop().remove_writer(self._socket)
            self._fail(error)

    def _readable(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if self._answer is not None and not self._answer.done():
                        self._answer.set_result(self._results)
                    return
                self._results.append(result)
        except psycopg.Error as error:
            self._fail(error)
