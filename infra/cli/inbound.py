"""The inbound topics: reading them, and how far they are read."""

import os
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.cli.output import USAGE, CommandError, Json, print_json, print_table

app: Final = typer.Typer(invoke_without_command=True)


@app.callback()
def inbound(
    context: typer.Context,
    *,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Carry out the commands of the inbound topics. Several may run: they share the work."""
    if context.invoked_subcommand is not None:
        return
    from consumers.kafka.client import KafkaError
    from infra.cli.processes import collect_seldom, follow_parent, on_signals
    from infra.database import database, refuse_copy
    from infra.inbound import inbound as member
    from infra.logging import configure
    from infra.settings import read_settings

    stop = threading.Event()
    on_signals(stop.set)
    follow_parent(lifeline)
    settings = read_settings()
    if settings.kafka_bootstrap_servers is None:
        raise CommandError(
            "there is no Kafka to read from: set KAFKA_BOOTSTRAP_SERVERS to its addresses,"
            " such as kafka1.example.org:9092",
            code=USAGE,
        )
    configure(settings, role="inbound")
    with database(settings) as dsn:
        refuse_copy(dsn)
        try:
            with member(settings, dsn) as made:
                if lifeline is None:
                    if as_json:
                        print_json({"pid": os.getpid()})
                    else:
                        typer.echo("inbound topics are read")
                collect_seldom()
                made.follow(stop)
        except KafkaError as error:
            raise CommandError(str(error)) from error


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show what became of the messages of the inbound topics so far."""
    from infra.inbound import ask_store

    found = ask_store(lambda store: store.figures())
    if as_json:
        print_json({"topics": [one._asdict() for one in found]})
        return
    print_table(
        "inbound topics",
        ("topic", "carried out", "repeated", "rejected", "parked"),
        found,
        right="carried out repeated rejected parked",
    )


@app.command()
def schemas(directory: Annotated[Path, typer.Argument(file_okay=False)]) -> None:
    """Write the JSON Schema of each type of message to a file in a directory."""
    import json

    from consumers.inbound import schemas as known

    directory.mkdir(parents=True, exist_ok=True)
    for type_, schema in known().items():
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (directory / f"{type_}.json").write_text(text, encoding="utf-8")
    typer.echo(f"{len(known())} schemas are in {directory}")
