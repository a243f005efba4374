"""Writes many rows with few statements, and what the tables of several read models share."""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, LiteralString
from uuid import UUID, uuid5

import orjson
from psycopg import Connection

from projections.read_model import Row

_ITEMS: Final = UUID("0b3a0c5e-7d0f-5a55-8f5d-6a2c4e1d9b70")


@lru_cache(maxsize=10_000)
def item_key(course_id: str, item_id: str) -> UUID:
    """What stands for an item in indexes.

    Two ids of 255 characters of four bytes and a student's would not fit into an index entry.
    """
    return uuid5(_ITEMS, f"{course_id}\0{item_id}")


def copy_rows(
    db: Connection[Row],
    statement: LiteralString,
    types: Sequence[str],
    rows: Collection[Sequence[Any]],
) -> None:
    """Add rows with one ``COPY … FROM STDIN (FORMAT binary)``."""
    if not rows:
        return
    with db.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def execute(db: Connection[Row], statement: LiteralString, *arguments: Any) -> None:
    """Run a prepared statement for its effect."""
    db.execute(statement, arguments, prepare=True)


def fetch(db: Connection[Row], statement: LiteralString, *arguments: Any) -> list[Row]:
    """Run a prepared statement with binary results."""
    with db.cursor(binary=True) as cursor:
        return cursor.execute(statement, arguments, prepare=True).fetchall()


def columns(rows: Iterable[Row]) -> list[list[Any]]:
    """Rows as the arrays that ``unnest`` takes; there is at least one row."""
    return [list(column) for column in zip(*rows, strict=True)]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the cycle collector away from a batch.

    Its tens of thousands of objects hold no cycles and die together; walking through them
    again and again while they pile up takes a quarter of the time. Threads that overlap
    here leave the collector on: whoever has switched it off switches it on.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def annotations_text(annotation: Mapping[str, str] | None) -> str | None:
    """The annotations of a new score as they are kept: JSON text, None when there are none."""
    if annotation is None:
        return None
    names = ("creator", "reason", "annotation_type")
    return orjson.dumps([{name: annotation[name] for name in names}]).decode()
