"""What holds for every command: quick answers, and every failure in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.cli.support import ROOT, Cli, eventually, lines

NOBODY_LISTENS = "postgresql://gradelog:hunter22@127.0.0.1:1/gradelog"


def test_the_version_needs_nothing_that_is_heavy(bare: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "infra.cli.main", "--version"],
        env=bare.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.stdout.startswith("gradelog ")
    assert imported.isdisjoint({"typer", "rich", "pydantic", "psycopg", "uvicorn", "structlog"})


def test_help_lists_the_commands_without_what_they_need(bare: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "infra.cli.main", "--help"],
        env=bare.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"pydantic", "psycopg", "uvicorn", "structlog", "api.http.app"})
    for command in ("serve", "api", "project", "migrate", "token", "demo", "import", "bench"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["token"], "Missing option '--username'"),
        (["serve", "--port", "70000"], "65535"),
        (["import", "oulad"], "Missing argument"),
        (["events", "tail", "--after", "-1"], "greater than or equal to 0"),
        (["token", "--username", "x", "--course-role", "staff"], "is not ROLE=COURSE"),
        (["token", "--username", "x", "--course-role", "staff=nowhere"], "nowhere"),
        (["token", "--username", ""], "1 to 255 characters"),
    ],
)
def test_a_bad_command_line_is_told_in_one_line(bare: Cli, arguments: list[str], said: str) -> None:
    done = bare.run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("group", [[], ["kafka"], ["parked"], ["webhooks"]], ids=str)
def test_a_group_without_a_command_prints_its_help_once(bare: Cli, group: list[str]) -> None:
    done = bare.run(*group)
    assert (done.code, done.err) == (2, "")
    assert done.out.count("Usage: gradelog") == 1


def test_a_misspelt_setting_is_refused(bare: Cli) -> None:
    done = bare.but(GRADELOG_PROT="1", GRADELOG_PORT="many").run("migrate")
    assert done.code == 2
    assert "GRADELOG_PROT: no such setting; the nearest is GRADELOG_PORT" in done.err
    assert "GRADELOG_PORT: input should be a valid integer" in done.err


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["stats"],
        ["serve", "--port", "0"],
        ["project"],
        ["demo", "--no-serve"],
        ["events", "tail"],
        ["projections", "status"],
    ],
)
def test_an_absent_database_is_told_in_one_line(bare: Cli, command: list[str]) -> None:
    done = bare.but(DATABASE_URL=NOBODY_LISTENS).run(*command)
    assert done.code == 1
    assert done.err.startswith("gradelog: the database does not answer: ")
    assert len(done.err.splitlines()) == 1
    assert "hunter22" not in done.err


def test_debugging_shows_where_it_happened(bare: Cli) -> None:
    done = bare.but(DATABASE_URL=NOBODY_LISTENS, GRADELOG_LOG_LEVEL="DEBUG").run("migrate")
    assert done.code == 1
    assert "Traceback" in done.err


def test_an_unwritable_home_is_told_in_one_line(bare: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    done = bare.but(GRADELOG_HOME=str(tmp_path / "file" / "home")).run("migrate")
    assert done.code == 1
    assert "set GRADELOG_HOME to a directory that can be written" in done.err
    assert len(done.err.splitlines()) == 1


def test_settings_show_what_is_in_force_and_no_secret(bare: Cli, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("c2VjcmV0IGtleSBvZiB0aGVzZSB0ZXN0cyAxMjM0NTY=\n")
    cli = bare.but(
        DATABASE_URL=NOBODY_LISTENS,
        GRADELOG_PORT="8123",
        GRADELOG_MASTER_KEY_FILE=str(tmp_path / "key"),
    )
    shown = {one["name"]: one for one in cli.ask("settings")}
    assert shown["GRADELOG_PORT"]["value"] == "8123"
    assert shown["GRADELOG_PORT"]["source"] == "environment"
    assert shown["GRADELOG_HOST"]["source"] == "default"
    assert shown["GRADELOG_MASTER_KEY"]["source"] == f"file {tmp_path / 'key'}"
    for output in (cli.run("settings").out, cli.run("settings", "--json").out):
        assert "127.0.0.1:1/gradelog" in output
        for secret in ("hunter22", cli.environment["GRADELOG_JWT_SECRET"], "c2VjcmV0"):
            assert secret not in output


def test_no_colour_where_nobody_sees_it(cli: Cli) -> None:
    assert "\x1b" not in cli.run("stats").out


def test_migrating_twice_applies_nothing_the_second_time(cli: Cli) -> None:
    cli.run("migrate")
    assert cli.ask("migrate") == []


def test_stats_count_an_empty_log(cli: Cli) -> None:
    found = cli.ask("stats")
    assert (found["events"], found["streams"], found["learners"]) == (0, 0, 0)
    assert {model["state"] for model in found["read_models"]} == {"serving"}


def test_logs_are_lines_of_json_that_say_who_speaks(cli: Cli) -> None:
    with cli.but(GRADELOG_LOG_FORMAT="json").start("project", "--json") as projector:
        projector.line()
        eventually(lambda: "follows the log" in projector.err)
    spoken = list(lines(projector.err))
    assert {line["role"] for line in spoken} == {"projector"}
    assert all({"event", "level", "timestamp"} <= line.keys() for line in spoken)
