"""What all benchmarks share: scratch databases, rounds, figures with their spread."""

import gc
import itertools
import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.database import prepare
from tests.databases import create, drop

_numbers = itertools.count()

PATIENCE: Final = 180.0
"""Seconds that a process has to end or a server to answer; far more than it takes."""


@dataclass(frozen=True)
class Settings:
    """How long and how much.

    Attributes:
        dsn: a server on which databases may be created.
        seconds: length of one sample.
        rounds: samples of each measure; baseline and ours take turns.
        scale: part of the full amount of data, 1.0 for the documented figures.
    """

    dsn: str
    seconds: float
    rounds: int
    scale: float

    def amount(self, full: int) -> int:
        """So many of something, scaled."""
        return max(10, int(full * self.scale))


@dataclass
class Figure:
    """One row of the table.

    Attributes:
        name: what was measured.
        unit: of the samples.
        target: what it should reach, as text; empty for a baseline.
        at_least: the target as a number, when more is better.
        at_most: the target as a number, when less is better.
        baseline: the name of the row that this one is compared with.
    """

    name: str
    unit: str
    target: str = ""
    at_least: float | None = None
    at_most: float | None = None
    baseline: str = ""
    samples: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None


def percentile(samples: Sequence[float], part: float) -> float:
    """The sample that this part of all does not exceed."""
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * part))]


Sample = Callable[[], float]


def rounds(settings: Settings, *pairs: tuple[Figure, Sample]) -> Iterator[Figure]:
    """Take the samples of several figures in turn, so that noise meets them alike."""
    for _ in range(settings.rounds):
        for figure, sample in pairs:
            gc.collect()
            figure.samples.append(sample())
    for figure, _ in pairs:
        yield figure


@contextmanager
def scratch(dsn: str, *, migrated: bool = True, like: str | None = None) -> Iterator[str]:
    """A database that is gone afterwards; ``like``: a copy of one that nobody uses now."""
    name = f"gradelog_bench_{os.getpid()}_{next(_numbers)}"
    template = "template1" if like is None else str(conninfo_to_dict(like)["dbname"])
    with psycopg.connect(dsn, autocommit=True) as db:
        create(db, name, like=template)
    made = make_conninfo(**{**conninfo_to_dict(dsn), "dbname": name})
    try:
        if migrated and like is None:
            prepare(made)
        yield made
    finally:
        with psycopg.connect(dsn, autocommit=True) as db:
            drop(db, name)


def end(running: "subprocess.Popen[Any]") -> None:
    """Let a process end; one that does not is not left behind either."""
    running.terminate()
    try:
        running.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
        raise
    finally:
        if running.stdout is not None:
            running.stdout.close()
