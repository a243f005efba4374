"""Feeding read models from Kafka, in a database far from the log."""

import os
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.output import USAGE, CommandError, Json, print_json

if TYPE_CHECKING:
    from projections.read_model import ReadModel

Lifeline = Annotated[int | None, typer.Option(hidden=True)]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(consume)


def consume(
    *,
    read_models: Annotated[
        str, typer.Option(help="Which, by name with commas between them; or all.")
    ],
    lifeline: Lifeline = None,
    as_json: Json = False,
) -> None:
    """Feed read models from Kafka into the database of DATABASE_URL, whose log stays empty.

    Any number may run, on any machine: they share the work. gradelog api on the same
    database answers reads from it.
    """
    from consumers.feed.database import FeedError
    from consumers.kafka.client import KafkaError
    from infra.cli.processes import collect_seldom, follow_parent, on_signals
    from infra.feed import make_feeding
    from infra.logging import configure
    from infra.migrate import migrate
    from infra.settings import keys_of, master_key, read_settings

    stop = threading.Event()
    on_signals(stop.set)
    follow_parent(lifeline)
    models = _models(read_models)
    settings = read_settings()
    if settings.kafka_bootstrap_servers is None:
        raise CommandError(
            "there is no Kafka to read from: set KAFKA_BOOTSTRAP_SERVERS to its addresses,"
            " such as kafka1.example.org:9092",
            code=USAGE,
        )
    if settings.database_url is None:
        raise CommandError(
            "DATABASE_URL: must name the database that is to be fed, which is another one than"
            " that of the log",
            code=USAGE,
        )
    if settings.keys_url is not None and keys_of(settings, settings.database_url) is None:
        raise CommandError(
            "GRADELOG_KEYS_URL: names the database that is to be fed, which holds no keys; name"
            " the one with the log",
            code=USAGE,
        )
    master_key(settings)
    configure(settings, role="feed")
    migrate(settings.database_url)
    try:
        feeding = make_feeding(settings, settings.database_url, models)
        feeding.prepare()
        if lifeline is None:
            names = [model.name for model in models]
            if as_json:
                print_json({"pid": os.getpid(), "read_models": names})
            else:
                typer.echo(f"feeding {', '.join(names)}")
        collect_seldom()
        feeding.run(stop)
    except (FeedError, KafkaError) as error:
        raise CommandError(str(error)) from error


def _models(names: str) -> "list[type[ReadModel]]":
    from projections.registry import READ_MODELS, read_model

    if names.strip() == "all":
        return list(READ_MODELS)
    found = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        model = read_model(name)
        if model is None:
            known = ", ".join(one.name for one in READ_MODELS)
            raise CommandError(f"there is no read model {name}; there are {known}", code=USAGE)
        found[name] = model
    if not found:
        raise CommandError("--read-models: name at least one, or all", code=USAGE)
    return list(found.values())
