"""Dropped and replayed, the same rows come back, however the history is cut into batches."""

from typing import Any

import pytest
from psycopg import Connection

from domain.events import Recorded
from infra.log.reader import PostgresLogReader, connect
from projections import positions
from projections.read_model import ReadModel
from projections.rebuild import rebuild
from projections.registry import READ_MODELS
from tests import facts
from tests.projections.histories import History
from tests.projections.support import fold, folded_one_by_one, rows


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
def test_rows_do_not_depend_on_where_batches_end(
    db: Connection[Any], dsn: str, model: type[ReadModel], seed: int
) -> None:
    history = History(seed)
    events = facts.recorded(history.events(120))
    expected = folded_one_by_one(dsn, model, events)
    assert any(expected.values())

    instance = model()
    for largest in (3, 20, len(events)):
        schema = f"{model.schema()}_{largest}"
        positions.create(db, model, schema)
        left: list[Recorded] = events
        while left:
            size = history.chance.randint(1, largest)
            fold(db, instance, schema, left[:size])
            left = left[size:]
        assert rows(db, schema) == expected


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
def test_a_rebuild_gives_the_same_rows(
    db: Connection[Any], dsn: str, model: type[ReadModel]
) -> None:
    events = History(99).events(300)
    facts.store(db, events)
    expected = folded_one_by_one(dsn, model, facts.recorded(events))
    for batch in (1000, 7):
        rebuild(lambda: connect(dsn), PostgresLogReader(), model, batch=batch)
        assert rows(db, model.schema()) == expected
