"""Makes and drops databases on a server that others keep busy."""

import time
from typing import Final

from psycopg import Connection, sql
from psycopg.errors import ObjectInUse

PATIENCE: Final = 120.0
"""Seconds; much more than any process takes to end that the server has told to."""


def create(db: Connection, name: str, *, like: str = "template1") -> None:
    """Make a database, a copy of one that nobody uses."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    _until_alone(db, statement.format(sql.Identifier(name), sql.Identifier(like)))


def drop(db: Connection, name: str) -> None:
    """Drop a database, whoever uses it, if it is there."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    _until_alone(db, statement.format(sql.Identifier(name)))


def _until_alone(db: Connection, statement: sql.Composed) -> None:
    """Do what can be done when nobody uses a database.

    The server tells those to end who do, and those that tidy it up, and looks for five seconds
    whether they have: processes whose connections are closed already, and that have no turn.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute(statement)
        except ObjectInUse:
            if time.monotonic() > deadline:
                raise
        else:
            return
