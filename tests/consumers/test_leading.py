"""One of several works, the others stand by, and what goes wrong is told and tried again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from consumers.leading import StandstillError, take_turns
from consumers.leased import LeaseLostError
from consumers.openedx.store import OpenEdxStore
from infra.relay import connect
from tests import looking
from tests.projections.support import wait_until

Work = Callable[[OpenEdxStore, threading.Event], None]


@contextmanager
def taking_turns(dsn: str, name: str, work: Work) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        take_turns(
            name,
            lambda: connect(dsn),
            lambda db: OpenEdxStore(db, holder=name, lifetime=60.0),
            lambda store: work(store, stop),
            stop,
            passing=ConnectionError,
            longest_pause=0.2,
        )

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def noted(dsn: str) -> tuple[str | None, str | None]:
    """Who works, and what is wrong."""
    ((holder, error),) = looking.rows(dsn, "SELECT holder, error FROM gradelog.openedx_relay")
    return holder, error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("no broker\n  at  all"), "ConnectionError: no broker at all"),
        (StandstillError("delete the topic"), "delete the topic"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError: a defect"),
        (psycopg.OperationalError("no answer"), "OperationalError: no answer"),
    ],
)
def test_an_error_is_told_in_one_line_and_it_is_tried_again(
    dsn: str, error: Exception, told: str
) -> None:
    tries: list[str | None] = []

    def work(store: OpenEdxStore, stop: threading.Event) -> None:
        with store.held() as ours:
            assert ours
            tries.append(noted(dsn)[0])
            raise error

    with taking_turns(dsn, "one", work):
        wait_until(lambda: len(tries) > 2)
    assert set(tries) == {"one"}
    assert noted(dsn) == (None, told)


def test_what_the_server_tells_of_rows_is_not_told(dsn: str) -> None:
    def work(store: OpenEdxStore, stop: threading.Event) -> None:
        store.db.execute("INSERT INTO gradelog.openedx_relay DEFAULT VALUES")

    with taking_turns(dsn, "one", work):
        wait_until(lambda: noted(dsn)[1])
    error = noted(dsn)[1]
    assert error is not None
    assert error.startswith("UniqueViolation: duplicate key value violates unique constraint")
    assert "(" not in error


def test_whoever_lost_the_lease_begins_anew_and_complains_of_nothing(dsn: str) -> None:
    connections: list[int] = []

    def work(store: OpenEdxStore, stop: threading.Event) -> None:
        connections.append(store.db.info.backend_pid)
        if len(connections) == 1:
            raise LeaseLostError("another works")
        stop.wait(60)

    with taking_turns(dsn, "one", work):
        wait_until(lambda: len(connections) > 1)
        assert noted(dsn) == (None, None)
    assert len(set(connections)) == 1


def test_one_works_the_other_stands_by_and_takes_over(dsn: str) -> None:
    both = threading.Barrier(2)
    worked: list[str] = []  # each of them once
    done = threading.Event()

    def work(store: OpenEdxStore, stop: threading.Event) -> None:
        if not worked:
            both.wait(60)  # both have seen that the lease is free
        if store._holder in worked:
            stop.wait(60)
            return
        with store.held() as ours:
            if ours:
                worked.append(store._holder)
                (done if len(worked) == 1 else stop).wait(60)

    with taking_turns(dsn, "one", work), taking_turns(dsn, "other", work):
        wait_until(lambda: len(worked) == 1)
        done.set()
        wait_until(lambda: len(worked) == 2)
        assert noted(dsn)[0] == worked[-1]
    assert noted(dsn) == (None, None)
