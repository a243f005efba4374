"""Topics are made anew, also with another number of partitions; and how far back one can go."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from consumers.kafka.client import Client
from consumers.subscriber.topics import PartitionsChangedError
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service
from tests.school import wait_until

pytestmark = pytest.mark.kafka


MakeAnew = Callable[[int], Publisher]


@pytest.fixture
def make_anew(broker: Client, publisher: Publisher, topic_prefix: str) -> Iterator[MakeAnew]:
    """Deletes the topic of courses and makes it with so many partitions; nothing is in it."""
    with ExitStack() as publishers:

        def make(partitions: int) -> Publisher:
            name = publisher.names["courses"]
            publisher.delete(name)
            wait_until(lambda: name not in publisher.ids())
            return publishers.enter_context(Publisher(broker, topic_prefix, partitions))

        yield make


def settled(service: Service) -> set[int]:
    return {p for (p,) in service.rows("SELECT settled FROM gradelog_subscriber.topics")}


def test_a_topic_with_other_partitions_is_gone_on_with(
    service: Service, publisher: Publisher, make_anew: MakeAnew
) -> None:
    publisher.publish(passed(60, courses=12))
    subscriber = service.run()
    service.until(range(1, 61))
    publisher.mark(60)
    wait_until(lambda: settled(service) == {60})
    anew = make_anew(7)
    anew.publish(passed(90, courses=12))
    service.until(range(1, 91))

    def is_through() -> bool:
        status = subscriber.status()
        return (len(status.partitions), status.lag, status.error) == (8, 0, None)

    wait_until(is_through)
    anew = make_anew(2)
    anew.publish(passed(90, courses=12))
    anew.mark(90)
    wait_until(lambda: "cannot be told what was handled" in str(subscriber.status().error))
    assert len(service.handled()) == 90


def test_it_stands_still_if_it_cannot_be_told_what_was_handled(
    service: Service, publisher: Publisher, make_anew: MakeAnew
) -> None:
    publisher.publish(passed(60, courses=12))
    leave = service.start(service.subscriber(), service.noting())
    service.until(range(1, 61))
    leave()
    anew = make_anew(7)
    anew.publish(passed(70, courses=12))
    subscriber = service.run()
    wait_until(lambda: "cannot be told what was handled" in str(subscriber.status().error))
    elsewhere = service.asking()
    assert "has 7 partitions, and was read with 4" in str(elsewhere.status().error)
    with pytest.raises(PartitionsChangedError, match=r"replay\(0\)"):
        elsewhere.replay(30)
    assert sorted(service.handled()) == list(range(1, 61))
    with psycopg.connect(service.dsn) as db:
        db.execute("DELETE FROM handled")
    elsewhere.replay(0)
    service.until(range(1, 71))
    wait_until(lambda: subscriber.status().error is None)


def test_rows_of_an_older_version_tell_how_many_partitions_there_were(
    service: Service, publisher: Publisher, make_anew: MakeAnew
) -> None:
    publisher.publish(passed(60, courses=12))
    leave = service.start(service.subscriber(), service.noting())
    service.until(range(1, 61))
    leave()
    with psycopg.connect(service.dsn) as db:
        db.execute("DELETE FROM gradelog_subscriber.topics")
    anew = make_anew(2)
    anew.publish(passed(70, courses=12))
    subscriber = service.run()
    wait_until(lambda: "has 2 partitions, and was read with 4" in str(subscriber.status().error))


def test_to_go_back_is_not_to_go_forward(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30, courses=8))
    leave = service.start(service.subscriber(), service.noting())
    service.until(range(1, 31))
    leave()
    publisher.publish(passed(30, after=30, courses=8))
    service.asking().replay(100)
    service.run()
    service.until(range(1, 61))


def test_a_topic_that_is_missing_goes_back_too(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30, courses=8))
    leave = service.start(service.subscriber(), service.noting())
    service.until(range(1, 31))
    leave()
    name = publisher.names["courses"]
    publisher.delete(name)
    wait_until(lambda: name not in publisher.ids())
    service.asking().replay(20)
    publisher.create()
    publisher.previous.clear()
    publisher.publish(passed(30, courses=8))
    service.run()
    wait_until(lambda: len(service.handled()) == 40)
    assert sorted(service.handled()[30:]) == list(range(21, 31))
