"""Publishing an exported course: all of it, once, or nothing."""

import os
import tarfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.api.olx import archives
from tests.infra.cli.support import ROOT, Cli, lines

DEMO = ROOT.parent / "shared" / "data" / "olx" / "openedx-demo-course.tar.gz"


def write(path: Path, content: str = "<done/>", **others: str | bytes) -> str:
    path.write_bytes(archives.unit(content, **others).getvalue())
    return str(path)


def events(cli: Cli) -> list[Any]:
    return list(lines(cli.run("events", "export").out))


def test_a_course_is_published_once(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "course.tar.gz")
    report = cli.ask("import", "olx", path)
    assert report["course_id"] == "course-v1:O+C+R"
    assert report["blocks"] == {
        "course": 1,
        "chapter": 1,
        "sequential": 1,
        "vertical": 1,
        "done": 1,
    }
    assert "registered" in report["changed"]
    assert "outline" in report["changed"]
    before = events(cli)
    assert report["position"] == before[-1]["position"]
    assert {e["metadata"]["actor"] for e in before} == {"olx import"}
    assert {e["metadata"]["via"] for e in before} == {"import"}
    (outline,) = (e["data"] for e in before if e["type"] == "courses.CourseOutlinePublished")
    assert [block["type"] for block in outline["blocks"]] == list(report["blocks"])

    again = cli.ask("import", "olx", path)
    assert (again["changed"], again["position"]) == ([], None)
    assert events(cli) == before
    done = cli.run("import", "olx", path)
    assert done.out.splitlines()[-1] == "course-v1:O+C+R: nothing changed"


def test_only_what_changed_is_published(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "course.tar.gz"
    cli.ask("import", "olx", write(path))
    assert cli.ask("import", "olx", write(path, "<poll/>"))["changed"] == ["outline"]
    policy = '{"GRADER": [], "GRADE_CUTOFFS": {"Pass": 0.6}}'
    report = cli.ask("import", "olx", write(path, "<poll/>", **{"grading_policy.json": policy}))
    assert report["changed"] == ["grading_policy"]


def test_a_course_can_go_under_another_key(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "course.tar.gz")
    done = cli.run("import", "olx", path, "--course-id", "course-v1:A+B+C")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("course-v1:A+B+C: registered, ")
    assert cli.run("import", "olx", path, "--course-id", "A B").code == 1


def test_what_is_broken_is_named(cli: Cli, tmp_path: Path) -> None:
    done = cli.run("import", "olx", write(tmp_path / "a.tar.gz", '<html url_name="[bold]x"/>'))
    assert done.code == 0
    assert "html/_bold_x: 'html/[bold]x.xml' is missing; kept without content" in done.out


def test_a_bad_archive_is_refused_before_anything_is_written(
    cli: Cli, dsn: str, tmp_path: Path
) -> None:
    path = tmp_path / "course.tar.gz"
    bad = archives.pack(
        archives.files(), [archives.member("course/x.xml", tarfile.SYMTYPE, "/etc/passwd")]
    )
    path.write_bytes(bad.getvalue())
    done = cli.run("import", "olx", str(path))
    assert (done.code, done.out) == (1, "")
    assert done.err == "gradelog: 'course/x.xml' in the archive is a symbolic link\n"
    missing = cli.run("import", "olx", str(tmp_path / "missing"))
    assert missing.code == 1
    assert missing.err.endswith("missing: No such file or directory\n")
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT count(*) FROM gradelog.events").fetchone() == (0,)


def test_a_policy_that_nobody_could_compute_with_is_refused(cli: Cli, tmp_path: Path) -> None:
    policy = '{"GRADER": [{"type": "Lab", "weight": "much"}], "GRADE_CUTOFFS": {}}'
    done = cli.run("import", "olx", write(tmp_path / "a", **{"grading_policy.json": policy}))
    assert done.code == 1
    assert "graders.0.weight" in done.err
    assert events(cli) == []


def test_the_demo_course_is_published(cli: Cli) -> None:
    if not DEMO.is_file():
        assert os.environ.get("CI") != "true", f"{DEMO} is not there"
        pytest.skip(f"{DEMO} is not there")
    report = cli.ask("import", "olx", str(DEMO))
    assert report["blocks"]["problem"] == 29
    assert sum(report["blocks"].values()) == 401
    assert cli.ask("import", "olx", str(DEMO))["position"] is None
