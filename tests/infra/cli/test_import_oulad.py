"""Importing results: complete, once, and stopped by nothing but bad rows."""

import csv
import gzip
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api import submissions
from infra.in_process import in_process
from infra.settings import Settings
from tests.infra.cli.support import ROOT, Cli, children_of, eventually, is_running, lines
from tests.infra.imports import oulad

DATA = ROOT.parent / "shared" / "data" / "oulad"


def events(cli: Cli) -> list[Any]:
    return list(lines(cli.run("events", "export").out))


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as db:
        found = db.execute("SELECT to_regclass('gradelog.events')").fetchone()
        if found == (None,):
            return 0
        (number,) = db.execute("SELECT count(*) FROM gradelog.events").fetchone() or (0,)
        return int(number)


def test_each_row_becomes_a_submission_and_its_score(cli: Cli, tmp_path: Path) -> None:
    data = oulad.write(tmp_path / "data")
    report = cli.ask("import", "oulad", str(data))
    assert report["rows"] == report["submissions"] == 5
    assert (report["scores"], report["unscored"], report["present"]) == (4, 1, 0)
    assert report["events"] == 5 + 5 + 4

    found = events(cli)
    assert {e["metadata"]["actor"] for e in found} == {"oulad import"}
    assert {e["metadata"]["via"] for e in found} == {"import"}
    created = {
        (e["data"]["student_id"], e["data"]["item_id"]): e["data"]
        for e in found
        if e["type"] == "submissions.SubmissionCreated"
    }
    first = created["11391", "block-v1:OU+AAA+2013J+type@problem+block@1752"]
    assert first["course_id"] == "course-v1:OU+AAA+2013J"
    assert first["item_type"] == "problem"
    assert first["submitted_at"] == "2013-10-19T00:00:00Z"
    early = created["30268", "block-v1:OU+AAA+2013J+type@problem+block@1752"]
    assert early["submitted_at"] == "2013-09-30T00:00:00Z"
    spring = created["28400", "block-v1:OU+BBB+2014B+type@problem+block@1800"]
    assert spring["submitted_at"] == "2014-03-26T00:00:00Z"


def test_what_was_imported_can_be_read(cli: Cli, dsn: str, tmp_path: Path) -> None:
    rows = ["1752,1,18,0,78", "1752,2,22,1,91", "1752,3,22,0,"]
    cli.run("import", "oulad", str(oulad.write(tmp_path / "data", rows)))
    course, item = "course-v1:OU+AAA+2013J", "block-v1:OU+AAA+2013J+type@problem+block@1752"
    with in_process(Settings(database_url=dsn, home=tmp_path), dsn=dsn):
        top = submissions.get_top_submissions(course, item, "problem", 10)
        score = submissions.get_score(
            {"student_id": "2", "course_id": course, "item_id": item, "item_type": "problem"}
        )
        scores = submissions.get_scores(course, "3")
    assert top[0] == {
        "score": 91,
        "content": {
            "assessment": 1752,
            "assessment_type": "TMA",
            "date_submitted": 22,
            "is_banked": True,
        },
    }
    assert [entry["score"] for entry in top] == [91, 78]
    assert score is not None
    assert score["points_possible"] == 100
    assert score["annotations"] == [
        {
            "creator": "oulad",
            "reason": "carried over from an earlier presentation",
            "annotation_type": "TMA",
        }
    ]
    assert scores == {}


def test_a_second_import_adds_nothing(cli: Cli, tmp_path: Path) -> None:
    data = oulad.write(tmp_path / "data")
    before = cli.ask("import", "oulad", str(data))
    oulad.pack(data)
    after = cli.ask("import", "oulad", str(data))
    assert (after["rows"], after["present"], after["submissions"]) == (5, 5, 0)
    assert after["events"] == 0
    assert len(events(cli)) == before["events"]


