"""Importing results: complete, once, and stopped by nothing but bad rows."""

import math
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api import submissions
from infra.in_process import in_process
from infra.settings import Settings
from tests.infra.cli.support import Cli, children_of, eventually, is_running, lines
from tests.infra.imports import oulad
from tests.infra.imports.gradebook import Learner, gradebook
from tests.school import school


def events(cli: Cli) -> list[Any]:
    return list(lines(cli.run("events", "export").out))


def count(dsn: str, *types: str) -> int:
    """How many events are in the log, of these types if any are given."""
    with psycopg.connect(dsn) as db:
        found = db.execute("SELECT to_regclass('gradelog.events')").fetchone()
        if found == (None,):
            return 0
        statement = "SELECT count(*) FROM gradelog.events WHERE %(all)s OR type = ANY (%(types)s)"
        values = {"all": not types, "types": list(types)}
        (number,) = db.execute(statement, values).fetchone() or (0,)
        return int(number)


def test_each_row_becomes_a_submission_and_its_score(cli: Cli, tmp_path: Path) -> None:
    data = oulad.write(tmp_path / "data")
    report = cli.ask("import", "oulad", str(data))
    assert report["rows"] == report["submissions"] == 5
    assert (report["scores"], report["unscored"], report["present"]) == (4, 1, 0)
    assert (report["courses"], report["learners"], report["enrollments"]) == (2, 3, 4)

    found = events(cli)
    assert report["events"] == len(found)
    written = [e for e in found if not e["type"].startswith("grades.")]
    assert len(written) == 2 * 3 + 3 + 4 + 5 + 5 + 4
    assert {e["metadata"]["actor"] for e in written} == {"oulad import"}
    assert {e["metadata"]["via"] for e in written} == {"import"}
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
    with in_process(Settings(database_url=dsn, home=tmp_path, append_timeout=60), dsn=dsn):
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


def test_grades_can_be_read_when_it_ends(cli: Cli, dsn: str, tmp_path: Path) -> None:
    registrations = [
        *(
            "AAA,2013J,11391,-159,",
            "AAA,2013J,28400,,30",
            "AAA,2013J,30268,5,",
            "BBB,2014B,28400,,-3",
        ),
        "AAA,2013J,99999,,",
    ]
    data = oulad.write(tmp_path / "data", registrations=registrations)
    cli.ask("import", "oulad", str(data))

    def day(year: int, month: int, number: int) -> datetime:
        return datetime(year, month, number, tzinfo=UTC)

    first, second = "course-v1:OU+AAA+2013J", "course-v1:OU+BBB+2014B"
    began = day(2013, 10, 1)
    # (78 * 10 + 94 * 100) / 110 is 92.5..., and 70 * 10 / 110 is 6.3...
    points = {"1752": 78.0, "1757": 94.0}
    left = day(2014, 1, 29)
    assert gradebook(dsn) == {
        (first, "oulad-11391"): Learner(
            *(0.93, "Distinction", True, day(2013, 4, 25), None, points)
        ),
        (first, "oulad-28400"): Learner(
            *(0.06, None, False, began, day(2013, 10, 31), {"1752": 70.0})
        ),
        (first, "oulad-30268"): Learner(None, None, True, day(2013, 10, 6), None, {}),
        (first, "oulad-99999"): Learner(None, None, True, began, None, {}),
        (second, "oulad-28400"): Learner(0.0, None, False, left, left, {"1800": 0.0}),
    }


def test_results_that_were_there_before_their_learners_are_graded(
    cli: Cli, dsn: str, tmp_path: Path
) -> None:
    """As after an import by a version that knew submissions only."""
    cli.run("migrate")
    item = "block-v1:OU+AAA+2013J+type@problem+block@1757"
    with in_process(Settings(database_url=dsn, home=tmp_path, append_timeout=60), dsn=dsn):
        created = submissions.create_submission(
            {
                "student_id": "11391",
                "course_id": "course-v1:OU+AAA+2013J",
                "item_id": item,
                "item_type": "problem",
            },
            "an answer",
        )
        submissions.set_score(created["uuid"], 50, 100)
    rows = [oulad.ROWS[0]]
    cli.ask("import", "oulad", str(oulad.write(tmp_path / "data", rows)))
    (learner,) = gradebook(dsn).values()
    assert learner.records == {"1752": 78.0, "1757": 50.0}
    assert learner.percent == 0.53


