"""From scores and policies to recorded grades, and what readers notice of it."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg

from infra.log.reader import connect
from tests.benchmarks.classes import (
    FULL,
    START,
    Class,
    enrollments,
    points,
    policy,
    scores,
    submissions,
    username,
)
from tests.benchmarks.gradebook import Reader, pages
from tests.benchmarks.harness import Figure, Settings, percentile, scratch
from tests.benchmarks.over_http import Server, server
from tests.benchmarks.storing import (
    fill,
    following,
    head,
    publish,
    store,
    store_users,
    wait_until,
    wait_until_graded,
)

BATCH = 5000
FOLDED = "SELECT position >= %s FROM gradelog.read_models WHERE name = 'gradebook'"
READERS = 2
EVERY = 0.1
"""Seconds between two pages of a reader."""


def measure(settings: Settings) -> Iterator[Figure]:
    yield from of_scores(settings)
    yield from of_policies(settings)


# --- scores -----------------------------------------------------------------------------------


def of_scores(settings: Settings) -> Iterator[Figure]:
    """Scores that wait in the log, of many learners and problems in any order."""
    learners = settings.amount(5000)
    of = Class(learners, 40, "Scores")
    work = [(user, n) for user in range(1, learners + 1) for n in range(0, of.subsections, 4)]
    random.Random(1).shuffle(work)
    baseline = f"upsert of a row for each, {BATCH:,} a statement"
    note = f"{len(work):,} scores of {learners:,} learners"
    bare = Figure(baseline, "events/s", note=note)
    folded = Figure("score events into the gradebook", "events/s", baseline=baseline)
    graded = Figure("the same, graded, recorded and shown", "events/s", baseline=baseline)
    for figure in (folded, graded):
        figure.target, figure.at_least = "10,000", 10_000
    of_folded = Figure("score events into the gradebook, of one core", "events/CPU s")
    of_graded = Figure("the same, graded, recorded and shown, of one core", "events/CPU s")
    with scratch(settings.dsn) as filled:
        with following(filled):
            publish(filled, of, policy())
            store_users(filled, learners)
            store(filled, enrollments(of), submissions(of, work))
            wait_until_graded(filled)
        store(filled, scores(of, work))
        end = head(filled)
        for _ in range(settings.rounds):
            bare.samples.append(upserts(settings, work, of))
            for grader, real, cpu in ((False, folded, of_folded), (True, graded, of_graded)):
                with scratch(settings.dsn, like=filled) as dsn:
                    seconds, used = until_shown(dsn, end, grader=grader)
                real.samples.append(len(work) / seconds)
                cpu.samples.append(len(work) / used)
    yield from (bare, folded, of_folded, graded, of_graded)


def until_shown(dsn: str, end: int, *, grader: bool) -> tuple[float, float]:
    """Seconds from the start of those who follow the log, and CPU seconds of this process."""
    begin, used = time.perf_counter(), time.process_time()
    with following(dsn, grader=grader):
        if grader:
            wait_until_graded(dsn, end)
        else:
            wait_until(dsn, FOLDED, end)
        return time.perf_counter() - begin, time.process_time() - used


def upserts(settings: Settings, work: list[tuple[int, int]], of: Class) -> float:
    """Rows a second, as plain as they can be: one table, one index, many rows a statement."""
    with scratch(settings.dsn, migrated=False) as dsn, connect(dsn) as db:
        db.execute(
            "CREATE TABLE public.bare (student text, item text, earned float8, possible float8,"
            " at timestamptz, PRIMARY KEY (student, item))"
        )
        begin = time.perf_counter()
        for start in range(0, len(work), BATCH):
            part = work[start : start + BATCH]
            db.execute(
                """
                INSERT INTO public.bare
                SELECT * FROM unnest(%b::text[], %b::text[], %b::float8[], %b::float8[],
                    %b::timestamptz[])
                ON CONFLICT (student, item) DO UPDATE SET earned = excluded.earned
                """,
                (
                    [username(user_id) for user_id, _ in part],
                    [of.problem(number) for _, number in part],
                    [float(number) for _, number in part],
                    [float(FULL)] * len(part),
                    [START] * len(part),
                ),
            )
        return len(work) / (time.perf_counter() - begin)


# --- policies ---------------------------------------------------------------------------------


def of_policies(settings: Settings) -> Iterator[Figure]:
    """Another policy for a large course, while its gradebook is read."""
    of = Class(settings.amount(20_000), 40, "Policy")
    weights = itertools.cycle((0.5, 0.4))
    with scratch(settings.dsn) as dsn:
        fill(dsn, [of])
        fill_scores(dsn, of)
        with server(dsn) as started:
            reader = Reader(started, settings.seconds)
            reader.walk(of)
            taken: list[float] = []
            alone, meanwhile = (Latencies(started, of, settings.seconds) for _ in range(2))
            for _ in range(settings.rounds):
                with alone:
                    time.sleep(settings.seconds * 2)
                with meanwhile:
                    begin = time.perf_counter()
                    publish(dsn, of, policy(next(weights)))
                    wait_until_graded(dsn)
                    taken.append(time.perf_counter() - begin)
            recorded = changed(dsn, of)
    name = f"policy change for {of.size:,} learners of {of.subsections} subsections, shown"
    note = f"{recorded:,} grades changed"
    yield Figure(name, "s", "under 60", at_most=60, samples=taken, note=note)
    for part in (0.5, 0.99):
        baseline = f"page of {of.size:,} learners, p{part * 100:.0f} at {READERS / EVERY:.0f}/s"
        yield Figure(baseline, "ms", samples=[percentile(s, part) for s in alone.samples])
        samples = [percentile(s, part) for s in meanwhile.samples]
        yield Figure(f"{baseline}, meanwhile", "ms", baseline=baseline, samples=samples)


class Latencies:
    """Reads pages at a steady pace as long as the context lasts."""

    def __init__(self, started: Server, of: Class, seconds: float) -> None:
        self._server = started
        self._seconds = min(1.0, seconds)  # of one start of the load generator
        self._paths = pages(of)
        self._over = threading.Event()
        self.samples: list[list[float]] = []

    def __enter__(self) -> None:
        self._over.clear()
        self.samples.append([])
        self._thread = ThreadPoolExecutor(1)
        self._reading = self._thread.submit(self._read)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._reading.result()
        self._thread.shutdown()

    def _read(self) -> None:
        # Once at least, however late it begins.
        while not self.samples[-1] or not self._over.is_set():
            requests = [(next(self._paths), None) for _ in range(200)]
            found = self._server.load(
                self._seconds,
                requests,
                method="GET",
                connections=READERS,
                every=EVERY,
                status=200,
            )
            self.samples[-1] += found["latencies"]


def fill_scores(dsn: str, of: Class) -> None:
    """Put the scores that grades were made of where the gradebook has them.

    As the fold would, but for the events: there are forty times as many as learners, and
    storing and folding them is measured elsewhere.
    """
    with connect(dsn) as db, db.cursor() as cursor:
        (schema,) = db.execute(
            "SELECT schema FROM gradelog.read_models WHERE name = 'gradebook'"
        ).fetchone()
        rows = (
            (
                f"{user_id * 1000 + n:032x}",
                *(username(user_id), of.course_id, of.problem(n), float(earned), float(FULL)),
                START,
            )
            for user_id in range(1, of.size + 1)
            for n in range(of.subsections)
            if (earned := points(user_id, n)) is not None
        )
        with cursor.copy(
            psycopg.sql.SQL(
                "COPY {}.problem_scores (stream_id, student_id, course_id, item_id, earned,"
                " possible, attempted_at) FROM STDIN"
            ).format(psycopg.sql.Identifier(schema))
        ) as copy:
            for row in rows:
                copy.write_row(row)
        db.execute("VACUUM ANALYZE")


def changed(dsn: str, of: Class) -> int:
    """How many learners the last change of policy gave another grade."""
    with psycopg.connect(dsn) as db:
        statement = "SELECT changed FROM gradelog.recalculations WHERE course_id = %s"
        return int(db.execute(statement, (of.course_id,)).fetchone()[0])
