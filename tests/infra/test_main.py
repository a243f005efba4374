"""The wiring of an installation."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.database import kept_running
from infra.embedded import EmbeddedPostgres
from tests.infra.cli.support import eventually


@pytest.fixture
def home() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="gradelog-kept-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def answers(server: EmbeddedPostgres, *, unlike: int | None) -> bool:
    if server.pid in {None, unlike}:
        return False
    try:
        with psycopg.connect(server.dsn) as db:
            return db.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:  # starting up
        return False


@pytest.mark.fault
def test_an_embedded_server_that_dies_is_started_again(home: Path) -> None:
    with EmbeddedPostgres(home) as server, kept_running(server):
        for _ in range(2):
            before = server.pid
            server.kill9()
            eventually(lambda unlike=before: answers(server, unlike=unlike))
