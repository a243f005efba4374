"""The read models: where they stand, and what an operator does about it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.output import (
    USAGE,
    Advance,
    CommandError,
    Json,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from psycopg import Connection

    from api.feed import FeedProgress
    from projections.read_model import ReadModel
    from projections.rebuild import Progress

app: Final = typer.Typer(no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="Name of a read model, as `projections status` shows it.")
]

STANDINGS: Final = """
SELECT schema, state, position, error, failed_at_position FROM gradelog.read_models
"""
# Of each that feeds a database from Kafka, one connection a read model and one more.
PROJECTORS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = ANY (ARRAY['gradelog projector', 'gradelog consume'])
    AND datname = current_database()
"""
REBUILT_ELSEWHERE: Final = (
    "the read models of this database are fed from Kafka, and not from a log that could be folded"
    " again: to build them anew, let gradelog consume feed an empty database"
)
TRIED_AGAIN: Final = (
    "the read models of this database are fed from Kafka: gradelog consume tries again by itself,"
    " at least once a minute, and when it is started again"
)
HEAD: Final = "SELECT head FROM gradelog.kafka_feed"


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show where each read model stands."""
    from infra.feed_status import PROGRESS, progress_of
    from infra.log.reader import PostgresLogReader
    from projections.rebuild import unserved
    from projections.registry import READ_MODELS

    schemas = [model.schema() for model in READ_MODELS]
    with _connected() as db:
        fed = db.execute(HEAD).fetchone()
        head = PostgresLogReader().head(db) if fed is None else fed[0]
        standings = {row[0]: row[1:] for row in db.execute(STANDINGS).fetchall()}
        left_over = unserved(db, READ_MODELS)
        (projectors,) = db.execute(PROJECTORS).fetchone() or (0,)
        feeds = progress_of(db.execute(PROGRESS, (schemas,)).fetchall())
    wanted = {schema.rpartition("_v")[0] for schema in standings}
    models: list[dict[str, Any]] = []
    for model in READ_MODELS:
        # Which are fed is up to those who do it; of which there is another version, this one is.
        if fed is not None and model.name not in wanted:
            continue
        state, position, error, failed_at = standings.get(
            model.schema(), ("missing", 0, None, None)
        )
        models.append(
            {
                "name": model.name,
                "version": model.version,
                "state": state,
                "position": position,
                "lag": max(0, head - position),
                "error": error,
                "failed_at_position": failed_at,
                "feed": asdict(feeds[model.name]) if model.name in feeds else None,
            }
        )
    if as_json:
        print_json(
            {
                "head": head,
                "projectors": projectors,
                "read_models": models,
                "not_served": left_over,
                "fed_from_kafka": fed is not None,
            }
        )
        return
    print_table(
        f"read models; the log ends at {head:,}",
        ("name", "version", "state", "position", "lag", "error"),
        [
            (
                one["name"],
                one["version"],
                one["state"],
                one["position"],
                one["lag"],
                _error(one["failed_at_position"], one["error"]),
            )
            for one in models
        ],
        right="version position lag",
    )
    if fed is not None:
        _print_feeds(feeds)
    elif not projectors:
        typer.echo("no projector runs; gradelog serve or gradelog project starts one")
    if left_over:
        typer.echo(f"no longer served: {', '.join(left_over)}; gradelog projections prune drops it")


def _print_feeds(feeds: "Mapping[str, FeedProgress]") -> None:
    print_table(
        "fed from Kafka: partitions that nobody reads, messages that are left",
        ("name", "members", "unread", "left", "silent", "trouble"),
        [
            (
                name,
                one.members,
                _known(one.partitions_unread),
                _known(one.messages_left),
                "" if one.silent_seconds is None else f"{one.silent_seconds:,.0f} s",
                one.trouble or "",
            )
            for name, one in feeds.items()
        ],
        right="members unread left silent",
    )
    if unfed := [name for name, one in feeds.items() if not one.members]:
        typer.echo(f"nobody feeds {', '.join(unfed)}; gradelog consume does")


def _known(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _error(failed_at: int | None, error: str | None) -> str:
    if error is None:
        return ""
    return error if failed_at is None else f"at {failed_at}: {error}"


@app.command()
def rebuild(name: Name, *, as_json: Json = False) -> None:
    """Fold the whole log into new tables; the old ones serve until the new ones are complete."""
    import time

    from infra.database import is_copy
    from infra.log.reader import PostgresLogReader, connect
    from infra.settings import master_key, read_settings
    from infra.vault import Vault
    from projections.rebuild import rebuild as build

    model = _model(name)
    with _database() as dsn:
        if is_copy(dsn):
            raise CommandError(REBUILT_ELSEWHERE)
        reader = PostgresLogReader(Vault(dsn, master_key=master_key(read_settings())))
        with connect(dsn) as db:
            total = reader.head(db)
        began = time.monotonic()
        with progress(f"rebuilding {name}", total, "events") as advance:
            position = build(lambda: connect(dsn), reader, model, _Bar(advance))
        seconds = time.monotonic() - began
    if as_json:
        print_json(
            {"name": name, "version": model.version, "position": position, "seconds": seconds}
        )
        return
    rate = position / seconds if seconds else 0.0
    typer.echo(
        f"{name} is rebuilt up to position {position:,}"
        f" in {seconds:,.1f} seconds ({rate:,.0f} events/s)"
    )


@app.command()
def retry(name: Name, *, as_json: Json = False) -> None:
    """Let the projector try again the event at which a read model failed."""
    from projections import positions

    model = _model(name)
    with _connected() as db:
        if positions.is_fed(db):
            raise CommandError(TRIED_AGAIN)
        tried = positions.retry(db, model.schema())
    if as_json:
        print_json({"name": name, "retried": tried})
    elif tried:
        typer.echo(f"{name} is tried again as soon as a projector sees it")
    else:
        typer.echo(f"{name} has not failed")


@app.command()
def prune(*, as_json: Json = False) -> None:
    """Drop tables of other versions and what interrupted rebuilds left behind.

    What somebody works on at the moment is left.
    """
    from projections.rebuild import prune as drop
    from projections.registry import READ_MODELS

    with _connected() as db:
        dropped = drop(db, READ_MODELS)
    if as_json:
        print_json({"dropped": dropped})
        return
    for schema in dropped:
        typer.echo(f"dropped {schema}")
    if not dropped:
        typer.echo("nothing to drop")


class _Bar:
    """Moves a progress bar to where a rebuild is."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done = 0

    def __call__(self, progress: "Progress") -> None:
        self._advance(progress.done - self._done)
        self._done = progress.done


def _model(name: str) -> "type[ReadModel]":
    from projections.registry import READ_MODELS, read_model

    model = read_model(name)
    if model is None:
        known = ", ".join(model.name for model in READ_MODELS)
        raise CommandError(f"no read model is called {name!r}; there are {known}", code=USAGE)
    return model


@contextmanager
def _connected() -> "Iterator[Connection[tuple[Any, ...]]]":
    from infra.log.reader import connect

    with _database() as dsn, connect(dsn, name="gradelog projections") as db:
        yield db


@contextmanager
def _database() -> "Iterator[str]":
    from infra.database import database
    from infra.logging import configure
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="projections", quiet=True)
    with database(settings) as dsn:
        yield dsn
