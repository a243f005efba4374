"""Keys that were lost, beside the log: nobody's name is taken for erased."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from infra.in_process import projecting
from infra.log.reader import PostgresLogReader, connect
from infra.vault import KeysMissingError, Vault
from projections import positions
from projections.gradebook import Gradebook
from projections.rebuild import rebuild
from projections.registry import READ_MODELS
from tests.infra.cli.support import eventually
from tests.school import School, school

NAMES = "SELECT username, full_name FROM gradebook_v2.users ORDER BY username"


@contextmanager
def away(dsn: str) -> Iterator[None]:
    """Keep the keys of learners out of their table."""
    with psycopg.connect(dsn) as db:
        kept = db.execute("SELECT * FROM gradelog.learner_keys").fetchall()
        db.execute("DELETE FROM gradelog.learner_keys")
    yield
    with psycopg.connect(dsn) as db:
        db.cursor().executemany(
            b"INSERT INTO gradelog.learner_keys VALUES (%s, %s, %s, %s, %s, %s)", kept
        )


@pytest.fixture
def written(dsn: str) -> School:
    """A school whose log no read model has seen."""
    with school(dsn, projector=False) as opened:
        opened.publish()
        opened.register("anna", email="anna@example.org", full_name="Anna")
        opened.score("anna", "p1", 1, 5)
        return opened


def error_of(dsn: str) -> Callable[[], Any]:
    def ask() -> Any:
        with connect(dsn) as db:
            return db.execute(
                "SELECT name, error FROM gradelog.read_models WHERE error IS NOT NULL"
            ).fetchall()

    return ask


def test_a_projector_stops_what_needs_them_and_nothing_else(written: School) -> None:
    dsn = written.dsn
    others = len(READ_MODELS) - 1
    with ExitStack() as lost:
        lost.enter_context(away(dsn))  # before anybody looks for them
        with projecting(dsn):
            ((name, error),) = eventually(error_of(dsn))
            assert name == "gradebook"
            assert error.startswith("KeysMissingError: the learners' key")
            at_the_end = (
                "SELECT count(*) FROM gradelog.read_models"
                " WHERE position = (SELECT max(position) FROM gradelog.events)"
            )
            eventually(lambda: written.rows(at_the_end) == [(others,)])
            lost.close()
            with connect(dsn) as db:
                positions.retry(db, Gradebook.schema())
            eventually(lambda: written.rows(NAMES) == [("anna", "Anna")])


def test_a_rebuild_leaves_the_names_that_there_are(written: School) -> None:
    dsn = written.dsn
    with projecting(dsn):
        eventually(lambda: written.rows(NAMES) == [("anna", "Anna")])
    with away(dsn), pytest.raises(KeysMissingError):
        rebuild(lambda: connect(dsn), PostgresLogReader(Vault(dsn)), Gradebook)
    assert written.rows(NAMES) == [("anna", "Anna")]
