"""Any number of relays: one works, and whoever follows it leaves nothing out."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from consumers.kafka.client import Partition, Topic
from consumers.leased import LeaseLostError
from consumers.relay.log import read
from consumers.relay.publisher import Figures, Publisher
from consumers.relay.store import RelayStore
from infra.relay import connect
from tests.consumers.relay.conftest import School, running
from tests.consumers.relay.filling import execute, relay_row, scores, store
from tests.consumers.relay.reading import check_against_log, read_topics, wait_until_published
from tests.projections.support import wait_until

END_LEASE = "UPDATE gradelog.relay SET expires_at = clock_timestamp()"
TAKE_AWAY = """
UPDATE gradelog.relay SET holder = 'another', epoch = epoch + 1,
    expires_at = clock_timestamp() + interval '1 second'
"""


@pytest.fixture
def stores(dsn: str) -> Iterator[tuple[RelayStore, RelayStore]]:
    """Two relays that want to work."""
    with connect(dsn) as first, connect(dsn) as second:
        yield (
            RelayStore(first, holder="first", lifetime=3600),
            RelayStore(second, holder="second", lifetime=3600),
        )


def test_the_lease_is_one_relays_until_it_is_over(
    dsn: str, stores: tuple[RelayStore, RelayStore]
) -> None:
    first, second = stores
    assert first.is_free()
    assert first.acquire()
    assert not second.is_free()
    assert not second.acquire()
    execute(dsn, END_LEASE)
    assert second.is_free()
    assert second.acquire()
    assert relay_row(dsn)["holder"] == "second"


def test_whoever_lost_the_lease_saves_nothing(
    dsn: str, stores: tuple[RelayStore, RelayStore]
) -> None:
    first, second = stores
    courses = Partition("courses", 0)
    assert first.acquire()
    first.save(5, {courses: 5})
    execute(dsn, END_LEASE)
    assert second.acquire()
    assert (second.position, second.partitions()) == (5, {courses: 5})
    with pytest.raises(LeaseLostError):
        first.save(9, {courses: 9})
    with pytest.raises(LeaseLostError):
        first.note_topics([Topic("courses", None, 1)], begin_again=True)
    first.release()
    row = relay_row(dsn)
    assert (row["position"], row["holder"], row["held"]) == (5, "second", True)
    assert second.partitions() == {courses: 5}


def test_a_clock_that_is_set_back_keeps_nobody_waiting_for_the_dead(
    dsn: str, stores: tuple[RelayStore, RelayStore]
) -> None:
    first, second = stores
    assert first.acquire()
    execute(dsn, "UPDATE gradelog.relay SET expires_at = clock_timestamp() + interval '1 day'")
    assert second.is_free()
    assert second.acquire()
    with pytest.raises(LeaseLostError):
        first.save(1, {})
    assert not first.is_free()


def test_a_lease_that_nobody_took_goes_on_when_it_is_renewed(
    dsn: str, stores: tuple[RelayStore, RelayStore]
) -> None:
    first, second = stores
    assert first.acquire()
    execute(dsn, END_LEASE)
    first.save(1, {})
    assert not second.acquire()


@pytest.mark.kafka
def test_a_relay_that_was_frozen_sends_nothing_more(school: School) -> None:
    store(school.dsn, *scores(10))
    with connect(school.dsn) as db, closing(school.client.producer()) as producer:
        leased = RelayStore(db, holder="frozen", lifetime=0.0)
        assert leased.acquire()
        topics = {
            "courses": Topic(f"{school.prefix}.courses", None, 1),
            "people": Topic(f"{school.prefix}.people", None, 1),
        }
        publisher = Publisher(producer, leased, topics, source=b"/school", figures=Figures())
        with pytest.raises(LeaseLostError):
            next(publisher.send(read(db, after=0).events))
        with pytest.raises(LeaseLostError):
            publisher.send_marks(0, 0)
        assert producer.sent == 0


@pytest.mark.kafka
def test_one_relay_works_and_another_takes_over(school: School) -> None:
    with ExitStack() as first, ExitStack() as second:
        relays = {
            relay.holder: (relay, stack)
            for stack in (first, second)
            for relay in [stack.enter_context(running(school.relay()))]
        }
        wait_until_published(school.dsn, store(school.dsn, *scores(300)))
        holder = relay_row(school.dsn)["holder"]
        working, stack = relays.pop(holder)
        (standing_by, _) = next(iter(relays.values()))
        assert working.figures.events == 300
        assert standing_by.figures.events == 0
        stack.close()
        wait_until_published(school.dsn, store(school.dsn, *scores(300, first=301)))
        assert relay_row(school.dsn)["holder"] == standing_by.holder
        assert standing_by.figures.events == 300
    read_back = read_topics(school.client, school.prefix)
    check_against_log(read_back, school.dsn)
    assert read_back.repeats == 0


@pytest.mark.kafka
def test_a_relay_whose_lease_was_taken_stops_and_begins_at_the_saved_position(
    school: School,
) -> None:
    head = store(school.dsn, *scores(3000))
    with school.relaying(batch=50) as relay:
        wait_until(lambda: relay.figures.events > 100)
        with psycopg.connect(school.dsn, autocommit=True) as db:
            row = db.execute(TAKE_AWAY + "RETURNING epoch").fetchone()
        assert row is not None
        head = store(school.dsn, *scores(500, first=3001))
        wait_until_published(school.dsn, head)
        assert relay_row(school.dsn)["epoch"] > row[0]
    check_against_log(read_topics(school.client, school.prefix), school.dsn)
