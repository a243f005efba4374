"""Looks into databases from outside, through one connection to each.

Tests look thousands of times, and to open a connection takes far longer than to look.
"""

import threading
from typing import Any, Final

import psycopg
from psycopg import Connection

_turn: Final = threading.Lock()
_open: Final[dict[str, Connection[Any]]] = {}


def rows(dsn: str, statement: Any, *arguments: Any) -> list[Any]:
    """Run a statement in a transaction of its own; its rows."""
    with _turn:
        for last in (False, True):
            try:
                return _opened(dsn).execute(statement, arguments).fetchall()
            except psycopg.OperationalError:
                # Perhaps a test has ended the connections of everybody.
                _close(dsn)
                if last:
                    raise
    raise AssertionError


def leave(dsn: str) -> None:
    """Close the connection; there may be none."""
    with _turn:
        _close(dsn)


def _opened(dsn: str) -> Connection[Any]:
    db = _open.get(dsn)
    if db is None:
        # Nothing is prepared: tables are exchanged under a statement when read models are rebuilt.
        db = _open[dsn] = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    return db


def _close(dsn: str) -> None:
    db = _open.pop(dsn, None)
    if db is not None:
        db.close()
