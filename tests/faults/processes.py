"""Processes that are killed, frozen and thawed, and started again when they end by themselves."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.surroundings import surroundings

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 120.0
LOOK_EVERY: Final = 0.2
TAIL: Final = 30
"""Lines of what a process has said last."""


class Process:
    """A process that runs until it is killed."""

    def __init__(
        self,
        role: str,
        words: Sequence[str],
        variables: Mapping[str, str],
        directory: Path,
        ready: str,
    ) -> None:
        self.role = role
        self._ready = ready
        self._out = directory / f"{role}-{random.getrandbits(48):x}"
        with self._out.open("w") as file:
            self._popen = subprocess.Popen(
                [sys.executable, *words],
                env={**surroundings(), "PYTHONPATH": str(ROOT), **variables},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def said(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun, and said so; perhaps it has ended since."""
        return self._ready in self.said

    @property
    def tail(self) -> str:
        return "\n".join(self.said.splitlines()[-TAIL:])

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._popen.poll()

    def freeze(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a crash would, frozen or not."""
        with suppress(ProcessLookupError):
            self._popen.kill()
        self._popen.wait(PATIENCE)

    def leave(self) -> int:
        """End it in good order; the exit code."""
        self._popen.terminate()
        return self._popen.wait(PATIENCE)


class Keeper:
    """Starts processes, and again those that ended by themselves, as a supervisor would.

    A process may end by itself while it begins: if it finds no database then, it says so and
    goes. Once it is at work it stays.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept: dict[Process, Callable[[], Process]] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.started_again = 0
        self.deserters: list[str] = []
        """What those said that ended although they were at work."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join(PATIENCE)
        with self._lock:
            for process in self._kept:
                process.kill()
                if error is not None:
                    print(f"--- the last of {process.role} {process.pid}\n{process.tail}")

    def start(
        self, role: str, words: Sequence[str], variables: Mapping[str, str], ready: str
    ) -> Process:
        """Start a process; ``ready`` is what it says when it is at work."""

        def again() -> Process:
            process = Process(role, words, variables, self._directory, ready)
            self._kept[process] = again
            return process

        with self._lock:
            return again()

    def of(self, role: str) -> list[Process]:
        """Those of a role that are at work, oldest first."""
        with self._lock:
            found = [process for process in self._kept if process.role == role]
        return [process for process in found if process.is_at_work and process.code is None]

    def kill(self, process: Process) -> Process:
        """Kill it and start another in its place."""
        return self._replace(process, Process.kill)

    def replace(self, process: Process) -> Process:
        """Let it leave, and start another in its place."""

        def leave(one: Process) -> None:
            code = one.leave()
            if code not in (0, -signal.SIGTERM):
                self.deserters.append(f"{one.role} left with {code}\n{one.tail}")

        return self._replace(process, leave)

    def dismiss(self, process: Process) -> None:
        """Kill it for good."""
        with self._lock:
            self._kept.pop(process, None)
        process.kill()

    def _replace(self, process: Process, end: Callable[[Process], None]) -> Process:
        with self._lock:
            again = self._kept.pop(process, None)
        end(process)
        if again is None:  # it ended by itself a moment ago, and was replaced
            return process
        with self._lock:
            return again()

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_EVERY):
            with self._lock:
                for process in [one for one in self._kept if one.code is not None]:
                    again = self._kept.pop(process)
                    if process.is_at_work:
                        self.deserters.append(f"{process.role} ended: {process.tail}")
                    self.started_again += 1
                    again()
