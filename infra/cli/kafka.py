"""A Kafka broker on this machine, for development."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.output import Json, print_json, print_pairs

if TYPE_CHECKING:
    from infra.kafka.broker import EmbeddedKafka, Status

app: Final = typer.Typer(no_args_is_help=True)

VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"

Port = Annotated[
    int,
    typer.Option(
        min=0, max=65_535, help="Port of the broker; 0 for that of the last time, or any free one."
    ),
]


@app.callback()
def kafka() -> None:
    """Run a Kafka broker on this machine, for development. It needs Java, and Maven once."""


@app.command()
def start(*, port: Port = 0, as_json: Json = False) -> None:
    """Start the broker and leave it running; print the variable to export."""
    broker = _broker(port)
    broker.launch()
    if as_json:
        print_json(_document(broker.status()))
        return
    typer.echo(f"export {VARIABLE}={broker.bootstrap_servers}")


@app.command()
def stop(*, as_json: Json = False) -> None:
    """Stop the broker in good order. What it holds stays."""
    broker = _broker()
    there = broker.stop()
    _tell(broker, "the broker has stopped" if there else "no broker runs", as_json=as_json)


@app.command()
def kill(*, as_json: Json = False) -> None:
    """Kill the broker, as a crash would: to see what happens then."""
    broker = _broker()
    there = broker.kill()
    _tell(broker, "the broker is dead" if there else "no broker runs", as_json=as_json)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show whether the broker runs, and where."""
    found = _broker().status()
    if as_json:
        print_json(_document(found))
        return
    print_pairs(
        "broker",
        {
            "state": _state(found),
            "bootstrap servers": found.bootstrap_servers or "none yet",
            "process": None if found.pid is None else str(found.pid),
            "version": found.version,
            "directory": str(found.directory),
        },
    )


def _broker(port: int = 0) -> "EmbeddedKafka":
    from infra.kafka.broker import EmbeddedKafka
    from infra.settings import read_settings

    return EmbeddedKafka(
        read_settings().home, port=port, tell=lambda what: typer.echo(f"gradelog: {what}", err=True)
    )


def _tell(broker: "EmbeddedKafka", what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(broker.status()))
    else:
        typer.echo(what)


def _state(found: "Status") -> str:
    if found.running:
        return "running" if found.ready else "starting"
    return "stopped"


def _document(found: "Status") -> dict[str, Any]:
    return {
        "state": _state(found),
        "bootstrap_servers": found.bootstrap_servers,
        "pid": found.pid,
        "version": found.version,
        "directory": str(found.directory),
    }
