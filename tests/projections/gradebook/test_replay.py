"""The gradebook's rows do not depend on where batches end, and a replay gives them again."""

from typing import Any

import pytest
from psycopg import Connection

from projections import positions
from projections.gradebook import Gradebook
from tests import facts
from tests.projections.gradebook.histories import SchoolHistory
from tests.projections.support import fold, folded_one_by_one, rows


def answers(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows that are answers. Marks are work to be done, noted once or twice."""
    return {table: kept for table, kept in found.items() if table != "marks"}


def of_learners(found: dict[str, list[str]]) -> set[str]:
    """Marks of learners who see something else: only who had a grade at that moment has one."""
    return {mark for mark in found["marks"] if mark.endswith(",learner)")}


@pytest.mark.parametrize("seed", range(8))
def test_rows_do_not_depend_on_where_batches_end(db: Connection[Any], dsn: str, seed: int) -> None:
    history = SchoolHistory(seed)
    events = facts.recorded(history.events(250))
    found = folded_one_by_one(dsn, Gradebook, events)
    expected, marked = answers(found), of_learners(found)
    assert marked
    assert all(expected[table] for table in ("courses", "users", "learners", "grades"))
    instance = Gradebook()
    for largest in (3, 25, len(events)):
        schema = f"{Gradebook.schema()}_{largest}"
        positions.create(db, Gradebook, schema)
        left = events
        while left:
            size = history.chance.randint(1, largest)
            fold(db, instance, schema, left[:size])
            left = left[size:]
        assert answers(rows(db, schema)) == expected
        assert of_learners(rows(db, schema)) == marked
