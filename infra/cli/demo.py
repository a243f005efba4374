"""The demonstration: a course of its own, what can be asked about it, and a server to ask."""

import json
import shlex
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import typer

from infra.cli.output import (
    Json,
    out,
    print_json,
    print_pairs,
    print_table,
    progress,
)
from infra.cli.serving import Host, Port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from api.backend import Backend
    from infra.demo.asking import Shown
    from infra.demo.decisions import Decision
    from infra.demo.running import Demonstration
    from infra.demo.work import Step
    from infra.log.postgres_log import PostgresLog
    from infra.settings import Settings
    from infra.vault import Vault

T = TypeVar("T")

SHOWN_CHARACTERS: Final = 60
TOKEN_LIFETIME: Final = 86_400
DEMONSTRATOR: Final = "demo"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(demo)


def demo(
    *,
    host: Host = None,
    port: Port = None,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after showing.")] = False,
    development: Annotated[
        bool | None,
        typer.Option(
            help="Let whoever opens /login be anybody; without a word only if the database is"
            " the embedded one and nobody but this machine is listened to."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a course with weeks of work in it, show it, and serve it."""
    from infra.cli.serving import answer, listening, projector
    from infra.settings import jwt_secret, read_settings

    settings = as_wanted(read_settings(), host, development)
    with ExitStack() as stack:
        listener, secret = None, None
        if not no_serve:
            listener = stack.enter_context(listening(settings, host, port, next_free=True))
            secret = jwt_secret(settings)

        from infra.database import database, refuse_copy
        from infra.demo.asking import ask
        from infra.demo.work import plan, showcase
        from infra.logging import configure

        configure(settings, role="api", quiet=True)
        dsn = stack.enter_context(database(settings))
        refuse_copy(dsn)
        stack.enter_context(projector(quiet=True))
        steps = plan()
        figures = _carried_out(settings, dsn, steps)
        shown = _in_backend(settings, dsn, lambda backend: ask(backend, showcase(steps)))
        _show(shown, figures, as_json=as_json)
        if listener is None:
            return
        answer(
            settings,
            dsn,
            listener,
            lambda address: _invite(
                address,
                _token(settings, secret),
                shown,
                development=settings.development,
                as_json=as_json,
            ),
        )


def as_wanted(settings: "Settings", host: str | None, development: bool | None) -> "Settings":
    """The settings, with people who choose whom to be where that does no harm."""
    from infra.settings import SettingsError, in_development, refuse_exposed_development

    if development is None and settings.database_url is not None:
        return settings
    if development is False:
        return settings.model_copy(update={"development": False})
    try:
        found = in_development(settings)
        refuse_exposed_development(found, settings.host if host is None else host)
    except SettingsError:
        if development:
            raise
        return settings
    return found


def _carried_out(settings: "Settings", dsn: str, steps: "Sequence[Step]") -> dict[str, Any]:
    """Carry out what is left of the demonstration; wait until it can be read. Figures."""
    from infra.cli.catching_up import wait_for_grades
    from infra.demo.asking import course_version
    from infra.demo.course import COURSE
    from infra.demo.decisions import decisions
    from infra.demo.running import Demonstration

    def run(work: "Callable[[Demonstration, PostgresLog], Awaitable[T]]") -> T:
        return _in_loop(settings, dsn, lambda log, vault: work(Demonstration(log, vault), log))

    began = time.monotonic()
    all_decisions = decisions(steps)
    before, left = run(lambda demo, log: _standing(demo, log, all_decisions))
    if left:
        run(lambda demo, _: demo.publish())
        # Before anybody is in the course, so that it is graded anew for nobody.
        wait_for_grades(dsn, [COURSE])
        run(lambda demo, _: demo.enroll())
    with progress("simulating six weeks", len(steps), "steps") as advance:
        run(lambda demo, _: demo.work(steps, advance))
    worked = time.monotonic()
    wait_for_grades(dsn, [COURSE])
    graded = time.monotonic()
    if left:
        version = _in_backend(settings, dsn, course_version)
        run(lambda demo, _: demo.decide(version, left))
        wait_for_grades(dsn, [COURSE])
    after = run(lambda _, log: log.head())
    return {
        "events added": after - before,
        "events in the log": after,
        "seconds": round(time.monotonic() - began, 2),
        "all grades recorded after the last score within (s)": round(graded - worked, 2),
    }


async def _standing(
    demonstration: "Demonstration", log: "PostgresLog", decisions: "Sequence[Decision]"
) -> "tuple[int, list[Decision]]":
    """The end of the log, and what is not decided yet: nothing when all else is done, too."""
    return await log.head(), await demonstration.left(decisions)


def _in_loop(
    settings: "Settings", dsn: str, work: "Callable[[PostgresLog, Vault], Awaitable[T]]"
) -> T:
    """Do some work on the log in an event loop."""
    import uvloop

    from infra.log.postgres_log import PostgresLog
    from infra.settings import master_key
    from infra.vault import Vault

    async def run() -> T:
        log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
        vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
        try:
            return await work(log, vault)
        finally:
            await vault.close()
            await log.close()

    return uvloop.run(run())


def _in_backend(settings: "Settings", dsn: str, work: "Callable[[Backend], Awaitable[T]]") -> T:
    """Ask something of all that is behind the interfaces."""
    import uvloop

    from infra.main import open_backend

    async def run() -> T:
        async with open_backend(settings, dsn) as backend:
            return await work(backend)

    return uvloop.run(run())


def _show(shown: "Shown", figures: dict[str, Any], *, as_json: bool) -> None:
    from infra.demo.asking import TOP
    from infra.demo.course import COURSE, SHOWN
    from infra.demo.people import LEARNERS

    if as_json:
        print_json(
            {
                "course_id": COURSE,
                "figures": figures,
                "top": [
                    {"student_id": student_id, "points_earned": points}
                    for student_id, points, _ in shown.top
                ],
                "history": [
                    {**entry, "reason": reason}
                    for entry, reason in zip(_history(shown), shown.reasons, strict=True)
                ],
            }
        )
        return
    out().print(f"[bold]{COURSE}[/bold]: {LEARNERS} learners, six weeks\n")
    print_table(
        f"top {TOP} of {SHOWN.name}",
        ("learner", "points", "answer"),
        [
            (student_id, f"{points}/{SHOWN.points}", text[:SHOWN_CHARACTERS] + "…")
            for student_id, points, text in shown.top
        ],
        right="points",
    )
    name = shown.learner.item_id.rpartition("@")[2]
    print_table(
        f"every score of {shown.learner.student_id} for {name}",
        ("when", "what", "points", "who", "why"),
        [
            (entry["created_at"], entry["what"], entry["points"], entry["actor"], reason)
            for entry, reason in zip(_history(shown), shown.reasons, strict=True)
        ],
        right="points",
    )
    print_pairs("figures", figures)


def _history(shown: "Shown") -> "Sequence[dict[str, Any]]":
    return [
        {
            "position": change.position,
            "created_at": change.created_at,
            "what": "reset" if change.reset else "score",
            "points": "" if change.reset else f"{change.points_earned}/{change.points_possible}",
            "actor": change.actor,
        }
        for change in shown.history
    ]


def _token(settings: "Settings", secret: str | None) -> str | None:
    if secret is None:
        return None
    from api.http.auth import issue_token

    return issue_token(
        secret,
        username=DEMONSTRATOR,
        staff=True,
        expires=TOKEN_LIFETIME,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )


def _invite(
    address: str, token: str | None, shown: "Shown", *, development: bool, as_json: bool
) -> None:
    """Say where to go and what to type. Whole lines: they are made to be pasted."""
    from infra.demo.course import COURSE
    from infra.demo.people import INSTRUCTOR

    commands = _commands(address, token, shown) if token else []
    gradebook = f"{address}/gradebook/{COURSE}/"
    if as_json:
        print_json(
            {"address": address, "token": token, "commands": commands, "gradebook": gradebook}
        )
        return
    typer.echo(f"\nserving on {address}; the description of all routes is at {address}/docs")
    if token is None:
        typer.echo("tokens are signed by whoever holds the keys of GRADELOG_JWKS_URL")
    else:
        typer.echo(f"\ntoken of {DEMONSTRATOR}, global staff, for a day:\n{token}\n\ntry:")
    for command in commands:
        typer.echo(f"\n{command}")
    typer.echo(f"\nthe gradebook, for people:\n{gradebook}")
    if development:
        typer.echo(f"sign in as {INSTRUCTOR} with a click: on this machine anybody may be anybody")
    else:
        typer.echo(
            f"sign in as {INSTRUCTOR}, after: gradelog user password {INSTRUCTOR}"
            " (or start the demo with --development)"
        )


def _commands(address: str, token: str, shown: "Shown") -> list[str]:
    """The top list, a history, and a score of one's own."""
    from infra.demo.course import COURSE, SHOWN

    api = f"{address}/api/submissions/v1"
    item = {"course_id": COURSE, "item_id": SHOWN.item_id, "item_type": SHOWN.item_type}
    key = shown.learner
    whose = {"student_id": key.student_id, "course_id": key.course_id, "item_id": key.item_id}
    top = f"{api}/items/top/?{urlencode({**item, 'number_of_top_scores': 3})}"
    history = f"{api}/history/?{urlencode(whose)}"
    score = f"{api}/submissions/{quote(str(shown.submission.submission_uuid))}/score/"
    body = {
        "points_earned": 8,
        "points_possible": 10,
        "annotation_creator": DEMONSTRATOR,
        "annotation_type": "staff_defined",
        "annotation_reason": "Because I can.",
    }
    curl = ["curl", "-sS", "-H", f"Authorization: Bearer {token}"]
    json_body = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return [
        shlex.join([*curl, top]),
        shlex.join([*curl, *json_body, score]),
        shlex.join([*curl, history]),
    ]
