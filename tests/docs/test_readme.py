"""The tour of the README is true: its commands are run and print what it shows."""

import contextlib
import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.cli.support import PATIENT as PATIENT_SETTINGS
from tests.surroundings import surroundings

ROOT = Path(__file__).parents[2]
MARK = "=====end-of-step====="
README = (ROOT / "README.md").read_text()
TOUR = "A tour"
KAFKA = "The same log in Kafka"
PORT = "8001"
"""Of the server that only reads, on the page; here it takes any free one."""

PATIENT = r"""
curl() {
    case "$*" in
    *X-Min-Log-Position*) command curl --fail --retry 30 --retry-delay 1 "$@" ;;
    *" -m 5 "*)
        local heard=
        until [[ $heard == *grades.GradesCalculated*data:* ]]; do
            heard=$(command curl "$@" || test $? = 28)
        done
        printf '%s\n' "$heard" ;;
    *) command curl "$@" ;;
    esac
}
"""
"""On a busy machine what was written may take longer to arrive than a server waits for it, or than
somebody listens."""

PATIENCE = 180.0
"""Seconds; much more than it takes on a machine that is busy with other tests."""


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    return str(found)


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Each command of the console blocks with what it is shown to print."""
    for block in blocks("console", text):
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
        **surroundings(),
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": dsn,
        "GRADELOG_HOME": str(tmp_path),
        "GRADELOG_JWT_SECRET": "a secret for the tour, long enough to sign with",
        "GRADELOG_LOG_LEVEL": "WARNING",
        **PATIENT_SETTINGS,
    }


def end(running: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Let a process end; if it does not, it is not left behind either."""
    running.send_signal(number)
    try:
        running.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        raise


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
        end(running, signal.SIGINT)


@contextlib.contextmanager
def started(command: str, environment: dict[str, str]) -> Iterator[str]:
    """A command that goes on; yields the first line that it prints."""
    running = subprocess.Popen(
        ["bash", "-euc", f"exec env {command}"],
        cwd=environment["GRADELOG_HOME"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        yield running.stdout.readline()
    finally:
        end(running, signal.SIGTERM)


def check(text: str, printed: list[str]) -> None:
    for (command, expected), output in zip(steps(text), printed, strict=True):
        assert pattern(expected).search(output), f"{command}\n{output}"


def walk(output: str, environment: dict[str, str], *texts: str) -> list[list[str]]:
    """Carry out the steps of these texts in one shell; what each of them printed."""
    address = re.search(r"serving on (http://\S+?);", output)[1]
    token = re.search(r"^(ey\S+)$", output, re.MULTILINE)[1]
    (names,) = (block for block in blocks("sh", README) if "ITEM=" in block)
    script = f"{PATIENT}SITE={address}\nAUTH='Authorization: JWT {token}'\n{names}"
    for text in texts:
        script += "".join(f"{command}\necho {MARK}\n" for command, _ in steps(text))
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=environment["GRADELOG_HOME"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = iter(done.stdout.replace("\r", "").split(MARK))
    return [[next(printed) for _ in steps(text)] for text in texts]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tour_prints_what_it_shows(home: dict[str, str]) -> None:
    with demo(home) as output:
        (printed,) = walk(output, home, section(TOUR))
    check(section(TOUR), printed)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_the_tour_goes_on_with_kafka(
    home: dict[str, str], new_database: Callable[[], str], kafka: str, topic_prefix: str
) -> None:
    command = Path(home["GRADELOG_HOME"]) / "gradelog"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m infra.cli.main "$@"\n')
    command.chmod(0o755)
    environment = {
        **home,
        "LOG": home["DATABASE_URL"],
        "COPY": new_database(),
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "GRADELOG_KAFKA_TOPIC_PREFIX": topic_prefix,
    }
    (block,) = blocks("sh", section(KAFKA))
    broker, *commands = block.splitlines()
    assert broker == 'eval "$(./gradelog kafka start)"'
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(demo(home))
        for line in commands:
            wanted = line.removesuffix(" &").replace(f"--port {PORT}", "--port 0")
            said = stack.enter_context(started(wanted, environment))
        port = re.search(r"serving on http://127.0.0.1:(\d+)", said)[1]
        text = section(KAFKA).replace(f"localhost:{PORT}", f"127.0.0.1:{port}")
        *_, printed = walk(output, environment, section(TOUR), text)
    check(section(KAFKA), printed)


def test_the_program_in_process_runs(home: dict[str, str]) -> None:
    (program,) = blocks("python", README)
    program = program.replace("read_settings())", f"read_settings(), wait={PATIENCE})")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Well argued.\n"), done.stderr
