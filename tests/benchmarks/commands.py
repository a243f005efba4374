"""create_submission and set_score in process: as tasks, and as calls of threads."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import uvloop

from api import submissions
from domain.submissions.application import Submissions
from infra.database import now
from infra.in_process import in_process
from infra.log.postgres_log import PostgresLog
from infra.settings import Settings as AppSettings
from infra.vault import Vault
from tests.benchmarks.appending import in_threads
from tests.benchmarks.harness import Figure, Settings, rounds, scratch

ANSWER = {"parts": [{"text": "An answer of some length. " * 6}]}
COURSE = "course-v1:Bench+B1+2026"
LEARNERS = 1000


def item(n: int) -> dict[str, str]:
    return {
        "student_id": f"learner-{n % LEARNERS}",
        "course_id": COURSE,
        "item_id": f"block-v1:Bench+B1+2026+type@problem+block@{n // LEARNERS}",
        "item_type": "problem",
    }


class Commands:
    """The same course for all samples: learners hand in one item after the other."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._numbers = itertools.count()
        self._uuids: list[UUID] = []

    def as_tasks(
        self, callers: int, seconds: float, command: Callable[[Submissions], Awaitable[Any]]
    ) -> float:
        async def run() -> float:
            log, vault = PostgresLog(self._dsn), Vault(self._dsn)
            application = Submissions(log, now, vault)
            for _ in range(callers):
                await self.create(application)
            begin = time.perf_counter()
            done = 0

            async def caller() -> None:
                nonlocal done
                while time.perf_counter() < begin + seconds:
                    await command(application)
                    done += 1

            await asyncio.gather(*(caller() for _ in range(callers)))
            rate = done / (time.perf_counter() - begin)
            await log.close()
            await vault.close()
            return rate

        return uvloop.run(run())

    async def create(self, application: Submissions) -> None:
        done = await application.create_submission(item(next(self._numbers)), ANSWER)
        self._uuids.append(done.value.event.submission_uuid)

    async def score(self, application: Submissions) -> None:
        await application.set_score(random.choice(self._uuids[-2000:]), 7, 10)

    def in_threads(self, callers: int, seconds: float, command: Callable[[], object]) -> float:
        with TemporaryDirectory() as home:
            settings = AppSettings(database_url=self._dsn, home=Path(home))
            with in_process(settings, dsn=self._dsn, projector=False):
                command()
                return in_threads(callers, seconds, command)

    def create_call(self) -> None:
        created = submissions.create_submission(item(next(self._numbers)), ANSWER)
        self._uuids.append(UUID(created["uuid"]))

    def score_call(self) -> None:
        submissions.set_score(random.choice(self._uuids[-2000:]), 7, 10)


def measure(settings: Settings) -> Iterator[Figure]:
    seconds = settings.seconds
    with scratch(settings.dsn) as dsn:
        commands = Commands(dsn)
        yield from rounds(
            settings,
            *(
                (
                    Figure(
                        f"{name}, {callers} asyncio callers",
                        "commands/s",
                        target,
                        at_least=at_least,
                    ),
                    lambda callers=callers, command=command: commands.as_tasks(
                        callers, seconds, command
                    ),
                )
                for name, command in (
                    ("create_submission", commands.create),
                    ("set_score", commands.score),
                )
                for callers, target, at_least in ((1, "1,000", 1000), (64, "8,000", 8000))
            ),
            *(
                (
                    Figure(f"{name}, {callers} threads", "commands/s"),
                    lambda callers=callers, command=command: commands.in_threads(
                        callers, seconds, command
                    ),
                )
                for name, command in (
                    ("create_submission", commands.create_call),
                    ("set_score", commands.score_call),
                )
                for callers in (1, 64)
            ),
        )
