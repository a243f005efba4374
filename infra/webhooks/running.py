"""Webhooks in a process: an event loop in a thread of its own that delivers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from infra.settings import Settings, master_key
from infra.threads import in_thread
from infra.webhooks.deliverer import Deliverer
from infra.webhooks.sending import Sender
from infra.webhooks.signing import Keeper
from infra.webhooks.targets import Policy
from infra.webhooks.turns import GiveUp, Turns


def policy_of(settings: Settings) -> Policy:
    """Where requests may go by these settings."""
    return Policy(
        allow_insecure=settings.webhook_allow_insecure or settings.development,
        allowed_networks=settings.webhook_allowed_networks,
    )


async def deliver(settings: Settings, dsn: str, stop: threading.Event, concurrency: int) -> None:
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

    def run(stop: threading.Event) -> None:
        asyncio.run(deliver(settings, dsn, stop, settings.webhook_concurrency))

    with in_thread(run, "gradelog webhooks"):
        yield
