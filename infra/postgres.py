"""Connections to PostgreSQL: how each is opened, and one that heals itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from domain.errors import UnavailableError

T = TypeVar("T")

Row = tuple[Any, ...]

LOG_SCHEMA: Final = "gradelog"
CONNECT_TIMEOUT: Final = 5
"""Seconds to wait for a server that does not answer."""

POOL_TIMEOUT: Final = 5.0
"""Seconds to wait for a connection while others use them all, or none can be made."""


def options(*, statement_timeout: float, search_path: Sequence[str] = (LOG_SCHEMA,)) -> str:
    """Start-up options of a connection: every statement has an end, all times are UTC."""
    milliseconds = max(1, int(statement_timeout * 1000))
    return (
        f"-c statement_timeout={milliseconds} -c search_path={','.join(search_path)}"
        # Each statement of an append sees what was committed before it, whatever is usual here.
        " -c default_transaction_isolation=read\\ committed"
        " -c timezone=UTC -c idle_in_transaction_session_timeout=60000"
    )


def connect_timeout() -> int:
    """Seconds to wait for a server; what the environment says comes first, as for any client.

    But no client of ours waits for ever, which others are told to by 0.
    """
    try:
        seconds = int(os.environ["PGCONNECT_TIMEOUT"])
    except (KeyError, ValueError):
        return CONNECT_TIMEOUT
    return seconds if seconds > 0 else CONNECT_TIMEOUT


def parameters(**settings: str) -> dict[str, Any]:
    """Keyword arguments that every connection is opened with."""
    return {
        "connect_timeout": connect_timeout(),
        "application_name": "gradelog",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds; a server that went silent
        **settings,
    }


def async_pool(
    dsn: str, *, size: int, statement_timeout: float, search_path: Sequence[str]
) -> AsyncConnectionPool[AsyncConnection[Row]]:
    """A pool for reads, not opened yet."""
    return AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        max_waiting=size * 100,
        timeout=max(POOL_TIMEOUT, connect_timeout()),
        open=False,
        kwargs=parameters(
            options=options(statement_timeout=statement_timeout, search_path=search_path)
        )
        | {"autocommit": True},
    )


def pool(
    dsn: str, *, size: int, statement_timeout: float, search_path: Sequence[str]
) -> ConnectionPool[Connection[Row]]:
    """The same for threads."""
    return ConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        max_waiting=size * 100,
        timeout=max(POOL_TIMEOUT, connect_timeout()),
        open=False,
        kwargs=parameters(
            options=options(statement_timeout=statement_timeout, search_path=search_path)
        )
        | {"autocommit": True},
    )


READ_ONLY: Final = "25006"


def _passes(error: Exception) -> bool:
    """Whether an error speaks of the server or the way to it, not of what was asked."""
    return (
        isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | TimeoutError)
        or getattr(error, "sqlstate", None) == READ_ONLY
    )


class Session:
    """One connection that tasks use in turns, opened again whenever it breaks."""

    def __init__(self, dsn: str, *, statement_timeout: float, **settings: str) -> None:
        self._dsn = dsn
        self._parameters = parameters(options=options(statement_timeout=statement_timeout)) | (
            settings
        )
        self._connection: AsyncConnection[Row] | None = None
        self._turn = asyncio.Lock()

    @property
    def current(self) -> AsyncConnection[Row] | None:
        """The connection as it is, perhaps broken."""
        return self._connection

    async def connection(self) -> AsyncConnection[Row]:
        """The open connection, or a new one.

        Raises:
            psycopg.OperationalError: no server answers.
        """
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(
                self._dsn, autocommit=True, **self._parameters
            )
        return self._connection

    async def discard(self) -> None:
        """Drop a connection that cannot be trusted any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Close the connection for good."""
        await self.discard()

    async def run(
        self, work: Callable[[AsyncConnection[Row]], Awaitable[T]], *, within: float
    ) -> T:
        """Do work that may safely be done twice; do it again when the connection breaks.

        Raises:
            UnavailableError: it was not done within that many seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout_at(deadline), self._turn:
                    try:
                        return await work(await self.connection())
                    except BaseException:
                        await self.discard()
                        raise
            except (psycopg.Error, TimeoutError) as error:
                if not _passes(error):
                    raise
                if loop.time() + pause >= deadline:
                    raise UnavailableError(f"the database does not answer: {error}") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)


async def fetch_all(
    connection: AsyncConnection[Row], statement: LiteralString, arguments: Sequence[Any]
) -> list[Row]:
    """Run one prepared statement with binary results."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(statement, arguments, prepare=True)
        return await cursor.fetchall()
