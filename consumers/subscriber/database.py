"""How a subscriber connects to its own database: nothing that is waited for lasts for ever.

A member that stands still in the middle of a transaction, or whose machine is gone, holds the
rows of its partitions. Unless the server ends that transaction, nobody else goes on with them.
"""

import os
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict

from projections.read_model import Row

HELD: Final = "10s"
"""How long somebody else may hold a partition before that is told; it is tried again."""

# Of the connection; what the connection string or the environment says comes first.
_CONNECTION: Final[dict[str, tuple[Any, str]]] = {
    "connect_timeout": (5, "PGCONNECT_TIMEOUT"),
    "keepalives_idle": (30, ""),
    "keepalives_interval": (10, ""),
    "keepalives_count": (3, ""),
    "tcp_user_timeout": (30_000, ""),
}

# Of the session. The server's side has to notice by itself that a client is gone.
_SESSION: Final = {
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
# Set when connected, not as start-up options: there may be options already, and a pooler in
# between may refuse them. What somebody chose for this connection, role or database stays.
_SET: Final = """
SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[]) AS t (name, value) JOIN pg_settings USING (name)
WHERE source NOT IN ('client', 'user', 'database', 'database user', 'global')
"""
_WAIT_FOR_LOCKS: Final = "SELECT set_config('lock_timeout', %s, false)"
_AS_USUAL: Final = b"SET LOCAL lock_timeout TO DEFAULT"


def check(dsn: str) -> None:
    """Make sure that a connection string can be read.

    Raises:
        psycopg.ProgrammingError: it cannot.
    """
    conninfo_to_dict(dsn)


def connect(dsn: str, name: str) -> Connection[Row]:
    """A connection in autocommit mode.

    Args:
        dsn: connection string; what it says comes before what is usual here.
        name: of the subscription.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    given = conninfo_to_dict(dsn)
    settings = {
        key: value
        for key, (value, variable) in _CONNECTION.items()
        if key not in given and variable not in os.environ
    }
    if "application_name" not in given and "PGAPPNAME" not in os.environ:
        settings["application_name"] = f"gradelog subscriber {name}"
    db: Connection[Row] = psycopg.connect(dsn, autocommit=True, **settings)
    try:
        db.execute(_SET, (list(_SESSION), list(_SESSION.values())))
        db.execute(_WAIT_FOR_LOCKS, (HELD,))
    except BaseException:
        db.close()
        raise
    return db


def as_usual(db: Connection[Row]) -> None:
    """From here to the end of the transaction locks are waited for as the service chose."""
    db.execute(_AS_USUAL, prepare=True)
