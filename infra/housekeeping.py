"""What has to be thrown away now and then: all that has expired."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
import structlog

from domain.errors import UnavailableError
from infra.postgres import Row, Session
from infra.sessions import forget_expired

logger = structlog.get_logger(__name__)

EVERY: Final = 600.0
"""Seconds between two rounds; several processes share the work."""

AT_ONCE: Final = 1000
TIMEOUT: Final = 30.0

# What somebody claims anew at this moment is locked, and left to him.
FORGET_EXPIRED: Final = """
DELETE FROM claims WHERE key IN (
    SELECT key FROM claims WHERE expires_at < now()
    ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
)
"""


async def forget_expired_claims(session: Session) -> int:
    """Remove claims whose time is over, some at a time; return how many there were."""

    async def some(connection: psycopg.AsyncConnection[Row]) -> int:
        return (await connection.execute(FORGET_EXPIRED, (AT_ONCE,))).rowcount

    forgotten = 0
    while found := await session.run(some, within=TIMEOUT):
        forgotten += found
    return forgotten


@asynccontextmanager
async def kept_tidy(dsn: str) -> AsyncIterator[None]:
    """Do so from time to time while the context lasts."""
    session = Session(dsn, statement_timeout=TIMEOUT, application_name="gradelog housekeeping")

    async def keep() -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await forget_expired_claims(session)
                await forget_expired(session, within=TIMEOUT)
            except (psycopg.Error, UnavailableError):
                logger.exception("what has expired was not removed")
            finally:
                await session.discard()

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await session.close()
