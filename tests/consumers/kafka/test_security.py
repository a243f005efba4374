"""Who may come in, and what is said to who may not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.kafka.client import Client, Consumer, KafkaError, NewTopic, Partition
from consumers.kafka.clients import ClientSettings, Library, client
from tests.consumers.kafka.conftest import SLOW
from tests.consumers.kafka.secured import PASSWORD, secured_broker
from tests.consumers.kafka.support import PATIENCE, read, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def servers(directory: Path, kafka_libraries: Path) -> Iterator[str]:
    with secured_broker(directory, kafka_libraries) as addresses:
        yield addresses


@pytest.fixture
def settings(servers: str, directory: Path, library: Library) -> ClientSettings:
    """Of somebody who may do everything."""
    return ClientSettings(
        servers,
        library=library,
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        username="relay",
        password=PASSWORD,
        ca_file=str(directory / "ca.pem"),
        timeout=SLOW,
    )


def send(to: Client, topic: str) -> None:
    with closing(to.producer()) as producer:
        producer.send(Partition(topic, 0), key=None, value=b"v", headers=[])
        producer.flush(PATIENCE)


def make(settings: ClientSettings, topic: str) -> None:
    with closing(client(settings).admin()) as admin:
        admin.create([NewTopic(topic, 1)])


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_with_the_right_password_everything_goes(settings: ClientSettings, mechanism: str) -> None:
    settings = replace(settings, sasl_mechanism=mechanism)
    topic = f"{settings.library}.{mechanism}"
    make(settings, topic)
    allowed = client(settings)
    send(allowed, topic)
    with closing(allowed.consumer()) as consumer:
        consumer.assign({Partition(topic, 0): None})
        assert [message.value for message in read(consumer, 1)] == [b"v"]
    with closing(allowed.consumer("group")) as consumer:
        consumer.subscribe([topic], on_assigned=dict.fromkeys, on_revoked=lambda _: None)
        assert [message.value for message in read(consumer, 1)] == [b"v"]


@pytest.fixture
def refused(settings: ClientSettings) -> ClientSettings:
    """Of somebody who learns that he is refused when the time is over."""
    return replace(settings, timeout=10.0)


def admin(of: Client) -> None:
    of.admin()


def producer(of: Client) -> None:
    send(of, "any")


def consumer(of: Client) -> None:
    poll(of.consumer(), "any")


def poll(consumer: Consumer, topic: str) -> None:
    with closing(consumer):
        consumer.assign({Partition(topic, 0): None})
        until(lambda: bool(consumer.poll(0.5, limit=1)))


@pytest.mark.parametrize("part", [admin, producer, consumer])
def test_a_wrong_password_is_told(refused: ClientSettings, part: Callable[[Client], None]) -> None:
    with pytest.raises(KafkaError, match="Invalid username or password"):
        part(client(replace(refused, password="another")))


# kafka-python leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("part", [admin, producer, consumer])
def test_a_certificate_that_nobody_vouches_for_is_told(
    refused: ClientSettings, part: Callable[[Client], None]
) -> None:
    with pytest.raises(KafkaError, match=r"certificate.*verif"):
        part(client(replace(refused, ca_file=None)))


def test_who_has_no_rights_is_told_what_for(
    settings: ClientSettings, until_the_end: ExitStack
) -> None:
    topic = f"{settings.library}.closed"
    make(settings, topic)
    guest = client(replace(settings, username="guest"))
    with closing(guest.admin()) as admin:
        with pytest.raises(KafkaError, match=f"{topic} cannot be described: .*(?i:authorization)"):
            admin.topics([topic])
        with pytest.raises(KafkaError, match=f"{topic}.x cannot be created: .*(?i:authorization)"):
            admin.create([NewTopic(f"{topic}.x", 1)])
        with pytest.raises(KafkaError, match=f"{topic} cannot be deleted: .*(?i:authorization)"):
            admin.delete([topic])
    with pytest.raises(KafkaError, match=r"(?i:authorization)"):
        send(guest, topic)
    with pytest.raises(KafkaError, match=r"(?i:authorization)"):
        poll(guest.consumer(), topic)
