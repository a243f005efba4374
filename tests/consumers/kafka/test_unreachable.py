"""A broker that is away: whoever asks learns it in time, whoever reads waits."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.kafka.client import Client, KafkaError, Partition
from consumers.kafka.clients import ClientSettings, Library, client
from consumers.kafka.logs import Seldom
from tests.consumers.kafka.support import until

LOGGERS = ("kafka", "confluent_kafka", "gradelog")
TIMEOUT = 1.0
IN_TIME = TIMEOUT + 50  # far more than any machine is busy, far less than for ever


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in LOGGERS:
            self.records.append(record)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What a program would log: pytest's own fixture also hears what goes no further."""
    for name in ("kafka", "confluent_kafka"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, Seldom):
                handler.forget()
    kept = _Kept()
    root = logging.getLogger()
    root.addHandler(kept)
    yield kept.records
    root.removeHandler(kept)


@pytest.fixture
def far_client(nobody: str, library: Library) -> Client:
    return client(ClientSettings(nobody, library=library, timeout=TIMEOUT))


def test_an_admin_needs_a_broker(far_client: Client) -> None:
    begun = time.monotonic()
    with pytest.raises(KafkaError):
        far_client.admin()
    assert time.monotonic() - begun < IN_TIME


def test_a_producer_needs_one_when_it_sends(far_client: Client) -> None:
    producer = far_client.producer()
    begun = time.monotonic()
    with pytest.raises(KafkaError):
        producer.send(Partition("any", 0), key=None, value=b"", headers=[])
    assert producer.sent == producer.acknowledged() == 0
    producer.flush(1)
    producer.close()
    assert time.monotonic() - begun < IN_TIME


@pytest.mark.parametrize("group", ["any", None])
def test_a_consumer_waits_and_says_nothing(
    far_client: Client, group: str | None, logged: list[logging.LogRecord]
) -> None:
    begun = time.monotonic()
    with closing(far_client.consumer(group)) as consumer:
        if group:
            consumer.subscribe(["any"], on_assigned=dict.fromkeys, on_revoked=lambda _: None)
        else:
            consumer.assign({Partition("any", 0): 5})
        for _ in range(10):
            assert list(consumer.poll(0.2, limit=10)) == []
        until(lambda: not consumer.poll(0.2, limit=10) and len(logged) > 0)
        with pytest.raises(KafkaError):
            consumer.end_offsets([Partition("any", 0)])
        consumer.commit({Partition("any", 0): 1})
    assert time.monotonic() - begun < IN_TIME
    assert 1 <= len(logged) < 10
    assert {record.name for record in logged} == {"gradelog.kafka"}
    assert {record.levelno for record in logged} == {logging.WARNING}
