"""How far grades are calculated, from the command line."""

import json

import psycopg

from tests.infra.cli.support import Cli

MADE = """
INSERT INTO gradelog.recalculations
    (course_id, position, reason, total, done, changed, requested_at, started_at, updated_at,
    finished_at)
VALUES
    ('course-v1:A+Over+1', 7, 'policy', 20, 20, 3, '2026-03-01Z', '2026-03-01Z', '2026-03-01Z',
    '2026-03-01T00:01:00Z'),
    ('course-v1:A+Half+1', 9, 'outline', 4000, 1000, 5, '2026-03-02Z', '2026-03-02Z',
    '2026-03-02T00:00:30Z', NULL)
"""


def test_courses_that_are_graded_anew(cli: Cli, dsn: str) -> None:
    assert cli.run("grades", "recalculation").out == "no course was ever graded anew\n"
    with psycopg.connect(dsn) as db:
        db.execute(MADE)
    table = cli.run("grades", "recalculation").out
    half, over = (line for line in table.splitlines() if "course-v1:" in line)
    assert [word for word in half.split() if word not in "│┃"][:7] == [
        *("course-v1:A+Half+1", "outline", "1,000", "4,000", "25%", "5", "90")
    ]
    assert "100%" in over
    done = cli.run("grades", "recalculation", "course-v1:A+Half+1", "--json")
    (found,) = json.loads(done.out)["recalculations"]
    assert (found["fraction"], found["seconds_left"], found["finished_at"]) == (0.25, 90.0, None)
    assert done.code == 0
