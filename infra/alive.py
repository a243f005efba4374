"""Whether a process that was noted by its number still runs, and is still the one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_KERNEL_THREAD: Final = 0x200000
"""A flag that Linux shows of a process."""


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


def has_ended(pid: int, word: str) -> bool:
    """Whether such a process is dead, and has let go of its files and ports."""
    return not serves(pid, word) and not _is_dying(pid)


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


def _is_dying(pid: int) -> bool:
    """Whether a process has lost its command line, which goes first, and has threads that live."""
    process = Path(f"/proc/{pid}")
    try:
        if (process / "cmdline").read_bytes():
            return False  # somebody else, who got the number
        state, *rest = (process / "stat").read_text().rpartition(")")[2].split()
        threads = len(list((process / "task").iterdir()))
    except OSError:
        return False
    return not int(rest[5]) & _KERNEL_THREAD and (state not in "ZX" or threads > 1)
