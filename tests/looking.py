"""Looks into databases from outside, through one connection to each.

Tests look thousands of times, and again and again until something has happened; to open a
connection takes far longer than to look, and keeps those busy who are waited for.
"""

import threading
from collections import defaultdict
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg.pq import ExecStatus


class _Window:
    """The connection to one database; it is opened again when it has broken."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.db: Connection[Any] | None = None

    def rows(self, dsn: str, statement: Any, arguments: Any) -> list[Any]:
        if self.db is None:
            # Nothing is prepared: tables are exchanged under statements when read models are
            # rebuilt.
            self.db = psycopg.connect(
                dsn, autocommit=True, prepare_threshold=None, connect_timeout=60
            )
        cursor = self.db.execute(statement, arguments)
        # Rows may have no columns at all.
        return cursor.fetchall() if cursor.pgresult.status == ExecStatus.TUPLES_OK else []

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None


_windows: Final[dict[str, _Window]] = defaultdict(_Window)


def rows(dsn: str, statement: Any, *arguments: Any) -> list[Any]:
    """Run a statement in a transaction of its own; its rows.

    It is run once more when the connection was lost, as often happens in tests.
    """
    window = _windows[dsn]
    with window.turn:
        for last in (False, True):
            try:
                return window.rows(dsn, statement, arguments or None)
            except psycopg.OperationalError:
                window.close()
                if last:
                    raise
    raise AssertionError


def leave(dsn: str) -> None:
    """Close the connection; there may be none."""
    window = _windows.pop(dsn, None)
    if window is not None:
        with window.turn:
            window.close()


def leave_all() -> None:
    """Close all connections."""
    for dsn in list(_windows):
        leave(dsn)
