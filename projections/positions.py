"""Where read models stand: their schemas, their rows in ``gradelog.read_models``, their locks.

``state`` is ``building`` until a read model has caught up with the log for the first time,
then ``serving``; ``failed`` when it served and then met an event that it could not fold. A
read model that fails while it is being built stays ``building``: its rows never served, so
nobody may read them. ``error`` tells in both cases.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from psycopg import Connection, sql

from projections.bulk import execute, fetch
from projections.log import Batch
from projections.read_model import ReadModel, Row

BUILDING: Final = "building"
SERVING: Final = "serving"
FAILED: Final = "failed"


class ReadModelError(Exception):
    """A read model is not as it should be; the message says what to do."""


class MovedError(Exception):
    """Somebody else has moved the read model meanwhile; nothing was written."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one read model stands."""

    position: int
    state: str
    error: str | None


_FIND: Final = "SELECT position, state, error FROM gradelog.read_models WHERE schema = %b"
_LOCK_ROW: Final = f"{_FIND} FOR UPDATE"
_ADD: Final = """
INSERT INTO gradelog.read_models (schema, name, version, state)
SELECT %b, %b, %b::int,
    CASE WHEN EXISTS (SELECT FROM gradelog.events) OR EXISTS (SELECT FROM gradelog.kafka_feed)
        THEN 'building' ELSE 'serving' END
"""
_IS_FED: Final = "SELECT EXISTS (SELECT FROM gradelog.kafka_feed)"
_REMOVE: Final = "DELETE FROM gradelog.read_models WHERE schema = %b"
# Whoever moves a read model holds its row until the rows are written; the search path lasts
# as long as the transaction.
_MOVE: Final = """
UPDATE gradelog.read_models SET position = %b::bigint,
    state = CASE WHEN state = 'building' AND NOT %b THEN state ELSE 'serving' END,
    error = NULL, failed_at_position = NULL, updated_at = now()
WHERE schema = %b AND position = %b::bigint
RETURNING set_config('search_path', schema, true)
"""
_FAIL: Final = """
UPDATE gradelog.read_models SET state = CASE state WHEN 'building' THEN state ELSE 'failed' END,
    error = %b, failed_at_position = %b::bigint, updated_at = now()
WHERE schema = %b AND position = %b::bigint
"""
_RETRY: Final = """
UPDATE gradelog.read_models SET state = CASE state WHEN 'failed' THEN 'serving' ELSE state END,
    error = NULL, failed_at_position = NULL, updated_at = now()
WHERE schema = %b AND error IS NOT NULL
"""
_SCHEMA_EXISTS: Final = "SELECT FROM pg_namespace WHERE nspname = %b"
_CREATION_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('gradelog read models', 0))"
_TRY_LOCK: Final = (
    "SELECT pg_try_advisory_lock(hashtextextended('gradelog ' || %b || ' ' || %b, 0))"
)
_SHARE_LOCK: Final = (
    "SELECT pg_advisory_lock_shared(hashtextextended('gradelog ' || %b || ' ' || %b, 0))"
)
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended('gradelog ' || %b || ' ' || %b, 0))"


def standing(db: Connection[Row], schema: str) -> Standing | None:
    """Where the read model in this schema stands; None when there is none."""
    rows = fetch(db, _FIND, schema)
    return Standing(*rows[0]) if rows else None


def lock_standing(db: Connection[Row], schema: str) -> Standing | None:
    """The same, and nobody moves it until the transaction ends."""
    rows = fetch(db, _LOCK_ROW, schema)
    return Standing(*rows[0]) if rows else None


def is_fed(db: Connection[Row]) -> bool:
    """Whether the read models of this database are fed from Kafka: its own log stays empty."""
    return bool(fetch(db, _IS_FED)[0][0])


