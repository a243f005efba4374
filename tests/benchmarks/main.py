"""Measures an installation and prints figures, spread, ratios and targets.

    gradelog bench [--json] [--rounds N] [--seconds S] [--scale X] [--only NAME ...]

Baseline and ours are measured in the same run, in turns. The data is made in databases of
its own, on the server of ``DATABASE_URL`` or on the embedded one, and dropped afterwards.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import psycopg
from rich.console import Console
from rich.table import Table

from infra.database import database
from infra.logging import hand_over
from infra.settings import read_settings
from tests.benchmarks import (
    appending,
    commands,
    gradebook,
    grading,
    importing,
    kafka,
    over_http,
    projecting,
    reading,
    streaming,
)
from tests.benchmarks.harness import Figure, Settings

SUITES: Final[dict[str, Callable[[Settings], Iterator[Figure]]]] = {
    "append": appending.measure,
    "commands": commands.measure,
    "http": over_http.measure,
    "project": projecting.measure,
    "read": reading.measure,
    # Before those that start larger processes: it reports the largest of all until then.
    "import": importing.measure,
    "gradebook": gradebook.measure,
    "grading": grading.measure,
    "kafka": kafka.measure,
    "streams": streaming.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Run the chosen suites; return 0, also when a target is missed."""
    parser = argparse.ArgumentParser(prog="gradelog bench", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each figure")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one sample")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full amount of data")
    parser.add_argument("--only", nargs="+", choices=list(SUITES), default=list(SUITES))
    chosen = parser.parse_args(arguments)

    hand_over()  # standard output is for the figures
    figures: list[Figure] = []
    with database(read_settings()) as dsn:
        settings = Settings(dsn, chosen.seconds, chosen.rounds, chosen.scale)
        for name in chosen.only:
            Console(stderr=True).print(f"measuring {name} …")
            figures += SUITES[name](settings)
        machine = describe(dsn)
    if chosen.json:
        json.dump({"machine": machine, "figures": [plain(f, figures) for f in figures]}, sys.stdout)
        sys.stdout.write("\n")
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(table(figures, machine))
    return 0


def describe(dsn: str) -> dict[str, object]:
    """What the figures were measured on, and how much else the machine has had to do."""
    with psycopg.connect(dsn) as db:
        server = db.info.server_version
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": f"{server // 10000}.{server % 10000}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def ratio(figure: Figure, figures: Sequence[Figure]) -> float | None:
    """Median of the ratios to the baseline, round by round."""
    base = next((f for f in figures if f.name == figure.baseline), None)
    if base is None:
        return None
    pairs = sorted(a / b for a, b in zip(figure.samples, base.samples, strict=True))
    return pairs[len(pairs) // 2]


def plain(figure: Figure, figures: Sequence[Figure]) -> dict[str, object]:
    """A figure for machines."""
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "samples": figure.samples,
        "baseline": figure.baseline or None,
        "ratio": ratio(figure, figures),
        "target": figure.target or None,
        "reached": figure.reached,
        "note": figure.note or None,
    }


def table(figures: Sequence[Figure], machine: dict[str, object]) -> Table:
    """The figures for people."""
    title = ", ".join(f"{name} {value}" for name, value in machine.items())
    made = Table(title=title, title_justify="left", header_style="bold")
    made.add_column("measure")
    made.add_column("median [least .. most]", justify="right")
    made.add_column("unit")
    made.add_column("ratio", justify="right")
    made.add_column("target", justify="right")
    made.add_column("reached")
    for figure in figures:
        times = ratio(figure, figures)
        made.add_row(
            figure.name + (f" ({figure.note})" if figure.note else ""),
            f"{shown(figure.median)} [{shown(min(figure.samples))} .. {shown(max(figure.samples))}]",
            figure.unit,
            f"{times:.2f} x" if times else "",
            figure.target,
            {True: "yes", False: "no", None: ""}[figure.reached],
        )
    return made


def shown(value: float) -> str:
    """A number with as many digits as matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
