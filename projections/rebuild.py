"""Builds a read model anew beside the one that serves, and switches in one transaction.

The schema ``<schema>_next`` is filled from position 0. Readers see the old rows until the
new ones are complete; then the schemas change names. What was left by a rebuild that was
killed is dropped by the next one.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog
from psycopg import Connection, sql

from projections import positions
from projections.bulk import collector_paused, fetch
from projections.log import LogReader
from projections.positions import ReadModelError
from projections.read_ahead import ReadAhead
from projections.read_model import ReadModel, Row
from projections.runner import LOCK as RUNS

logger = structlog.get_logger(__name__)

BATCH: Final = 10_000
NEAR: Final = 1000
"""With fewer events than this to go, the switch may pause the runner for them."""

ROUNDS: Final = 20
LOCK: Final = "rebuilds"
DROP_PATIENCE: Final = 30.0
DROP_LOCK_TIMEOUT: Final = 500

_SECONDARY_INDEXES: Final = """
SELECT c.relname, pg_get_indexdef(i.indexrelid)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %b
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
"""
_SCHEMAS: Final = r"SELECT nspname::text FROM pg_namespace WHERE nspname ~ '_v\d+' ORDER BY 1"
_KNOWN: Final = "SELECT schema, name FROM gradelog.read_models"
_SWITCH: Final = """
UPDATE gradelog.read_models SET position = %b::bigint, state = 'serving', error = NULL,
    failed_at_position = NULL, updated_at = now()
WHERE schema = %b
"""
_FORGET: Final = "DELETE FROM gradelog.read_models WHERE schema = %b"
_VERSIONED: Final = re.compile(r"(?P<name>.+)_v\d+(_next|_old_\d+)?")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is. ``seconds`` have passed since it began."""

    model: type[ReadModel]
    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before there is any."""
        return (self.total - self.done) / self.rate if self.done else None


def rebuild(
    connect: Callable[[], Connection[Row]],
    reader: LogReader,
    model: type[ReadModel],
    progress: Callable[[Progress], Any] = lambda _: None,
    *,
    batch: int = BATCH,
    drop_patience: float = DROP_PATIENCE,
) -> int:
    """Fold the whole log into new tables and let them serve; return their position.

    Args:
        connect: opens a connection in autocommit mode.
        reader: reads the log over it.
        model: what to build.
        progress: called after each batch.
        batch: events to fold in one transaction.
        drop_patience: seconds to wait for readers of the old rows; after that these are
            left for the next rebuild or for ``prune``.

    Raises:
        ReadModelError: somebody else rebuilds it, or an event cannot be folded; the old
            rows go on serving.
    """
    schema = model.schema()
    with closing(connect()) as db, closing(ReadAhead(connect, reader)) as ahead:
        if not positions.try_lock(db, LOCK, schema):
            raise ReadModelError(f"{schema} is being rebuilt already")
        positions.ensure(db, [model])
        position = _Rebuild(db, reader, ahead, model, progress, batch).run(drop_patience)
        # It would end with the connection too, but some time after that was closed.
        positions.unlock(db, LOCK, schema)
        return position


class _Rebuild:
    def __init__(
        self,
        db: Connection[Row],
        reader: LogReader,
        ahead: ReadAhead,
        model: type[ReadModel],
        progress: Callable[[Progress], Any],
        batch: int,
    ) -> None:
        self._db = db
        self._reader = reader
        self._ahead = ahead
        self._model = model
        self._instance = model()
        self._progress = progress
        self._batch = batch
        self._schema = model.schema()
        self._next = f"{self._schema}_next"
        self._position = 0
        self._began = time.monotonic()

    def run(self, drop_patience: float) -> int:
        positions.forget(self._db, self._next)
        positions.create(self._db, self._model, self._next)
        indexes = self._take_secondary_indexes()
        try:
            self._catch_up()
            # One sort is cheaper than a search for each row.
            for definition in indexes:
                self._db.execute(definition)
            self._analyze()
            for _ in range(ROUNDS):
                if self._catch_up() < NEAR:
                    break
            old = self._switch()
        except BaseException:
            if not self._db.closed:
                positions.forget(self._db, self._next)
            raise
        logger.info("read model rebuilt", schema=self._schema, position=self._position)
        self._drop([old, *_leftovers(self._db, self._schema)], drop_patience)
        return self._position

    def _catch_up(self, until: int | None = None) -> int:
        """Fold up to the head of the log; return how many events that were."""
        begin = self._position
        end = self._reader.head(self._db) if until is None else until
        while self._position < end:
            with collector_paused():
                self._fold_next(end)
            self._progress(
                Progress(self._model, self._position, end, time.monotonic() - self._began)
            )
        return end - begin

    def _fold_next(self, end: int) -> None:
        limit, types = min(self._batch, end - self._position), self._model.folds
        batch = self._ahead.take(after=self._position, limit=limit, types=types)
        if batch is None:
            batch = self._reader.read(self._db, after=self._position, limit=limit, types=types)
        if (left := end - batch.end) > 0:
            self._ahead.begin(after=batch.end, limit=min(self._batch, left), types=types)
        try:
            positions.fold(self._db, self._instance, self._next, batch, complete=False)
        except psycopg.OperationalError:
            raise
        except Exception as error:
            span = f"{batch.after + 1} to {batch.end}"
            raise ReadModelError(
                f"{self._schema} cannot be rebuilt: folding events {span} failed"
            ) from error
        self._position = batch.end

    def _switch(self) -> str:
        """Let the new schema take the place of the old one; return the old one's new name."""
        with self._db.transaction():
            serving = positions.lock_standing(self._db, self._schema)
            if serving is None:
                raise ReadModelError(f"the read model {self._schema} was removed meanwhile")
            # Readers never see a position go back.
            if serving.position > self._position:
                self._catch_up(serving.position)
            old = self._free_name()
            self._rename(self._schema, old)
            self._rename(self._next, self._schema)
            self._db.execute(_FORGET, (self._next,))
            self._db.execute(_SWITCH, (self._position, self._schema))
        return old

    def _take_secondary_indexes(self) -> list[sql.SQL]:
        """Drop the indexes that no fold needs; return what makes them again."""
        found = fetch(self._db, _SECONDARY_INDEXES, self._next)
        for name, _ in found:
            self._db.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(self._next, name)))
        return [sql.SQL(definition) for _, definition in found]

    def _analyze(self) -> None:
        tables = fetch(
            self._db, "SELECT tablename::text FROM pg_tables WHERE schemaname = %b", self._next
        )
        for (table,) in tables:
            self._db.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self._next, table)))

    def _free_name(self) -> str:
        taken = set(_leftovers(self._db, self._schema))
        number = 1
        while f"{self._schema}_old_{number}" in taken:
            number += 1
        return f"{self._schema}_old_{number}"

    def _rename(self, before: str, after: str) -> None:
        self._db.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                sql.Identifier(before), sql.Identifier(after)
            )
        )

    def _drop(self, schemas: Iterable[str], patience: float) -> None:
        """Drop old rows as soon as nobody reads them any more."""
        deadline = time.monotonic() + patience
        for schema in dict.fromkeys(schemas):
            while not _drop_if_free(self._db, schema):
                if time.monotonic() >= deadline:
                    logger.warning("somebody still reads old rows; they are left", schema=schema)
                    break
                time.sleep(0.1)