def ensure(db: Connection[Row], models: Iterable[type[ReadModel]], *, fed: bool = False) -> None:
    """Create the read models that do not exist yet. On an empty log they serve at once.

    Raises:
        ReadModelError: they are fed from Kafka, and not by the caller (``fed``).
    """
    _check(db, fed=fed)
    for model in models:
        if standing(db, model.schema()) is not None:
            continue
        with db.transaction():
            lock_creation(db)
            _check(db, fed=fed)  # it may have been marked meanwhile
            if standing(db, model.schema()) is None:
                create(db, model, model.schema())


def _check(db: Connection[Row], *, fed: bool) -> None:
    if is_fed(db) != fed:
        raise ReadModelError(
            "the read models of this database are fed from Kafka; gradelog consume does it"
            if not fed
            else "the read models of this database are fed from its log"
        )


def lock_creation(db: Connection[Row]) -> None:
    """Let nobody else create tables until the transaction ends."""
    db.execute(_CREATION_LOCK)


def create(db: Connection[Row], model: type[ReadModel], schema: str) -> None:
    """Create a schema with the empty tables of a read model, at position 0.

    Raises:
        ReadModelError: there is such a schema and it is not known as a read model.
    """
    if fetch(db, _SCHEMA_EXISTS, schema):
        raise ReadModelError(
            f"the schema {schema} exists, but gradelog.read_models does not know it;"
            " rename or drop it"
        )
    with db.transaction():
        db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        db.execute("SELECT set_config('search_path', %s, true)", (schema,))
        db.execute(model.tables)
        execute(db, _ADD, schema, model.name, model.version)


def forget(db: Connection[Row], schema: str) -> None:
    """Drop a schema and what is known of it."""
    with db.transaction():
        db.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
        execute(db, _REMOVE, schema)


def fold(
    db: Connection[Row], model: ReadModel, schema: str, batch: Batch, *, complete: bool
) -> None:
    """Fold a batch and move the position over it, in one transaction.

    Args:
        db: a connection outside of a transaction, or inside of one that goes on.
        model: folds what it knows; the position moves over all events.
        schema: where its tables are.
        batch: what follows the position.
        complete: whether it ends where the log ends, so that it may serve.

    Raises:
        MovedError: the read model does not stand before the batch.
    """
    folds = model.folds
    relevant = [recorded for recorded in batch.events if type(recorded.event) in folds]
    move = (batch.end, complete, schema, batch.after)
    if not relevant:
        _move(db, move)
        return
    with db.transaction():
        _move(db, move)
        model.fold(db, relevant)


def _move(db: Connection[Row], move: tuple[int, bool, str, int]) -> None:
    if db.execute(_MOVE, move, prepare=True).rowcount != 1:
        raise MovedError


def serve(db: Connection[Row], schema: str, position: int) -> None:
    """Let a read model serve that has caught up without a further event."""
    _move(db, (position, True, schema, position))


def mark_failed(db: Connection[Row], schema: str, position: int, error: str) -> None:
    """Note that the event at a position could not be folded.

    Nothing is noted when somebody else has folded it meanwhile, as a rebuild does.
    """
    execute(db, _FAIL, error, position, schema, position - 1)


def retry(db: Connection[Row], schema: str) -> bool:
    """Let the runner try a failed read model again; False if it has not failed."""
    return db.execute(_RETRY, (schema,)).rowcount > 0


def try_lock(db: Connection[Row], purpose: str, schema: str) -> bool:
    """Take a lock that lasts as long as the connection, unless somebody else holds it."""
    (row,) = fetch(db, _TRY_LOCK, purpose, schema)
    return bool(row[0])


def share_lock(db: Connection[Row], purpose: str, schema: str) -> None:
    """Take a lock that lasts as long as the connection, beside others who do so."""
    fetch(db, _SHARE_LOCK, purpose, schema)


def unlock(db: Connection[Row], purpose: str, schema: str) -> None:
    """Give back a lock of this connection."""
    fetch(db, _UNLOCK, purpose, schema)
