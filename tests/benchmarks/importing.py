"""The real data set, from files to read models that have caught up."""

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


def measure(settings: Settings) -> Iterator[Figure]:
    if not DATA.is_dir():
        return
    seconds = Figure("import oulad, all included", "s", "under 60", at_most=60)
    memory = Figure("its largest process", "MB", "under 400", at_most=400)
    for _ in range(settings.rounds):
        with scratch(settings.dsn) as dsn, TemporaryDirectory() as home:
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "infra.cli.main", "import", "oulad", str(DATA), "--json"],
                env={**os.environ, "DATABASE_URL": dsn, "GRADELOG_HOME": home},
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            seconds.samples.append(time.perf_counter() - begin)
            memory.samples.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    yield from (seconds, memory)
