"""The HTTP server of one process, on a socket that is open before anything else starts."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from api.http.app import create_app
from api.http.calls import REQUEST_ID
from api.http.config import HttpConfig
from infra.cli.output import FAILED, USAGE, CommandError
from infra.cli.processes import collect_seldom
from infra.logging import WithRequest
from infra.main import open_backend
from infra.settings import Settings, jwt_secret

BACKLOG: Final = 2048
GRACE: Final = 10
"""Seconds that requests under way have to end."""

HIGHEST_PORT: Final = 65_535


def bind(host: str, port: int) -> socket.socket:
    """Take an address; connections wait until there is somebody to answer them.

    Raises:
        CommandError: it cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CommandError(f"{host!r} is not an address of this machine", code=USAGE) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Only a listening socket keeps others from the same address.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from None
    listener.setblocking(False)
    return listener


def bind_after(host: str, port: int) -> socket.socket:
    """The next free port above this one.

    Raises:
        CommandError: there is none.
    """
    while True:
        port += 1
        try:
            return bind(host, port)
        except PortTakenError:
            if port == HIGHEST_PORT:
                raise


class PortTakenError(CommandError):
    """Somebody else listens there."""


def url(listener: socket.socket) -> str:
    """Where a client finds what listens on a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def application(settings: Settings, dsn: str) -> ASGIApp:
    """The HTTP interfaces on a database that is up to date."""
    return create_app(
        lambda: open_backend(settings, dsn),
        HttpConfig(
            jwt_secret=jwt_secret(settings),
            jwks_url=settings.jwks_url,
            jwt_audience=settings.jwt_audience,
            jwt_issuer=settings.jwt_issuer,
            body_limit=settings.body_limit,
            line_limit=settings.line_limit,
            idempotency_lifetime=timedelta(days=settings.idempotency_days),
        ),
    )


class Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started:
            collect_seldom()
            self._ready()


def serve(settings: Settings, dsn: str, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until somebody asks the process to end.

    Raises:
        CommandError: the application did not start.
    """
    config = uvicorn.Config(
        WithRequest(application(settings, dsn), key=REQUEST_ID),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        # Ours is set up already; requests are logged by the application.
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config, ready)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        raise CommandError("the server did not start; the log tells why") from None
    except asyncio.CancelledError:
        return
    if not server.started:
        raise CommandError("the server did not start; the log tells why", code=FAILED)


def _taken(host: str, port: int, error: OSError) -> CommandError:
    match error.errno:
        case errno.EADDRINUSE:
            return PortTakenError(
                f"port {port} on {host} is in use; choose another with --port or GRADELOG_PORT"
            )
        case errno.EACCES:
            return CommandError(
                f"port {port} on {host} is not for this user; choose one above 1023 with --port"
                " or GRADELOG_PORT"
            )
        case _:
            return CommandError(f"cannot listen on port {port} of {host}: {error.strerror}")
