"""Webhooks in a process: an event loop in a thread of its own that delivers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from infra.settings import Settings, master_key
from infra.webhooks.deliverer import GRACE, Deliverer
from infra.webhooks.sending import Sender
from infra.webhooks.signing import Keeper
from infra.webhooks.targets import Policy
from infra.webhooks.turns import GiveUp, Turns

MARGIN: Final = 5.0


def policy_of(settings: Settings) -> Policy:
    """Where requests may go by these settings."""
    return Policy(
        allow_insecure=settings.webhook_allow_insecure or settings.development,
        allowed_networks=settings.webhook_allowed_networks,
    )


async def deliver(settings: Settings, dsn: str, stop: asyncio.Event, concurrency: int) -> None:
    """Deliver until told to stop."""
    turns = Turns(dsn, give_up=GiveUp(timedelta(hours=settings.webhook_give_up_hours)))
    sender = Sender(policy_of(settings))
    deliverer = Deliverer(
        turns,
        sender,
        Keeper(master_key(settings)),
        source=settings.event_source,
        concurrency=concurrency,
    )
    try:
        await deliverer.run(stop)
    finally:
        await sender.close()
        await turns.close()


@contextmanager
def delivering(settings: Settings, dsn: str) -> Iterator[None]:
    """Deliver in a thread until the end, unless the settings say that others do.

    While nothing happens the thread asks the database a few times a second where the log
    ends, and does nothing else.
    """
    if settings.webhook_concurrency == 0:
        yield
        return
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    began = threading.Event()

    async def run() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        began.set()
        await deliver(settings, dsn, stop, settings.webhook_concurrency)

    thread = threading.Thread(
        target=lambda: asyncio.run(run()), name="gradelog webhooks", daemon=True
    )
    thread.start()
    began.wait()
    try:
        yield
    finally:
        loop, stop = loops[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(GRACE + MARGIN)
