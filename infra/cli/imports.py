"""Carrying in records of other systems."""

import dataclasses
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.olx import olx
from infra.cli.output import (
    FAILED,
    Advance,
    CommandError,
    Json,
    print_error,
    print_json,
    print_pairs,
    progress,
)

if TYPE_CHECKING:
    from infra.cli.processes import Helper
    from infra.imports.oulad import Dataset
    from infra.imports.oulad_import import Report
    from infra.log.postgres_log import PostgresLog
    from infra.settings import Settings
    from infra.vault import Vault

app: Final = typer.Typer(no_args_is_help=True)
app.command()(olx)

MOST_PROCESSES: Final = 4
"""By default; beyond that the one log is the limit."""

ROWS_OF_A_PROCESS: Final = 2_000
"""With fewer, to start one more takes longer than it saves."""

Directory = Annotated[
    Path, typer.Argument(help="Directory with the CSV files of the dataset, plain or gzipped.")
]


@app.callback()
def group() -> None:
    """Carry in records of other systems, through the same commands as everything else."""


@app.command()
def oulad(
    path: Directory,
    *,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="How many work at it; if there is much, as many as processors."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import the Open University Learning Analytics Dataset; again to add what is missing.

    Every row is checked before anything is written. It ends when all grades can be read.
    """
    from infra.cli.catching_up import wait_for_grades, wait_for_read_models
    from infra.cli.serving import projector
    from infra.database import database, refuse_copy
    from infra.imports.oulad import Dataset
    from infra.logging import configure
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="import", quiet=True)
    began = time.monotonic()
    dataset = Dataset(path)
    total = dataset.check()
    count = processes or min(
        MOST_PROCESSES, len(os.sched_getaffinity(0)), 1 + total // ROWS_OF_A_PROCESS
    )
    with ExitStack() as stack:
        dsn = stack.enter_context(database(settings))
        refuse_copy(dsn)
        stack.enter_context(projector(quiet=True))
        head = _head(dsn)
        report = _published(settings, dsn, dataset)
        # A course that is new is graded as a whole: now, as nobody is in it yet who would get
        # a grade without having done anything.
        wait_for_grades(dsn, [course.course_id for course in dataset.courses])
        with progress("importing", total, "rows") as advance:
            if count == 1:
                report.add(_imported(settings, dsn, dataset, advance, (0, 1)))
            else:
                report.add(_imported_by(count, path, advance))
        stored = time.monotonic()
        wait_for_read_models(dsn)
        readable = time.monotonic()
        wait_for_grades(dsn)
        events = _head(dsn) - head
    moments = (began, stored, readable, time.monotonic())
    _print(report, events, moments, as_json=as_json)
    if report.differing:
        raise CommandError(
            f"{report.differing} rows differ from what was imported before", code=FAILED
        )


@app.command(hidden=True)
def oulad_part(
    path: Directory,
    *,
    number: Annotated[int, typer.Option()],
    of: Annotated[int, typer.Option()],
    lifeline: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Import the rows of some of the students, for ``import oulad``."""
    from infra.cli.processes import follow_parent
    from infra.database import database
    from infra.imports.oulad import Dataset
    from infra.logging import configure
    from infra.settings import read_settings

    follow_parent(lifeline)
    settings = read_settings()
    configure(settings, role="import", quiet=True)
    with database(settings) as dsn:
        report = _imported(
            settings, dsn, Dataset(path), lambda rows: print_json({"rows": rows}), (number, of)
        )
    print_json({"report": dataclasses.asdict(report)})


def _published(settings: "Settings", dsn: str, dataset: "Dataset") -> "Report":
    from domain.courses.application import Courses
    from infra.database import now
    from infra.imports.oulad_import import import_courses

    return _carried_out(settings, dsn, lambda log, _: import_courses(dataset, Courses(log, now)))


def _imported(
    settings: "Settings", dsn: str, dataset: "Dataset", advance: Advance, part: tuple[int, int]
) -> "Report":
    from domain.learners.application import Learners
    from domain.submissions.application import Submissions
    from infra.cli.processes import collect_seldom
    from infra.database import now
    from infra.imports.oulad_import import import_part

    def all_of_it(log: "PostgresLog", vault: "Vault") -> "Awaitable[Report]":
        learners, submissions = Learners(log, now, vault), Submissions(log, now, vault)
        return import_part(dataset, learners, submissions, log, advance, part=part)

    collect_seldom()
    return _carried_out(settings, dsn, all_of_it)


def _carried_out(
    settings: "Settings",
    dsn: str,
    work: Callable[["PostgresLog", "Vault"], Awaitable["Report"]],
) -> "Report":
    import uvloop

    from infra.log.postgres_log import PostgresLog
    from infra.settings import master_key
    from infra.vault import Vault

    async def run() -> "Report":
        log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
        vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
        try:
            return await work(log, vault)
        finally:
            await vault.close()
            await log.close()

    return uvloop.run(run())


def _head(dsn: str) -> int:
    from infra.log.reader import PostgresLogReader, connect

    with connect(dsn, name="gradelog import") as db:
        return PostgresLogReader().head(db)


def _imported_by(count: int, path: Path, advance: Advance) -> "Report":
    """Share the work among processes; the first that fails ends the others.

    Raises:
        typer.Exit: one of them failed, and has said why.
    """
    from infra.cli.processes import Helper
    from infra.imports.oulad_import import Report

    report = Report()
    told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    with ExitStack() as stack:
        for number in range(count):
            helper = Helper(
                [
                    *("import", "oulad-part", str(path)),
                    *("--number", str(number), "--of", str(count)),
                ]
            )
            stack.callback(helper.stop)
            threading.Thread(target=_listen, args=(helper, told), daemon=True).start()
        running = count
        while running:
            match told.get():
                case {"rows": int(rows)}:
                    advance(rows)
                case {"report": dict(values)}:
                    report.add(Report(**values))
                case {"ended": code}:
                    if code != 0:
                        raise typer.Exit(FAILED)
                    running -= 1
    return report


def _listen(helper: "Helper", told: "queue.SimpleQueue[dict[str, Any]]") -> None:
    import orjson

    for line in helper.lines():
        told.put(orjson.loads(line))
    told.put({"ended": helper.wait()})


def _print(
    report: "Report", events: int, moments: tuple[float, float, float, float], *, as_json: bool
) -> None:
    began, stored, readable, ended = moments
    seconds = ended - began
    figures = {
        "courses": report.courses,
        "learners": report.learners,
        "enrollments": report.enrollments,
        "rows": report.rows,
        "submissions": report.submissions,
        "scores": report.scores,
        "unscored": report.unscored,
        "skipped as present": report.present,
        "differing": report.differing,
        "events": events,
        "seconds": round(seconds, 2),
        "seconds until stored": round(stored - began, 2),
        "seconds until readable": round(readable - began, 2),
        "events/s": round(events / seconds, 1) if seconds else 0.0,
    }
    if as_json:
        names = {"skipped as present": "present", "events/s": "events_per_second"}
        print_json(
            {names.get(name, name.replace(" ", "_")): value for name, value in figures.items()}
        )
    else:
        print_pairs("import", figures)
    for example in report.examples:
        print_error(example)
