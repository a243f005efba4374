"""Statements about read models, and what their rows say.

An answer and the position it stands for come from one statement, so from one snapshot.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, LiteralString, TypeVar

from psycopg import sql

from api.backend import ReadModelStatus
from domain.errors import UnavailableError
from infra.postgres import Row
from projections.positions import BUILDING, FAILED
from projections.read_model import Answer, Query, ReadModel

T = TypeVar("T")

CHUNK: Final = 2000
MISSING: Final = "missing"

# A rebuild may put new tables under the name between the planning of a statement and its
# snapshot. The name was looked up when the statement was planned; when the catalogue of the
# snapshot says something else, rows and position may not belong together.
_STANDING: Final = """
SELECT position, state, error, {head} AS head,
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {schema}) = {schema}::regnamespace
        AS same
FROM gradelog.read_models WHERE schema = {schema}
"""
# Where read models are fed from Kafka, the log is elsewhere: its end is as far as is known.
_HEAD: Final = """
greatest((SELECT coalesce(max(position), 0) FROM gradelog.events),
    (SELECT head FROM gradelog.kafka_feed))
"""
_ASK: Final = """
SELECT m.*, q.* FROM ({standing}) AS m
LEFT JOIN LATERAL (SELECT true AS found, q.* FROM ({query}) AS q) AS q ON true
"""
_PLACEHOLDER: Final = re.compile("%[bs]")
_FOUND: Final = 5
"""The column that tells an answer without rows from an empty one."""

BEGIN: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
NO_JIT: Final = b"SET LOCAL jit = off"  # compiling takes longer than the first chunks
ROLLBACK: Final = b"ROLLBACK"
SNAPSHOT: Final = f"""
SELECT position, state, error, {_HEAD},
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = schema)
FROM gradelog.read_models WHERE schema = $1
""".encode()  # noqa: S608 - a constant
DECLARE: Final = b"DECLARE stream NO SCROLL CURSOR FOR "
NAMESPACE: Final = b"SELECT to_regnamespace($1)::oid"
FETCH: Final = f"FETCH FORWARD {CHUNK} FROM stream".encode()
ALIVE: Final = b"SELECT 1"

POSITIONS: Final = f"""
SELECT schema, position, state, error, {_HEAD} FROM gradelog.read_models
UNION ALL
SELECT '', 0, CASE WHEN EXISTS (SELECT FROM gradelog.kafka_feed) THEN 'fed' ELSE '' END, NULL, {_HEAD}
""".encode()  # noqa: S608 - a constant
_FED: Final = "fed"
GRADING: Final = "grading"
WATCH: Final = b"""
SELECT schema, position, error IS NOT NULL FROM gradelog.read_models
UNION ALL SELECT 'grading', position, false FROM gradelog.grading_progress
"""
GRADED: Final = (
    f"SELECT position, recorded_at_position, {_HEAD} FROM gradelog.grading_progress".encode()  # noqa: S608 - a constant
)


@lru_cache(maxsize=1000)
def question(query: LiteralString, schema: str, *, head: bool) -> bytes:
    """A question together with where its read model stands."""
    standing = sql.SQL(_STANDING).format(
        head=sql.SQL(_HEAD if head else "NULL::bigint"), schema=sql.Literal(schema)
    )
    return with_numbers(
        sql.SQL(_ASK).format(standing=standing, query=sql.SQL(query)).as_string(None)
    )


def with_numbers(statement: str) -> bytes:
    """A statement with its arguments numbered, as ``$1``."""
    number = itertools.count(1)
    return _PLACEHOLDER.sub(lambda _: f"${next(number)}", statement).encode()


# --- what one of them found --------------------------------------------------------------------


def has_reached(model: type[ReadModel], standing: Sequence[Any], wanted: int) -> bool:
    """Whether a read model has applied what the reader must see; False: not yet.

    Raises:
        UnavailableError: it never will as things stand, or its rows never served.
    """
    position, state, error = standing[:3]
    if state == BUILDING:
        reason = f"and has failed: {error}" if error else f"and stands at position {position}"
        raise UnavailableError(f"the read model {model.name} is being built {reason}")
    if position >= wanted:
        return True
    if state == FAILED:
        raise UnavailableError(
            f"the read model {model.name} has failed and stands at position {position}: {error}"
        )
    return False


def goal(standing: Sequence[Any], at_least: int, *, latest: bool) -> int:
    """The position that must be seen."""
    return max(at_least, standing[3]) if latest else at_least


def not_built(model: type[ReadModel]) -> UnavailableError:
    """There is no such read model."""
    return UnavailableError(f"the read model {model.name} (version {model.version}) is not built")


def too_late(model: type[ReadModel], wanted: int) -> UnavailableError:
    """It has not got there while somebody waited."""
    return UnavailableError(
        f"the read model {model.name} has not reached position {wanted} in time"
    )


def answer_of(query: Query[T], rows: list[Row]) -> Answer[T]:
    """What the rows of a question say."""
    position = rows[0][0]
    if rows[0][_FOUND] is None:
        return Answer(query.parse([]), position)
    return Answer(query.parse([row[_FOUND + 1 :] for row in rows]), position)


def statuses_of(
    models: Sequence[type[ReadModel]], rows: list[Row]
) -> Mapping[str, ReadModelStatus]:
    """Where each read model stands, by name."""
    found = {row[0]: row for row in rows}
    head = rows[0][4]
    # Which of them are fed from Kafka is up to those who do it; all the same there must be one.
    # Of which there is another version, this one is wanted.
    is_fed = found.pop("")[2] == _FED and bool(found)
    wanted = {schema.rpartition("_v")[0] for schema in found}
    statuses = {}
    for model in models:
        row = found.get(model.schema())
        if row is None and is_fed and model.name not in wanted:
            continue
        if row is None:
            statuses[model.name] = ReadModelStatus(model, MISSING, 0, head)
            continue
        _, position, state, error, _ = row
        statuses[model.name] = ReadModelStatus(
            model, FAILED if error else state, position, head, error
        )
    return statuses
