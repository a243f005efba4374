"""Numbers of schemas are asked for once, and errors say whether to wait."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.inbound.requests import Decoder, Once
from consumers.kafka.client import Message, Partition
from consumers.openedx.reading import decoder
from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.signals import ENROLLED, PASSING_STATUS, READ, key_of, value_of
from domain.errors import UnavailableError
from domain.events import NOBODY
from tests.consumers.openedx.registry_server import SchemaRegistry


def test_a_schema_has_one_number_and_is_asked_for_once(registry_server: SchemaRegistry) -> None:
    value, key = value_of(PASSING_STATUS), key_of(PASSING_STATUS)
    with Registry(registry_server.url, timeout=60.0) as registry:
        first = [registry.id_of("a b/c", value.text) for _ in range(3)]
        assert first == [1, 1, 1]
        assert registry.id_of("other", key.text) == 2
        assert [registry.schema(1) for _ in range(3)] == [registry.schema(1)] * 3
        assert registry.knows(1) is not None
        assert registry.knows(2) is None
    assert registry_server.questions == [
        "POST /subjects/a%20b%2Fc/versions",
        "POST /subjects/other/versions",
        "GET /schemas/ids/1",
    ]
    assert registry_server.subjects == {"a b/c": [1], "other": [2]}


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 407, 409, 422, 429, 500, 503])
def test_a_refusal_may_pass(registry_server: SchemaRegistry, status: int) -> None:
    registry_server.broken = status
    with Registry(registry_server.url, timeout=60.0) as registry:
        with pytest.raises(RegistryError, match=str(status)) as caught:
            registry.id_of("subject", '"string"')
        assert caught.value.passing
        with pytest.raises(RegistryError, match=str(status)) as caught:
            registry.schema(1)
        assert caught.value.passing
        registry_server.broken = None
        assert registry.id_of("subject", '"string"') == 1
        assert registry.schema(1) == "string"


def test_an_unknown_number_is_no_passing_trouble(registry_server: SchemaRegistry) -> None:
    with Registry(registry_server.url, timeout=60.0) as registry:
        with pytest.raises(RegistryError, match="404") as caught:
            registry.schema(7)
        assert not caught.value.passing


def test_a_url_that_leads_elsewhere_is_not_the_fault_of_a_message(
    registry_server: SchemaRegistry,
) -> None:
    with Registry(f"{registry_server.url}/elsewhere/", timeout=60.0) as registry:
        with pytest.raises(RegistryError, match="404") as caught:
            registry.schema(1)
        assert caught.value.passing


def test_what_is_no_schema_of_avro_is_no_passing_trouble(registry_server: SchemaRegistry) -> None:
    registry_server.register("other", '{"type": "object"}')
    with Registry(registry_server.url, timeout=60.0) as registry:
        with pytest.raises(RegistryError, match="none of Avro") as caught:
            registry.schema(1)
        assert not caught.value.passing


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"id": "1", "schema": {}}'])
def test_nonsense_may_pass(registry_server: SchemaRegistry, answer: bytes) -> None:
    registry_server.nonsense = answer
    with Registry(registry_server.url, timeout=60.0) as registry:
        with pytest.raises(RegistryError, match="nonsense") as caught:
            registry.id_of("subject", '"string"')
        assert caught.value.passing
        with pytest.raises(RegistryError, match="nonsense") as caught:
            registry.schema(1)
        assert caught.value.passing


@pytest.mark.parametrize("part", [b" ", b" " * 1024 * 1024])
def test_an_answer_without_end_is_not_waited_for(
    registry_server: SchemaRegistry, part: bytes
) -> None:
    registry_server.endless = part
    with Registry(registry_server.url, timeout=1.0) as registry:
        registry._client.timeout = 60.0  # each part may take its time
        with pytest.raises(RegistryError, match="does not come to an end") as caught:
            registry.schema(7)
        assert caught.value.passing


def test_a_registry_that_is_away_may_come_back() -> None:
    with Registry("http://127.0.0.1:1", timeout=60.0) as registry:
        with pytest.raises(RegistryError, match="ConnectError") as caught:
            registry.schema(7)
        assert caught.value.passing


def test_a_registry_that_is_away_is_asked_once_however_many_messages_wait(
    registry_server: SchemaRegistry,
) -> None:
    registry_server.broken = 503
    headers = [("ce_type", ENROLLED.encode()), ("ce_source", b"openedx/lms/web")]

    async def carry_out_all(decode: Decoder) -> list[Any]:
        requests = [
            decode(
                Message(
                    Partition("roster", 0),
                    n,
                    None,
                    b"\0\0\0\0\7x",
                    [*headers, ("ce_id", str(n).encode())],
                    0,
                )
            )
            for n in range(100)
        ]
        once = Once("k", b"", datetime.now(UTC))
        commands: Any = None  # nothing comes so far
        return await asyncio.gather(
            *(one.carry_out(commands, once, NOBODY) for one in requests if one is not None),
            return_exceptions=True,
        )

    with Registry(registry_server.url, timeout=60.0) as registry:
        became = asyncio.run(carry_out_all(decoder(registry, READ)))
    assert [type(one) for one in became] == [UnavailableError] * 100
    assert len(registry_server.questions) == 1
