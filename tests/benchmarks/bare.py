"""The least that the framework can do: ready bytes, so many of them, at any address."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.benchmarks.harness import end

ROOT = Path(__file__).parents[2]


def serve(size: int) -> None:
    body = b"x" * size

    async def answer(request: Request) -> Response:
        return Response(body, media_type="application/json")

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/{path:path}", answer)])
    settings = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", log_config=None)
    uvicorn.Server(settings).run(sockets=[listener])


@contextmanager
def bare(size: int) -> Iterator[int]:
    """Serve in a process of its own; yields the port."""
    command = [sys.executable, "-m", "tests.benchmarks.bare", str(size)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert running.stdout is not None
        yield int(running.stdout.readline())
    finally:
        end(running)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
