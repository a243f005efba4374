"""The tour of the README is true: its commands are run and print what it shows."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARK = "=====end-of-step====="
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def steps() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks with what it is shown to print."""
    for block in blocks("console"):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *more = step.splitlines()
            output = list(itertools.dropwhile(lambda line: line.startswith("> "), more))
            command = [first, *(line[2:] for line in more[: len(more) - len(output)])]
            yield "\n".join(command), "\n".join(output)


def pattern(output: str) -> re.Pattern[str]:
    """What was printed, where ``…`` stands for anything."""
    return re.compile(".*?".join(map(re.escape, output.strip().split("…"))), re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": dsn,
        "GRADELOG_HOME": str(tmp_path),
        "GRADELOG_JWT_SECRET": "a secret for the tour, long enough to sign with",
        "GRADELOG_LOG_LEVEL": "WARNING",
    }


@contextlib.contextmanager
def demo(environment: dict[str, str]) -> Iterator[str]:
    """The demo, served; yields its output up to the curl lines."""
    command = [sys.executable, "-m", "infra.cli.main", "demo", "--port", "0"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        lines: list[str] = []
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if line.startswith("curl"):
                break
        yield "".join(lines)
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)


@pytest.mark.slow
def test_the_tour_prints_what_it_shows(home: dict[str, str]) -> None:
    with demo(home) as output:
        address = re.search(r"serving on (http://\S+?);", output)[1]
        token = re.search(r"^(ey\S+)$", output, re.MULTILINE)[1]
        (names,) = (block for block in blocks("sh") if "ITEM=" in block)
        script = f"SITE={address}\nAUTH='Authorization: JWT {token}'\n{names}"
        script += "".join(f"{command}\necho {MARK}\n" for command, _ in steps())
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=home["GRADELOG_HOME"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    printed = done.stdout.replace("\r", "").split(MARK)
    for (command, expected), output in zip(steps(), printed, strict=False):
        assert pattern(expected).search(output), f"{command}\n{output}"


def test_the_program_in_process_runs(home: dict[str, str]) -> None:
    (program,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Well argued.\n"), done.stderr


def test_every_page_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)h#][^)]*)\)", README):
        assert (ROOT / target).exists(), target
