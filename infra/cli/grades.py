"""Grades: how far they are calculated."""

from typing import Annotated, Any, Final

import typer

from infra.cli.output import Json, print_json, print_table

app: Final = typer.Typer(no_args_is_help=True)

RECALCULATIONS: Final = """
SELECT course_id, position, reason, total, done, changed, requested_at, started_at, updated_at,
    finished_at, error
FROM gradelog.recalculations WHERE %(course)s::text IS NULL OR course_id = %(course)s
ORDER BY finished_at IS NOT NULL, requested_at DESC, course_id
"""

Course = Annotated[str | None, typer.Argument(help="Key of a course; all without it.")]


@app.callback()
def grades() -> None:
    """See how grades are calculated."""


@app.command()
def recalculation(course: Course = None, *, as_json: Json = False) -> None:
    """Show how far courses are graded anew after their policy or outline changed."""
    from api.backend import Recalculation
    from infra.database import database, refuse_copy
    from infra.log.reader import connect
    from infra.logging import configure
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="grades", quiet=True)
    with database(settings) as dsn:
        refuse_copy(dsn)
        with connect(dsn, name="gradelog grades") as db:
            rows = db.execute(RECALCULATIONS, {"course": course}).fetchall()
    found = [Recalculation(*row) for row in rows]
    if as_json:
        print_json({"recalculations": [_document(one) for one in found]})
        return
    if not found:
        typer.echo("no course was ever graded anew")
        return
    print_table(
        "courses graded anew",
        (
            "course",
            "reason",
            "done",
            "of",
            "%",
            "changed",
            "left",
            "requested",
            "finished",
            "error",
        ),
        [
            (
                one.course_id,
                one.reason,
                one.done,
                one.total,
                f"{one.fraction:.0%}",
                one.changed,
                _left(one.seconds_left),
                one.requested_at,
                one.finished_at,
                one.error or "",
            )
            for one in found
        ],
        right="done of % changed left",
    )


def _document(one: Any) -> dict[str, Any]:
    names = ("course_id", "position", "reason", "total", "done", "changed", "fraction")
    times = ("seconds_left", "requested_at", "started_at", "updated_at", "finished_at", "error")
    return {name: getattr(one, name) for name in (*names, *times)}


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    return "" if seconds == 0 else f"{seconds:,.0f} s"
