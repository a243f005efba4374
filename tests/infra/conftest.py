"""What tests share that work with connections of their own."""

import pytest


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a connection waits for as long as a busy machine may need to make one."""
    monkeypatch.setattr("infra.postgres.CONNECT_TIMEOUT", 60)
    monkeypatch.setattr("infra.postgres.POOL_TIMEOUT", 60.0)
    monkeypatch.setattr("infra.read_steps.PATIENCE", 60.0)
