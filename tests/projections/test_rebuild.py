"""A rebuild: new rows beside the old ones, and nobody notices but by their being right."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from psycopg import Connection

from domain.events import Event, Recorded
from infra.log.reader import PostgresLogReader, connect
from infra.reads import SyncReads
from projections import positions
from projections import submissions as queries
from projections.positions import ReadModelError
from projections.read_model import ReadModel
from projections.rebuild import Progress, prune, rebuild, unserved
from projections.registry import READ_MODELS
from projections.submissions import Submissions
from tests import facts
from tests.facts import COURSE, ITEM, TYPE
from tests.projections.histories import History
from tests.projections.support import (
    PATIENCE,
    folded_one_by_one,
    position,
    rows,
    running,
    wait_until,
)
from tests.projections.test_runner import ROOT, up_to_date


def rebuilt(dsn: str, model: type[ReadModel] = Submissions, **options: Any) -> int:
    return rebuild(lambda: connect(dsn), PostgresLogReader(), model, **options)


def scored(n: int) -> list[Event]:
    """A student who has handed in and is scored: three events."""
    return [
        facts.student_item_registered(n),
        facts.submission_created(n, item=n),
        facts.score_set(n, n=n, item=n, points_earned=1 + n % 10),
    ]


def fill(db: Connection[Any], students: Iterable[int]) -> None:
    facts.store(db, [event for n in students for event in scored(n)])


@contextmanager
def reading(dsn: str) -> Iterator[SyncReads]:
    reads = SyncReads(dsn, size=3, timeout=PATIENCE, wait=PATIENCE)
    reads.open()
    try:
        yield reads
    finally:
        reads.close()


def schemas(db: Connection[Any]) -> set[str]:
    found = db.execute(r"SELECT nspname FROM pg_namespace WHERE nspname ~ '_v\d'").fetchall()
    return {name for (name,) in found}


def standing(db: Connection[Any]) -> positions.Standing:
    found = positions.standing(db, "submissions_v1")
    assert found is not None
    return found


SERVING = {model.schema() for model in READ_MODELS}


def test_progress_is_told_until_all_is_done(db: Connection[Any], dsn: str) -> None:
    fill(db, range(1, 8))
    told: list[Progress] = []
    assert rebuilt(dsn, progress=told.append, batch=10) == 21
    assert [(one.done, one.total) for one in told] == [(10, 21), (20, 21), (21, 21)]
    assert told[-1].seconds_left == 0
    assert all(one.rate > 0 for one in told)
    assert position(db, Submissions) == 21
    assert schemas(db) == SERVING


def test_all_indexes_are_there_again(db: Connection[Any], dsn: str) -> None:
    def indexes() -> list[str]:
        found = db.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'submissions_v1' ORDER BY 1"
        ).fetchall()
        return [definition for (definition,) in found]

    before = indexes()
    fill(db, range(1, 4))
    rebuilt(dsn)
    assert indexes() == before
    assert len(before) == 9


MORE = 200
"""Students who are written during one rebuild: one that is slow must not run after a writer."""


class Meanwhile:
    """A writer and two readers, whose every answer must hold exactly what has happened."""

    def __init__(self, dsn: str, reads: SyncReads, *, first: int) -> None:
        self._dsn = dsn
        self._reads = reads
        self._first = first
        self._stop = threading.Event()
        self._may_write = threading.Semaphore(0)
        self.answers = {"asked": 0, "streamed": 0}
        self.wrong: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guard, args=(work,))
            for work in (self._write, self._ask, self._stream)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._may_write.release()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def goes_on(self) -> None:
        """Let the writer write so much more."""
        self._may_write.release(MORE)

    def answered_since(self, before: dict[str, int]) -> bool:
        return bool(self.wrong) or all(self.answers[kind] > before[kind] for kind in before)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown at the end
            self.wrong.append(error)

    def _write(self) -> None:
        with connect(self._dsn) as own:
            for n in itertools.count(self._first):
                self._may_write.acquire()
                if self._stop.wait(0.002):
                    return
                fill(own, [n])

    def _ask(self) -> None:
        last = 0
        while not self._stop.is_set():
            query = queries.submission_uuids_of_item(COURSE, ITEM)
            answer = self._reads.ask(query, at_least=last)
            assert answer.position >= last
            assert len(answer.value) == created_until(answer.position)
            last = answer.position
            self.answers["asked"] += 1

    def _stream(self) -> None:
        while not self._stop.is_set():
            with self._reads.stream(queries.all_course_information(COURSE, TYPE)) as answer:
                seen = sum(len(chunk) for chunk in answer.value)
                assert seen == created_until(answer.position)
            self.answers["streamed"] += 1


def created_until(position: int) -> int:
    """How many submissions there are when the log of ``fill`` ends at a position."""
    return (position + 1) // 3


def test_who_reads_and_writes_meanwhile_notices_nothing(db: Connection[Any], dsn: str) -> None:
    fill(db, range(1, 200))
    with running(dsn), reading(dsn) as reads:
        wait_until(lambda: up_to_date(db))
        with Meanwhile(dsn, reads, first=200) as meanwhile:
            for _ in range(8):
                before = dict(meanwhile.answers)
                meanwhile.goes_on()
                rebuilt(dsn, batch=100)
                wait_until(lambda before=before: meanwhile.answered_since(before))
        assert meanwhile.wrong == []
        wait_until(lambda: up_to_date(db))
    (head,) = db.execute("SELECT max(position) FROM gradelog.events").fetchone() or (0,)
    assert len(rows(db, "submissions_v1")["submissions"]) == created_until(head)


def test_a_long_reader_goes_on_with_the_old_rows_to_their_end(
    db: Connection[Any], dsn: str
) -> None:
    fill(db, range(1, 3001))
    rebuilt(dsn)
    with reading(dsn) as reads:
        with reads.stream(queries.all_latest_submissions(COURSE, ITEM, TYPE)) as answer:
            seen = len(next(answer.value))
            rebuilt(dsn, drop_patience=0)
            assert schemas(db) == {*SERVING, "submissions_v1_old_1"}
            assert len(reads.ask(queries.submission_uuids_of_item(COURSE, ITEM)).value) == 3000
            seen += sum(len(chunk) for chunk in answer.value)
        assert seen == 3000
        rebuilt(dsn)
    assert schemas(db) == SERVING


def test_what_a_killed_rebuild_left_is_dropped_by_the_next(db: Connection[Any], dsn: str) -> None:
    fill(db, range(1, 10))
    positions.create(db, Submissions, "submissions_v1_next")
    db.execute("DROP TABLE submissions_v1_next.submissions")
    assert rebuilt(dsn) == 27
    assert schemas(db) == SERVING


@pytest.mark.fault
def test_a_rebuild_that_is_killed_can_be_begun_again(db: Connection[Any], dsn: str) -> None:
    events = History(5).events(2000)
    facts.store(db, events)
    program = (
        "from tests.projections.test_rebuild import rebuilt; import sys;"
        " rebuilt(sys.argv[1], batch=20, progress=lambda one: print(one.done, flush=True))"
    )
    with running(dsn):
        wait_until(lambda: up_to_date(db))
        before = rows(db, "submissions_v1")
        process = subprocess.Popen(
            [sys.executable, "-c", program, dsn],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        process.kill()
        process.wait(30)
        process.stdout.close()
        assert rows(db, "submissions_v1") == before
        # The server lets go of a dead process as soon as it writes to it.
        wait_until(lambda: attempted(dsn))
    assert rows(db, "submissions_v1") == before
    assert before == folded_one_by_one(dsn, Submissions, facts.recorded(events))
    assert schemas(db) == SERVING


def attempted(dsn: str) -> bool:
    try:
        rebuilt(dsn)
    except ReadModelError as error:
        assert "being rebuilt already" in str(error)  # noqa: PT017 - not yet
        return False
    return True


def test_one_read_model_is_rebuilt_once_at_a_time(db: Connection[Any], dsn: str) -> None:
    fill(db, range(1, 10))
    refused = []

    def again(_: Progress) -> None:
        with pytest.raises(ReadModelError, match="submissions_v1 is being rebuilt already"):
            rebuilt(dsn)
        refused.append(1)

    rebuilt(dsn, progress=again)
    assert refused


def test_a_rebuild_that_fails_leaves_the_old_rows(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(dsn):
        fill(db, range(1, 10))
        wait_until(lambda: up_to_date(db))
    before = rows(db, "submissions_v1")

    def broken(*_: object) -> None:
        raise ValueError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(Submissions, "fold", broken)
        with pytest.raises(ReadModelError, match="folding events 1 to 27 failed"):
            rebuilt(dsn)
    assert rows(db, "submissions_v1") == before
    assert schemas(db) == SERVING


def test_a_failed_read_model_serves_again_when_it_is_rebuilt(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Submissions.fold

    def cannot_read_the_second(
        self: Submissions, db: Connection[Any], events: Iterable[Recorded]
    ) -> None:
        events = list(events)
        assert all(one.position != 4 for one in events)
        whole(self, db, events)

    fill(db, range(1, 5))
    monkeypatch.setattr(Submissions, "fold", cannot_read_the_second)
    with running(dsn, [Submissions]):
        wait_until(lambda: standing(db).state == "failed")
        assert standing(db).position == 3
        monkeypatch.setattr(Submissions, "fold", whole)
        rebuilt(dsn)
        assert standing(db) == positions.Standing(12, "serving", None)
        fill(db, range(5, 6))
        wait_until(lambda: position(db, Submissions) == 15)
    assert len(rows(db, "submissions_v1")["submissions"]) == 5


def test_only_what_nobody_serves_is_pruned(db: Connection[Any], dsn: str) -> None:
    for schema in ("submissions_v0", "submissions_v1_old_3", "submissions_v1_next"):
        positions.create(db, Submissions, schema)
    db.execute("CREATE SCHEMA somebody_v1")
    assert unserved(db, READ_MODELS) == [
        "submissions_v0",
        "submissions_v1_next",
        "submissions_v1_old_3",
    ]
    with connect(dsn) as other:
        # An older version of the program still runs.
        assert positions.try_lock(other, "runs", "submissions_v0")
        assert prune(db, READ_MODELS) == ["submissions_v1_next", "submissions_v1_old_3"]
    wait_until(lambda: prune(db, READ_MODELS) == ["submissions_v0"])
    assert schemas(db) == {*SERVING, "somebody_v1"}
