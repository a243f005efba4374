"""Carrying in records of other systems."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

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
    from infra.imports.oulad import Dataset, Report
    from infra.settings import Settings

app: Final = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Carry in records of other systems, through the same commands as everything else."""


@app.command()
def oulad(
    path: Annotated[
        Path, typer.Argument(help="Directory with the CSV files of the dataset, plain or gzipped.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Import the Open University Learning Analytics Dataset; again to add what is missing.

    Every row is checked before the first one is written.
    """
    from infra.cli.catching_up import wait_for_read_models
    from infra.cli.serving import projector
    from infra.imports.oulad import Dataset
    from infra.logging import configure
    from infra.main import database
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="import")
    began = time.monotonic()
    dataset = Dataset(path)
    total = dataset.check()
    with database(settings) as dsn, projector():
        with progress("importing", total, "rows") as advance:
            report = _imported(settings, dsn, dataset, advance)
        imported = time.monotonic()
        wait_for_read_models(dsn)
    ended = time.monotonic()
    _print(report, imported - began, ended - began, as_json=as_json)
    if report.differing:
        raise CommandError(
            f"{report.differing} rows differ from what was imported before", code=FAILED
        )


def _imported(settings: "Settings", dsn: str, dataset: "Dataset", advance: Advance) -> "Report":
    import uvloop

    from domain.submissions.application import Submissions
    from infra.imports.oulad import import_results
    from infra.log.postgres_log import PostgresLog
    from infra.main import now
    from infra.settings import master_key
    from infra.vault import Vault

    async def run(progress: Callable[[int], None]) -> "Report":
        log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
        vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
        try:
            return await import_results(dataset, Submissions(log, now, vault), log, progress)
        finally:
            await vault.close()
            await log.close()

    return uvloop.run(run(advance))


def _print(report: "Report", importing: float, seconds: float, *, as_json: bool) -> None:
    figures = {
        "rows": report.rows,
        "submissions": report.submissions,
        "scores": report.scores,
        "unscored": report.unscored,
        "skipped as present": report.present,
        "differing": report.differing,
        "events": report.events,
        "seconds": round(seconds, 2),
        "seconds until stored": round(importing, 2),
        "events/s": round(report.events / seconds, 1) if seconds else 0.0,
    }
    if as_json:
        names = {"skipped as present": "present", "seconds until stored": "seconds_until_stored"}
        names["events/s"] = "events_per_second"
        print_json({names.get(name, name): value for name, value in figures.items()})
    else:
        print_pairs("import", figures)
    for example in report.examples:
        print_error(example)
