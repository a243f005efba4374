"""How connections are opened: what whoever starts a process says of them comes first."""

import pytest

from infra.postgres import parameters


@pytest.mark.parametrize(("said", "seconds"), [(None, 5), ("60", 60), ("", 5), ("0", 5), ("-1", 5)])
def test_the_environment_says_how_long_a_server_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, said: str | None, seconds: int
) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    if said is not None:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", said)
    assert parameters()["connect_timeout"] == seconds
