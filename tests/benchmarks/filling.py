"""Fills a log through the commands, as fast as an import does."""

import asyncio
from collections.abc import Iterable

import uvloop

from domain.submissions.application import Submissions
from infra.database import now
from infra.log.postgres_log import PostgresLog
from infra.vault import Vault

ANSWER = {"parts": [{"text": "An answer of some length. " * 6}]}
COURSE = "course-v1:Bench+B1+2026"
WINDOW = 500


def block(name: str) -> str:
    return f"block-v1:Bench+B1+2026+type@problem+block@{name}"


async def fill_with(dsn: str, work: Iterable[tuple[str, str, int]]) -> None:
    log, vault = PostgresLog(dsn, timeout=60), Vault(dsn)
    application = Submissions(log, now, vault)
    window = []

    async def prepare(student: str, name: str, points: int) -> list:
        created = await application.prepare_create_submission(
            {
                "student_id": student,
                "course_id": COURSE,
                "item_id": block(name),
                "item_type": "problem",
            },
            ANSWER,
        )
        scored = await application.prepare_set_score(
            created.submission_uuid, points, 100, stream_id=created.stream_ids[0]
        )
        return [created, scored]

    async def flush() -> None:
        prepared = await asyncio.gather(*(prepare(*one) for one in window))
        outcomes = await application.execute_all([p for pair in prepared for p in pair])
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failed:
            raise failed[0]
        window.clear()

    for one in work:
        window.append(one)
        if len(window) == WINDOW:
            await flush()
    await flush()
    await log.close()
    await vault.close()


def fill(dsn: str, work: Iterable[tuple[str, str, int]]) -> None:
    """Store a submission and a score out of 100 for each (student, block, points)."""
    uvloop.run(fill_with(dsn, work))
