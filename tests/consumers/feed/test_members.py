"""Members share the partitions; any of them may be killed."""

import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from projections.submissions import Submissions
from tests.consumers.feed import term
from tests.consumers.feed.comparing import assert_same_rows, wait_until_fed
from tests.consumers.feed.conftest import PARTITIONS, members, on_copy
from tests.infra.cli.support import Running, eventually
from tests.school import School

# The group waits for each of the dead.
pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.timeout(300)]

Start = Callable[..., Running]


def test_members_share_the_partitions_and_a_killed_one_leaves_no_trace(
    published: School, copy: str, member: Start
) -> None:
    first, second = member(), member()
    term.begin(published)
    term.go_on(published, seed=1, steps=40)
    wait_until_fed(published.dsn, copy)
    term.go_on(published, seed=2, steps=20)
    first.end(signal.SIGKILL)
    term.go_on(published, seed=3, steps=40)
    third = member()
    term.go_on(published, seed=4, steps=20)
    second.end(signal.SIGKILL)
    term.finish(published)
    wait_until_fed(published.dsn, copy)
    assert_same_rows(published.dsn, copy)
    assert third.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_a_member_that_is_killed_while_it_catches_up_is_no_harm(
    published: School, copy: str, member: Start
) -> None:
    term.begin(published, learners=40)
    term.go_on(published, seed=5, steps=400, learners=40)
    term.finish(published)
    for _ in range(2):
        running = member("gradebook,submissions,score_history,team_submissions")
        before = applied(copy)
        eventually(lambda: applied(copy) > before or is_over(published, copy))  # noqa: B023
        running.end(signal.SIGKILL)
    member()
    wait_until_fed(published.dsn, copy)
    assert_same_rows(published.dsn, copy)


def test_one_of_many_databases_is_lost_and_the_others_are_not_held_up(
    published: School, copy: str, member: Start
) -> None:
    running = member()
    term.begin(published)
    wait_until_fed(published.dsn, copy)
    with psycopg.connect(copy, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    term.go_on(published, seed=7, steps=30)
    term.finish(published)
    wait_until_fed(published.dsn, copy)
    assert_same_rows(published.dsn, copy)
    assert running.process.poll() is None


def applied(copy: str) -> int:
    """How far all partitions of all read models are together."""
    with psycopg.connect(copy) as db:
        found = db.execute("SELECT to_regclass('gradelog.kafka_offsets')").fetchone()
        if found == (None,):
            return 0
        ((total,),) = db.execute(
            "SELECT coalesce(sum(position), 0) FROM gradelog.kafka_offsets"
        ).fetchall()
    return int(total)


def is_over(published: School, copy: str) -> bool:
    """Whether every partition of every read model is at the end of the log."""
    ((head,),) = published.rows("SELECT max(position) FROM gradelog.events")
    return applied(copy) == 4 * (PARTITIONS + 1) * int(head)


def test_two_databases_are_fed_from_the_same_topics_and_take_nothing_from_each_other(
    published: School,
    copy: str,
    new_database: Callable[[], str],
    member: Start,
    kafka: str,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    other = new_database()
    (tmp_path / "other").mkdir()
    member("submissions")
    with members(
        on_copy(tmp_path / "other", other, published.dsn, kafka, topic_prefix)
    ) as elsewhere:
        elsewhere("submissions")
        term.begin(published)
        term.go_on(published, seed=8, steps=20)
        term.finish(published)
        for database in (copy, other):
            wait_until_fed(published.dsn, database, models=[Submissions])
            assert_same_rows(published.dsn, database, models=[Submissions])
