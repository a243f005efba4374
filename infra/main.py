"""The wiring: the one place that knows everybody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import psycopg
import structlog

from api.backend import Backend
from domain.courses.application import Courses
from domain.grades.application import Grades
from domain.learners.application import Learners
from domain.submissions.application import Submissions
from infra.database import is_copy, now
from infra.feed_status import PostgresFeedStatus
from infra.grading import PostgresGradingStatus
from infra.housekeeping import kept_tidy
from infra.inbound_status import PostgresInboundStatus
from infra.log.postgres_log import PostgresLog
from infra.log.reader import connect
from infra.reads import PostgresReads
from infra.relay import PostgresRelayStatus
from infra.replica import (
    CopiedGrading,
    NoLog,
    NoPages,
    NoPasswords,
    NoWebhooks,
    OpeningVault,
    SealedVault,
)
from infra.sessions import PostgresSessions
from infra.settings import Settings, keys_of, master_key, writes_event_bus
from infra.tailing import PostgresEventPages
from infra.vault import Vault
from infra.webhooks.running import policy_of
from infra.webhooks.store import PostgresWebhooks
from projections.positions import is_fed

logger = structlog.get_logger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at what a database is for, as long as its log is empty."""

_MAY_BE_MARKED: Final = "SELECT NOT EXISTS (SELECT FROM gradelog.events)"


@asynccontextmanager
async def open_backend(
    settings: Settings, dsn: str, *, marked: Callable[[], None] = lambda: None
) -> AsyncIterator[Backend]:
    """Everything behind the interfaces, for the running event loop.

    Args:
        settings: what is in force.
        dsn: a database that is up to date.
        marked: called when it turns out to have no log after all: it is fed from Kafka since.
            What was opened is of no use then and has to be opened anew.
    """
    if await asyncio.to_thread(is_copy, dsn):
        async with read_only_backend(settings, dsn) as opened:
            yield opened
        return
    log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
    vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
    reads = PostgresReads(dsn, size=settings.pool_size, timeout=settings.read_timeout)
    relay = PostgresRelayStatus(
        dsn,
        relay=settings.kafka_bootstrap_servers is not None,
        event_bus=writes_event_bus(settings),
    )
    webhooks = PostgresWebhooks(
        dsn,
        master_key=master_key(settings),
        policy=policy_of(settings),
        source=settings.event_source,
    )
    async with (
        kept_tidy(dsn),
        _told_when_marked(dsn, marked),
        backend(dsn, log, vault, reads, relay, webhooks=webhooks) as opened,
    ):
        yield opened


@asynccontextmanager
async def _told_when_marked(dsn: str, marked: Callable[[], None]) -> AsyncIterator[None]:
    """Look whether a database is fed from Kafka after all, as long as its log is empty."""

    def look() -> tuple[bool, bool]:
        with connect(dsn, name="gradelog") as db:
            (row,) = db.execute(_MAY_BE_MARKED).fetchall()
            return is_fed(db), bool(row[0])

    async def watch() -> None:
        fed, possible = False, True
        while possible and not fed:
            await asyncio.sleep(LOOK_EVERY)
            with suppress(psycopg.OperationalError):
                fed, possible = await asyncio.to_thread(look)
        if fed:
            logger.warning("this database is fed from Kafka now, and has no log")
            marked()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def read_only_backend(settings: Settings, dsn: str) -> AsyncIterator[Backend]:
    """The same on a database that is fed from Kafka: reads are answered, the rest is refused."""
    keys = keys_of(settings, dsn)
    vault = (
        SealedVault(dsn)
        if keys is None
        else OpeningVault(keys, master_key=master_key(settings), timeout=settings.append_timeout)
    )
    reads = PostgresReads(dsn, size=settings.pool_size, timeout=settings.read_timeout)
    async with (
        kept_tidy(dsn),
        backend(
            dsn,
            NoLog(),
            vault,
            reads,
            pages=NoPages(),
            webhooks=NoWebhooks(dsn),
            sessions=NoPasswords(dsn),
            grading=CopiedGrading(dsn),
        ) as opened,
    ):
        yield opened


@asynccontextmanager
async def backend(
    dsn: str,
    log: PostgresLog | NoLog,
    vault: Vault,
    reads: PostgresReads,
    relay: PostgresRelayStatus | None = None,
    pages: PostgresEventPages | NoPages | None = None,
    webhooks: PostgresWebhooks | None = None,
    sessions: PostgresSessions | None = None,
    grading: PostgresGradingStatus | None = None,
) -> AsyncIterator[Backend]:
    """The same of parts that are made already; closes them in the end."""
    sessions = sessions or PostgresSessions(dsn)
    grading = grading or PostgresGradingStatus(dsn)
    feed = PostgresFeedStatus(dsn)
    inbound = PostgresInboundStatus(dsn)
    relay = relay or PostgresRelayStatus(dsn)
    pages = pages or PostgresEventPages(dsn)
    webhooks = webhooks or PostgresWebhooks(dsn)
    await reads.open()
    try:
        yield Backend(
            submissions=Submissions(log, now, vault),
            courses=Courses(log, now),
            learners=Learners(log, now, vault),
            grades=Grades(log, now, vault),
            reads=reads,
            events=log,
            pages=pages,
            vault=vault,
            feed=feed,
            grading=grading,
            inbound=inbound,
            relay=relay,
            sessions=sessions,
            webhooks=webhooks,
        )
    finally:
        await webhooks.close()
        await pages.close()
        await feed.close()
        await grading.close()
        await inbound.close()
        await relay.close()
        await sessions.close()
        await reads.close()
        await vault.close()
        await log.close()
