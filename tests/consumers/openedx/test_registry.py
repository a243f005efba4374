"""Numbers of schemas are asked for once, and errors say whether to wait."""

import pytest

from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.signals import PASSING_STATUS, key_of, value_of
from tests.consumers.openedx.registry_server import SchemaRegistry


def test_a_schema_has_one_number_and_is_asked_for_once(registry_server: SchemaRegistry) -> None:
    value, key = value_of(PASSING_STATUS), key_of(PASSING_STATUS)
    with Registry(registry_server.url) as registry:
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


@pytest.mark.parametrize(
    ("status", "passing"), [(500, True), (503, True), (401, True), (409, False)]
)
def test_a_refusal_says_whether_it_may_pass(
    registry_server: SchemaRegistry, status: int, passing: bool
) -> None:
    registry_server.broken = status
    with Registry(registry_server.url) as registry:
        with pytest.raises(RegistryError, match=str(status)) as caught:
            registry.id_of("subject", '"string"')
        assert caught.value.passing is passing
        registry_server.broken = None
        assert registry.id_of("subject", '"string"') == 1


def test_an_unknown_number_is_no_passing_trouble(registry_server: SchemaRegistry) -> None:
    with Registry(registry_server.url) as registry:
        with pytest.raises(RegistryError, match="404") as caught:
            registry.schema(7)
        assert not caught.value.passing


def test_a_registry_that_is_away_may_come_back() -> None:
    with Registry("http://127.0.0.1:1", timeout=1.0) as registry:
        with pytest.raises(RegistryError, match="ConnectError") as caught:
            registry.schema(7)
        assert caught.value.passing
