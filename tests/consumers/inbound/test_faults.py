"""Whatever dies meanwhile: each message has its effect once, and those of a key in their order."""

import signal
from itertools import cycle
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.consumers.inbound.support import Desk
from tests.infra.cli.support import Cli, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

LEARNERS = 60
EACH = 20

TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'gradelog%'
"""
SCORES = """
SELECT data::jsonb ->> 'student_id', array_agg((data::jsonb ->> 'points_earned')::int ORDER BY position)
FROM gradelog.events WHERE type = 'submissions.ScoreSet' GROUP BY 1
"""
DONE = "SELECT count(*) FROM gradelog.events WHERE type = 'submissions.ScoreSet'"


def report(desk: Desk, first: int, last: int) -> None:
    """Report scores: so many for each learner, one point more each time."""
    for points in range(first, last):
        for learner in range(LEARNERS):
            score = {
                "student_item": {
                    "student_id": f"learner-{learner}",
                    "course_id": "course",
                    "item_id": "item",
                    "item_type": "lab",
                },
                "points_earned": points,
                "points_possible": EACH,
                "create_submission": True,
            }
            desk.post.scores("ScoreReported", score, key=f"learner-{learner}")
    desk.post.flush()


def check(desk: Desk) -> None:
    assert desk.parked() == []
    scores = dict(desk.rows(SCORES))
    assert scores == {f"learner-{n}": list(range(EACH)) for n in range(LEARNERS)}
    assert len(desk.events("submissions.SubmissionCreated")) == LEARNERS


def test_connections_to_the_database_break_in_the_middle(desk: Desk) -> None:
    report(desk, 0, EACH)
    broken = 0
    with desk.member():
        for share in (1, 3, 5, 8):
            eventually(lambda: desk.rows(DONE)[0][0] >= LEARNERS * EACH * share // 10)  # noqa: B023
            with psycopg.connect(desk.dsn, autocommit=True) as db:
                broken += db.execute(TERMINATE).fetchone()[0]
        eventually(lambda: desk.rows(DONE)[0][0] >= LEARNERS * EACH)
        desk.wait()
    assert broken
    check(desk)


def test_a_database_that_is_away_for_long_loses_nothing(desk: Desk, server: str) -> None:
    report(desk, 0, EACH)
    name = psycopg.conninfo.conninfo_to_dict(desk.dsn)["dbname"]

    def let_in(allowed: bool) -> None:
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(
                sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(str(name)), sql.Literal(allowed)
                )
            )
            if not allowed:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (name,),
                )

    try:
        let_in(False)
        with desk.member() as member:
            # It has been given partitions, and cannot find out where to begin.
            eventually(lambda: "UnavailableError" in (member.error or ""))
            let_in(True)
            eventually(lambda: desk.rows(DONE)[0][0] >= LEARNERS * EACH // 3)
            let_in(False)
            let_in(True)
            desk.wait()
    finally:
        let_in(True)
    check(desk)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_members_are_killed_again_and_again(desk: Desk, tmp_path: Path) -> None:
    settings = desk.settings
    assert settings.kafka_bootstrap_servers is not None
    cli = Cli(
        tmp_path,
        DATABASE_URL=desk.dsn,
        KAFKA_BOOTSTRAP_SERVERS=settings.kafka_bootstrap_servers,
        GRADELOG_KAFKA_TOPIC_PREFIX=settings.kafka_topic_prefix,
    )
    kills = 3
    members = [cli.start("inbound") for _ in range(2)]
    try:
        portions = [EACH * n // kills for n in range(kills + 1)]
        for kill, turn in zip(range(kills), cycle((0, 1)), strict=False):
            before = desk.rows(DONE)[0][0]
            report(desk, portions[kill], portions[kill + 1])
            # In the middle of its work, as far as can be told from outside.
            eventually(lambda: desk.rows(DONE)[0][0] > before)  # noqa: B023
            assert members[turn].end(signal.SIGKILL) == -signal.SIGKILL
            members[turn].__exit__()
            members[turn] = cli.start("inbound")
        eventually(lambda: desk.rows(DONE)[0][0] >= LEARNERS * EACH, within=120)
        for member in members:
            assert member.line() == "inbound topics are read"  # the last may have just begun
            assert member.end(signal.SIGTERM) == 0
    finally:
        for member in members:
            member.__exit__()
    check(desk)
