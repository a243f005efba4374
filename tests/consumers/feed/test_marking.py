"""A database that is fed from Kafka has no log, and everybody who wants to write one is told."""

import signal
import threading
from pathlib import Path

import httpx
import psycopg
import pytest

from api.http.auth import issue_token
from consumers.feed import database as feed_database
from consumers.feed.database import FeedError
from consumers.following.offsets import Offsets, Standing
from consumers.kafka.client import Partition
from consumers.messages import Reached
from infra.database import prepare
from infra.log.reader import connect
from infra.reads import SyncReads
from projections import positions
from projections.positions import ReadModelError
from projections.rebuild import prune
from projections.registry import READ_MODELS
from projections.submissions import Submissions
from tests import facts
from tests.infra.cli.support import SECRET, Cli, eventually
from tests.projections.support import running

PREFIX = "gradelog"
PROJECTORS = """
SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""
"""What a session held it holds until the server has noticed that it was closed."""


@pytest.fixture
def copy(dsn: str) -> str:
    """A database that is fed, whose topic of courses has two partitions."""
    with connect(dsn) as db:
        feed_database.mark_as_fed(db, PREFIX)
        feed_database.ensure(db, Submissions, OFFSETS)
        feed_database.check_partitions(db, 2)
    return dsn


OFFSETS = Offsets(f"{PREFIX}.{Submissions.schema()}")
PARTS = [Partition("courses", 0), Partition("courses", 1), Partition("people", 0)]


def test_nothing_is_appended_to_its_log(copy: str) -> None:
    with (
        connect(copy) as db,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="fed from Kafka"),
    ):
        facts.store(db, [facts.course_registered()])


def test_a_database_with_a_log_is_not_fed(dsn: str) -> None:
    with connect(dsn) as db:
        facts.store(db, [facts.course_registered()])
        with pytest.raises(FeedError, match="has a log of its own"):
            feed_database.mark_as_fed(db, PREFIX)
        facts.store(db, [facts.course_flags_changed()])


def test_it_is_fed_from_one_set_of_topics_only(copy: str) -> None:
    with connect(copy) as db:
        feed_database.mark_as_fed(db, PREFIX)
        with pytest.raises(FeedError, match=r"from the topics gradelog\.\*, not from other\.\*"):
            feed_database.mark_as_fed(db, "other")


def test_topics_with_other_partitions_are_refused(copy: str) -> None:
    with connect(copy) as db:
        feed_database.check_partitions(db, 2)
        with pytest.raises(FeedError, match="has 3 partitions, and this database was fed from 2"):
            feed_database.check_partitions(db, 3)


def test_read_models_that_were_made_before_do_not_serve(dsn: str) -> None:
    prepare(dsn)
    with connect(dsn) as db:
        feed_database.mark_as_fed(db, PREFIX)
        feed_database.ensure(db, Submissions, OFFSETS)
    prepare(dsn)
    with connect(dsn) as db:
        found = {model: positions.standing(db, model.schema()) for model in READ_MODELS}
    fed = found.pop(Submissions)
    assert fed is not None
    assert fed.state == positions.BUILDING
    assert set(found.values()) == {None}


def test_no_projector_works_on_it(copy: str) -> None:
    with connect(copy) as db, pytest.raises(ReadModelError, match="gradelog consume"):
        positions.ensure(db, READ_MODELS)


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--port", "0"],
        ["project"],
        ["demo", "--no-serve"],
        ["user", "add", "ann", "--email", "ann@example.org"],
        ["user", "sessions", "ann"],
        ["events", "tail"],
        ["grades", "recalculation"],
        ["relay", "status"],
        ["webhooks", "list"],
        ["inbound", "status"],
        ["parked", "list"],
        ["parked", "drop", "--all"],
        ["projections", "rebuild", "submissions"],
        ["projections", "retry", "submissions"],
    ],
    ids=" ".join,
)
def test_commands_that_need_a_log_say_so(copy: str, tmp_path: Path, command: list[str]) -> None:
    done = Cli(tmp_path, DATABASE_URL=copy).run(*command)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "fed from Kafka" in line
    with connect(copy) as db:
        assert db.execute("SELECT count(*) FROM gradelog.learner_keys").fetchone() == (0,)


def test_consume_says_what_it_lacks(dsn: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=dsn)
    done = cli.run("consume", "--read-models", "all")
    assert (done.code, "KAFKA_BOOTSTRAP_SERVERS" in done.err) == (2, True)
    cli = cli.but(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    done = cli.run("consume", "--read-models", "grades")
    assert (done.code, "there is no read model grades" in done.err) == (2, True)
    done = cli.but(DATABASE_URL=None).run("consume", "--read-models", "all")
    assert (done.code, "DATABASE_URL" in done.err) == (2, True)
    done = cli.but(GRADELOG_KEYS_URL=dsn).run("consume", "--read-models", "all")
    assert (done.code, "GRADELOG_KEYS_URL: names the database" in done.err) == (2, True)
    with connect(dsn) as db:
        facts.store(db, [facts.course_registered()])
    done = cli.run("consume", "--read-models", "all")
    assert (done.code, "has a log of its own" in done.err) == (1, True)


# --- where a read model stands ------------------------------------------------------------------


def test_it_stands_where_the_last_partition_stands(copy: str) -> None:
    with connect(copy) as db:
        reach(db, {PARTS[0]: 10, PARTS[1]: 8})
        feed_database.caught_up(db, Submissions.schema(), PARTS)
        assert told(db) == (0, "building", None)  # nobody has looked at the people
        reach(db, {PARTS[2]: 9})
        assert told(db) == (8, "serving", None)
        reach(db, {PARTS[1]: 12})
        assert told(db) == (9, "serving", None)
        assert db.execute("SELECT head FROM gradelog.kafka_feed").fetchone() == (12,)


def test_it_is_being_built_until_all_partitions_were_read_to_their_end(copy: str) -> None:
    with connect(copy) as db:
        reach(db, dict.fromkeys(PARTS, 5))
        feed_database.caught_up(db, Submissions.schema(), PARTS[:2])
        assert told(db) == (5, "building", None)
        feed_database.caught_up(db, Submissions.schema(), PARTS[2:])
        assert told(db) == (5, "serving", None)


def test_a_partition_that_stands_still_is_told_until_it_moves(copy: str) -> None:
    with connect(copy) as db:
        reach(db, dict.fromkeys(PARTS, 5))
        feed_database.caught_up(db, Submissions.schema(), PARTS)
        feed_database.tell_errors(db, Submissions.schema(), {PARTS[0]: "broken", PARTS[1]: None})
        assert told(db) == (5, "failed", "broken")
        # Another member, which has other partitions, has nothing to say about it.
        feed_database.tell_errors(db, Submissions.schema(), {PARTS[2]: None})
        assert told(db) == (5, "failed", "broken")
        feed_database.tell_errors(db, Submissions.schema(), {PARTS[0]: None})
        assert told(db) == (5, "serving", None)


def test_partitions_that_the_topic_had_for_a_while_hold_nothing_up(copy: str) -> None:
    added = Partition("courses", 2)
    with connect(copy) as db:
        reach(db, dict.fromkeys(PARTS, 5))
        feed_database.caught_up(db, Submissions.schema(), PARTS)
        assert told(db) == (5, "serving", None)
        OFFSETS.load(db, [added])
        feed_database.tell_errors(db, Submissions.schema(), {added: "broken"})
        reach(db, dict.fromkeys(PARTS, 9))
        assert told(db) == (9, "serving", None)


def test_how_far_grades_are_never_goes_back(copy: str) -> None:
    with connect(copy) as db:
        feed_database.tell_graded(db, [Reached(9, 8, 7, 9), Reached(5, 4, 3, 4)])
        feed_database.tell_graded(db, [Reached(5, 4, 3, 4)])
        found = db.execute("SELECT position, recorded_at_position FROM gradelog.grading_progress")
        assert found.fetchone() == (7, 9)


def reach(db: psycopg.Connection, reached: dict[Partition, int]) -> None:
    before = OFFSETS.load(db, list(reached))
    after = {p: Standing(None, position, position) for p, position in reached.items()}
    OFFSETS.move(db, before, after)


def told(db: psycopg.Connection) -> tuple[object, ...]:
    feed_database.tell(db, Submissions.schema(), OFFSETS)
    found = positions.standing(db, Submissions.schema())
    assert found is not None
    return (found.position, found.state, found.error)


def test_a_read_model_that_was_dropped_is_read_again_from_the_beginning(copy: str) -> None:
    with connect(copy) as db:
        OFFSETS.load(db, PARTS)
        here = Standing(None, 7, 5)
        OFFSETS.move(db, dict.fromkeys(PARTS, Standing()), dict.fromkeys(PARTS, here))
        feed_database.caught_up(db, Submissions.schema(), PARTS)
        positions.forget(db, Submissions.schema())
        feed_database.ensure(db, Submissions, OFFSETS)
        feed_database.tell(db, Submissions.schema(), OFFSETS)
        found = positions.standing(db, Submissions.schema())
        assert found is not None
        assert (found.position, found.state) == (0, positions.BUILDING)
        assert set(OFFSETS.load(db, PARTS).values()) == {Standing()}


class OldSubmissions(Submissions):
    """As an older version of the code has them."""

    version = 0


def test_a_version_that_nobody_feeds_yet_is_missed(dsn: str, tmp_path: Path) -> None:
    with connect(dsn) as db:
        feed_database.mark_as_fed(db, PREFIX)
        feed_database.ensure(db, OldSubmissions, Offsets(f"{PREFIX}.{OldSubmissions.schema()}"))
    reads = SyncReads(dsn)
    reads.open()
    try:
        (found,) = reads.positions().values()
    finally:
        reads.close()
    assert (found.model, found.state) == (Submissions, "missing")
    (told,) = Cli(tmp_path, DATABASE_URL=dsn).ask("projections", "status")["read_models"]
    assert (told["name"], told["state"]) == (Submissions.name, "missing")


def test_what_somebody_feeds_is_not_dropped(copy: str) -> None:
    old = OldSubmissions.schema()
    with connect(copy) as db:
        feed_database.ensure(db, OldSubmissions, Offsets(f"{PREFIX}.{old}"))
        with connect(copy) as member, connect(copy) as another:
            feed_database.hold(member, old)
            feed_database.hold(another, old)
            assert prune(db, READ_MODELS) == []
        eventually(lambda: prune(db, READ_MODELS) == [old])
        with connect(copy) as member, pytest.raises(FeedError, match="were dropped"):
            feed_database.hold(member, old)


def test_a_database_on_which_a_projector_works_is_meant_for_a_log(dsn: str) -> None:
    prepare(dsn)
    with running(dsn) as projector, connect(dsn) as db:
        eventually(lambda: projector.active)
        with pytest.raises(FeedError, match="a projector works on this database"):
            feed_database.mark_as_fed(db, PREFIX)
        assert not positions.is_fed(db)
    with connect(dsn) as db:
        eventually(lambda: not db.execute(PROJECTORS).fetchall())
        feed_database.mark_as_fed(db, PREFIX)


def test_who_comes_while_it_is_marked_makes_no_read_models_of_a_log(dsn: str) -> None:
    coming = threading.Thread(target=prepare, args=(dsn,))
    with connect(dsn) as db:
        with db.transaction():
            positions.lock_creation(db)
            coming.start()
            eventually(lambda: somebody_waits(dsn))
            feed_database.mark_as_fed(db, PREFIX)
        coming.join(60)
        assert not coming.is_alive()
        assert db.execute("SELECT schema FROM gradelog.read_models").fetchall() == []


def somebody_waits(dsn: str) -> bool:
    """Whether somebody waits for the right to make tables."""
    with psycopg.connect(dsn) as db:
        statement = """
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
        return db.execute(statement).fetchone() is not None


def test_a_server_that_came_too_early_finds_out(dsn: str, tmp_path: Path) -> None:
    course = "/api/courses/v1/courses/course-v1:Uni+Physics+2026/?as_of_position=1"
    token = issue_token(SECRET, username="root", staff=True)
    with (
        Cli(tmp_path, DATABASE_URL=dsn).start("api", "--port", "0") as running_api,
        httpx.Client(
            base_url=running_api.address(),
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        ) as asking,
    ):
        assert asking.get(course).status_code == 404
        with connect(dsn) as db:
            feed_database.mark_as_fed(db, PREFIX)
        eventually(lambda: "only reads" in answer_of(asking, course))
        assert running_api.end(signal.SIGTERM) == 0


def answer_of(asking: httpx.Client, path: str) -> str:
    """What a server says, which may be ending connections just now."""
    try:
        return asking.get(path).text
    except httpx.TransportError:
        return ""
