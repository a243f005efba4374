"""Servers and databases of a test's own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.embedded import EmbeddedPostgres
from infra.kafka.broker import EmbeddedKafka
from tests import looking


@contextmanager
def own_servers(libraries: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedKafka]]:
    """A PostgreSQL and a broker that nobody else uses."""
    home = Path(tempfile.mkdtemp(prefix="gradelog-faults-"))
    home.chmod(0o755)  # a server of root's belongs to somebody else
    postgres, broker = EmbeddedPostgres(home), EmbeddedKafka(home, libraries=libraries)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(broker.kill)
        stack.callback(broker.close)
        stack.callback(postgres.discard)
        postgres.start()
        broker.start()
        yield postgres, broker


@contextmanager
def two_databases(server: str, name: str) -> Iterator[tuple[str, str]]:
    """One for the log and one for the copy; dropped in the end."""
    names = [f"{name}_log", f"{name}_copy"]
    _do(server, "CREATE DATABASE {}", names)
    try:
        yield make_conninfo(server, dbname=names[0]), make_conninfo(server, dbname=names[1])
    finally:
        for name in names:
            looking.leave(make_conninfo(server, dbname=name))
        _do(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", names)


def _do(server: str, statement: str, names: list[str]) -> None:
    with psycopg.connect(server, autocommit=True) as db:
        for name in names:
            db.execute(sql.SQL(statement).format(sql.Identifier(name)))
