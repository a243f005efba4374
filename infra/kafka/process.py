"""A server as nobody's child, found again by its number and by a word of its command line."""

import os
import subprocess
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
