"""The log itself: its end, as it grows, and all of it as NDJSON.

Events leave as they are stored: what was sealed stays sealed.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from infra.cli.output import USAGE, Advance, CommandError, Json, print_json, progress

if TYPE_CHECKING:
    from psycopg import Connection

app: Final = typer.Typer(no_args_is_help=True)

Row = tuple[Any, ...]

BATCH: Final = 500
"""Events in memory at a time; the largest are some 140 kB."""

FOLLOW_PAUSE: Final = 0.5
"""Seconds between two looks when nobody says that there is more."""

LAST_POSITION: Final = 2**63 - 1

READ: Final = """
SELECT position, type, stream_id, version, event_id, recorded_at, data, metadata FROM events
WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
"""
HEAD: Final = "SELECT coalesce(max(position), 0) FROM events"

After = Annotated[int | None, typer.Option(min=0, help="Begin after this position.")]


@app.command()
def tail(
    *,
    after: After = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the last events.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is added, until interrupted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the end of the log, one event a line."""
    from infra.log.bell import CHANNEL

    with _connected() as db:
        if follow:
            db.execute(f"LISTEN {CHANNEL}")
        head = _head(db)
        position = max(0, head - lines) if after is None else after
        while True:
            for row in _rows(db, position, LAST_POSITION if follow else head):
                position = row[0]
                _print(row, as_json=as_json)
            sys.stdout.flush()
            if not follow:
                return
            try:
                for _ in db.notifies(timeout=FOLLOW_PAUSE, stop_after=1):
                    pass
            except KeyboardInterrupt:  # how one stops to follow
                return


@app.command()
def export(
    *,
    after: After = None,
    until: Annotated[int | None, typer.Option(min=0, help="End with this position.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of standard output.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write events with their metadata as NDJSON, oldest first.

    The log as it is when the command begins; what is added meanwhile is left out.
    """
    with _connected() as db:
        head = _head(db)
        first, last = after or 0, head if until is None else min(until, head)
        total = max(0, last - first)
        if output is None:
            _export(db, first, last, sys.stdout.buffer, lambda _: None)
            return
        with _replaced(output) as file, progress("exporting", total, "events") as advance:
            _export(db, first, last, file, advance)
    if as_json:
        print_json({"events": total, "after": first, "until": last, "output": output})
    else:
        typer.echo(f"{total:,} events written to {output}")


@app.command()
def catalogue() -> None:
    """Print every event type with its fields, as Markdown."""
    from infra.catalogue import catalogue as made

    sys.stdout.write(made())


def _export(db: "Connection[Row]", first: int, last: int, file: BinaryIO, advance: Advance) -> None:
    for number, row in enumerate(_rows(db, first, last), 1):
        file.write(_line(row))
        if number % BATCH == 0:
            advance(BATCH)
    file.flush()
    advance(max(0, last - first) % BATCH)


@contextmanager
def _connected() -> Iterator["Connection[Row]"]:
    import psycopg

    from infra.database import database, refuse_copy
    from infra.postgres import options, parameters
    from infra.settings import read_settings

    settings = read_settings()
    with database(settings) as dsn:
        refuse_copy(dsn)
        with psycopg.connect(
            dsn,
            autocommit=True,
            **parameters(
                options=options(statement_timeout=settings.read_timeout),
                application_name="gradelog events",
            ),
        ) as db:
            yield db


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete."""
    if path.is_dir():
        raise CommandError(f"{path}: is a directory", code=USAGE)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _head(db: "Connection[Row]") -> int:
    row = db.execute(HEAD).fetchone()
    return int(row[0]) if row else 0


def _rows(db: "Connection[Row]", first: int, last: int) -> Iterator[Row]:
    """Events after ``first`` up to ``last``; a few at a time, whatever their number."""
    while rows := db.execute(READ, (first, last, BATCH), binary=True).fetchall():
        yield from rows
        first = rows[-1][0]


def _line(row: Sequence[Any]) -> bytes:
    import orjson

    position, type_, stream_id, version, event_id, recorded_at, data, metadata = row
    return orjson.dumps(
        {
            "position": position,
            "type": type_,
            "stream_id": stream_id,
            "version": version,
            "event_id": event_id,
            "recorded_at": recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "metadata": orjson.Fragment(metadata),
            "data": orjson.Fragment(data),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _print(row: Sequence[Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(_line(row))
        return
    import orjson

    position, type_, _, _, _, recorded_at, data, metadata = row
    found, known = orjson.loads(data), orjson.loads(metadata)
    about = [str(found[name]) for name in ("student_id", "team_id", "item_id") if name in found]
    if "points_earned" in found:
        about.append(f"{found['points_earned']}/{found['points_possible']}")
    by = known.get("actor") or "unknown"
    typer.echo(
        f"{position:>9}  {recorded_at:%Y-%m-%d %H:%M:%S}  {type_.partition('.')[2]:<22}"
        f"  {'  '.join(about)}  by {by}"
    )
