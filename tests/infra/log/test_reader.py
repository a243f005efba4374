"""The log in batches, for those who follow it."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from domain.events import UnknownEventTypeError
from domain.submissions.student_item import ScoreReset, ScoreSet
from infra.log import reader
from infra.log.reader import LogGapError, PostgresLogReader, connect
from projections.log import Batch
from tests import facts

READER = PostgresLogReader()
BOTH = frozenset({ScoreSet, ScoreReset})


@pytest.fixture
def db(dsn: str) -> Iterator[Connection[Any]]:
    with connect(dsn) as db:
        yield db


def read(db: Connection[Any], after: int = 0, limit: int = 100, types: Any = BOTH) -> Batch:
    return READER.read(db, after=after, limit=limit, types=types)


def found(batch: Batch) -> list[int]:
    return [recorded.position for recorded in batch.events]


def test_an_empty_log_has_no_next_event(db: Connection[Any]) -> None:
    assert READER.head(db) == 0
    assert read(db) == Batch(0, 0, ())


def test_events_come_as_they_were_stored(db: Connection[Any]) -> None:
    events = [
        facts.score_set(1, annotation=facts.annotation()),
        facts.score_reset(2, clear_state=True),
    ]
    facts.store(db, events)
    batch = read(db)
    assert [recorded.event for recorded in batch.events] == [
        type(event)(**{**vars(event), "originator_version": n}) for n, event in enumerate(events, 1)
    ]
    assert [recorded.recorded_at for recorded in batch.events] == [facts.NOON, facts.NOON]
    assert (batch.after, batch.end, READER.head(db)) == (0, 2, 2)


def test_a_batch_has_at_most_as_many_events_as_asked_for(db: Connection[Any]) -> None:
    facts.store(db, [facts.score_set(n) for n in range(1, 8)])
    assert found(read(db, 0, 3)) == [1, 2, 3]
    assert found(read(db, 5, 3)) == [6, 7]
    assert len(read(db, 7)) == 0


def test_only_what_is_wanted_is_decoded_and_the_rest_is_passed_over(db: Connection[Any]) -> None:
    facts.store(db, [facts.score_set(1), facts.score_reset(2), facts.score_set(3)])
    batch = read(db, types=frozenset({ScoreReset}))
    assert found(batch) == [2]
    assert (batch.after, batch.end) == (0, 3)
    nothing = read(db, types=frozenset())
    assert (found(nothing), nothing.end) == ([], 3)


def test_large_events_make_small_batches_but_never_an_empty_one(
    db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_BATCH_BYTES", 10_000)
    reason = "x" * 4000
    facts.store(
        db, [facts.score_set(n, annotation=facts.annotation(reason=reason)) for n in range(1, 6)]
    )
    facts.store(db, [facts.score_set(6, annotation=facts.annotation(reason=reason * 9))])
    assert found(read(db)) == [1, 2, 3]
    assert found(read(db, 3)) == [4, 5, 6]
    assert found(read(db, 5)) == [6]
    assert len(read(db, types=frozenset({ScoreReset}))) == 6


def test_a_missing_position_is_named(db: Connection[Any]) -> None:
    facts.store(db, [facts.score_set(n) for n in range(1, 6)])
    with db.transaction():
        db.execute("ALTER TABLE gradelog.events DISABLE TRIGGER events_are_final")
        db.execute("DELETE FROM gradelog.events WHERE position = 3")
    assert found(read(db, 0, 2)) == [1, 2]
    for after in (0, 2):
        with pytest.raises(LogGapError, match="position 3 of the log is missing"):
            read(db, after)
    assert found(read(db, 3)) == [4, 5]


def test_an_unknown_event_is_refused_even_by_those_who_do_not_want_it(
    db: Connection[Any],
) -> None:
    facts.store(db, [facts.score_set(1)])
    db.execute(
        "INSERT INTO gradelog.events SELECT 2, stream_id, 2, 'future.Thing', data, metadata,"
        " event_id, recorded_at FROM gradelog.events"
    )
    with pytest.raises(UnknownEventTypeError, match=r"future\.Thing"):
        read(db)


def test_halves_of_a_batch_are_the_whole_batch() -> None:
    events = facts.recorded(facts.score_set(n) for n in range(1, 8))
    batch = Batch(10, 17, [events[0], events[3], events[6]])
    sparse = Batch(0, 7, [events[0], events[3], events[6]])
    first, second = sparse.halves()
    assert (first.after, first.end, second.after, second.end) == (0, 3, 3, 7)
    assert [*first.events, *second.events] == list(sparse.events)
    assert found(first) == [1]
    assert len(batch) == 7
