"""Asking read models: what is seen, who waits, and what is said when nothing can be."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection

from domain.errors import UnavailableError
from infra.engine import Engine
from infra.log.reader import connect
from infra.read_statements import CHUNK, WATCH
from infra.reads import PostgresReads, SyncReads
from projections import positions
from projections import submissions as queries
from projections.positions import ensure
from projections.read_model import Answer, Query, StreamQuery
from projections.registry import READ_MODELS
from tests import facts
from tests.facts import COURSE, ITEM, TYPE, key, uuid
from tests.infra.log.support import Wire
from tests.projections.support import Projected, running, wait_until

pytestmark = pytest.mark.usefixtures("unhurried")


PATIENCE = 60.0
"""Seconds; much more than anything takes on a machine that is busy with other tests."""


class Reads(Protocol):
    """What tasks and threads have in common, told from a thread."""

    def ask(self, query: Query[Any], *, at_least: int = 0, latest: bool = False) -> Answer[Any]: ...

    def first_chunks(self, query: StreamQuery[Any], count: int, **seen: Any) -> list[list[Any]]: ...

    def positions(self) -> dict[str, Any]: ...


class Threads:
    def __init__(self, dsn: str, **options: Any) -> None:
        self._reads = SyncReads(dsn, **options)
        self._reads.open()
        self.pool = self._reads._pool
        self.ask = self._reads.ask
        self.positions = self._reads.positions
        self.close = self._reads.close

    def answer_within(self, seconds: float) -> None:
        """How long they wait for the server from now on."""
        self._reads._timeout = seconds

    def first_chunks(self, query: StreamQuery[Any], count: int, **seen: Any) -> list[list[Any]]:
        with self._reads.stream(query, **seen) as answer:
            return [list(chunk) for _, chunk in zip(range(count), answer.value, strict=False)]


class Tasks:
    def __init__(self, dsn: str, **options: Any) -> None:
        self._engine = Engine(limit=120)

        async def make() -> PostgresReads:
            reads = PostgresReads(dsn, **options)
            await reads.open()
            return reads

        self._reads = self._engine.run(make)
        self.pool = self._reads._pool

    def answer_within(self, seconds: float) -> None:
        self._reads._timeout = seconds

    def ask(self, query: Query[Any], **seen: Any) -> Answer[Any]:
        return self._engine.run(lambda: self._reads.ask(query, **seen))

    def positions(self) -> Any:
        return self._engine.run(self._reads.positions)

    def first_chunks(self, query: StreamQuery[Any], count: int, **seen: Any) -> list[list[Any]]:
        async def take() -> list[list[Any]]:
            chunks: list[list[Any]] = []
            async with self._reads.stream(query, **seen) as answer:
                async for chunk in answer.value:
                    chunks.append(list(chunk))
                    if len(chunks) == count:
                        break
            return chunks

        return self._engine.run(take)

    def close(self) -> None:
        self._engine.run(self._reads.close)
        self._engine.close()


@pytest.fixture
def db(dsn: str) -> Iterator[Connection[Any]]:
    with connect(dsn, name="gradelog tests") as db:
        ensure(db, READ_MODELS)
        yield db


Opened = Callable[..., Any]


@pytest.fixture(params=[Threads, Tasks], ids=["threads", "tasks"])
def opened(request: pytest.FixtureRequest, dsn: str, db: Connection[Any]) -> Iterator[Opened]:
    """Opens reads with options; closes them at the end. They wait as long as need be."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        reads = request.param(**{"dsn": dsn, "timeout": PATIENCE, "wait": PATIENCE, **options})
        made.append(reads)
        return reads

    yield make
    for reads in made:
        reads.close()


def a_score() -> list[Any]:
    return [
        facts.student_item_registered(),
        facts.submission_created(),
        facts.score_set(points_earned=7),
    ]


SCORE = queries.score_of_item(key())


# --- answers --------------------------------------------------------------------------------


def test_an_answer_comes_with_the_position_it_stands_for(
    opened: Opened, db: Connection[Any]
) -> None:
    reads = opened()
    assert reads.ask(SCORE) == Answer(None, 0)
    Projected(db).fold(*a_score())
    answer = reads.ask(SCORE)
    assert answer.position == 3
    assert answer.value.points_earned == 7
    assert len(reads.ask(queries.submissions_of_item(key(), 5)).value) == 1
    assert list(reads.ask(queries.submissions_by_uuids([uuid(1), uuid(2)])).value) == [uuid(1)]


def test_a_question_may_be_larger_than_what_is_sent_at_once(
    opened: Opened, db: Connection[Any]
) -> None:
    Projected(db).fold(*a_score())
    asked = [*(uuid4() for _ in range(50_000)), uuid(1)]
    assert list(opened().ask(queries.submissions_by_uuids(asked)).value) == [uuid(1)]


