"""What cannot be folded stops one read model, and what is away for a while loses nothing."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from consumers.feed.feeding import Feeding
from domain.errors import KeyDestroyedError
from domain.events import Recorded
from domain.learners.user import full_name_context
from infra.feed import feeding
from infra.kafka.client import kafka_client
from infra.log.reader import connect
from infra.main import open_backend
from projections.gradebook import Gradebook
from projections.registry import READ_MODELS
from projections.submissions import Submissions
from tests.consumers.feed import term
from tests.consumers.feed.comparing import assert_same_rows, wait_until_fed
from tests.consumers.feed.conftest import settings
from tests.infra.cli.support import Cli, eventually
from tests.school import School

pytestmark = [pytest.mark.kafka, pytest.mark.fault]

MAY_FOLD = "SELECT pg_try_advisory_xact_lock_shared(hashtextextended('gradelog shares ' || %s, 0))"
TROUBLE = "SELECT trouble FROM gradelog.kafka_feed_members WHERE trouble IS NOT NULL"


def test_an_event_that_cannot_be_folded_stops_its_read_model_alone(
    published: School, copy: str, kafka: str, topic_prefix: str, far: Cli
) -> None:
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with feeding(of_copy, copy, READ_MODELS), psycopg.connect(copy, autocommit=True) as db:
        term.begin(published)
        term.go_on(published, seed=1, steps=20)
        wait_until_fed(published.dsn, copy)
        db.execute("ALTER TABLE submissions_v1.submissions ADD CHECK (student_id <> 'broken')")
        published.score("broken", "p1", 1, 5, course_id=term.HISTORY)
        term.go_on(published, seed=2, steps=20)
        others = [model for model in READ_MODELS if model is not Submissions]
        wait_until_fed(published.dsn, copy, others)
        told = eventually(
            lambda: db.execute(
                "SELECT state, error FROM gradelog.read_models WHERE error IS NOT NULL"
            ).fetchall()
        )
        ((state, error),) = told
        assert state == "failed"
        assert f"{topic_prefix}.courses[" in error
        assert "CheckViolation" in error
        found = {one["name"]: one for one in far.ask("projections", "status")["read_models"]}
        assert {name for name, one in found.items() if one["error"]} == {"submissions"}
        db.execute(
            "ALTER TABLE submissions_v1.submissions DROP CONSTRAINT submissions_student_id_check"
        )
        # The longer it has stood still, the longer it takes until it is tried again.
        wait_until_fed(published.dsn, copy, within=100.0)
    assert_same_rows(published.dsn, copy, READ_MODELS, empty=True)


def test_names_are_waited_for_while_the_keys_are_out_of_reach(
    published: School,
    copy: str,
    kafka: str,
    topic_prefix: str,
    new_database: Callable[[], str],
) -> None:
    keys = new_database()
    term.begin(published)
    term.go_on(published, seed=1, steps=10)
    bring_keys(published, keys)
    allow(published.dsn, keys, "false")
    of_copy = settings(copy, kafka, topic_prefix, keys_url=keys)
    with feeding(of_copy, copy, [Gradebook]) as made:
        following = made.feeds[0].following
        eventually(lambda: "database is lost" in (following.error or ""))
        with psycopg.connect(copy, autocommit=True) as db:
            # Perhaps the topics were missing before, and that is still told.
            told = ("the learners' keys cannot be read (OperationalError)",)
            eventually(lambda: db.execute(TROUBLE).fetchone() == told)
            assert db.execute("SELECT error FROM gradelog.read_models").fetchone() == (None,)
            assert db.execute("SELECT count(*) FROM gradebook_v2.users").fetchone() == (0,)
        allow(published.dsn, keys, "true")
        wait_until_fed(published.dsn, copy, [Gradebook])
        with psycopg.connect(copy, autocommit=True) as db:
            eventually(lambda: db.execute(TROUBLE).fetchone() is None)
    assert_same_rows(published.dsn, copy, [Gradebook])


def test_names_are_waited_for_while_keys_are_missing(
    published: School,
    copy: str,
    kafka: str,
    topic_prefix: str,
    new_database: Callable[[], str],
) -> None:
    keys = new_database()
    term.begin(published)
    term.go_on(published, seed=1, steps=10)
    of_copy = settings(copy, kafka, topic_prefix, keys_url=keys)
    with (
        feeding(of_copy, copy, [Gradebook]),
        psycopg.connect(copy, autocommit=True) as db,
    ):
        (told,) = eventually(
            lambda: db.execute(f"{TROUBLE} AND trouble LIKE '%%destroyed%%'").fetchone()
        )
        assert "not restored" in told
        assert db.execute("SELECT error FROM gradelog.read_models").fetchone() == (None,)
        assert db.execute("SELECT count(*) FROM gradebook_v2.users").fetchone() == (0,)
        published.rows("SELECT gradelog.destroy_key(subject) FROM gradelog.learner_keys LIMIT 1")
        bring_keys(published, keys)
        wait_until_fed(published.dsn, copy, [Gradebook])
        eventually(lambda: db.execute(TROUBLE).fetchone() is None)
        named = "SELECT count(*) FROM gradebook_v2.users WHERE full_name IS NOT NULL"
        assert db.execute(named).fetchone() != (0,)


def test_without_a_database_of_the_keys_everything_stays_sealed(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    term.begin(published)
    of_copy = settings(copy, kafka, topic_prefix)
    with feeding(of_copy, copy, [Gradebook]):
        wait_until_fed(published.dsn, copy, [Gradebook])
        with psycopg.connect(copy, autocommit=True) as db:
            named = "SELECT bool_or(full_name IS NOT NULL), count(*) > 0 FROM gradebook_v2.users"
            assert db.execute(named).fetchone() == (False, True)
    (name, user_id) = next(
        (event["full_name"], event["user_id"])
        for event in published.events("learners.UserRegistered")
        if event["full_name"]
    )

    async def read() -> str:
        async with open_backend(of_copy, copy) as opened:
            await opened.vault.load([name])
            return opened.vault.open(name, full_name_context(user_id))

    with pytest.raises(KeyDestroyedError):
        asyncio.run(read())


def test_keys_that_are_waited_for_keep_no_other_member_away(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def opened(events: Sequence[Recorded]) -> Sequence[Recorded]:
        asked.set()
        answered.wait(60)
        return events

    made = Feeding(
        kafka_client(settings(copy, kafka, topic_prefix), name="tests"),
        lambda: connect(copy),
        [Gradebook],
        prefix=topic_prefix,
        opening=lambda: opened,
    )
    term.begin(published)
    made.prepare()
    stop = threading.Event()
    member = threading.Thread(target=made.run, args=(stop,))
    member.start()
    try:
        assert asked.wait(60)
        with connect(copy) as db:
            assert db.execute(MAY_FOLD, [Gradebook.schema()]).fetchone() == (True,)
    finally:
        answered.set()
        stop.set()
        member.join(60)


def bring_keys(school: School, keys: str) -> None:
    """Bring the keys of learners to a database of their own, all of them at once."""
    columns = "key_id, subject, key, wrapped_by, destroyed_at"
    with psycopg.connect(keys) as db:
        for row in school.rows(f"SELECT {columns} FROM gradelog.learner_keys"):
            db.execute(
                f"INSERT INTO gradelog.learner_keys ({columns}) VALUES (%s, %s, %s, %s, %s)", row
            )


def allow(server: str, dsn: str, whether: str) -> None:
    """Let a database be connected to, or nobody."""
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(str(name)), sql.SQL(whether)
            )
        )
