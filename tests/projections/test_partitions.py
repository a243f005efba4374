"""Read models come to the same rows whatever the order between courses, and people.

So they may be fed from the partitions of topics, by several at a time.
"""

from collections import defaultdict
from random import Random
from typing import Any

import pytest
from psycopg import Connection

from consumers.messages import place_of
from domain.events import Recorded, to_state
from projections import positions
from projections.gradebook import queries
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from tests import facts
from tests.projections.gradebook.histories import SchoolHistory
from tests.projections.support import Projected, folded_one_by_one, rows

Parts = dict[tuple[str, bytes | None], list[Recorded]]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
def test_rows_do_not_depend_on_the_order_between_partitions(
    db: Connection[Any], dsn: str, model: type[ReadModel], seed: int
) -> None:
    chance = Random(seed)
    events = facts.recorded(SchoolHistory(seed, cohorts=True).events(250))
    expected = without_work(folded_one_by_one(dsn, model, events))
    for number, largest in enumerate((1, 10, 60)):
        schema = f"{model.schema()}_{number}"
        positions.create(db, model, schema)
        for batch in interleaved(parted(events), chance, largest):
            fold(db, model, schema, batch)
        assert without_work(rows(db, schema)) == expected


@pytest.mark.parametrize("people_first", [True, False])
@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
def test_rows_are_the_same_when_one_topic_is_read_before_the_other(
    db: Connection[Any], dsn: str, model: type[ReadModel], *, people_first: bool
) -> None:
    events = facts.recorded(SchoolHistory(100, cohorts=True).events(400))
    expected = without_work(folded_one_by_one(dsn, model, events))
    assert any(expected.values())
    parts = parted(events)
    assert len(parts) == 3
    schema = f"{model.schema()}_parted"
    positions.create(db, model, schema)
    for _, part in sorted(parts.items(), reverse=people_first):
        fold(db, model, schema, part)
    assert without_work(rows(db, schema)) == expected


def test_a_learner_is_shown_without_a_name_before_it_is_known_who_it_is(
    projected: Projected,
) -> None:
    enrolled = facts.learner_enrolled()
    projected.fold(facts.course_registered(course_id=enrolled.course_id), enrolled)
    page = queries.learners_page(enrolled.course_id, queries.EVERYBODY, limit=10)
    assert [row.username for row in projected.ask(page)] == [""]
    projected.fold(facts.user_registered())
    assert [row.username for row in projected.ask(page)] == [facts.student(1)]


def parted(events: list[Recorded]) -> Parts:
    """The events by course; those of no course together."""
    parts: Parts = defaultdict(list)
    for recorded in events:
        topic, key = place_of(to_state(recorded.event))
        parts[topic, key if topic == "courses" else None].append(recorded)
    return parts


def interleaved(parts: Parts, chance: Random, largest: int) -> list[list[Recorded]]:
    """Batches of one or more partitions, each in its order, in any order between them."""
    left = [list(part) for part in parts.values()]
    batches = []
    while left:
        batch: list[Recorded] = []
        for part in chance.sample(left, chance.randint(1, len(left))):
            size = chance.randint(1, largest)
            batch += part[:size]
            del part[:size]
        batches.append(sorted(batch, key=lambda recorded: recorded.position))
        left = [part for part in left if part]
    return batches


def fold(db: Connection[Any], model: type[ReadModel], schema: str, batch: list[Recorded]) -> None:
    with db.transaction():
        db.execute("SELECT set_config('search_path', %s, true)", [schema])
        relevant = [recorded for recorded in batch if type(recorded.event) in model.folds]
        model.copying().fold(db, relevant)


def without_work(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows that are answers: what is to be graded is noted only where the log is."""
    return {table: kept for table, kept in found.items() if table != "marks"}
