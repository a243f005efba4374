"""The demonstration: a course of its own, what can be asked about it, and a server to ask."""

import json
import shlex
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from infra.cli.output import (
    Advance,
    Json,
    out,
    print_json,
    print_pairs,
    print_table,
    progress,
)
from infra.cli.serving import Host, Port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.submissions.fields import StudentItemKey
    from infra.demo import Step
    from infra.settings import Settings
    from projections.score_history import ScoreChange
    from projections.submissions import Submission

TOP: Final = 10
SHOWN_CHARACTERS: Final = 60
TOKEN_LIFETIME: Final = 86_400
DEMONSTRATOR: Final = "demo"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(demo)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demonstration shows; answers and reasons are opened."""

    top: "Sequence[tuple[str, int, str]]"
    learner: "StudentItemKey"
    history: "Sequence[ScoreChange]"
    reasons: "Sequence[str]"
    submission: "Submission"


def demo(
    *,
    host: Host = None,
    port: Port = None,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after showing.")] = False,
    development: Annotated[
        bool, typer.Option("--development", help="Let whoever opens /login be anybody.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a course with weeks of work in it, show it, and serve it."""
    from infra.cli.serving import answer, listening, projector
    from infra.settings import in_development, jwt_secret, read_settings

    settings = in_development(read_settings()) if development else read_settings()
    with ExitStack() as stack:
        listener, secret = None, None
        if not no_serve:
            listener = stack.enter_context(listening(settings, host, port, next_free=True))
            secret = jwt_secret(settings)

        from infra.cli.catching_up import wait_for_read_models
        from infra.demo import plan
        from infra.logging import configure
        from infra.main import database

        configure(settings, role="api", quiet=True)
        dsn = stack.enter_context(database(settings))
        stack.enter_context(projector(quiet=True))
        steps = plan()
        began = time.monotonic()
        with progress("simulating six weeks", len(steps), "steps") as advance:
            before, after = _carried_out(settings, dsn, steps, advance)
        stored = time.monotonic()
        wait_for_read_models(dsn)
        figures = {
            "events added": after - before,
            "seconds": round(stored - began, 2),
            "events/s": round((after - before) / (stored - began), 1),
            "read models caught up after (s)": round(time.monotonic() - stored, 2),
            "events in the log": after,
        }
        shown = _asked(settings, dsn, steps)
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
                development=development,
                as_json=as_json,
            ),
        )


def _carried_out(
    settings: "Settings", dsn: str, steps: "Sequence[Step]", advance: Advance
) -> tuple[int, int]:
    """Carry out the plan; return the ends of the log before and after."""
    import uvloop

    from domain.submissions.application import Submissions
    from infra.demo import carry_out, simulated_now
    from infra.log.postgres_log import PostgresLog
    from infra.settings import master_key
    from infra.vault import Vault

    async def run() -> tuple[int, int]:
        log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
        vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
        try:
            before = await log.head()
            await carry_out(Submissions(log, simulated_now, vault), log, steps, advance)
            return before, await log.head()
        finally:
            await vault.close()
            await log.close()

    return uvloop.run(run())


def _asked(settings: "Settings", dsn: str, steps: "Sequence[Step]") -> Shown:
    import uvloop

    from domain.submissions.application import answer_context, reason_context
    from infra.demo import COURSE, SHOWN, showcase
    from infra.main import open_backend
    from projections.score_history import score_changes_of_student_item
    from projections.submissions import submissions_by_uuids, submissions_of_item, top_submissions

    async def run() -> Shown:
        key = showcase(steps)
        async with open_backend(settings, dsn) as backend:
            reads, vault = backend.reads, backend.vault
            best = (
                await reads.ask(top_submissions(COURSE, SHOWN.item_id, SHOWN.item_type, TOP))
            ).value
            uuids = [one.submission_uuid for one in best if one.submission_uuid is not None]
            by_uuid = (await reads.ask(submissions_by_uuids(uuids))).value
            history = (await reads.ask(score_changes_of_student_item(key))).value
            (submission, *_) = (await reads.ask(submissions_of_item(key))).value
            found = [(by_uuid[uuid], uuid) for uuid in uuids]
            await vault.load(
                [
                    *(submission.answer for submission, _ in found),
                    *(a.reason for change in history for a in change.annotations if a.reason),
                ]
            )
            answers = [
                json.loads(vault.open(one.answer, answer_context(uuid)))["parts"][0]["text"]
                for one, uuid in found
            ]
            reasons = [
                " ".join(
                    vault.open(a.reason, reason_context(change.score_id)) if a.reason else ""
                    for a in change.annotations
                )
                for change in history
            ]
            top = [
                (one.student_item.student_id, entry.points_earned, text)
                for entry, (one, _), text in zip(best, found, answers, strict=True)
            ]
            return Shown(top, key, history, reasons, submission)

    return uvloop.run(run())


def _show(shown: Shown, figures: dict[str, Any], *, as_json: bool) -> None:
    from infra.demo import COURSE, LEARNERS, SHOWN

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


def _history(shown: Shown) -> "Sequence[dict[str, Any]]":
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
    address: str, token: str | None, shown: Shown, *, development: bool, as_json: bool
) -> None:
    """Say where to go and what to type. Whole lines: they are made to be pasted."""
    commands = _commands(address, token, shown) if token else []
    if as_json:
        print_json({"address": address, "token": token, "commands": commands})
        return
    typer.echo(f"\nserving on {address}; the description of all routes is at {address}/docs")
    if development:
        typer.echo(f"whoever opens {address}/login may be anybody who is registered")
    if token is None:
        typer.echo("tokens are signed by whoever holds the keys of GRADELOG_JWKS_URL")
        return
    typer.echo(f"\ntoken of {DEMONSTRATOR}, global staff, for a day:\n{token}\n\ntry:")
    for command in commands:
        typer.echo(f"\n{command}")


def _commands(address: str, token: str, shown: Shown) -> list[str]:
    """The top list, a history, and a score of one's own."""
    from infra.demo import COURSE, SHOWN

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
