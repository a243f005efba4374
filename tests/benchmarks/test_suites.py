"""The suites run to their end on little data; what they then say of speed means nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from tests.benchmarks.main import main

Run = Callable[[str], str]


@pytest.fixture
def run(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs one suite and returns the names of its figures."""
    # A test before this one may have left lines of the log to standard output.
    structlog.reset_defaults()
    monkeypatch.setenv("DATABASE_URL", server)
    monkeypatch.setenv("GRADELOG_HOME", str(tmp_path))

    def bench(suite: str) -> str:
        little = ("--rounds", "1", "--seconds", "0.1", "--scale", "0.003")
        assert main(("--only", suite, "--json", *little)) == 0
        told = json.loads(capsys.readouterr().out)
        assert {"cores", "python", "postgresql", "load"} <= told["machine"].keys()
        assert all(figure["samples"] for figure in told["figures"])
        return "\n".join(figure["name"] for figure in told["figures"])

    return bench


@pytest.mark.slow
def test_gradebooks_are_measured(run: Run) -> None:
    found = run("gradebook")
    for part in ("page of 50", "304", "filtered by cohort", "bulk update", "CSV", "memory"):
        assert part in found


@pytest.mark.slow
def test_gradings_are_measured(run: Run) -> None:
    found = run("grading")
    for part in ("score events", "graded", "policy change", "meanwhile"):
        assert part in found


@pytest.mark.slow
def test_streams_are_measured(run: Run) -> None:
    found = run("streams")
    for part in ("nobody listens", "idle SSE subscribers"):
        assert part in found


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_what_goes_through_kafka_is_measured(
    run: Run, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    found = run("kafka")
    for part in ("kafka-python alone", "relay", "one member", "two members", "handler"):
        assert part in found