def test_rows_that_came_since_are_added(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cli.ask("import", "oulad", str(oulad.write(data, oulad.ROWS[:2])))
    report = cli.ask("import", "oulad", str(oulad.write(data)))
    assert (report["present"], report["submissions"]) == (2, 3)


def test_a_row_that_is_there_twice_counts_once(cli: Cli, tmp_path: Path) -> None:
    data = oulad.write(tmp_path / "data", [*oulad.ROWS, oulad.ROWS[0]])
    report = cli.ask("import", "oulad", str(data))
    assert (report["rows"], report["submissions"], report["present"]) == (6, 5, 1)


def test_a_row_that_has_changed_is_named_and_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = cli.ask("import", "oulad", str(oulad.write(data)))
    oulad.write(data, ["1752,11391,18,0,79", *oulad.ROWS[1:]])
    done = cli.run("import", "oulad", str(data))
    assert done.code == 1
    assert "line 2: the result of student 11391 in assessment 1752" in done.err
    assert "1 rows differ" in done.err
    assert len(events(cli)) == before["events"]


def test_a_bad_row_is_named_before_anything_is_written(cli: Cli, dsn: str, tmp_path: Path) -> None:
    rows = [*oulad.ROWS, "1752,11391,18,0,lots"]
    done = cli.run("import", "oulad", str(oulad.write(tmp_path / "data", rows)))
    assert done.code == 1
    assert done.out == ""
    assert done.err == (
        f"gradelog: {tmp_path}/data/studentAssessment.csv, line 7, column score:"
        " 'lots' is not a whole number from 0 to 100\n"
    )
    assert count(dsn) == 0


@pytest.mark.fault
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_import_that_was_killed_goes_on_where_it_was(
    cli: Cli, dsn: str, tmp_path: Path, processes: str
) -> None:
    rows = oulad.many(4000)
    data = str(oulad.write(tmp_path / "data", rows))
    cli.run("migrate")
    with cli.start("import", "oulad", data, "--processes", processes) as importing:
        importing.child("oulad-part" if processes == "2" else "project")
        eventually(lambda: count(dsn))
        helpers = children_of(importing.pid)
        importing.end(signal.SIGKILL)
        eventually(lambda: not any(map(is_running, helpers)))

    report = cli.ask("import", "oulad", data)
    assert report["present"] > 0
    assert report["submissions"] > 0
    assert report["present"] + report["submissions"] == len(rows)
    found = events(cli)
    assert len(found) == 3 * len(rows)
    assert Counter(e["type"].partition(".")[2] for e in found) == {
        "StudentItemRegistered": len(rows),
        "SubmissionCreated": len(rows),
        "ScoreSet": len(rows),
    }
    points = {int(e["data"]["student_id"]): e["data"].get("points_earned") for e in found}
    assert points == {10_000 + n: n % 101 for n in range(len(rows))}


# --- the real data ------------------------------------------------------------------------------


def table(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DATA / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_data_set_comes_out_as_it_went_in(cli: Cli, dsn: str, tmp_path: Path) -> None:
    if not DATA.is_dir():
        assert os.environ.get("CI") != "true", f"{DATA} is not there"
        pytest.skip(f"{DATA} is not there")
    report = cli.ask("import", "oulad", str(DATA), within=600)
    rows = list(table("studentAssessment"))
    scored = [row for row in rows if row["score"]]
    assert report["rows"] == report["submissions"] == len(rows) == 173_912
    assert report["scores"] == len(scored)
    assert report["unscored"] == len(rows) - len(scored) == 173
    assert report["events"] == 2 * len(rows) + len(scored)

    courses = {
        one["id_assessment"]: f"OU+{one['code_module']}+{one['code_presentation']}"
        for one in table("assessments")
    }
    stats = cli.ask("stats")
    assert stats["events"] == report["events"]
    assert stats["learners"] == len({row["id_student"] for row in rows})
    assert stats["items"] == len({row["id_assessment"] for row in rows})
    assert stats["courses"] == len({courses[row["id_assessment"]] for row in rows})

    by_assessment: dict[str, list[int]] = defaultdict(list)
    by_student: dict[str, dict[str, int]] = defaultdict(dict)
    for row in scored:
        by_assessment[row["id_assessment"]].append(int(row["score"]))
        by_student[row["id_student"]][row["id_assessment"]] = int(row["score"])
    with in_process(Settings(database_url=dsn, home=tmp_path), dsn=dsn):
        for assessment in sorted(by_assessment)[::9]:
            run = courses[assessment]
            best = submissions.get_top_submissions(
                f"course-v1:{run}",
                f"block-v1:{run}+type@problem+block@{assessment}",
                "problem",
                100,
            )
            expected = sorted(by_assessment[assessment], reverse=True)[:100]
            assert [entry["score"] for entry in best] == [points for points in expected if points]
        for student in sorted(by_student)[::1500]:
            found: dict[str, Any] = {}
            for run in {courses[a] for a in by_student[student]}:
                found |= submissions.get_scores(f"course-v1:{run}", student)
            assert {
                item.rpartition("@")[2]: score["points_earned"] for item, score in found.items()
            } == by_student[student]
    total = sum(
        e["data"]["points_earned"] for e in events(cli) if e["type"] == "submissions.ScoreSet"
    )
    assert total == sum(int(row["score"]) for row in scored)
    again = cli.ask("import", "oulad", str(DATA), within=600)
    assert (again["present"], again["events"]) == (len(rows), 0)
