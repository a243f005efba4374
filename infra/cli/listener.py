"""The port, which is taken before anything else is started.

Kept apart from the server, whose parts take a while to load: whoever has chosen a port that
is in use shall hear of it at once.
"""

import errno
import os
import socket
from typing import Final

from infra.cli.output import USAGE, CommandError

BACKLOG: Final = 2048
HIGHEST_PORT: Final = 65_535


class PortTakenError(CommandError):
    """Somebody else listens there."""


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


def url(listener: socket.socket) -> str:
    """Where a client finds what listens on a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


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
