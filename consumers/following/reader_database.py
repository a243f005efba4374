"""The connection of a reader to its own database, lost and found again."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg
from psycopg import Connection

from projections.read_model import Row

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0

_GONE: Final = ("08", "57P", "25006")
"""SQLSTATEs of a server that does not serve at the moment: the connection, an administrator's
shutdown, and a server that has become the read-only one of a pair. Of one that answers, and has
no room or no memory for this, another transaction may find enough."""

_CONFLICT: Final = ("40001", "40P01")
"""Somebody else was in the way; the same may go well at once."""

_OPERATIONAL: Final = (psycopg.OperationalError, psycopg.InterfaceError)


class DatabaseGoneError(Exception):
    """There is no connection to the database at the moment."""


class ReaderDatabase:
    """One connection, opened again when it was lost, not too often."""

    def __init__(self, connect: Callable[[], Connection[Row]]) -> None:
        """Make it; nothing is connected yet.

        Args:
            connect: opens a connection in autocommit mode.
        """
        self._connect = connect
        self._db: Connection[Row] | None = None
        self._at, self._pause = 0.0, FIRST_PAUSE

    @property
    def is_there(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._db is not None

    def connection(self) -> Connection[Row]:
        """The connection that there is.

        Raises:
            DatabaseGoneError: there is none.
        """
        if self._db is None:
            raise DatabaseGoneError
        return self._db

    def open(self) -> None:
        """Connect, if there is no connection and the last loss is long enough ago.

        Raises:
            psycopg.OperationalError: the server does not answer.
        """
        if self._db is None and time.monotonic() >= self._at:
            self._db = self._connect()

    def lose(self) -> None:
        """Give the connection up; the next one takes a while, longer each time until it is well."""
        self._at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.close()

    def is_well(self) -> None:
        """Something was written or found: the next loss is a new one."""
        self._pause = FIRST_PAUSE

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            with suppress(psycopg.Error):
                self._db.close()
            self._db = None

    def is_lost_by(self, error: Exception) -> bool:
        """Whether an error speaks of the server or the connection, not of what was written.

        A function that is handed the connection may have others of its own; what those say
        is an error of the function.
        """
        if isinstance(error, DatabaseGoneError) or self._db is None or self._db.closed:
            return True
        return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_GONE)


def is_conflict(error: Exception) -> bool:
    """Whether the server ended a transaction in favour of another one."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _CONFLICT
