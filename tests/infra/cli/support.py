"""The real command in a process of its own, and waiting for what it does."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.request import urlopen

from tests.infra.cli import forking
from tests.infra.cli.forking import Done
from tests.surroundings import surroundings

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
SECRET = "a secret of these tests, 0123456789abcdef, long enough"
PATIENCE = 180.0
"""Seconds; much more than anything takes on a machine that is busy with other tests."""

PATIENT: Final = {
    "GRADELOG_APPEND_TIMEOUT": "60",
    "GRADELOG_READ_TIMEOUT": "60",
    "PGCONNECT_TIMEOUT": "60",
}
"""Settings for such a machine: what has to wait is not given up."""


def eventually(ask: Callable[[], T], *, within: float = PATIENCE) -> T:
    """The first answer that is true."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.02)
    return answer


def get(address: str, path: str) -> str:
    """The body of an answer."""
    with urlopen(address + path, timeout=PATIENCE) as answer:
        return answer.read().decode()


def figure(address: str, name: str) -> float:
    """A figure of a running server."""
    for line in get(address, "/metrics").splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def is_running(pid: int) -> bool:
    """Whether a process lives; one that nobody has buried yet does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> dict[int, str]:
    """The live children of a process, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found[int(entry.name)] = command
    return found


class Running:
    """A command that goes on until somebody ends it."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.process = process
        self._errors = errors
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def err(self) -> str:
        return self._errors.read_text()

    def line(self, within: float = PATIENCE) -> str:
        """The next line of standard output."""
        try:
            return self._lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"no line came; on standard error: {self.err}") from None

    def address(self) -> str:
        """Where it serves."""
        line = self.line()
        assert line.startswith("serving on http://"), line + self.err
        return line.removeprefix("serving on ")

    def child(self, what: str) -> int:
        """The child process that runs this command."""
        return eventually(
            lambda: next(
                (pid for pid, command in children_of(self.pid).items() if what in command), 0
            )
        )

    def end(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))


class Cli:
    """The command ``gradelog`` in an environment of its own."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self._directory = directory
        self.environment = {
            **surroundings(),
            "PYTHONPATH": str(ROOT),
            "GRADELOG_HOME": str(directory / "home"),
            "GRADELOG_JWT_SECRET": SECRET,
            **PATIENT,
            **variables,
        }

    def but(self, **variables: str | None) -> "Cli":
        """The same with other variables; None takes one away."""
        other = Cli(self._directory)
        changed: Mapping[str, str | None] = {**self.environment, **variables}
        other.environment = {name: value for name, value in changed.items() if value is not None}
        return other

    def run(self, *arguments: str, given: bytes = b"", within: float = PATIENCE) -> Done:
        """Run a command to its end, with this on its standard input."""
        done = forking.run(arguments, self.environment, self._directory, given=given, within=within)
        debugging = self.environment.get("GRADELOG_LOG_LEVEL") == "DEBUG"
        assert debugging or "Traceback" not in done.err, done.err
        return done

    def ask(self, *arguments: str, within: float = PATIENCE) -> Any:
        """The JSON that a command prints."""
        done = self.run(*arguments, "--json", within=within)
        assert done.code == 0, done.err
        return json.loads(done.out)

    def start(self, *arguments: str) -> Running:
        """Run a command that goes on."""
        errors = self._directory / f"errors-{time.monotonic_ns()}"
        with errors.open("w") as file:
            process = subprocess.Popen(
                self.command(*arguments),
                env=self.environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        return Running(process, errors)

    def command(self, *arguments: str) -> list[str]:
        """The words of a command line."""
        return [sys.executable, "-m", "infra.cli.main", *arguments]


def lines(text: str) -> Iterator[Any]:
    """The values of NDJSON."""
    return map(json.loads, text.splitlines())
