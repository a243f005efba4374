"""What a subscription says of itself is true, also when it is little."""

import socket
from collections.abc import Sequence

import pytest

from consumers.subscriber import Subscriber
from domain.events import Recorded
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service, failing_at, parked_are
from tests.school import wait_until

pytestmark = pytest.mark.kafka


def test_what_nobody_has_read_is_still_to_do(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30))
    status = service.asking().status()
    assert (len(status.partitions), status.lag, status.parked, status.error) == (5, 30, 0, None)


def test_it_tells_where_it_stands(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30))
    subscriber = service.run(failing_at(25), attempts=1)
    service.until([n for n in range(1, 31) if n != 25])
    parked_are(service, 1)
    elsewhere = service.asking().status()
    assert max(state.position for state in elsewhere.partitions.values()) == 30
    told = (len(elsewhere.partitions), elsewhere.lag, elsewhere.parked, elsewhere.error)
    assert told == (5, 0, 1, None)
    # It learns from time to time how long the topics are.
    wait_until(lambda: subscriber.status() == elsewhere)
    publisher.publish(passed(3, after=30))
    service.until([n for n in range(1, 34) if n != 25])


def test_what_stands_still_is_an_error(service: Service, publisher: Publisher) -> None:
    def before(events: Sequence[Recorded]) -> None:
        raise ValueError("not today")

    publisher.publish(passed(30, courses=1))
    subscriber = service.run(before, attempts=3, retry_after=1000)
    told = "1 partitions stand still"
    wait_until(lambda: str(subscriber.status().error).startswith(told))
    assert "ValueError: not today" in str(subscriber.status().error)
    wait_until(lambda: subscriber.status().lag == 30)


def test_without_topics_there_is_nothing_to_follow(service: Service, publisher: Publisher) -> None:
    publisher.delete()
    wait_until(lambda: not publisher.ids())
    status = service.asking().status()
    assert (status.lag, status.error) == (None, f"there is no topic {service.prefix}.courses")


def test_without_kafka_the_lag_is_not_known(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(30))
    leave = service.start(service.subscriber(), service.noting())
    service.until(range(1, 31))
    leave()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{nobody.getsockname()[1]}"
        status = Subscriber(away, service.dsn, service.prefix, prefix=service.prefix).status()
    assert len(status.partitions) == 5
    assert status.lag is None
    assert str(status.error).startswith("Kafka does not tell")
