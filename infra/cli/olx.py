"""Carrying in a course that Open edX has exported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.output import Json, out, print_json, print_table

if TYPE_CHECKING:
    from api.olx import ImportedCourse
    from domain.application import Done
    from domain.courses.application import Published
    from infra.settings import Settings


def olx(
    path: Annotated[Path, typer.Argument(help="The .tar.gz of an exported course.")],
    *,
    course_id: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Publish it under this key instead of the one in the archive."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish an exported course: its outline, its dates and its grading policy.

    The same archive again changes nothing. Parts that cannot be read are named.
    """
    from api.olx import read_course
    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="import", quiet=True)
    course = read_course(path, course_id=course_id)
    with database(settings) as dsn:
        refuse_copy(dsn)
        done = _published(settings, dsn, course)
    changed = list(done.value.changed)
    if as_json:
        print_json(
            {
                "course_id": course.course_id,
                "display_name": course.display_name,
                "blocks": course.counts,
                "changed": changed,
                "position": done.position,
                "report": course.report,
            }
        )
    else:
        _print(course, changed)


def _published(settings: "Settings", dsn: str, course: "ImportedCourse") -> "Done[Published]":
    import uvloop

    from domain.courses.application import Courses
    from domain.events import Provenance
    from infra.database import now
    from infra.log.postgres_log import PostgresLog

    async def run() -> "Done[Published]":
        log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
        try:
            return await Courses(log, now).publish(
                course.course_id,
                display_name=course.display_name,
                start=course.start,
                end=course.end,
                self_paced=course.self_paced,
                blocks=course.blocks,
                grading_policy={"graders": course.graders, "cutoffs": course.cutoffs},
                provenance=Provenance(actor="olx import", via="import"),
            )
        finally:
            await log.close()

    return uvloop.run(run())


def _print(course: "ImportedCourse", changed: list[str]) -> None:
    rows: list[tuple[Any, ...]] = list(course.counts.items())
    print_table(course.display_name, ("type", "blocks"), rows, right="blocks")
    for line in course.report:
        out().print(line, markup=False)
    told = ", ".join(part.replace("_", " ") for part in changed)
    out().print(f"{course.course_id}: {told or 'nothing changed'}", markup=False, style="bold")
