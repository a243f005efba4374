"""What comes in while kafka-python begins to wait for it is not left lying."""

from typing import Any

import pytest
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaTimeoutError
from kafka.net.manager import KafkaConnectionManager

from consumers.kafka.client import Consumer, Partition, Producer
from tests.consumers.kafka.support import send_numbers, until, values

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("library", ["kafka-python"], indirect=True)
def test_what_comes_in_when_a_poll_begins_is_returned_by_it(
    producer: Producer, consumer: Consumer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A poll that ends in vain leaves a request at the broker, which is answered by what comes.
    send_numbers(producer, topic, [0], 4)
    consumer.assign({Partition(topic, number): 0 for number in range(4)})
    until(lambda: len(consumer.poll(0.2, limit=10)) == 1)
    assert not consumer.poll(0.1, limit=10)
    drain, is_answered = Fetcher.fetched_records, False

    def drained(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal is_answered
        found = drain(self, *arguments, **more)
        if not is_answered:
            is_answered = True
            send_numbers(producer, topic, [3], 4)
            until(lambda: len(self._completed_fetches) > 0)
        return found

    in_vain = 0
    wait_for = KafkaConnectionManager.wait_for

    async def waited(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal in_vain
        try:
            return await wait_for(self, *arguments, **more)
        except KafkaTimeoutError:
            in_vain += 1
            raise

    monkeypatch.setattr(Fetcher, "fetched_records", drained)
    monkeypatch.setattr(KafkaConnectionManager, "wait_for", waited)
    assert values(consumer.poll(0.2, limit=10)) == {3: [3]}
    assert is_answered
    assert not in_vain
