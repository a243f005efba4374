"""What tests of projections share: read models that are fed by hand, and ways to look at rows."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from psycopg import Connection, sql

from domain.events import NOBODY, Event, Provenance, Recorded
from infra.log.reader import PostgresLogReader, connect
from projections import positions
from projections.log import Batch
from projections.read_model import Query, ReadModel, StreamQuery
from projections.registry import READ_MODELS
from projections.runner import Runner
from tests import facts

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy with other tests."""


class Projected:
    """All read models of a database, which see the events that they are given and no log."""

    def __init__(self, db: Connection[Any]) -> None:
        self.db = db
        self.position = 0
        self._models = [model() for model in READ_MODELS]

    def fold(self, *events: Event, provenance: Provenance = NOBODY) -> int:
        """Let the events happen, in one batch; return the position of the last."""
        new = facts.recorded(events, after=self.position, provenance=provenance)
        for model in self._models:
            fold(self.db, model, model.schema(), new)
        self.position = new[-1].position
        return self.position

    def fold_one_by_one(self, *events: Event) -> int:
        """The same, each event in a batch of its own."""
        for event in events:
            self.fold(event)
        return self.position

    def ask(self, query: Query[T]) -> T:
        """Answer a question from the rows as they are."""
        return query.parse(self._rows(query))

    def stream(self, query: StreamQuery[T]) -> list[T]:
        return [query.parse(row) for row in self._rows(query)]

    def _rows(self, query: Query[Any] | StreamQuery[Any]) -> list[Any]:
        with self.db.transaction(), self.db.cursor(binary=True) as cursor:
            cursor.execute("SELECT set_config('search_path', %s, true)", [query.model.schema()])
            return cursor.execute(query.statement, query.arguments).fetchall()


def fold(db: Connection[Any], model: ReadModel, schema: str, events: Sequence[Recorded]) -> None:
    batch = Batch(events[0].position - 1, events[-1].position, events)
    positions.fold(db, model, schema, batch, complete=True)


def rows(db: Connection[Any], schema: str) -> dict[str, list[str]]:
    """Every row of every table of a schema, as the server writes it."""
    tables = db.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [schema]
    ).fetchall()
    return {
        table: [
            row
            for (row,) in db.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(schema, table))
            )
        ]
        for (table,) in tables
    }


def folded_one_by_one(
    dsn: str, model: type[ReadModel], events: Iterable[Recorded]
) -> dict[str, list[str]]:
    """The rows that a read model should have, by the slowest and simplest way."""
    schema = f"{model.schema()}_expected"
    with connect(dsn) as db:
        positions.create(db, model, schema)
        for one in events:
            fold(db, model(), schema, [one])
        try:
            return rows(db, schema)
        finally:
            positions.forget(db, schema)


def wait_until(reached: Callable[[], Any], *, within: float = PATIENCE) -> None:
    """Look again and again until something is so."""
    deadline = time.monotonic() + within
    never = threading.Event()
    while not reached():
        assert time.monotonic() < deadline, "it did not happen in time"
        never.wait(0.005)


@contextmanager
def running(
    dsn: str,
    models: Sequence[type[ReadModel]] = READ_MODELS,
    *,
    batch: int = 5000,
) -> Iterator[Runner]:
    """A runner in a thread, until the end."""
    runner = Runner(lambda: connect(dsn), PostgresLogReader(), models, batch=batch)
    stop = threading.Event()
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield runner
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def position(db: Connection[Any], model: type[ReadModel]) -> int:
    found = positions.standing(db, model.schema())
    assert found is not None
    return found.position
