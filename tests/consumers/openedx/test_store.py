"""Of all who may write to the event bus one does, and nobody waits for the dead."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import Connection

from consumers.leased import LeaseLostError
from consumers.openedx.store import OpenEdxStore
from infra.relay import connect

LIFETIME = 3600.0


@pytest.fixture
def db(dsn: str) -> Iterator[Connection]:
    with connect(dsn) as opened:
        yield opened


@pytest.fixture
def stores(dsn: str) -> Iterator[tuple[OpenEdxStore, OpenEdxStore]]:
    with ExitStack() as stack:
        one, other = (
            OpenEdxStore(stack.enter_context(connect(dsn)), holder=name, lifetime=LIFETIME)
            for name in ("one", "other")
        )
        yield one, other


def error(db: Connection) -> str | None:
    return db.execute("SELECT error FROM gradelog.openedx_relay").fetchall()[0][0]


def test_one_of_two_works_and_the_other_goes_on_where_it_was(
    stores: tuple[OpenEdxStore, OpenEdxStore], db: psycopg.Connection
) -> None:
    one, other = stores
    assert one.is_free()
    assert one.acquire()
    assert not other.is_free()
    assert not other.acquire()
    one.save(7)
    one.release()
    assert other.is_free()
    assert other.acquire()
    assert other.position == 7
    with pytest.raises(LeaseLostError):
        one.save(8)
    one.release()  # which is somebody else's by now
    other.save(9)
    assert db.execute("SELECT position FROM gradelog.openedx_relay").fetchall() == [(9,)]


def test_a_lease_from_a_clock_that_was_set_back_is_none(
    stores: tuple[OpenEdxStore, OpenEdxStore], db: psycopg.Connection
) -> None:
    one, other = stores
    assert one.acquire()
    db.execute("UPDATE gradelog.openedx_relay SET expires_at = now() + interval '1 day'")
    assert other.is_free()
    assert other.acquire()
    assert not one.is_free()


def test_an_error_is_told_while_nobody_works_and_ends_when_all_is_well(
    stores: tuple[OpenEdxStore, OpenEdxStore], db: psycopg.Connection
) -> None:
    one, other = stores
    other.note("no topic")
    assert error(db) == "no topic"
    assert one.acquire()
    one.save(one.position)
    assert error(db) == "no topic"
    one.save(one.position, well=True)
    assert error(db) is None
    other.note("no broker for me")
    assert error(db) is None
    one.release()
    one.note("no registry")
    assert one.acquire()
    one.save(one.position + 1)
    assert error(db) is None
