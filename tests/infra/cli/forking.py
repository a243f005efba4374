"""Commands that are forked from a process in which everything is imported already.

To import the program takes most of a second of a processor, what a command then does often
a few milliseconds, and tests run hundreds of them. Each is a process of its own all the same:
with its own environment, directory and descriptors, and it ends as any Python program does.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final, NamedTuple

from tests.surroundings import surroundings

ROOT: Final = Path(__file__).parents[3]
LONGEST_REQUEST: Final = 1024 * 1024

_starting: Final = threading.Lock()


class Done(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    *,
    given: bytes = b"",
    within: float,
) -> Done:
    """Run one command to its end, with this on its standard input.

    Raises:
        subprocess.TimeoutExpired: it was killed because it did not end.
    """
    request = json.dumps([list(arguments), dict(environment), str(directory)]).encode()
    told, tell = os.pipe()
    with (
        tempfile.TemporaryFile() as into,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        os.fdopen(told, "rb", buffering=0) as news,
    ):
        into.write(given)
        into.seek(0)
        descriptors = [into.fileno(), out.fileno(), err.fileno(), tell]
        try:
            socket.send_fds(_parent(), [request], descriptors)
        finally:
            os.close(tell)
        if not (first := news.readline()):
            raise RuntimeError("whoever forks has ended; its standard error tells why")
        if not select.select([news], [], [], within)[0]:
            with suppress(ProcessLookupError):
                os.kill(int(first), signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), within)
        code = os.waitstatus_to_exitcode(int(news.readline()))
        return Done(code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _parent() -> socket.socket:
    """Whoever forks; it is started once, and ends when nobody can ask it any more."""
    with _starting:
        return _started()


@cache
def _started() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env=surroundings(),  # some of it counts when modules are imported
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(ours.close)
    return ours


# --- in the process that forks --------------------------------------------------------------


def _import_everything() -> None:
    for package in ("infra", "api", "consumers", "projections", "domain"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            importlib.import_module(module.name)
    # What all have in common is not copied when one looks for garbage.
    gc.collect()
    gc.freeze()


def _next_command(asked: socket.socket) -> list[str] | None:
    """The arguments, in the process that shall carry out the command; None at the end."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, LONGEST_REQUEST, 4)
        if not request:
            return None
        if os.fork() != 0:
            os.wait()
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        # Nobody waits for this one: it only waits for the command, and says how that ended.
        if os.fork() != 0:
            os._exit(0)
        tell = descriptors.pop()
        if (pid := os.fork()) != 0:
            os.write(tell, b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            with suppress(BrokenPipeError):  # it took too long
                os.write(tell, b"%d\n" % status)
            os._exit(0)
        os.close(tell)
        asked.close()
        arguments, environment, directory = json.loads(request)
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = arguments
        return list(arguments)


def _serve(descriptor: int) -> None:
    arguments = None
    with suppress(KeyboardInterrupt), socket.socket(fileno=descriptor) as asked:
        _import_everything()
        arguments = _next_command(asked)
    if arguments is not None:
        from infra.cli.main import main

        main(arguments)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
