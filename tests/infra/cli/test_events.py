"""The log as the command line shows it: whole, in order, and as it grows."""

import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.infra.cli.support import ROOT, Cli, eventually, lines
from tests.infra.imports import oulad

# Nobody has two results in one course: how many calculations those take is a matter of time.
ROWS = [row.replace("1757,11391", "1757,28500") for row in oulad.ROWS]
EVENTS = 34


@pytest.fixture(scope="module")
def filled(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """``EVENTS``, to be read and not to be added to."""
    directory = tmp_path_factory.mktemp("filled")
    cli = Cli(directory, DATABASE_URL=new_database())
    cli.ask("import", "oulad", str(oulad.write(directory / "data", ROWS)), "--processes", "1")
    return cli


def test_an_export_holds_every_event_with_its_metadata(filled: Cli) -> None:
    found = list(lines(filled.run("events", "export").out))
    assert [e["position"] for e in found] == list(range(1, EVENTS + 1))
    for event in found:
        assert event.keys() == {
            *("position", "type", "stream_id", "version", "event_id", "recorded_at"),
            *("metadata", "data"),
        }
        if event["type"].startswith("grades."):
            assert event["metadata"]["via"] == "grading"
        else:
            assert event["metadata"] == {"actor": "oulad import", "via": "import"}
        assert event["recorded_at"].endswith("Z")


def test_an_export_of_a_part(filled: Cli) -> None:
    done = filled.run("events", "export", "--after", "3", "--until", "6")
    assert [e["position"] for e in lines(done.out)] == [4, 5, 6]
    assert filled.run("events", "export", "--after", str(EVENTS)).out == ""


def test_what_was_sealed_leaves_sealed(filled: Cli) -> None:
    created = [
        e["data"]
        for e in lines(filled.run("events", "export").out)
        if e["type"] == "submissions.SubmissionCreated"
    ]
    assert created
    assert all(data["answer"].startswith("1:") for data in created)


def test_an_export_to_a_file_appears_when_it_is_complete(filled: Cli, tmp_path: Path) -> None:
    output = tmp_path / "log.ndjson"
    report = filled.ask("events", "export", "--output", str(output))
    assert report == {"events": EVENTS, "after": 0, "until": EVENTS, "output": str(output)}
    assert output.read_text() == filled.run("events", "export").out
    assert list(tmp_path.glob("*.part")) == []


def test_an_export_that_cannot_be_written_says_so(filled: Cli, tmp_path: Path) -> None:
    done = filled.run("events", "export", "--output", str(tmp_path / "nowhere" / "log.ndjson"))
    assert done.code == 1
    assert "nowhere" in done.err
    assert len(done.err.splitlines()) == 1
    assert filled.run("events", "export", "--output", str(tmp_path)).code == 2


def test_a_reader_that_has_seen_enough_is_no_error(filled: Cli) -> None:
    command = f"{shlex.join(filled.command('events', 'export'))} | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=filled.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["position"] == 1
    assert done.stderr == ""


def test_the_tail_is_for_people_unless_a_machine_asks(filled: Cli) -> None:
    shown = filled.run("events", "tail", "-n", "2").out.splitlines()
    assert len(shown) == 2
    assert "by gradelog" in shown[0]
    done = filled.run("events", "tail", "--after", str(EVENTS - 2), "--json")
    assert [e["position"] for e in lines(done.out)] == [EVENTS - 1, EVENTS]


def test_a_follower_sees_what_is_added(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"

    def add(rows: Sequence[str]) -> None:
        cli.ask("import", "oulad", str(oulad.write(data, rows)), "--processes", "1")

    add(oulad.ROWS[:1])
    with cli.start("events", "tail", "--follow", "-n", "1", "--json") as follower:
        last = json.loads(follower.line())["position"]
        add(oulad.ROWS[:2])
        found = [json.loads(follower.line())["position"] for _ in range(3)]
        assert found == [last + 1, last + 2, last + 3]


def test_stats_count_what_is_in_the_log(filled: Cli) -> None:
    found = filled.ask("stats")
    assert found["events_by_type"] == {
        "courses.CourseOutlinePublished": 2,
        "courses.CourseRegistered": 2,
        "courses.GradingPolicyChanged": 2,
        "grades.CoursePassedFirstTime": 1,
        "grades.GradesCalculated": 4,
        "learners.LearnerEnrolled": 5,
        "learners.UserRegistered": 4,
        "submissions.ScoreSet": 4,
        "submissions.StudentItemRegistered": 5,
        "submissions.SubmissionCreated": 5,
    }
    assert (found["events"], found["streams"], found["student_items"]) == (EVENTS, 20, 5)
    assert (found["learners"], found["courses"], found["items"]) == (4, 2, 3)
    assert all(size > 0 for size in found["bytes"].values())
    assert "submissions_v" in filled.run("stats").out


def test_the_catalogue_names_every_stored_event(bare: Cli) -> None:
    shown = bare.run("events", "catalogue").out
    assert shown.startswith("# Event catalogue")
    assert "submissions.ScoreSet" in shown


def test_read_models_are_shown_rebuilt_and_pruned(filled: Cli) -> None:
    status = filled.ask("projections", "status")
    assert status["head"] == EVENTS
    assert {model["state"] for model in status["read_models"]} == {"serving"}
    assert {model["lag"] for model in status["read_models"]} == {0}
    rebuilt = filled.ask("projections", "rebuild", "submissions")
    assert (rebuilt["name"], rebuilt["position"]) == ("submissions", EVENTS)
    shown = filled.run("projections", "rebuild", "score_history").out
    assert f"rebuilt up to position {EVENTS}" in shown
    assert filled.ask("projections", "prune") == {"dropped": []}
    assert filled.ask("projections", "retry", "submissions") == {
        "name": "submissions",
        "retried": False,
    }
    assert filled.ask("projections", "status")["read_models"] == status["read_models"]
    assert f"the log ends at {EVENTS}" in filled.run("projections", "status").out


@pytest.mark.parametrize("command", ["rebuild", "retry"])
def test_an_unknown_read_model_is_told_with_those_that_are_known(cli: Cli, command: str) -> None:
    done = cli.run("projections", command, "gradez")
    assert done.code == 2
    assert "no read model is called 'gradez'; there are submissions" in done.err


def test_the_status_tells_whether_a_projector_runs(cli: Cli) -> None:
    assert cli.ask("projections", "status")["projectors"] == 0
    with cli.start("project") as projector:
        assert projector.line() == "the projector runs"
        eventually(lambda: cli.ask("projections", "status")["projectors"])
