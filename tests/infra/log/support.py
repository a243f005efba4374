"""What tests of the log share: real writers, and a wire that can be cut."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.log.appender import EncodedEvent, new_event_id
from tests.infra.cli.support import eventually

ROOT = Path(__file__).parents[3]
PATIENCE: Final = 120.0
"""Seconds; for processes that keep each other waiting."""


class _Loop(asyncio.SelectorEventLoop):
    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def on_a_clock_of_its_own(test: Callable[[], Awaitable[Any]]) -> Any:
    """Run a test whose limits are as long as a busy machine may need.

    It does not wait for those that are to be exceeded: it lets the time pass.
    """

    async def run() -> Any:
        return await test()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(run())


def let_pass(seconds: float) -> None:
    """Put the clock of the running test forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    loop.ahead += seconds


def events(
    stream_id: UUID, *versions: int, data: bytes = b'{"note":"a fact"}'
) -> list[EncodedEvent]:
    """Events of one stream, ready to be appended."""
    return [
        EncodedEvent(stream_id, version, "test.Noted", data, new_event_id()) for version in versions
    ]


def stored(dsn: str) -> list[tuple[int, UUID, int, str]]:
    """What is in the log: position, stream, version, data."""
    with psycopg.connect(dsn) as db:
        return db.execute(
            "SELECT position, stream_id, version, data FROM gradelog.events ORDER BY position"
        ).fetchall()


class Writer:
    """A process that appends and writes down what was acknowledged."""

    def __init__(self, dsn: str, notes: Path, *, tasks: int, appends: int, shared: int) -> None:
        self._notes = notes
        with notes.open("w") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.infra.log.writer",
                    *(dsn, str(tasks), str(appends), str(shared)),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
            )

    def acknowledged(self) -> list[dict[str, Any]]:
        """What it has written down, without a line that a kill cut off."""
        lines = self._notes.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def wait_until_under_way(self) -> None:
        """Wait for the first acknowledgement; other writers leave little room to start."""
        eventually(
            lambda: self._notes.stat().st_size or self.process.poll() is not None, within=PATIENCE
        )
        assert self.process.poll() is None


READY: Final = b"Z\0\0\0\5I"
"""What the server says last when a connection is made, and after each statement."""


class Wire:
    """A proxy before the database that passes bytes on until it is told otherwise.

    Of connections whose statements hold the text of ``deaf_to`` it swallows what the server
    answers, and then cuts: the statement arrives, the answer does not.
    ``silent`` holds back what the server answers. As many new connections as ``doomed`` says
    are cut when they are made. ``refused`` and ``swallowed`` tell that it has happened.
    """

    def __init__(self, dsn: str) -> None:
        self._upstream = conninfo_to_dict(dsn)
        self._directory = Path(tempfile.mkdtemp(prefix="glw"))
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.deaf_to: str | None = None
        self.refuse = False
        self.silent = False
        self.doomed = 0
        self.refused = asyncio.Event()
        self.swallowed = asyncio.Event()

    @property
    def dsn(self) -> str:
        """How to reach the database through this wire."""
        return make_conninfo(**{**self._upstream, "host": str(self._directory), "port": "5432"})

    async def open(self) -> None:
        path = self._directory / ".s.PGSQL.5432"
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def cut(self) -> None:
        """Break all connections."""
        for writer_ in list(self._links):
            writer_.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer_: asyncio.StreamWriter) -> None:
        if self.refuse:
            self.refused.set()
            writer_.transport.abort()
            return
        host = str(self._upstream.get("host") or "127.0.0.1")
        port = self._upstream.get("port") or 5432
        if host.startswith("/"):
            up_reader, up_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
        self._links |= {writer_, up_writer}
        asked = bytearray()
        for source, target, answers in (
            (reader, up_writer, False),
            (up_reader, writer_, True),
        ):
            pump = asyncio.create_task(self._pump(source, target, asked, answers=answers))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        asked: bytearray,
        *,
        answers: bool,
    ) -> None:
        try:
            while data := await source.read(65536):
                if not answers:
                    asked += data
                elif self.deaf_to and self.deaf_to.encode() in asked:
                    self.swallowed.set()
                    self.cut()
                    return
                while answers and self.silent:
                    await asyncio.sleep(0.01)
                target.write(data)
                await target.drain()
                if answers and self.doomed and data.endswith(READY):
                    self.doomed -= 1
                    return
        except (ConnectionError, OSError):
            pass
        finally:
            target.transport.abort()
            self._links.discard(target)


@asynccontextmanager
async def wire(dsn: str) -> AsyncIterator[Wire]:
    """A wire to the database, opened and closed."""
    made = Wire(dsn)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def contiguous(positions: Sequence[int]) -> bool:
    """Whether positions are 1, 2, 3, … without a gap."""
    return list(positions) == list(range(1, len(positions) + 1))
