"""The relay to Kafka: running it, and how far it is."""

import os
import threading
from contextlib import ExitStack
from typing import Annotated, Any, Final

import typer

from infra.cli.output import USAGE, CommandError, Json, print_json, print_pairs

app: Final = typer.Typer(invoke_without_command=True)


@app.callback()
def relay(
    context: typer.Context,
    *,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Publish the log to Kafka. Several may run: others stand by."""
    if context.invoked_subcommand is not None:
        return
    from consumers.kafka.client import KafkaError
    from infra.cli.processes import collect_seldom, follow_parent, on_signals
    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.openedx import openedx_relaying
    from infra.relay import make_relay
    from infra.settings import read_settings

    stop = threading.Event()
    on_signals(stop.set)
    follow_parent(lifeline)
    settings = read_settings()
    if settings.kafka_bootstrap_servers is None:
        raise CommandError(
            "there is no Kafka to publish to: set KAFKA_BOOTSTRAP_SERVERS to its addresses,"
            " such as kafka1.example.org:9092",
            code=USAGE,
        )
    configure(settings, role="relay")
    with database(settings) as dsn, ExitStack() as beside:
        refuse_copy(dsn)
        try:
            made = make_relay(settings, dsn)
            beside.enter_context(openedx_relaying(settings, dsn))
        except KafkaError as error:
            raise CommandError(str(error)) from error
        if lifeline is None:
            if as_json:
                print_json({"pid": os.getpid()})
            else:
                typer.echo("the relay runs")
        collect_seldom()
        made.run(stop)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show how far the log is published, and what keeps it from being."""
    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.relay import PROGRESS, connect
    from infra.settings import read_settings, writes_event_bus

    settings = read_settings()
    configure(settings, role="relay", quiet=True)
    names = ("position", "lag", "holder", "error")
    with ExitStack() as stack:
        dsn = stack.enter_context(database(settings))
        refuse_copy(dsn)
        db = stack.enter_context(connect(dsn))
        wanted = settings.kafka_bootstrap_servers is not None, writes_event_bus(settings)
        rows = db.execute(PROGRESS, wanted).fetchall()
    told: dict[str, dict[str, Any]] = {
        name: dict(zip(names, rest, strict=True)) | ({} if is_on else {"lag": None})
        for name, is_on, *rest in rows
        if is_on or name == "relay"
    }
    found: dict[str, Any] = told.pop("relay") | told
    if as_json:
        print_json(found)
        return
    print_pairs("the relay to Kafka", _for_people(found))
    if "event_bus" in found:
        print_pairs("the event bus of Open edX", _for_people(found["event_bus"]))


def _for_people(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "published up to position": found["position"],
        "events not published yet": "not counted: KAFKA_BOOTSTRAP_SERVERS is not set here, and no"
        " relay works"
        if found["lag"] is None
        else found["lag"],
        "relay that works": found["holder"] or "none",
        "error": found["error"] or "none",
    }
