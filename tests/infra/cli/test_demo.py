"""The demonstration: a term in seconds, once, and lines that work when they are pasted."""

import html
import json
import os
import re
import signal
import socket
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from infra.cli.demo import as_wanted
from infra.demo.course import COURSE, ITEMS, blocks
from infra.demo.decisions import decisions
from infra.demo.people import ASSISTANT, INSTRUCTOR, LEARNERS, learners
from infra.demo.work import plan, showcase
from infra.settings import Settings, SettingsError
from tests.infra.cli.support import PATIENCE, SECRET, Cli, Running, eventually, lines


def test_the_plan_is_the_same_every_time_and_in_order() -> None:
    steps = plan()
    assert steps == plan()
    assert all(before.at <= after.at for before, after in pairwise(steps))
    kinds = Counter(step.what for step in steps)
    assert len({step.learner for step in steps}) > 0.9 * LEARNERS
    assert min(kinds[what] for what in ("create", "score", "override", "clear")) > 20
    assert (steps[-1].at - steps[0].at).days > 30
    assert showcase(steps) == showcase(plan())
    decided = decisions(steps)
    assert decided == decisions(steps)
    assert steps[-1].at < decided[0].at
    assert all(before.at < after.at for before, after in pairwise(decided))
    assert all(0 <= (one.points or 0) <= one.item.points for one in decided)
    assert blocks() == blocks()
    assert learners() == learners()


def test_people_may_be_anybody_where_that_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GRADELOG_")]:
        monkeypatch.delenv(name)
    embedded = Settings(home=tmp_path, database_url=None)
    assert as_wanted(embedded, None, None).development
    assert as_wanted(embedded, "localhost", None).development
    assert not as_wanted(embedded, "0.0.0.0", None).development
    assert not as_wanted(embedded, None, False).development
    insisting = Settings(home=tmp_path, database_url=None, development=True)
    assert not as_wanted(insisting, None, False).development
    theirs = Settings(home=tmp_path, database_url="postgresql://db/x", jwt_secret=SecretStr(SECRET))
    assert not as_wanted(theirs, None, None).development
    assert as_wanted(theirs, None, True).development
    with pytest.raises(SettingsError, match="could be anybody"):
        as_wanted(theirs, "0.0.0.0", True)


@pytest.mark.timeout(600)
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
    assert {e["data"].get("course_id", COURSE) for e in found} == {COURSE}
    assert {INSTRUCTOR, ASSISTANT} < {e["metadata"]["actor"] for e in found}
    types = Counter(e["type"] for e in found)
    assert types["courses.CourseOutlinePublished"] == types["courses.GradingPolicyChanged"] == 1
    assert types["learners.UserRegistered"] == LEARNERS + 2
    assert types["learners.LearnerEnrolled"] == LEARNERS
    assert types["learners.CohortMembershipChanged"] == LEARNERS
    assert types["grades.GradesCalculated"] >= LEARNERS * 0.9
    changed = types["grades.SubsectionOverrideApplied"] + types["grades.SubsectionOverrideRemoved"]
    assert changed == len(decisions(plan()))
    for_people = cli.run("demo", "--no-serve", within=200).out
    assert "every score of learner-" in for_people


def after(server: Running, beginning: str) -> str:
    while not (line := server.line(200)).startswith(beginning):
        pass
    return line


@pytest.mark.timeout(600)
def test_the_lines_that_it_prints_work_when_pasted(cli: Cli) -> None:
    with cli.start("demo", "--port", "0", "--development") as server:
        after(server, "serving on http://")
        after(server, "try:")
        top, score, history = (pasted(after(server, "curl ")) for _ in range(3))
        after(server, "the gradebook")
        gradebook = server.line()
        assert f"sign in as {INSTRUCTOR} with a click" in server.line()
        with httpx.Client(follow_redirects=True, timeout=PATIENCE) as browser:
            page = sign_in(browser, gradebook, INSTRUCTOR)
    assert len(top) == 3
    assert all(entry["score"] > 0 for entry in top)
    assert "detail" not in (score or {})
    assert "Because I can." in json.dumps(history)
    assert all(item.title in page for item in ITEMS)
    assert "Learner 001" in page


def pasted(line: str) -> Any:
    """What comes of a line in a shell."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, check=True, timeout=PATIENCE
    )
    return json.loads(done.stdout or "null")


def sign_in(browser: httpx.Client, address: str, username: str) -> str:
    """What a page shows to somebody who was sent to sign in."""
    form = browser.get(address)
    assert form.url.path == "/login"
    fields = dict(re.findall(r"<input type=hidden name=(\w+) value='([^']*)'", form.text))
    origin = str(form.url.join("/")).rstrip("/")
    fields = {name: html.unescape(value) for name, value in fields.items()}
    page = browser.post(
        form.url.join("login"), data={**fields, "as": username}, headers={"Origin": origin}
    )
    assert page.status_code == 200, page.text
    return page.text


@pytest.mark.timeout(600)
def test_what_was_cut_off_goes_on(cli: Cli, dsn: str) -> None:
    """Killed in the middle of the work, and then among the decisions."""
    for enough in ("submissions.ScoreSet", "grades.SubsectionOverrideApplied"):
        with cli.start("demo", "--no-serve") as running, psycopg.connect(dsn) as db:
            eventually(lambda kind=enough: _count(db, kind) > 3, within=200)
            os.kill(running.pid, signal.SIGKILL)
            running.process.wait()
    cli.ask("demo", "--no-serve", within=200)
    with psycopg.connect(dsn) as db:
        changes = _count(db, "grades.SubsectionOverrideApplied")
        changes += _count(db, "grades.SubsectionOverrideRemoved")
        assert changes == len(decisions(plan()))
        assert _count(db, "learners.LearnerEnrolled") == LEARNERS
    assert cli.ask("demo", "--no-serve", within=200)["figures"]["events added"] == 0


def _count(db: psycopg.Connection[Any], kind: str) -> int:
    db.commit()
    if db.execute("SELECT to_regclass('gradelog.events')").fetchone() == (None,):
        return 0
    (row,) = db.execute("SELECT count(*) FROM gradelog.events WHERE type = %s", [kind]).fetchall()
    return int(row[0])


@pytest.mark.timeout(600)
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
