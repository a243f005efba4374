"""The programs of Kafka, fetched with Maven once for all who use the same place.

What is in place is whole: it is put there by a rename, with a list of its files. A crash of
the machine may empty files nevertheless, so the list is compared at every start.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.kafka import programs
from infra.kafka.sharing import NotMyTurnError, turn

logger = logging.getLogger(__name__)

POM: Final = Path(__file__).with_name("pom.xml")
LIST: Final = "files.json"
FETCH_LIMIT: Final = 900.0
"""Seconds; 43 MB over a slow line."""

TAIL_LINES: Final = 10


class LibrariesError(Exception):
    """The programs of Kafka cannot be had; the message says why."""


def version() -> str:
    """The version of Kafka that the pom names."""
    found = re.search(r"<kafka\.version>([^<]+)<", POM.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def fetched(place: Path, tell: Callable[[str], None] = logger.info) -> Path:
    """The directory with the programs, fetching them if they are not there or damaged.

    Args:
        place: where the directory is, or is made.
        tell: told before something that takes long.

    Raises:
        MissingProgramError: they are not there, and neither is Maven.
        LibrariesError: Maven cannot fetch them.
    """
    directory = place / f"lib-{version()}"
    if _is_whole(directory):
        return directory
    place.mkdir(parents=True, exist_ok=True)
    try:
        with turn(place / "lib.lock", FETCH_LIMIT * 1.1):
            if not _is_whole(directory):
                _fetch(directory, tell)
    except NotMyTurnError as error:
        raise LibrariesError(str(error)) from None
    return directory


def _fetch(directory: Path, tell: Callable[[str], None]) -> None:
    maven = programs.maven()
    tell(f"fetching Kafka {version()} into {directory}; this is done once")
    for left in directory.parent.glob(f"{directory.name}.*"):
        shutil.rmtree(left, ignore_errors=True)  # by somebody who was killed: we are alone here
    fresh = directory.with_name(f"{directory.name}.{secrets.token_hex(4)}")
    try:
        _copy(maven, fresh)
        listing = {"pom": _digest_of_pom(), "files": _files(fresh)}
        (fresh / LIST).write_text(json.dumps(listing, indent=0), encoding="utf-8")
        for path in (*fresh.iterdir(), fresh):
            _save(path)
        if directory.exists():
            # Brokers that run from it keep their open files; whoever starts next finds the new.
            directory.rename(fresh.with_name(f"{fresh.name}.old"))
        fresh.rename(directory)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(fresh.with_name(f"{fresh.name}.old"), ignore_errors=True)


def _copy(maven: Path, fresh: Path) -> None:
    """Let Maven do it, with the user's environment: proxies and mirrors are in there."""
    try:
        done = subprocess.run(  # noqa: S603  # the user's own Maven
            [
                maven,
                *("--batch-mode", "--quiet", "-Dstyle.color=never", "--file", POM),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={fresh}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FETCH_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LibrariesError(
            f"Maven did not fetch Kafka within {FETCH_LIMIT:.0f} seconds; what it has fetched"
            " so far it keeps, so try again"
        ) from None
    if done.returncode != 0:
        raise LibrariesError(f"Maven cannot fetch Kafka {version()}:\n{_tail(done.stdout)}")
    for path in fresh.glob("*.jar"):
        if not zipfile.is_zipfile(path):
            raise LibrariesError(
                f"Maven keeps a damaged {path.name}; delete it from ~/.m2/repository and try again"
            )


def _is_whole(directory: Path) -> bool:
    try:
        listing = json.loads((directory / LIST).read_text(encoding="utf-8"))
        return bool(listing == {"pom": _digest_of_pom(), "files": _files(directory)})
    except (OSError, ValueError):
        return False


def _files(directory: Path) -> dict[str, int]:
    """Names and sizes of what there is."""
    return {path.name: path.stat().st_size for path in sorted(directory.glob("*.jar"))}


def _digest_of_pom() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _save(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tail(text: str) -> str:
    told = [line for line in text.splitlines() if line.strip()]
    return "\n".join(told[:TAIL_LINES])  # Maven says first what is wrong, then how to debug it
