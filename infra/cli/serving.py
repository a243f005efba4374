"""Commands that run until they are stopped: API, projector, or both."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.output import Json, print_json

if TYPE_CHECKING:
    import socket

    from infra.settings import Settings

Host = Annotated[str | None, typer.Option(help="Address to listen on; GRADELOG_HOST.")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="Port to listen on, 0 for any free one; GRADELOG_PORT."),
]
Lifeline = Annotated[int | None, typer.Option(hidden=True)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)
    app.command()(api)
    app.command()(project)
    app.command(hidden=True)(worker)


def serve(*, host: Host = None, port: Port = None, as_json: Json = False) -> None:
    """Serve the API, with a projector beside it, and what belongs to Kafka if there is any."""
    from infra.database import refuse_copy

    with _prepared(host, port) as (settings, listener, dsn):
        refuse_copy(dsn)
        with projector(), relay(settings), inbound(settings):
            answer(settings, dsn, listener, _announcing(as_json=as_json))


def api(
    *,
    host: Host = None,
    port: Port = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Processes that share the port; GRADELOG_WORKERS."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve the API alone. Reads fall behind unless a projector runs somewhere."""
    with _prepared(host, port) as (settings, listener, dsn):
        announce = _announcing(as_json=as_json)
        count = settings.workers if workers is None else workers
        if count == 1:
            answer(settings, dsn, listener, announce)
        else:
            _supervise(listener, count, announce)


def project(*, lifeline: Lifeline = None, as_json: Json = False) -> None:
    """Keep read models up to date, grades recorded, webhooks delivered. Several may run."""
    from infra.cli.processes import follow_parent, on_signals
    from infra.database import database, refuse_copy
    from infra.grading import grading
    from infra.log.reader import PostgresLogReader, connect
    from infra.logging import configure
    from infra.settings import master_key, read_settings
    from infra.vault import Vault
    from infra.webhooks.running import delivering
    from projections.registry import READ_MODELS
    from projections.runner import Runner

    stop = threading.Event()
    on_signals(stop.set)
    follow_parent(lifeline)
    settings = read_settings()
    configure(settings, role="projector")
    with database(settings) as dsn:
        refuse_copy(dsn)
        if lifeline is None:
            _say("the projector runs", as_json=as_json, pid=os.getpid())
        reader = PostgresLogReader(Vault(dsn, master_key=master_key(settings)))
        with (
            delivering(settings, dsn),
            grading(dsn, timeout=settings.append_timeout, queue=settings.log_queue),
        ):
            Runner(lambda: connect(dsn), reader, READ_MODELS).run(stop)


def worker(
    *,
    listening: Annotated[int, typer.Option()],
    ready: Annotated[int, typer.Option()],
    lifeline: Lifeline = None,
) -> None:
    """Serve on a socket that the parent process has opened."""
    import socket

    from infra.cli.processes import follow_parent
    from infra.database import database
    from infra.logging import configure
    from infra.settings import read_settings

    follow_parent(lifeline)
    settings = read_settings()
    configure(settings, role="api")
    with database(settings) as dsn, socket.socket(fileno=listening) as listener:
        answer(settings, dsn, listener, lambda _: _tell(ready))


@contextmanager
def projector(*, quiet: bool = False) -> Iterator[None]:
    """A projector in a process of its own, for as long as the context lasts.

    It stands by when another one runs. ``quiet``: it logs warnings only.
    """
    from infra.cli.processes import Child

    child = Child("projector", ["project"], quiet=quiet)
    child.start()
    try:
        yield
    finally:
        child.stop()


@contextmanager
def relay(settings: "Settings") -> Iterator[None]:
    """A relay in a process of its own, for as long as the context lasts, if there is Kafka."""
    from infra.cli.processes import Child

    if settings.kafka_bootstrap_servers is None:
        yield
        return
    child = Child("relay", ["relay"])
    child.start()
    try:
        yield
    finally:
        child.stop()


@contextmanager
def inbound(settings: "Settings") -> Iterator[None]:
    """A reader of the inbound topics in a process of its own, if the settings want one."""
    from infra.cli.processes import Child

    if settings.kafka_bootstrap_servers is None or not settings.kafka_inbound:
        yield
        return
    child = Child("inbound", ["inbound"])
    child.start()
    try:
        yield
    finally:
        child.stop()


# --- the API ---------------------------------------------------------------------------------


@contextmanager
def listening(
    settings: "Settings", host: str | None, port: int | None, *, next_free: bool = False
) -> "Iterator[socket.socket]":
    """An open port, taken before anything else is started.

    Args:
        settings: host and port where the command line names none.
        host: from the command line.
        port: from the command line.
        next_free: take another port if nobody has asked for this one.
    """
    from infra.cli.listener import PortTakenError, bind, bind_after
    from infra.settings import refuse_exposed_development

    where = settings.host if host is None else host
    refuse_exposed_development(settings, where)
    wanted = settings.port if port is None else port
    asked_for = port is not None or "port" in settings.model_fields_set
    try:
        listener = bind(where, wanted)
    except PortTakenError:
        if asked_for or not next_free:
            raise
        listener = bind_after(where, wanted)
        typer.echo(f"port {wanted} is in use; taking {listener.getsockname()[1]}", err=True)
    with listener:
        # Until the server takes over, a request to end ends the start in good order.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        yield listener


def answer(
    settings: "Settings", dsn: str, listener: "socket.socket", announce: Callable[[str], None]
) -> None:
    """Answer requests until somebody asks the process to end; tell the address when ready."""
    from infra.cli.listener import url
    from infra.cli.server import serve

    # The server ends in good order by itself on the first signal, and then raises it again
    # for whoever was asked before: us.
    asked, announced = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))

    def ready() -> None:
        if not announced.is_set():
            announced.set()
            announce(url(listener))
        if asked.is_set():  # when no server was there to end
            signal.raise_signal(signal.SIGTERM)

    while serve(settings, dsn, listener, ready) and not asked.is_set():
        pass


@contextmanager
def _prepared(
    host: str | None, port: int | None
) -> "Iterator[tuple[Settings, socket.socket, str]]":
    """What serving needs, in the order in which a refusal costs least."""
    from infra.settings import jwt_secret, master_key, read_settings

    settings = read_settings()
    with listening(settings, host, port) as listener:
        jwt_secret(settings)
        master_key(settings)

        from infra.database import database
        from infra.logging import configure

        configure(settings, role="api")
        with database(settings) as dsn:
            yield settings, listener, dsn


def _supervise(listener: "socket.socket", count: int, announce: Callable[[str], None]) -> None:
    """Keep several processes on one socket until somebody asks this one to end."""
    from infra.cli.listener import url
    from infra.cli.processes import Child, on_signals

    stop = threading.Event()
    on_signals(stop.set)
    heard, told = os.pipe()
    descriptor = listener.fileno()
    children = [
        Child(
            f"worker {number}",
            ["worker", "--listening", str(descriptor), "--ready", str(told)],
            descriptors=(descriptor, told),
        )
        for number in range(1, count + 1)
    ]
    for child in children:
        child.start()

    def tell() -> None:
        if os.read(heard, 1):
            announce(url(listener))

    threading.Thread(target=tell, name="readiness", daemon=True).start()
    try:
        stop.wait()
    finally:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop()


def _announcing(*, as_json: bool) -> Callable[[str], None]:
    return lambda address: _say(f"serving on {address}", as_json=as_json, address=address)


def _say(text: str, *, as_json: bool, **values: object) -> None:
    if as_json:
        print_json(values)
    else:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _tell(descriptor: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, b".")


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)
