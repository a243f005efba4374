"""Delivers the log to webhooks: each in order, one request at a time, many side by side.

Where a webhook stands is a position of the log, so the log itself is the queue: nothing is
lost while a target or this process is down. The position moves when the target has answered
2xx; until then the same batch is sent again under the same id. A crash between the answer
and the save repeats that batch.

Targets that fail or are slow get half of the places at most: however many there are, they
hold up nobody else.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from domain.errors import UnavailableError
from infra.log.reader import LogGapError
from infra.vault import VaultError
from infra.webhooks.attempts import MOST_BYTES, MOST_EVENTS, body_of, message_id
from infra.webhooks.pages import Entry, Pages
from infra.webhooks.sending import Outcome, Sender
from infra.webhooks.signing import Keeper
from infra.webhooks.turns import Due, Turn, Turns

logger = structlog.get_logger(__name__)

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks at the head of the log."""

NEAR: Final = 500
"""Events up to the head that webhooks look at together, before any of them gets a turn."""

TURN_SECONDS: Final = 5.0
"""After which a webhook that catches up lets others go first."""

PAGES_AT_ONCE: Final = 20
"""Read for one batch at most, when hardly any event is asked for."""

PUT_OFF: Final = timedelta(seconds=60)
UNEXPECTED: Final = "something is wrong here; the log of the server tells what"
"""What a webhook says whose turn failed in a way that nobody has thought of."""

GRACE: Final = 5.0
"""Seconds that requests under way have when the process ends."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try: anything up to a limit that doubles.

    Attributes:
        first: seconds, the limit after the first failure.
        longest: seconds, where it ends.
        chance: gives a number from 0 to 1. Who was down gets us back one by one.
    """

    first: float = 1.0
    longest: float = 3600.0
    chance: Callable[[], float] = random.random

    def after(self, failures: int, retry_after: float | None) -> timedelta:
        """The pause after so many failures; what the target asks for is the least."""
        limit = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        asked = min(retry_after or 0.0, self.longest)
        return timedelta(seconds=max(self.chance() * limit, asked))


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is sent at once: events after the webhook's position, up to ``until``."""

    entries: Sequence[Entry]
    until: int


