from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from infra.log.reader import connect
from projections.positions import ensure
from projections.registry import READ_MODELS
from tests.projections.support import Projected


@pytest.fixture
def db(dsn: str) -> Iterator[Connection[Any]]:
    """A connection to a database that has all read models and no event."""
    with connect(dsn, name="gradelog tests") as db:
        ensure(db, READ_MODELS)
        yield db


@pytest.fixture
def projected(db: Connection[Any]) -> Projected:
    return Projected(db)
