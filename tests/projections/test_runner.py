"""The runner: everything once, in order, whatever breaks."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, ClassVar, LiteralString

import pytest
import structlog
from psycopg import Connection

from domain.events import Event, Recorded
from domain.submissions.student_item import ScoreSet
from infra.log.reader import PostgresLogReader, connect
from projections import positions, runner
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from projections.score_history import ScoreHistory
from projections.submissions import Submissions
from tests import facts
from tests.projections.histories import History
from tests.projections.support import (
    fold,
    folded_one_by_one,
    position,
    rows,
    running,
    wait_until,
)

ROOT = Path(__file__).parents[2]

AHEAD = 500
"""Events that a writer may be ahead of runners which are killed and start anew: how many it is
in the end shall not depend on how long a start takes, for each is folded one by one then."""


class Fragile(ReadModel):
    """Knows the points of scores, and cannot bear 13 of them."""

    name: ClassVar[str] = "fragile"
    version: ClassVar[int] = 1
    folds: ClassVar[frozenset[type[Event]]] = frozenset({ScoreSet})
    tables: ClassVar[LiteralString] = "CREATE TABLE points (score_id bigint, points bigint)"
    cannot_bear: ClassVar[int | None] = 13

    def fold(self, db: Connection[Any], events: Iterable[Recorded]) -> None:
        for recorded in events:
            event = recorded.event
            assert isinstance(event, ScoreSet)
            db.execute("INSERT INTO points VALUES (%s, %s)", [event.score_id, event.points_earned])
            if event.points_earned == self.cannot_bear:
                raise ValueError("thirteen")


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> type[Fragile]:
    monkeypatch.setattr(Fragile, "cannot_bear", 13)
    return Fragile


def scores(*points: int) -> list[Event]:
    return [facts.score_set(n, points_earned=earned) for n, earned in enumerate(points, 1)]


def points(db: Connection[Any]) -> list[int]:
    found = db.execute("SELECT points FROM fragile_v1.points ORDER BY score_id").fetchall()
    return [value for (value,) in found]


def up_to_date(db: Connection[Any], *models: type[ReadModel]) -> bool:
    (head,) = db.execute("SELECT coalesce(max(position), 0) FROM gradelog.events").fetchone() or (
        0,
    )
    return all(position(db, model) == head for model in models or READ_MODELS)


# --- following ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 5000])
def test_all_read_models_follow_the_log(db: Connection[Any], dsn: str, batch: int) -> None:
    history = History(1)
    events = history.events(50)
    facts.store(db, events)
    with running(dsn, batch=batch):
        wait_until(lambda: up_to_date(db))
        more = history.events(20)
        facts.store(db, more)
        wait_until(lambda: up_to_date(db))
    for model in READ_MODELS:
        expected = folded_one_by_one(dsn, model, facts.recorded([*events, *more]))
        assert rows(db, model.schema()) == expected


def test_an_empty_log_is_served_at_once_and_a_long_one_when_it_is_read(dsn: str) -> None:
    with connect(dsn) as db:
        positions.ensure(db, [Submissions])
        assert positions.standing(db, "submissions_v1") == positions.Standing(0, "serving", None)
        facts.store(db, scores(1, 2, 3))
        positions.ensure(db, [Submissions, ScoreHistory])
        assert positions.standing(db, "score_history_v1") == positions.Standing(0, "building", None)
        with running(dsn, batch=2):
            wait_until(
                lambda: (
                    positions.standing(db, "score_history_v1")
                    == positions.Standing(3, "serving", None)
                )
            )


def test_a_schema_of_somebody_else_is_not_taken(dsn: str) -> None:
    with connect(dsn) as db:
        db.execute("CREATE SCHEMA submissions_v1")
        with pytest.raises(positions.ReadModelError, match="submissions_v1 exists"):
            positions.ensure(db, [Submissions])


def test_a_batch_that_was_folded_is_refused_a_second_time(db: Connection[Any]) -> None:
    events = facts.recorded(scores(5))
    fold(db, ScoreHistory(), "score_history_v1", events)
    with pytest.raises(positions.MovedError):
        fold(db, ScoreHistory(), "score_history_v1", events)
    assert len(rows(db, "score_history_v1")["score_changes"]) == 1


def test_no_failure_is_noted_at_an_event_that_somebody_else_has_folded(
    db: Connection[Any],
) -> None:
    fold(db, ScoreHistory(), "score_history_v1", facts.recorded(scores(5, 6)))
    positions.mark_failed(db, "score_history_v1", 2, "ValueError: six")
    assert positions.standing(db, "score_history_v1") == positions.Standing(2, "serving", None)
    positions.mark_failed(db, "score_history_v1", 3, "ValueError: seven")
    failed = positions.Standing(2, "failed", "ValueError: seven")
    assert positions.standing(db, "score_history_v1") == failed


def test_a_notification_wakes_a_runner_that_sleeps(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SHORTEST_PAUSE", 600.0)
    monkeypatch.setattr(runner, "LONGEST_PAUSE", 600.0)
    listening = "SELECT FROM pg_stat_activity WHERE application_name = 'gradelog projector'"
    stop = threading.Event()
    made = runner.Runner(lambda: connect(dsn), PostgresLogReader(), READ_MODELS)
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    wait_until(lambda: len(made.active) == len(READ_MODELS))
    wait_until(lambda: db.execute(f"{listening} AND state = 'idle'").fetchone() is not None)
    facts.store(db, scores(1))

    def woken() -> bool:
        db.execute("NOTIFY gradelog_events")
        return up_to_date(db)

    def ended() -> bool:
        db.execute("NOTIFY gradelog_events")
        return not thread.is_alive()

    wait_until(woken)
    stop.set()
    wait_until(ended)


def test_a_lost_connection_is_opened_again(db: Connection[Any], dsn: str) -> None:
    with running(dsn):
        for n in range(5):
            facts.store(db, scores(n))
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'gradelog projector' AND datname = current_database()"
            )
            wait_until(lambda: up_to_date(db))
    assert len(rows(db, "score_history_v1")["score_changes"]) == 5


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 5000])
def test_a_read_model_that_fails_stops_alone_after_all_it_could_fold(
    db: Connection[Any], dsn: str, fragile: type[Fragile], batch: int
) -> None:
    facts.store(db, scores(1, 2, 3, 4, 13, 6, 7))
    with (
        structlog.testing.capture_logs() as logged,
        running(dsn, [fragile, ScoreHistory], batch=batch),
    ):
        wait_until(lambda: up_to_date(db, ScoreHistory))
        wait_until(
            lambda: (found := positions.standing(db, fragile.schema())) and found.error is not None
        )
        facts.store(db, scores(8))
        wait_until(lambda: up_to_date(db, ScoreHistory))
        assert points(db) == [1, 2, 3, 4]
        assert position(db, fragile) == 4
    (told,) = [entry for entry in logged if entry["log_level"] == "error"]
    assert told["schema"] == "fragile_v1"
    assert told["failed_at_position"] == 5
    assert "ValueError: thirteen" in told["error"]


def test_a_failed_read_model_goes_on_when_the_cause_is_gone(
    db: Connection[Any], dsn: str, fragile: type[Fragile], monkeypatch: pytest.MonkeyPatch
) -> None:
    positions.ensure(db, [fragile])
    facts.store(db, scores(1, 13, 3))
    with running(dsn, [fragile]):
        wait_until(
            lambda: (
                positions.standing(db, "fragile_v1")
                == positions.Standing(1, "failed", "ValueError: thirteen")
            )
        )
        monkeypatch.setattr(fragile, "cannot_bear", None)
        assert positions.retry(db, "fragile_v1")
        wait_until(lambda: up_to_date(db, fragile))
    assert points(db) == [1, 13, 3]
    assert positions.standing(db, "fragile_v1") == positions.Standing(3, "serving", None)
    assert not positions.retry(db, "fragile_v1")


def test_a_runner_that_starts_tries_again(
    db: Connection[Any], dsn: str, fragile: type[Fragile], monkeypatch: pytest.MonkeyPatch
) -> None:
    positions.ensure(db, [fragile])
    facts.store(db, scores(1, 13, 3))
    failed = positions.Standing(1, "failed", "ValueError: thirteen")
    with running(dsn, [fragile]):
        wait_until(lambda: positions.standing(db, "fragile_v1") == failed)
    monkeypatch.setattr(fragile, "cannot_bear", None)
    with running(dsn, [fragile]):
        wait_until(lambda: up_to_date(db, fragile))
    assert points(db) == [1, 13, 3]


def test_a_read_model_that_fails_before_it_ever_served_does_not_serve(
    db: Connection[Any], dsn: str, fragile: type[Fragile]
) -> None:
    facts.store(db, scores(1, 13, 3))
    with running(dsn, [fragile]):
        wait_until(
            lambda: (
                positions.standing(db, "fragile_v1")
                == positions.Standing(1, "building", "ValueError: thirteen")
            )
        )


class Indexed(Fragile):
    """Keeps a text for each score, which is too long to be indexed for 9 points."""

    name: ClassVar[str] = "indexed"
    tables: ClassVar[LiteralString] = "CREATE TABLE texts (t text PRIMARY KEY)"

    def fold(self, db: Connection[Any], events: Iterable[Recorded]) -> None:
        for recorded in events:
            event = recorded.event
            assert isinstance(event, ScoreSet)
            text = Random(1).randbytes(9000 if event.points_earned == 9 else 9).hex()
            db.execute("INSERT INTO texts VALUES (%s)", [f"{event.score_id} {text}"])


def test_a_value_too_large_for_an_index_is_the_fault_of_the_event(
    db: Connection[Any], dsn: str
) -> None:
    facts.store(db, scores(1, 9, 3))
    with running(dsn, [Indexed]):
        wait_until(
            lambda: (found := positions.standing(db, "indexed_v1")) and found.error is not None
        )
    assert position(db, Indexed) == 1


def test_a_missing_event_stops_all_before_it(db: Connection[Any], dsn: str) -> None:
    facts.store(db, scores(1, 2, 3, 4, 5))
    with db.transaction():
        db.execute("ALTER TABLE gradelog.events DISABLE TRIGGER events_are_final")
        db.execute("DELETE FROM gradelog.events WHERE position = 3")
        db.execute("ALTER TABLE gradelog.events ENABLE TRIGGER events_are_final")
    with running(dsn):
        wait_until(lambda: len(errors(db)) == len(READ_MODELS))
    assert set(errors(db)) == {(2, 3, "LogGapError: position 3 of the log is missing")}
    assert len(rows(db, "score_history_v1")["score_changes"]) == 2


def test_an_event_of_a_newer_version_stops_all_before_it(db: Connection[Any], dsn: str) -> None:
    facts.store(db, scores(1, 2))
    db.execute(
        "INSERT INTO gradelog.events SELECT 3, stream_id, 3, 'future.Thing', data, metadata,"
        " event_id, recorded_at FROM gradelog.events WHERE position = 2"
    )
    facts.store(db, scores(4))
    with running(dsn):
        wait_until(lambda: len(errors(db)) == len(READ_MODELS))
    message = "UnknownEventTypeError: no event type has the stored name 'future.Thing'"
    assert set(errors(db)) == {(2, 3, message)}


def errors(db: Connection[Any]) -> list[tuple[int, int, str]]:
    return db.execute(
        "SELECT position, failed_at_position, error FROM gradelog.read_models"
        " WHERE error IS NOT NULL"
    ).fetchall()


# --- several runners ------------------------------------------------------------------------


def test_a_second_runner_stands_by_and_takes_over(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TAKE_OVER_EVERY", 0.01)
    with running(dsn) as second_first:
        # All of them: what it has not come to yet, the second would take.
        wait_until(lambda: len(second_first.active) == len(READ_MODELS))
        with running(dsn) as second:
            facts.store(db, scores(1, 2))
            wait_until(lambda: up_to_date(db))
            assert second.active == {}
            db.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l"
                " WHERE l.locktype = 'advisory' AND l.granted"
                " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            facts.store(db, scores(3))
            wait_until(lambda: up_to_date(db))
            wait_until(lambda: second.active or second_first.active)
    assert len(rows(db, "score_history_v1")["score_changes"]) == 3


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(2))
def test_runners_that_are_killed_leave_nothing_half_done_and_nothing_twice(
    db: Connection[Any], dsn: str, seed: int
) -> None:
    chance = Random(seed)
    history = History(seed)
    written: list[Event] = []
    stop = threading.Event()

    def write() -> None:
        with connect(dsn) as own:
            while not stop.wait(0.001):
                if len(written) > position(own, Submissions) + AHEAD:
                    continue
                events = history.events(chance.randint(1, 30))
                if events:
                    facts.store(own, events)
                    written.extend(events)

    writer = threading.Thread(target=write)
    processes = [start_runner(dsn), start_runner(dsn)]
    writer.start()
    try:
        for _ in range(4):
            goal = position(db, Submissions) + chance.randint(1, 400)
            wait_until(lambda goal=goal: position(db, Submissions) >= goal)
            for number in range(2):
                # Mostly both, so that the one that works is always hit.
                if chance.random() < 0.8:
                    processes[number].kill()
                    processes[number].wait(30)
                    processes[number] = start_runner(dsn)
        stop.set()
        writer.join(30)
        wait_until(lambda: up_to_date(db))
    finally:
        stop.set()
        writer.join(30)
        for process in processes:
            process.kill()
            process.wait(30)
    for model in READ_MODELS:
        expected = folded_one_by_one(dsn, model, facts.recorded(written))
        assert rows(db, model.schema()) == expected


def start_runner(dsn: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.projections.runner_process", dsn],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
