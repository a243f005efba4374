"""The whole data set through the command, compared with what its files say.

One import serves all comparisons: it takes minutes where others work on the same machine.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from api import submissions
from infra.in_process import in_process
from infra.settings import Settings
from tests.infra.cli.support import ROOT, Cli, lines
from tests.infra.imports.gradebook import gradebook
from tests.infra.imports.oulad_expected import Expected, enrollments, table

DATA = ROOT.parent / "shared" / "data" / "oulad"

Rows = Sequence[Mapping[str, str]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_data_set_comes_out_as_it_went_in(cli: Cli, dsn: str, tmp_path: Path) -> None:
    if not DATA.is_dir():
        assert os.environ.get("CI") != "true", f"{DATA} is not there"
        pytest.skip(f"{DATA} is not there")
    report = cli.ask("import", "oulad", str(DATA), within=600)
    print(report)
    rows = list(table(DATA, "studentAssessment"))
    expected = enrollments(DATA)
    compare_counts(cli, report, rows, expected)
    compare_grades(dsn, expected)
    compare_scores(Settings(database_url=dsn, home=tmp_path), rows)
    again = cli.ask("import", "oulad", str(DATA), within=600)
    assert (again["present"], again["events"]) == (len(rows), 0)


def compare_counts(
    cli: Cli, report: Any, rows: Rows, expected: Mapping[tuple[str, str], Expected]
) -> None:
    """What is in the log, and what the command has said of it."""
    scored = [row for row in rows if row["score"]]
    people = {name for _, name in expected}
    assert (report["courses"], report["learners"]) == (22, len(people)) == (22, 28_785)
    assert report["enrollments"] == len(expected) == 32_593
    assert report["rows"] == report["submissions"] == len(rows) == 173_912
    assert report["scores"] == len(scored)
    assert report["unscored"] == len(rows) - len(scored) == 173

    stats = cli.ask("stats")
    types = stats["events_by_type"]
    assert stats["events"] == report["events"] == sum(types.values())
    assert types["submissions.SubmissionCreated"] == len(rows)
    assert types["submissions.ScoreSet"] == len(scored)
    assert types["learners.LearnerUnenrolled"] == sum(not e.is_active for e in expected.values())
    graded = sum(e.percent is not None for e in expected.values())
    # A learner's results lie together, so hardly anybody is graded more than once.
    assert graded <= types["grades.GradesCalculated"] < 2 * graded
    assert stats["learners"] == len({row["id_student"] for row in rows})
    assert stats["items"] == len({row["id_assessment"] for row in rows})
    total = sum(
        event["data"]["points_earned"]
        for event in lines(cli.run("events", "export", within=600).out)
        if event["type"] == "submissions.ScoreSet"
    )
    assert total == sum(int(row["score"]) for row in scored)


def compare_grades(dsn: str, expected: Mapping[tuple[str, str], Expected]) -> None:
    """Every enrolment, and the grade of every one."""
    found = gradebook(dsn)
    assert found.keys() == expected.keys()
    differences: Counter[float] = Counter()
    rounding: Counter[str] = Counter()
    for key, wanted in expected.items():
        learner = found[key]
        assert learner.records == wanted.records, key
        assert learner.letter == wanted.letter, key
        assert (learner.is_active, learner.enrolled_at, learner.unenrolled_at) == (
            *(wanted.is_active, wanted.enrolled_at),
            wanted.unenrolled_at,
        ), key
        assert (learner.percent is None) == (wanted.percent is None), key
        differences[abs((learner.percent or 0.0) - (wanted.percent or 0.0))] += 1
        rounding["on a boundary"] += wanted.is_on_boundary
        if learner.percent != wanted.exact_percent:
            # Doubles may end up on either side only where there is nothing between the sides.
            assert wanted.is_on_boundary, key
            rounding["otherwise than exactly"] += 1
    graded = sum(wanted.percent is not None for wanted in expected.values())
    print(
        f"{len(found):,} enrolments, {graded:,} with a grade; largest difference"
        f" {max(differences)}; {rounding['on a boundary']} totals exactly on a boundary, of which"
        f" {rounding['otherwise than exactly']} are rounded otherwise than exact ones would be"
    )
    assert differences == {0.0: len(expected)}


def compare_scores(settings: Settings, rows: Rows) -> None:
    """Some of the scores, as callers read them."""
    courses = {
        one["id_assessment"]: f"OU+{one['code_module']}+{one['code_presentation']}"
        for one in table(DATA, "assessments")
    }
    scored = [row for row in rows if row["score"]]
    by_assessment: dict[str, list[int]] = defaultdict(list)
    by_student: dict[str, dict[str, int]] = defaultdict(dict)
    for row in scored:
        by_assessment[row["id_assessment"]].append(int(row["score"]))
        by_student[row["id_student"]][row["id_assessment"]] = int(row["score"])
    with in_process(settings, dsn=settings.database_url):
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