def test_a_row_that_is_null_all_over_is_a_row(opened: Opened, db: Connection[Any]) -> None:
    query = Query(queries.Submissions, "SELECT NULL, NULL", (), list)
    assert opened().ask(query).value == [(None, None)]


def test_who_has_written_waits_until_it_can_be_read(
    opened: Opened, db: Connection[Any], dsn: str
) -> None:
    reads = opened()
    with running(dsn):
        for n in range(1, 20):
            facts.store(db, [facts.score_set(n, item=n, n=n)])
            assert reads.ask(SCORE, latest=True).position >= n
            assert reads.ask(SCORE, at_least=n).position >= n


def test_many_wait_together(opened: Opened, db: Connection[Any]) -> None:
    reads = opened(size=2)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(reads.ask(SCORE, at_least=n).position))
        for n in range(1, 13)
    ]
    for thread in threads:
        thread.start()
    projected = Projected(db)
    for n in range(1, 13):
        projected.fold(facts.score_set(n, item=n, n=n))
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == 12


def test_nobody_waits_for_ever(opened: Opened, db: Connection[Any]) -> None:
    reads = opened(wait=0.05)
    with pytest.raises(UnavailableError, match="submissions has not reached position 1 in time"):
        reads.ask(SCORE, at_least=1)
    facts.store(db, a_score())
    with pytest.raises(UnavailableError, match="has not reached position 3 in time"):
        reads.ask(SCORE, latest=True)
    with pytest.raises(UnavailableError, match="has not reached position 3 in time"):
        reads.first_chunks(queries.all_course_information(COURSE, TYPE), 1, latest=True)
    assert reads.ask(SCORE).position == 0


# --- read models that cannot answer ---------------------------------------------------------


def test_a_failed_read_model_answers_what_it_knows(opened: Opened, db: Connection[Any]) -> None:
    reads = opened()
    Projected(db).fold(*a_score())
    positions.mark_failed(db, "submissions_v1", 4, "ValueError: thirteen")
    assert reads.ask(SCORE, at_least=3).value.points_earned == 7
    with pytest.raises(UnavailableError, match="stands at position 3: ValueError: thirteen"):
        reads.ask(SCORE, at_least=4)


def test_who_waits_hears_of_a_failure_at_once(opened: Opened, db: Connection[Any]) -> None:
    reads = opened()
    told: list[str] = []

    def ask() -> None:
        try:
            reads.ask(SCORE, at_least=1)
        except UnavailableError as error:
            told.append(str(error))

    waiting = threading.Thread(target=ask)
    waiting.start()
    looks = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query = %s"
    wait_until(lambda: db.execute(looks, [WATCH.decode()]).fetchone())  # so somebody waits
    positions.mark_failed(db, "submissions_v1", 1, "ValueError: thirteen")
    waiting.join(PATIENCE)
    assert "submissions has failed" in told[0]


def test_a_read_model_that_is_being_built_answers_nothing(
    opened: Opened, db: Connection[Any]
) -> None:
    positions.forget(db, "submissions_v1")
    facts.store(db, a_score())
    positions.ensure(db, READ_MODELS)
    reads = opened()
    with pytest.raises(UnavailableError, match="submissions is being built and stands at"):
        reads.ask(SCORE)
    with pytest.raises(UnavailableError, match="submissions is being built and stands at"):
        reads.first_chunks(queries.all_course_information(COURSE, TYPE), 1)
    positions.mark_failed(db, "submissions_v1", 1, "ValueError: thirteen")
    with pytest.raises(UnavailableError, match="being built and has failed: ValueError"):
        reads.ask(SCORE)


def test_a_read_model_that_is_not_there_answers_nothing(
    opened: Opened, db: Connection[Any]
) -> None:
    reads = opened()
    positions.forget(db, "submissions_v1")
    with pytest.raises(UnavailableError, match=r"submissions \(version 1\) is not built"):
        reads.ask(SCORE)
    with pytest.raises(UnavailableError, match=r"submissions \(version 1\) is not built"):
        reads.first_chunks(queries.all_course_information(COURSE, TYPE), 1)
    assert reads.positions()["submissions"].state == "missing"


def test_positions_tell_where_each_read_model_stands(opened: Opened, db: Connection[Any]) -> None:
    facts.store(db, a_score())
    projected = Projected(db)
    projected.fold(*a_score()[:2])
    positions.mark_failed(db, "score_history_v1", 3, "ValueError: thirteen")
    found = opened().positions()
    assert list(found) == ["submissions", "score_history", "team_submissions", "gradebook"]
    assert (found["submissions"].state, found["submissions"].lag) == ("serving", 1)
    assert found["score_history"].state == "failed"
    assert found["score_history"].error == "ValueError: thirteen"


