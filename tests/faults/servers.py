"""Servers and databases of a test's own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from infra.embedded import EmbeddedPostgres
from infra.kafka.broker import EmbeddedKafka
from tests import looking
from tests.databases import create, drop

PATIENCE: Final = 300.0
"""Seconds that servers have to start; far more than they take on a machine that is busy."""


@contextmanager
def own_servers(libraries: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedKafka]]:
    """A PostgreSQL and a broker that nobody else uses."""
    home = Path(tempfile.mkdtemp(prefix="gradelog-faults-"))
    home.chmod(0o755)  # a server of root's belongs to somebody else
    postgres = EmbeddedPostgres(home, start_limit=PATIENCE)
    broker = EmbeddedKafka(home, libraries=libraries, start_limit=PATIENCE)
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
    log, copy = (make_conninfo(server, dbname=name) for name in names)
    try:
        with psycopg.connect(server, autocommit=True) as db:
            for name in names:
                create(db, name)
        yield log, copy
    finally:
        for dsn in (log, copy):
            looking.leave(dsn)
        with psycopg.connect(server, autocommit=True) as db:
            for name in names:
                drop(db, name)
