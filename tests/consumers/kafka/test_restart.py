"""A broker that ends and comes back: nothing is lost, nothing is repeated, nobody gives up."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from consumers.kafka.client import NewTopic, Partition
from consumers.kafka.clients import ClientSettings, Library, client
from infra.kafka.broker import EmbeddedKafka
from tests.consumers.kafka.support import Reader, poll_until, until

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow]


@pytest.fixture
def broker(tmp_path: Path, kafka_libraries: Path) -> Iterator[EmbeddedKafka]:
    """A broker that nobody else uses."""
    embedded = EmbeddedKafka(tmp_path, libraries=kafka_libraries)
    embedded.start()
    with embedded:
        yield embedded


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_producer_and_a_group_outlive_the_broker(
    broker: EmbeddedKafka, library: Library, how: str
) -> None:
    kafka = client(ClientSettings(broker.bootstrap_servers, library=library))
    with closing(kafka.admin()) as admin:
        admin.create([NewTopic("numbers", 4)])
    with closing(kafka.producer()) as producer, closing(kafka.consumer("readers")) as consumer:
        reader = Reader(consumer, "numbers", {})

        def send(numbers: range) -> None:
            for number in numbers:
                producer.send(
                    Partition("numbers", number % 4),
                    key=None,
                    value=b"%d" % number,
                    headers=[],
                )

        send(range(1000))
        poll_until(lambda: len(reader.read) >= 100, reader)
        getattr(broker, how)()
        send(range(1000, 2000))
        for _ in range(10):
            reader.poll(0.2)
        assert producer.acknowledged() < 2000
        back = threading.Thread(target=broker.start)
        back.start()
        while back.is_alive():  # it has a limit of its own
            reader.poll(0.2)
        until(lambda: reader.poll(0.2) or producer.acknowledged() == 2000)
        poll_until(lambda: len(reader.read) >= 2000, reader)
        found = [int(message.value or b"") for message in reader.read]
        assert sorted(found) == [*range(2000)]
        for number in range(4):
            of_partition = [n for n in found if n % 4 == number]
            assert of_partition == sorted(of_partition)
