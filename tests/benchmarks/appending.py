"""Durable events a second through the log, against the library's recorder and raw inserts."""

import asyncio
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from infra.log.appender import EncodedEvent, new_event_id
from infra.log.postgres_log import PostgresLog
from infra.log.recorder import open_recorder
from tests.benchmarks.harness import Figure, Settings, rounds, scratch

DATA = b'{"note":"' + b"x" * 360 + b'"}'


def asyncio_callers(dsn: str, callers: int, seconds: float) -> float:
    """Events a second of so many tasks, one event a call."""

    async def run() -> float:
        log = PostgresLog(dsn)
        await log.append_encoded([EncodedEvent(uuid4(), 1, "bench", DATA, new_event_id())])
        begin = time.perf_counter()
        end = begin + seconds
        done = 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < end:
                event = EncodedEvent(uuid4(), 1, "bench", DATA, new_event_id())
                await log.append_encoded([event])
                done += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        rate = done / (time.perf_counter() - begin)
        await log.close()
        return rate

    return uvloop.run(run())


def in_threads(callers: int, seconds: float, call: Callable[[], object]) -> float:
    """Calls a second of so many threads."""
    counts = [0] * callers
    end = time.perf_counter() + seconds

    def caller(number: int) -> None:
        while time.perf_counter() < end:
            call()
            counts[number] += 1

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(callers)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


def recorder_threads(dsn: str, callers: int, seconds: float) -> float:
    with open_recorder(dsn) as recorder:
        return in_threads(
            callers,
            seconds,
            lambda: recorder.insert_events([StoredEvent(uuid4(), 1, "bench", DATA)]),
        )


def library_threads(dsn: str, callers: int, seconds: float) -> float:
    """The library's own recorder with its default settings."""
    parts = conninfo_to_dict(dsn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = PostgresDatastore(
            dbname=str(parts["dbname"]),
            host=str(parts.get("host", "")),
            port=str(parts.get("port", "5432")),
            user=str(parts.get("user", "postgres")),
            password=str(parts.get("password", "")),
            pool_size=callers,
            max_overflow=0,
        )
        recorder = PostgresApplicationRecorder(store, events_table_name="library_events")
        recorder.create_table()
        try:
            return in_threads(
                callers,
                seconds,
                lambda: recorder.insert_events([StoredEvent(uuid4(), 1, "bench", DATA)]),
            )
        finally:
            store.close()


def processes(dsn: str, count: int, callers: int, seconds: float) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.appending", dsn, str(callers), str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0]) for process in running)


def raw_insert(dsn: str, seconds: float) -> float:
    """One connection, a thousand rows a statement: what the server can take."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS raw (LIKE gradelog.events INCLUDING ALL)")
        head = db.execute("SELECT coalesce(max(position), 0) FROM raw").fetchone()[0]
        data = [DATA] * 1000
        done, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            db.execute(
                """
                INSERT INTO raw
                SELECT %b::bigint + n, stream, 1, 'bench', convert_from(data, 'UTF8'), '{}', id,
                    now()
                FROM unnest(%b::uuid[], %b::bytea[], %b::uuid[])
                    WITH ORDINALITY AS t (stream, data, id, n)
                """,
                (head + done, [uuid4() for _ in data], data, [uuid4() for _ in data]),
            )
            done += 1000
        return done / (time.perf_counter() - begin)


def measure(settings: Settings) -> Iterator[Figure]:
    library = "library's recorder, 64 threads"
    seconds = settings.seconds
    with scratch(settings.dsn) as dsn:
        yield from rounds(
            settings,
            (Figure(library, "events/s"), lambda: library_threads(dsn, 64, seconds)),
            (
                Figure("raw insert of 1,000 rows a statement", "events/s"),
                lambda: raw_insert(dsn, seconds),
            ),
            (
                Figure(
                    "log, 64 asyncio callers",
                    "events/s",
                    "35,000 and 40 times",
                    at_least=35_000,
                    baseline=library,
                ),
                lambda: asyncio_callers(dsn, 64, seconds),
            ),
            (
                Figure("log, 64 threads", "events/s", "10,000", at_least=10_000, baseline=library),
                lambda: recorder_threads(dsn, 64, seconds),
            ),
            (
                Figure("log, 1 asyncio caller", "events/s", baseline=library),
                lambda: asyncio_callers(dsn, 1, seconds),
            ),
            (
                Figure(
                    "log, 4 processes of 16 callers",
                    "events/s",
                    "25,000",
                    at_least=25_000,
                    baseline=library,
                ),
                lambda: processes(dsn, 4, 16, seconds),
            ),
        )


if __name__ == "__main__":
    sys.stdout.write(str(asyncio_callers(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
