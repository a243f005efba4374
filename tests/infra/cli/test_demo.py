"""The demonstration: a term in seconds, once, and lines that work when they are pasted."""

import json
import socket
import subprocess
from collections import Counter
from itertools import pairwise

import pytest

from infra.demo import COURSE, LEARNERS, plan, showcase
from tests.infra.cli.support import Cli, Running, lines


def test_the_plan_is_the_same_every_time_and_in_order() -> None:
    steps = plan()
    assert steps == plan()
    assert all(before.at <= after.at for before, after in pairwise(steps))
    kinds = Counter(step.what for step in steps)
    assert len({step.learner for step in steps}) > 0.9 * LEARNERS
    assert min(kinds[what] for what in ("create", "score", "override", "clear")) > 20
    assert (steps[-1].at - steps[0].at).days > 30
    assert showcase(steps) == showcase(plan())


@pytest.mark.timeout(300)
def test_a_second_demonstration_adds_nothing(cli: Cli) -> None:
    first = cli.ask("demo", "--no-serve", within=200)
    assert first["figures"]["events added"] > 5000
    assert [entry["points_earned"] for entry in first["top"]] == sorted(
        (entry["points_earned"] for entry in first["top"]), reverse=True
    )
    assert {entry["what"] for entry in first["history"]} == {"score", "reset"}
    assert any(entry["reason"] for entry in first["history"])

    second = cli.ask("demo", "--no-serve", within=200)
    assert second["figures"]["events added"] == 0
    assert second["top"] == first["top"]
    assert second["history"] == first["history"]

    found = list(lines(cli.run("events", "export").out))
    assert len(found) == first["figures"]["events in the log"]
    assert {e["data"]["course_id"] for e in found} == {COURSE}
    assert {"staff-kim", "staff-lee"} < {e["metadata"]["actor"] for e in found}
    for_people = cli.run("demo", "--no-serve", within=200).out
    assert "every score of learner-" in for_people


def after(server: Running, beginning: str) -> str:
    while not (line := server.line(200)).startswith(beginning):
        pass
    return line


@pytest.mark.timeout(300)
def test_the_lines_that_it_prints_work_when_pasted(cli: Cli) -> None:
    with cli.start("demo", "--port", "0") as server:
        after(server, "serving on http://")
        after(server, "try:")
        top, score, history = (
            json.loads(
                subprocess.run(
                    ["/bin/sh", "-c", after(server, "curl ")],
                    capture_output=True,
                    check=True,
                    timeout=60,
                ).stdout
                or "null"
            )
            for _ in range(3)
        )
    assert len(top) == 3
    assert all(entry["score"] > 0 for entry in top)
    assert "detail" not in (score or {})
    assert "Because I can." in json.dumps(history)


@pytest.mark.timeout(300)
def test_the_next_port_is_taken_when_nobody_asked_for_one(cli: Cli) -> None:
    with _holding_the_usual_port(), cli.start("demo", "--json") as server:
        server.line(200)
        address = json.loads(server.line(200))["address"]
        assert not address.endswith(":8000")
        assert f"port 8000 is in use; taking {address.rpartition(':')[2]}" in server.err


def _holding_the_usual_port() -> socket.socket:
    """Port 8000, held by us or by somebody else."""
    try:
        return socket.create_server(("127.0.0.1", 8000))
    except OSError:
        return socket.socket()