# --- streams --------------------------------------------------------------------------------


def many(db: Connection[Any], count: int) -> None:
    projected = Projected(db)
    projected.fold(
        *(facts.student_item_registered(n) for n in range(1, count + 1)),
        *(facts.submission_created(n, item=n) for n in range(1, count + 1)),
    )


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1])
def test_a_stream_brings_every_row_once(opened: Opened, db: Connection[Any], count: int) -> None:
    if count:
        many(db, count)
    chunks = opened().first_chunks(queries.all_latest_submissions(COURSE, ITEM, TYPE), 99)
    assert [len(chunk) for chunk in chunks] == [
        size for size in (min(count, CHUNK), count - CHUNK) if size > 0
    ]
    assert len({one.submission_uuid for chunk in chunks for one in chunk}) == count


def test_a_stream_left_early_gives_its_connection_back(opened: Opened, db: Connection[Any]) -> None:
    many(db, CHUNK * 2)
    reads = opened(size=1)
    for _ in range(3):
        stream = queries.all_latest_submissions(COURSE, ITEM, TYPE)
        assert len(reads.first_chunks(stream, 1)) == 1
        assert reads.ask(SCORE).value is None


# --- a database that goes away --------------------------------------------------------------


def test_a_lost_connection_is_replaced_unnoticed(opened: Opened, db: Connection[Any]) -> None:
    Projected(db).fold(*a_score())
    reads = opened(size=3)
    for _ in range(20):
        assert reads.ask(SCORE).value.points_earned == 7
        end_the_others(db)
        assert reads.ask(SCORE).value.points_earned == 7
        end_the_others(db)
        assert len(reads.first_chunks(queries.all_course_information(COURSE, TYPE), 9)) == 1


def end_the_others(db: Connection[Any]) -> None:
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


# Asked for first, so closed last: a loop that has stopped while somebody goes on connecting to
# it is not closed in time.
@pytest.fixture
def wire(dsn: str) -> Iterator[Wire]:
    engine, made = Engine(limit=120), Wire(dsn)
    engine.run(made.open)
    yield made
    engine.run(made.close)
    engine.close()


def test_connections_that_were_just_made_may_be_lost_too(
    wire: Wire, opened: Opened, db: Connection[Any]
) -> None:
    Projected(db).fold(*a_score())
    reads = opened(size=3, dsn=wire.dsn)
    for ask in (
        lambda: reads.ask(SCORE),
        lambda: reads.first_chunks(queries.all_course_information(COURSE, TYPE), 9),
    ):
        assert reads.ask(SCORE).value.points_earned == 7
        wire.doomed = 3
        end_the_others(db)
        assert ask()
        assert not wire.doomed


@pytest.mark.slow
def test_a_server_that_is_silent_is_not_waited_for_for_ever(
    wire: Wire, opened: Opened, db: Connection[Any]
) -> None:
    reads = opened(size=1, dsn=wire.dsn)
    stream = queries.all_course_information(COURSE, TYPE)
    for ask in (lambda: reads.ask(SCORE), lambda: reads.first_chunks(stream, 1)):
        reads.answer_within(PATIENCE)
        assert reads.ask(SCORE).position == 0
        wire.silent = True
        reads.answer_within(1.0)
        with pytest.raises(UnavailableError, match="did not answer in time"):
            ask()
        wire.silent = False


def test_without_a_database_nobody_waits_for_ever(opened: Opened, db: Connection[Any]) -> None:
    reads = opened(size=1)
    assert reads.ask(SCORE).position == 0
    reads.pool.timeout = 1.0
    with closed(db):
        with pytest.raises(UnavailableError):
            reads.ask(SCORE)
        with pytest.raises(UnavailableError):
            reads.first_chunks(queries.all_course_information(COURSE, TYPE), 1)


def test_without_a_free_connection_nobody_waits_for_ever(
    opened: Opened, db: Connection[Any], dsn: str
) -> None:
    reads = opened(size=1, timeout=3.0)
    reads.answer_within(PATIENCE)  # the server says no
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE submissions_v1.student_items")
        with pytest.raises(UnavailableError, match="statement timeout"):
            reads.ask(SCORE)
    assert reads.ask(SCORE).position == 0


@contextmanager
def closed(db: Connection[Any]) -> Iterator[None]:
    """Nobody but this connection may use the database."""
    (name,) = db.execute("SELECT quote_ident(current_database())").fetchone() or ("",)
    with psycopg.connect(db.info.dsn, dbname="postgres", autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE quote_ident(datname) = %s AND pid <> %s",
                [name, db.info.backend_pid],
            )
            yield
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_the_test_above_really_closes(db: Connection[Any], dsn: str) -> None:
    with closed(db), pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    wait_until(lambda: db.execute("SELECT 1").fetchone())
