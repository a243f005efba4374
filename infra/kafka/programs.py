"""Java, which runs the broker, and Maven, which fetches it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OLDEST_JAVA: Final = 17
ANSWER_LIMIT: Final = 60.0

OTHERWISE: Final = "or set KAFKA_BOOTSTRAP_SERVERS to a broker that runs already"
JAVA_ADVICE: Final = (
    f"install Java {OLDEST_JAVA} or later (on Debian and Ubuntu: apt-get install"
    f" openjdk-17-jre-headless), {OTHERWISE}"
)
MAVEN_ADVICE: Final = f"install Maven (on Debian and Ubuntu: apt-get install maven), {OTHERWISE}"

_VERSION: Final = re.compile(r'version "(?:1\.)?(\d+)')
"""Java 8 still called itself 1.8."""


class MissingProgramError(Exception):
    """A program is needed that is not here; the message says how to get it."""


def java() -> Path:
    """A Java that can run the broker: that of ``JAVA_HOME``, or else the first in ``PATH``.

    Raises:
        MissingProgramError: there is none, or none that is new enough.
    """
    unfit = []
    for path in _candidates("java"):
        version = _java_version(path)
        if version is not None and version >= OLDEST_JAVA:
            return path
        unfit.append(f"{path} does not run" if version is None else f"{path} is Java {version}")
    found = f"only an unfit one is here: {'; '.join(unfit)}" if unfit else "there is no java here"
    raise MissingProgramError(f"a Kafka broker runs on Java, and {found}; {JAVA_ADVICE}")


def maven() -> Path:
    """The command of Maven.

    Raises:
        MissingProgramError: there is none.
    """
    found = shutil.which("mvn")
    if found is None:
        raise MissingProgramError(
            f"the Kafka broker is fetched with Maven, and there is no mvn here; {MAVEN_ADVICE}"
        )
    return Path(found)


def _candidates(name: str) -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        path = Path(home) / "bin" / name
        if os.access(path, os.X_OK):
            yield path
    if found := shutil.which(name):
        yield Path(found)


def _java_version(path: Path) -> int | None:
    """The major version; None if the program is only a stand-in that says where to get Java."""
    try:
        done = subprocess.run(  # noqa: S603  # the user's own Java
            [path, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stderr + done.stdout)
    return int(found[1]) if found is not None and done.returncode == 0 else None
