"""Taking turns at something that processes share, and counting who is there.

As for the embedded PostgreSQL: locks on open files, which the kernel drops for whoever dies,
so that nothing has to be tidied up after a crash.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

PAUSE: Final = 0.02

_open_files: Final[set[int]] = set()


class NotMyTurnError(Exception):
    """Another process has held a lock for too long."""


@contextmanager
def turn(lock: Path, limit: float, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Alone among all who take turns at this lock.

    Args:
        lock: a file; made if it is not there.
        limit: seconds to wait for others.
        waiting: called once if there is something to wait for.

    Raises:
        NotMyTurnError: others did not end in time.
    """
    descriptor = _opened(lock)
    try:
        deadline = time.monotonic() + limit
        while not _locked(descriptor, fcntl.LOCK_EX):
            if waiting is not None:
                waiting()
                waiting = None
            if time.monotonic() > deadline:
                raise NotMyTurnError(f"another process has held {lock} for {limit:.0f} seconds")
            time.sleep(PAUSE)
        yield
    finally:
        _close(descriptor)


class Presence:
    """That this process is there. A forked child is not: what it inherits does not count."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._owner = os.getpid()

    @classmethod
    def at(cls, users: Path) -> Self:
        """Be there, from now on. Only in a turn: those who look whether others are there lock."""
        descriptor = _opened(users)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return cls(descriptor)

    @property
    def is_ours(self) -> bool:
        """Whether this very process is there."""
        return self._owner == os.getpid()

    def is_alone(self) -> bool:
        """Whether nobody else is there. Only in a turn."""
        return self.is_ours and _locked(self._descriptor, fcntl.LOCK_EX)

    def end(self) -> None:
        """Be there no longer."""
        if self.is_ours:
            _close(self._descriptor)


def _opened(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    _open_files.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    _open_files.discard(descriptor)
    os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Take a lock if it can be had at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _after_fork() -> None:
    """Part with everything: a lock lives as long as any process has its file open."""
    for descriptor in _open_files:
        os.close(descriptor)
    _open_files.clear()


os.register_at_fork(after_in_child=_after_fork)
