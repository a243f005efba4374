"""One round trip for what many tasks ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Batcher(Generic[K, V]):
    """Gathers the questions of concurrent tasks and asks them together.

    Questions that come while one batch is on its way form the next. There is one batch on
    its way at a time, so that ids are given out in the order in which they were asked for.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[K]], Awaitable[Sequence[V]]],
        *,
        largest: int = 1000,
    ) -> None:
        self._ask = ask
        self._largest = largest
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._worker: asyncio.Task[None] | None = None

    def __call__(self, question: K) -> asyncio.Future[V]:
        """Ask one question, together with those of others."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        self._waiting.append((question, answer))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._largest]
                del self._waiting[: self._largest]
                try:
                    answers = await self._ask([question for question, _ in batch])
                except Exception as error:  # noqa: BLE001 - handed to everybody who asked
                    for _, waiting in batch:
                        if not waiting.done():
                            waiting.set_exception(error)
                    continue
                except BaseException:
                    for _, waiting in batch:
                        waiting.cancel()
                    raise
                for (_, waiting), answer in zip(batch, answers, strict=True):
                    if not waiting.done():
                        waiting.set_result(answer)
        finally:
            self._worker = None
            for _, waiting in self._waiting:
                waiting.cancel()