def _drop_if_free(db: Connection[Row], schema: str) -> bool:
    """Drop a schema unless somebody reads it; whoever queues behind us waits for a moment."""
    try:
        with db.transaction():
            db.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_TIMEOUT}")
            positions.forget(db, schema)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _leftovers(db: Connection[Row], schema: str) -> list[str]:
    """Old rows of this schema that a rebuild could not drop."""
    old = re.compile(re.escape(schema) + r"_old_\d+")
    return [name for (name,) in fetch(db, _SCHEMAS) if old.fullmatch(name)]


def unserved(db: Connection[Row], models: Sequence[type[ReadModel]]) -> list[str]:
    """Schemas of versions that this code does not serve, and what rebuilds left behind."""
    known: dict[str, str] = dict(fetch(db, _KNOWN))
    names = {model.name for model in models} | set(known.values())
    serving = {model.schema() for model in models}
    found = [
        schema
        for (schema,) in fetch(db, _SCHEMAS)
        if (match := _VERSIONED.fullmatch(schema)) and match["name"] in names
    ]
    return sorted({*found, *known} - serving)


def prune(db: Connection[Row], models: Sequence[type[ReadModel]]) -> list[str]:
    """Drop what ``unserved`` lists; return what is dropped. For an operator, never automatic.

    What is run, rebuilt or read at the moment is left.
    """
    dropped = []
    for schema in unserved(db, models):
        # Another version of the code may run it, or somebody rebuild it.
        purpose, subject = (
            (LOCK, schema.removesuffix("_next")) if schema.endswith("_next") else (RUNS, schema)
        )
        if not positions.try_lock(db, purpose, subject):
            continue
        try:
            if _drop_if_free(db, schema):
                dropped.append(schema)
        finally:
            positions.unlock(db, purpose, subject)
    return dropped
