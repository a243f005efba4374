"""Expired claims go, the others stay."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg

from domain.application import Claim
from infra.housekeeping import forget_expired_claims
from infra.log.postgres_log import PostgresLog
from infra.postgres import Session
from tests.infra.log.support import PATIENCE, events


def test_claims_whose_time_is_over_are_removed(dsn: str) -> None:
    now = datetime.now(UTC)

    async def test() -> int:
        log = PostgresLog(dsn, timeout=PATIENCE)
        claims = [
            Claim("over", expires_at=now - timedelta(seconds=1)),
            Claim("later", expires_at=now + timedelta(days=1)),
            Claim("for ever"),
        ]
        await log.append_encoded(events(uuid4(), 1), claims=claims)
        await log.close()
        session = Session(dsn, statement_timeout=PATIENCE)
        try:
            return await forget_expired_claims(session)
        finally:
            await session.close()

    assert asyncio.run(test()) == 1
    with psycopg.connect(dsn) as db:
        left = db.execute("SELECT key FROM gradelog.claims ORDER BY key").fetchall()
    assert left == [("for ever",), ("later",)]