def test_who_leaves_later_is_unenrolled_and_nobody_else_is_changed(
    cli: Cli, dsn: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    cli.ask("import", "oulad", str(oulad.write(data)))
    registrations = [*oulad.registered(oulad.ROWS)[1:], "AAA,2013J,11391,-30,200"]
    report = cli.ask("import", "oulad", str(oulad.write(data, registrations=registrations)))
    assert (report["enrollments"], report["events"]) == (1, 1)
    assert sorted(key for key, one in gradebook(dsn).items() if not one.is_active) == [
        ("course-v1:OU+AAA+2013J", "oulad-11391")
    ]


def test_other_weights_change_the_grades(cli: Cli, dsn: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cli.ask("import", "oulad", str(oulad.write(data)))
    assessments = oulad.ASSESSMENTS.replace("19,10", "19,100")
    report = cli.ask("import", "oulad", str(oulad.write(data, assessments=assessments)))
    assert (report["courses"], report["enrollments"], report["submissions"]) == (1, 0, 0)
    learner = gradebook(dsn)["course-v1:OU+AAA+2013J", "oulad-11391"]
    assert (learner.percent, learner.letter) == (0.86, "Distinction")


def test_what_is_refused_is_named(cli: Cli, dsn: str, tmp_path: Path) -> None:
    """Somebody else has the id of a student."""
    cli.run("migrate")
    with school(dsn, projector=False) as other:
        other.register("ann", anonymous_ids=["11391"])
    done = cli.run("import", "oulad", str(oulad.write(tmp_path / "data")), "--processes", "1")
    assert done.code == 1
    assert "studentRegistration.csv, line 2: the anonymous id 11391 is" in done.err


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


HOLDING = """
CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1);
    RETURN NEW;
END $$;
CREATE TRIGGER held BEFORE INSERT ON gradelog.events FOR EACH ROW
WHEN (NEW.type = 'submissions.SubmissionCreated' AND NEW.data LIKE '%"{student}"%')
EXECUTE FUNCTION held();
"""
LETTING_GO = "DROP TRIGGER held ON gradelog.events; DROP FUNCTION held()"


@contextmanager
def never_done(dsn: str, *, before: str) -> Iterator[None]:
    """An import does not come to its end: it is held up before this row, which is its last."""
    _, student, *_ = before.split(",")
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("SELECT pg_advisory_lock(1)")
        db.execute(HOLDING.replace("{student}", student).encode())
        try:
            yield
        finally:
            db.execute("SELECT pg_advisory_unlock(1)")
            db.execute(LETTING_GO)  # when everything has ended that was held up


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_import_that_was_killed_goes_on_where_it_was(
    cli: Cli, dsn: str, tmp_path: Path, processes: str
) -> None:
    rows = oulad.many(4000)
    data = str(oulad.write(tmp_path / "data", rows))
    cli.run("migrate")
    with (
        never_done(dsn, before=rows[-1]),
        cli.start("import", "oulad", data, "--processes", processes) as importing,
    ):
        importing.child("oulad-part" if processes == "2" else "project")
        eventually(lambda: count(dsn, "submissions.ScoreSet"))
        helpers = children_of(importing.pid)
        importing.end(signal.SIGKILL)
        eventually(lambda: not any(map(is_running, helpers)))

    report = cli.ask("import", "oulad", data, within=400)
    assert report["present"] > 0
    assert report["submissions"] > 0
    assert report["present"] + report["submissions"] == len(rows)
    imported = events(cli)
    of_people = Counter(e["type"] for e in imported if e["type"].startswith("learners."))
    assert of_people == {
        "learners.UserRegistered": len(rows),
        "learners.LearnerEnrolled": len(rows),
    }
    found = [e for e in imported if e["type"].startswith("submissions.")]
    assert Counter(e["type"].partition(".")[2] for e in found) == {
        "StudentItemRegistered": len(rows),
        "SubmissionCreated": len(rows),
        "ScoreSet": len(rows),
    }
    points = {int(e["data"]["student_id"]): e["data"].get("points_earned") for e in found}
    assert points == {10_000 + n: n % 101 for n in range(len(rows))}
    grades = {name: learner.percent for (_, name), learner in gradebook(dsn).items()}
    assert len(grades) == len(rows)
    # The exam, which nobody has sat, is worth 100 of 110.
    assert grades == {
        f"oulad-{student}": math.floor(score / 100 * (10 / 110) * 100 + 0.05 + 0.5) / 100
        for student, score in points.items()
    }
