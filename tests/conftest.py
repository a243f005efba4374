"""A real PostgreSQL for all tests, and a database of its own for each test that wants one.

``DATABASE_URL`` names a server on which databases may be created; without it the embedded
one is started. Workers of pytest-xdist share the server, never a database.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.embedded import EmbeddedPostgres
from infra.migrate import migrate

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid():x}")[:12]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Connection string of a server, to make databases on."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    # Not pytest's own directory: nobody but its owner may enter that, and the server of a
    # superuser belongs to somebody else.
    home = Path(tempfile.gettempdir()) / f"gradelog-tests-{RUN}"
    home.mkdir(mode=0o755, exist_ok=True)
    with EmbeddedPostgres(home) as embedded:
        yield embedded.dsn
    if not (home / "postgres" / "postmaster.pid").exists():  # nobody else works on it
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def new_database(server: str) -> Iterator[Callable[[], str]]:
    """Makes migrated databases; all are dropped at the end."""
    template = f"gradelog_test_{RUN}_{WORKER}"
    made = [template]
    numbers = itertools.count(1)
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
        migrate(make_conninfo(server, dbname=template))

        def make() -> str:
            name = f"{template}_{next(numbers)}"
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            made.append(name)
            return make_conninfo(server, dbname=name)

        try:
            yield make
        finally:
            for name in reversed(made):
                drop(db, name)


@pytest.fixture
def dsn(server: str, new_database: Callable[[], str]) -> Iterator[str]:
    """An empty database of the test's own, migrated."""
    made = new_database()
    yield made
    with psycopg.connect(server, autocommit=True) as db:
        drop(db, psycopg.conninfo.conninfo_to_dict(made)["dbname"])


def drop(db: psycopg.Connection, name: object) -> None:
    db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name))))
