"""Child processes, which never outlive who started them.

A child holds the reading end of a pipe whose writing end is open in the parent alone. When
the parent ends, however it ends, the kernel closes the pipe, and the child takes that as
its own request to end.
"""

import _thread
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 15.0
"""Seconds before a child that keeps dying is started again."""

STEADY_AFTER: Final = 30.0
"""Seconds after which a child that dies counts as one that had been well."""

GRACE: Final = 15.0
"""Seconds that a child has to end before it is killed."""


class Child:
    """One role in a process of its own, started again whenever it ends."""

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        *,
        descriptors: Sequence[int] = (),
        quiet: bool = False,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            role: for the log.
            arguments: of the command ``gradelog``.
            descriptors: open files that the child needs.
            quiet: it logs warnings only, unless somebody has set a level.
        """
        self._quiet = quiet
        self._role = role
        self._arguments = tuple(arguments)
        self._descriptors = tuple(descriptors)
        self._lifeline, self._held = os.pipe()
        self._ending = threading.Event()
        self._change = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {role}", daemon=True)

    def start(self) -> None:
        """Start it and keep it running."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it end in good order; returns at once."""
        with self._change:
            self._ending.set()
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def stop(self) -> None:
        """Let it end in good order; kill it when that takes too long."""
        self.ask_to_stop()
        process = self._process
        if process is not None:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                logger.warning("child killed, it did not end", child=self._role, pid=process.pid)
                process.kill()
        if self._thread.ident is not None:
            self._thread.join(GRACE)
        for descriptor in (self._held, self._lifeline):
            os.close(descriptor)

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while (process := self._spawned()) is not None:
            began = time.monotonic()
            logger.info("child started", child=self._role, pid=process.pid)
            code = process.wait()
            if self._ending.is_set():
                return
            if time.monotonic() - began > STEADY_AFTER:
                pause = FIRST_PAUSE
            logger.error("child ended", child=self._role, code=code, again_in=pause)
            if self._ending.wait(pause):
                return
            pause = min(pause * 2, LONGEST_PAUSE)

    def _spawned(self) -> subprocess.Popen[bytes] | None:
        with self._change:
            if self._ending.is_set():
                return None
            self._process = _start(
                self._arguments,
                lifeline=self._lifeline,
                descriptors=self._descriptors,
                quiet=self._quiet,
            )
            return self._process


class Helper:
    """A process that does a part of a command's work and reports on its standard output."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start it; it may say what is wrong on our standard error."""
        self._lifeline, self._held = os.pipe()
        self._process = _start(
            arguments, lifeline=self._lifeline, quiet=True, stdout=subprocess.PIPE
        )

    def lines(self) -> Iterator[bytes]:
        """What it reports, as it comes, until it ends."""
        assert self._process.stdout is not None
        yield from self._process.stdout

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def stop(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        for descriptor in (self._held, self._lifeline):
            os.close(descriptor)


def _start(
    arguments: Sequence[str],
    *,
    lifeline: int,
    descriptors: Sequence[int] = (),
    quiet: bool,
    stdout: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``gradelog`` with these arguments.

    In a session of its own: Ctrl-C in the terminal is for the parent, which stops its
    children in order.
    """
    return subprocess.Popen(  # noqa: S603  # our own program
        [
            *(sys.executable, "-P", "-m", "infra.cli.main"),
            *arguments,
            *("--lifeline", str(lifeline)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env=_environment(quiet=quiet),
        pass_fds=(lifeline, *descriptors),
        start_new_session=True,
    )


def _environment(*, quiet: bool) -> dict[str, str]:
    """Ours, and the place of this code, so that the child runs the same and no other."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    own = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    if quiet and not os.environ.get("GRADELOG_LOG_LEVEL"):
        own["GRADELOG_LOG_LEVEL"] = "WARNING"
    return {**os.environ, **own}


def collect_seldom() -> None:
    """Look for cyclic garbage seldom, and never in what was loaded before.

    Thousands of commands are under way at a time and none of them is garbage: to look for
    some every 700 objects takes a fifth of the time of an import.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def follow_parent(lifeline: int | None) -> None:
    """End this process in good order when its parent is gone, and at once if that fails."""
    if lifeline is None:
        return

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(GRACE)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def on_signals(end: Callable[[], None]) -> None:
    """Call this once when somebody asks the process to end."""

    def handle(_number: int, _frame: object) -> None:
        # A handler runs in the middle of whatever the main thread does. If that waits for an
        # event at this moment, it may hold the lock that setting the event takes.
        _thread.start_new_thread(end, ())

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)
