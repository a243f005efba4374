"""All commands, put together."""

from typing import Annotated, Final

import typer

from infra.cli import (
    access,
    bench,
    consume,
    database,
    demo,
    events,
    grades,
    imports,
    inbound,
    kafka,
    parked,
    projections,
    relay,
    serving,
    users,
    webhooks,
)

app: Final = typer.Typer(
    name="gradelog",
    help="Submissions, scores and grades: one append-only log and what is read from it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def gradelog(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Keep the record of who handed in what, what it was worth, who changed that and why."""
    if version:
        from infra.cli.main import version as current

        typer.echo(f"gradelog {current()}")
        raise typer.Exit


serving.add_to(app)
database.add_to(app)
consume.add_to(app)
access.add_to(app)
demo.add_to(app)
bench.add_to(app)
app.add_typer(users.app, name="user", help="Say who may sign in here.")
app.add_typer(imports.app, name="import", help="Carry in records of other systems.")
app.add_typer(events.app, name="events", help="Read the log itself.")
app.add_typer(grades.app, name="grades", help="See how far grades are calculated.")
app.add_typer(projections.app, name="projections", help="See to the read models.")
app.add_typer(relay.app, name="relay")
app.add_typer(webhooks.app, name="webhooks", help="See to what is delivered over HTTP.")
app.add_typer(inbound.app, name="inbound")
app.add_typer(parked.app, name="parked", help="See to messages that were not carried out.")
app.add_typer(kafka.app, name="kafka", help="Run a Kafka broker for development.")
