"""How much is on its way to the event bus, and up to where it is stored."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.kafka.client import Producer
from consumers.kafka.clients import ClientSettings, client
from consumers.openedx.encoding import Encoded
from consumers.openedx.sending import MOST_BYTES, Sending
from consumers.openedx.store import OpenEdxStore
from infra.relay import connect
from tests import facts
from tests.consumers.openedx.conftest import WRITTEN

pytestmark = pytest.mark.kafka


@pytest.fixture
def store(dsn: str) -> Iterator[OpenEdxStore]:
    with connect(dsn) as db:
        made = OpenEdxStore(db, holder="one", lifetime=3600.0)
        assert made.acquire()
        yield made


@pytest.fixture
def producer(kafka: str) -> Iterator[Producer]:
    """Its messages wait for more until somebody flushes."""
    with closing(client(ClientSettings(kafka, linger=60.0)).producer()) as made:
        yield made


def test_no_more_is_on_its_way_than_is_stored_already(
    store: OpenEdxStore,
    producer: Producer,
    topic_prefix: str,
    bus: dict[str, str],
) -> None:
    sending = Sending(producer, store, save_within=0.0)
    sent = 0
    for _ in range(4):
        room = max(1, sent)
        for number in range(room):
            assert not sending.is_full
            sent += 1
            message = Encoded(b"key", b"value", [])
            (recorded,) = facts.recorded([facts.grades_calculated()], after=sent - 1)
            sending.send(f"{topic_prefix}.bus-{WRITTEN}", 2, message, recorded)
            sending.reached(sent)
            sending.tick()
            assert sending.position == store.position == sent - number - 1
        assert sending.is_full
        producer.flush(60.0)
        sending.tick()
        assert sending.position == store.position == sent


def test_no_more_bytes_are_on_their_way_than_any_client_has_room_for(
    store: OpenEdxStore,
    producer: Producer,
    topic_prefix: str,
    bus: dict[str, str],
) -> None:
    sending = Sending(producer, store, save_within=0.0)
    (recorded,) = facts.recorded([facts.grades_calculated()])

    def send(value: bytes) -> None:
        message = Encoded(b"key", value, [])
        sending.send(f"{topic_prefix}.bus-{WRITTEN}", 2, message, recorded)

    def let_them_be_stored() -> None:
        producer.flush(60.0)
        sending.tick()

    for _ in range(40):  # as many may be on their way after that
        send(b"")
        let_them_be_stored()
    for _ in range(2):
        for _ in range(32):
            assert not sending.is_full
            send(bytes(MOST_BYTES // 32))
        assert sending.is_full
        let_them_be_stored()
    assert not sending.is_full
