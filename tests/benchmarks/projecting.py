"""Read models: catching up, rebuilding, and how soon a write is visible."""

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator

import psycopg
import uvloop

from domain.submissions.application import Submissions
from infra.database import now
from infra.in_process import projecting
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.reads import PostgresReads
from infra.vault import Vault
from projections import submissions as queries
from projections.rebuild import rebuild
from projections.registry import READ_MODELS
from projections.runner import Runner
from tests.benchmarks.commands import ANSWER, item
from tests.benchmarks.filling import fill
from tests.benchmarks.harness import Figure, Settings, rounds, scratch


def head(dsn: str) -> int:
    with psycopg.connect(dsn) as db:
        return db.execute("SELECT max(position) FROM gradelog.events").fetchone()[0]


def catch_up(dsn: str) -> float:
    """Events a second, all read models, from nothing to the head of the log."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for model in READ_MODELS:
            db.execute(f"DROP SCHEMA IF EXISTS {model.schema()} CASCADE")
        db.execute("TRUNCATE gradelog.read_models")
    end = head(dsn)
    stop = threading.Event()
    runner = Runner(lambda: connect(dsn), PostgresLogReader(), READ_MODELS)
    thread = threading.Thread(target=runner.run, args=(stop,))
    begin = time.perf_counter()
    thread.start()
    while len(runner.active) < len(READ_MODELS) or min(runner.active.values()) < end:
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    stop.set()
    thread.join()
    return end / seconds


def rebuild_all(dsn: str) -> float:
    """Events a second, all read models one after the other, while the old rows serve."""
    begin = time.perf_counter()
    for model in READ_MODELS:
        rebuild(lambda: connect(dsn), PostgresLogReader(), model)
    return head(dsn) / (time.perf_counter() - begin)


def visible(dsn: str, seconds: float) -> list[float]:
    """Milliseconds from an acknowledged write to a read that shows it, at 200 events/s."""

    async def run() -> list[float]:
        log, vault = PostgresLog(dsn), Vault(dsn)
        application = Submissions(log, now, vault)
        reads = PostgresReads(dsn, size=8)
        await reads.open()
        waits: list[float] = []

        async def write_and_see(n: int) -> None:
            done = await application.create_submission(item(n), ANSWER)
            begin = time.perf_counter()
            uuid = done.value.event.submission_uuid
            answer = await reads.ask(queries.submission_by_uuid(uuid), at_least=done.position)
            assert answer.value is not None
            waits.append((time.perf_counter() - begin) * 1000)

        loop = asyncio.get_running_loop()
        tasks = []
        begin = loop.time()
        for n in range(int(seconds * 200)):
            await asyncio.sleep(max(0.0, begin + n / 200 - loop.time()))
            tasks.append(loop.create_task(write_and_see(n)))
        await asyncio.gather(*tasks)
        await reads.close()
        await log.close()
        await vault.close()
        return waits

    return uvloop.run(run())


def measure(settings: Settings) -> Iterator[Figure]:
    amount = settings.amount(40_000)
    with scratch(settings.dsn) as dsn:
        fill(dsn, ((f"learner-{n % 2000}", str(n // 2000), n % 101) for n in range(amount)))
        yield from rounds(
            settings,
            (
                Figure(
                    "catching up, all read models",
                    "events/s",
                    "25,000",
                    at_least=25_000,
                    note=f"{head(dsn):,} events",
                ),
                lambda: catch_up(dsn),
            ),
            (
                Figure("rebuilding, all read models", "events/s", "25,000", at_least=25_000),
                lambda: rebuild_all(dsn),
            ),
        )
    with scratch(settings.dsn) as dsn, projecting(dsn):
        p50 = Figure("write to visible, p50 at 200/s", "ms", "under 10", at_most=10)
        p99 = Figure("write to visible, p99 at 200/s", "ms", "under 50", at_most=50)
        for _ in range(settings.rounds):
            waits = sorted(visible(dsn, settings.seconds * 2))
            p50.samples.append(statistics.median(waits))
            p99.samples.append(waits[int(len(waits) * 0.99)])
        yield from (p50, p99)
