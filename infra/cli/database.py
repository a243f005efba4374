"""The database as a whole: bringing it up to date, and what is in it."""

from typing import Any, Final

import typer

from infra.cli.output import Json, bytes_text, print_json, print_pairs, print_table

STATEMENT_TIMEOUT: Final = 600.0
"""Seconds; counting a large log takes a while."""

BY_TYPE: Final = "SELECT type, count(*) FROM events GROUP BY type ORDER BY type"

HEAD: Final = """
SELECT coalesce(max(position), 0), (SELECT recorded_at FROM events ORDER BY position LIMIT 1),
    (SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1)
FROM events
"""

STREAMS: Final = "SELECT count(*) FROM events WHERE version = 1"

STUDENT_ITEMS: Final = """
SELECT count(*), count(DISTINCT event ->> 'student_id'), count(DISTINCT event ->> 'course_id'),
    count(DISTINCT (event ->> 'course_id', event ->> 'item_id'))
FROM (SELECT data::json AS event FROM events WHERE type = %s) AS e
"""

SIZES: Final = """
SELECT pg_database_size(current_database()), pg_total_relation_size('events'),
    pg_total_relation_size('claims'), pg_total_relation_size('learner_keys')
"""

READ_MODELS: Final = """
SELECT r.schema, r.state, r.position, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM read_models r
LEFT JOIN pg_namespace n ON n.nspname = r.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
GROUP BY r.schema, r.state, r.position ORDER BY r.schema
"""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(migrate)
    app.command()(stats)


def migrate(*, as_json: Json = False) -> None:
    """Bring the database up to date. Every command that needs the database does so too."""
    from infra.embedded import EmbeddedPostgres
    from infra.migrate import migrate as apply
    from infra.settings import read_settings

    settings = read_settings()
    if settings.database_url is not None:
        applied = apply(settings.database_url)
    else:
        with EmbeddedPostgres(settings.home) as server:
            applied = apply(server.dsn)
    if as_json:
        print_json([{"number": one.number, "name": one.name} for one in applied])
        return
    for one in applied:
        typer.echo(f"applied {one.number:04} {one.name}")
    if not applied:
        typer.echo("the database is up to date")


def stats(*, as_json: Json = False) -> None:
    """Count what is in the log and how much room it takes."""
    from infra.database import database
    from infra.settings import read_settings

    with database(read_settings()) as dsn:
        found = _counted(dsn)
    if as_json:
        print_json(found)
        return
    sizes = found["bytes"]
    print_table("events", ("type", "events"), list(found["events_by_type"].items()), right="events")
    print_pairs(
        "log",
        {
            "events": found["events"],
            "streams": found["streams"],
            "student items": found["student_items"],
            "learners": found["learners"],
            "courses": found["courses"],
            "items": found["items"],
            "first event": found["first_recorded_at"],
            "last event": found["last_recorded_at"],
        },
    )
    print_pairs("room", {name: bytes_text(size) for name, size in sizes.items()})
    print_table(
        "read models",
        ("read_model", "state", "position", "size"),
        [
            (m["schema"], m["state"], m["position"], bytes_text(m["bytes"]))
            for m in found["read_models"]
        ],
        right="position size",
    )


def _counted(dsn: str) -> dict[str, Any]:
    import psycopg

    from domain.submissions.student_item import StudentItemRegistered
    from infra.postgres import options, parameters

    settings = parameters(
        options=options(statement_timeout=STATEMENT_TIMEOUT), application_name="gradelog stats"
    )
    with psycopg.connect(dsn, **settings) as db:
        db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        head, first, last = db.execute(HEAD).fetchone() or (0, None, None)
        by_type = dict(db.execute(BY_TYPE).fetchall())
        (streams,) = db.execute(STREAMS).fetchone() or (0,)
        items = db.execute(STUDENT_ITEMS, (StudentItemRegistered.TOPIC,)).fetchone() or (0,) * 4
        sizes = db.execute(SIZES).fetchone() or (0,) * 4
        models = db.execute(READ_MODELS).fetchall()
    return {
        "events": head,
        "events_by_type": by_type,
        "streams": streams,
        "student_items": items[0],
        "learners": items[1],
        "courses": items[2],
        "items": items[3],
        "first_recorded_at": first,
        "last_recorded_at": last,
        "bytes": dict(zip(("database", "events", "claims", "keys"), sizes, strict=True)),
        "read_models": [
            {"schema": schema, "state": state, "position": position, "bytes": size}
            for schema, state, position, size in models
        ],
    }
