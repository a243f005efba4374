"""Reads in process: point reads of threads, the top list, and the large streams."""

import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from api import submissions
from infra.in_process import in_process
from infra.settings import Settings as AppSettings
from tests.benchmarks.appending import in_threads
from tests.benchmarks.filling import COURSE, block, fill
from tests.benchmarks.harness import Figure, Settings, rounds, scratch


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """Of one call, on the average of a while."""
    call()
    done, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        call()
        done += 1
    return (time.perf_counter() - begin) / done * 1000


def rows(call: Callable[[], Iterator[object]]) -> float:
    """Rows a second of one stream, read to its end."""
    begin = time.perf_counter()
    count = sum(1 for _ in call())
    return count / (time.perf_counter() - begin)


def wait_until_caught_up(dsn: str) -> None:
    """Return when every read model has applied the whole log."""
    behind = (
        "SELECT count(*) FROM gradelog.read_models"
        " WHERE position < (SELECT max(position) FROM gradelog.events)"
    )
    with psycopg.connect(dsn, autocommit=True) as db:
        while db.execute(behind).fetchone() != (0,):
            time.sleep(0.2)


def measure(settings: Settings) -> Iterator[Figure]:
    largest = settings.amount(100_000)
    sizes = {str(n): n for n in (largest // 100, largest // 10, largest)}
    seconds = settings.seconds
    with scratch(settings.dsn) as dsn, TemporaryDirectory() as home:
        fill(
            dsn,
            (
                (f"learner-{n}", name, random.randrange(1, 101))
                for name, size in sizes.items()
                for n in range(size)
            ),
        )
        settings_of = AppSettings(database_url=dsn, home=Path(home))
        with in_process(settings_of, dsn=dsn):
            wait_until_caught_up(dsn)
            everything = submissions.get_all_submissions
            uuids = [
                row["uuid"]
                for _, row in zip(
                    range(5000),
                    everything(COURSE, block(str(largest)), "problem", read_replica=False),
                    strict=False,
                )
            ]

            def score() -> None:
                student = f"learner-{random.randrange(largest)}"
                found = submissions.get_score(
                    {
                        "student_id": student,
                        "course_id": COURSE,
                        "item_id": block(str(largest)),
                        "item_type": "problem",
                    }
                )
                assert found is not None

            def top(name: str) -> None:
                found = submissions.get_top_submissions(COURSE, block(name), "problem", 10)
                assert len(found) == 10

            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            yield from rounds(
                settings,
                (
                    Figure("get_score, 8 threads", "calls/s", "6,000", at_least=6000),
                    lambda: in_threads(8, seconds, score),
                ),
                (
                    Figure("get_submission, 8 threads", "calls/s", "6,000", at_least=6000),
                    lambda: in_threads(
                        8, seconds, lambda: submissions.get_submission(random.choice(uuids))
                    ),
                ),
                *(
                    (
                        Figure(f"top 10 of {size:,} scored items", "ms", "under 1", at_most=1),
                        lambda name=name: milliseconds(lambda: top(name), seconds / 2),
                    )
                    for name, size in sizes.items()
                ),
                (
                    Figure("all submissions of an item", "rows/s", "60,000", at_least=60_000),
                    lambda: rows(lambda: everything(COURSE, block(str(largest)), "problem")),
                ),
                (
                    Figure("course information", "rows/s", "60,000", at_least=60_000),
                    lambda: rows(
                        lambda: submissions.get_all_course_submission_information(COURSE, "problem")
                    ),
                ),
            )
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            yield Figure("memory that the reads added", "MB", samples=[grown / 1024])
