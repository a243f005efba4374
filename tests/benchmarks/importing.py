"""The real data set, from files to read models that have caught up and grades that are shown."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.harness import Figure, Settings, scratch

DATA = Path(__file__).parents[3] / "shared" / "data" / "oulad"
COUNTED = ("courses", "learners", "enrollments", "scores", "events")


def measure(settings: Settings) -> Iterator[Figure]:
    if not DATA.is_dir():
        return
    name = "import oulad: courses, learners, scores, grades"
    seconds = Figure(name, "s", "under 150", at_most=150)
    stored = Figure("of that, until all is stored", "s")
    readable = Figure("of that, until read models have caught up", "s")
    rate = Figure("its events, grades among them", "events/s")
    memory = Figure("its largest process", "MB", "under 400", at_most=400)
    for _ in range(settings.rounds):
        with scratch(settings.dsn) as dsn, TemporaryDirectory() as home:
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "infra.cli.main", "import", "oulad", str(DATA), "--json"],
                env={**os.environ, "DATABASE_URL": dsn, "GRADELOG_HOME": home},
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            seconds.samples.append(time.perf_counter() - begin)
            memory.samples.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        report = json.loads(done.stdout)
        stored.samples.append(report["seconds_until_stored"])
        readable.samples.append(report["seconds_until_readable"])
        rate.samples.append(report["events"] / seconds.samples[-1])
    seconds.note = ", ".join(f"{report[counted]:,} {counted}" for counted in COUNTED)
    yield from (seconds, stored, readable, rate, memory)
