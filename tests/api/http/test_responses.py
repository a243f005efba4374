"""Answers that go on end when nobody takes them, and let go of what they hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from api.http import responses
from api.http.responses import Lines

PATIENCE = 30.0
SCOPE: dict[str, Any] = {"type": "http", "method": "GET"}


class Reader:
    """Who takes so many parts of an answer, and then leaves or only stands there."""

    def __init__(self, parts: int, *, leaves: bool) -> None:
        self.parts = parts
        self.leaves = leaves
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            return
        self.parts -= 1
        if self.parts > 0:
            return
        if not self.leaves:
            await asyncio.Event().wait()
        self.left.set()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"{}\n"
        await asyncio.sleep(0)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_list_ends_when_nobody_takes_it(monkeypatch: pytest.MonkeyPatch, leaves: bool) -> None:
    monkeypatch.setattr(responses, "STALLED", 0.05)
    closed: list[bool] = []

    async def run() -> None:
        resources = AsyncExitStack()
        resources.callback(closed.append, True)
        reader = Reader(3, leaves=leaves)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ClientDisconnect):
                await Lines(endless(), 1, resources)(SCOPE, reader.receive, reader.send)

    asyncio.run(run())
    assert closed == [True]