class Deliverer:
    """Delivers for all webhooks whose turn it gets."""

    def __init__(
        self,
        turns: Turns,
        sender: Sender,
        keeper: Keeper,
        *,
        source: str = "/gradelog",
        concurrency: int = 32,
        backoff: Backoff | None = None,
    ) -> None:
        """Make a deliverer.

        Args:
            turns: says which webhooks are ours.
            sender: carries the requests.
            keeper: opens the secrets.
            source: the ``source`` of events.
            concurrency: webhooks that are delivered side by side.
            backoff: how long to wait after failures.
        """
        self._turns = turns
        self._sender = sender
        self._keeper = keeper
        self._source = source
        self._places = concurrency
        self._slow_places = max(1, concurrency // 2)
        self._backoff = backoff or Backoff()
        self.pages = Pages(turns.run)
        self._tasks: dict[asyncio.Task[None], bool] = {}
        self._stopping = False

    async def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop, whatever happens to PostgreSQL and to targets.

        ``stop`` is set by whoever likes, in any thread, and looked at between rounds.
        """
        pause = SHORTEST_PAUSE
        try:
            while not stop.is_set():
                try:
                    busy = await self.round()
                except UnavailableError as error:
                    logger.warning("webhooks wait for the database", error=str(error))
                    busy = False
                except Exception:
                    logger.exception("webhooks cannot go on")
                    busy = False
                pause = SHORTEST_PAUSE if busy else min(pause * 2, LONGEST_PAUSE)
                await asyncio.sleep(pause)
        finally:
            self._stopping = True
            await self._end()

    async def round(self) -> bool:
        """Give turns to webhooks that have something coming; whether there were any."""
        head, due = await self._turns.due()
        passed, waiting = [], []
        for one in due:
            if one.position < head - NEAR:
                waiting.append(one)
                continue
            page = await self.pages.after(one.position)
            if any(one.wanted.takes(entry) for entry in page.beyond(one.position)):
                waiting.append(one)
            else:
                passed.append((one.webhook_id, one.position, page.end))
        if passed:
            await self._turns.let_pass(passed)
        chosen = self._chosen(waiting)
        if chosen:
            slow = {one.webhook_id: one.is_slow for one in chosen}
            for turn in await self._turns.take(list(slow)):
                task = asyncio.create_task(self._take_turn(turn))
                self._tasks[task] = slow[turn.webhook_id]
                task.add_done_callback(self._tasks.pop)
        return bool(passed or chosen)

    def _chosen(self, waiting: Sequence[Due]) -> list[Due]:
        """Those for whom there is a place."""
        free = self._places - len(self._tasks)
        slow_free = self._slow_places - sum(self._tasks.values())
        chosen = []
        for one in waiting:
            if free <= 0:
                break
            if one.is_slow:
                if slow_free <= 0:
                    continue
                slow_free -= 1
            free -= 1
            chosen.append(one)
        return chosen

    async def _end(self) -> None:
        tasks = list(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- one turn -----------------------------------------------------------------------------

    async def _take_turn(self, turn: Turn) -> None:
        try:
            try:
                await self._deliver(turn)
            except (LogGapError, VaultError) as error:
                logger.exception("webhook cannot be delivered", webhook=str(turn.webhook_id))
                await self._turns.put_off(turn, str(error), PUT_OFF)
            except asyncio.CancelledError:
                # Whether the target has it nobody knows: the next one sends it again.
                await self._turns.release(turn)
                raise
            except UnavailableError:
                raise
            except Exception:
                logger.exception("webhook failed", webhook=str(turn.webhook_id))
                await self._turns.put_off(turn, UNEXPECTED, PUT_OFF)
        except UnavailableError as error:
            # The lease runs out by itself.
            logger.warning("webhook waits", webhook=str(turn.webhook_id), error=str(error))
        except Exception:
            logger.exception("webhook failed", webhook=str(turn.webhook_id))

    async def _deliver(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + TURN_SECONDS

        def over() -> bool:
            return self._stopping or loop.time() >= ends_at

        while True:
            batch = await self._batch(turn)
            if batch.entries:
                if not await self._send(turn, batch, over):
                    return
                continue
            moved = batch.until > turn.position
            if moved and await self._turns.advance(turn, batch.until) and not over():
                turn.position, turn.pending_until = batch.until, None
                continue
            await self._turns.release(turn)
            return

    async def _send(self, turn: Turn, batch: _Batch, over: Callable[[], bool]) -> bool:
        """Send a batch and save what became of it; whether the turn goes on."""
        begun = await self._turns.begin(turn, batch.until)
        if begun is None:
            await self._turns.release(turn)
            return False
        secrets = [self._keeper.open(one) for one in begun.secrets]
        message = message_id(turn.webhook_id, turn.wanted, turn.position, batch.until)
        body = body_of(batch.entries, source=self._source)
        outcome = await self._sender.send(begun.url, message, body, secrets)
        goes_on = outcome.delivered and not over()
        saved = await self._turns.ended(
            turn,
            outcome,
            message_id=message,
            until=batch.until,
            events=len(batch.entries),
            delay=self._backoff.after(turn.failures + 1, outcome.retry_after),
            release=not goes_on,
        )
        self._tell(turn, outcome, saved)
        if saved is None or not goes_on:
            return False
        turn.position, turn.pending_until, turn.failures = batch.until, None, 0
        return True

    async def _batch(self, turn: Turn) -> _Batch:
        """What the webhook gets next; the same as before if it has not got that yet."""
        found: list[Entry] = []
        size, position, until, pages = 0, turn.position, turn.pending_until, 0
        while until is None or position < until:
            page = await self.pages.after(position)
            for entry in page.beyond(position):
                if until is not None and entry.stored.position > until:
                    return _Batch(found, until)
                if turn.wanted.takes(entry):
                    size += len(entry.text(self._source))
                    if found and (size > MOST_BYTES or len(found) >= MOST_EVENTS):
                        return _Batch(found, position)
                    found.append(entry)
                position = entry.stored.position
            pages += 1
            if not page.entries or (
                until is None and (pages >= PAGES_AT_ONCE or len(found) >= MOST_EVENTS)
            ):
                break
        return _Batch(found, position)

    def _tell(self, turn: Turn, outcome: Outcome, saved: tuple[str, int] | None) -> None:
        webhook = str(turn.webhook_id)
        if saved is None:
            logger.warning("webhook was lost to another process", webhook=webhook)
        elif saved[0] == "disabled":
            logger.error("webhook disabled", webhook=webhook, error=outcome.error)
        elif not outcome.delivered:
            logger.warning(
                "webhook not delivered",
                webhook=webhook,
                error=outcome.error,
                failures=saved[1],
            )
