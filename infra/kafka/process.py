"""A server as nobody's child, found again by its number and by a word of its command line."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SCRIPT: Final = '"$@" >>broker.out 2>&1 & echo $! >broker.pid'
"""Written by the shell itself: between the start and the note of it nobody can be killed."""


def run(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Without our environment, whose Java variables would be obeyed; with UTF-8, in which the
    names of directories are written.
    """
    return subprocess.run(  # noqa: S603  # our own arguments
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        cwd=directory,
        env={
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": os.environ.get("HOME", "/"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        },
        # Ctrl-C in the terminal is for us and not for the server.
        start_new_session=True,
    )


def spawn(command: Sequence[str], directory: Path) -> None:
    """Start a server in a directory, which gets ``broker.pid`` and ``broker.out``.

    The shell in between ends at once, so a dead server is buried by the system and not left
    to us.
    """
    done = run(["/bin/sh", "-c", SCRIPT, "sh", *command], directory)
    if done.returncode != 0:
        raise OSError(f"the shell says: {done.stdout.strip()}")


def noted(directory: Path) -> int | None:
    """The number of the server that was started last."""
    try:
        return int((directory / "broker.pid").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None  # a crash of the machine may have emptied it


def serves(pid: int, word: str) -> bool:
    """Whether a process has this word in its command line, and did not get the number later."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        if sys.platform == "linux":
            return False
        listed = subprocess.run(  # noqa: S603  # a number
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            check=False,
        )
        return os.fsencode(word) in listed.stdout
    if not command:
        return _is_between_programs(pid)
    return os.fsencode(word) in command.split(b"\0")


def _is_between_programs(pid: int) -> bool:
    """Whether a process without a command line is one that has not got its new one yet.

    Linux shows none for a moment while a program takes the place of another. The dead that
    nobody has buried have none either, nor any program.
    """
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return False
    return True
