"""Webhooks: where events are delivered over HTTP, and what an operator does about it."""

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from uuid import UUID

import typer

from infra.cli.output import FAILED, USAGE, CommandError, Json, print_json, print_pairs, print_table

if TYPE_CHECKING:
    from api.webhooks import Attempt, Webhook
    from infra.webhooks.store import PostgresWebhooks

T = TypeVar("T")

app: Final = typer.Typer(no_args_is_help=True)

BY: Final = "gradelog webhooks"
PAGE: Final = 1000

Id = Annotated[UUID, typer.Argument(metavar="ID", help="Of a webhook, as `list` shows it.")]


@app.command(name="list")
def list_(*, as_json: Json = False) -> None:
    """Show all webhooks."""

    async def ask(webhooks: "PostgresWebhooks") -> "tuple[Sequence[Webhook], int]":
        return await webhooks.page(after=None, limit=PAGE), await webhooks.head()

    found, head = _carry_out(ask)
    if as_json:
        print_json([_plain(one, head) for one in found])
        return
    print_table(
        "webhooks",
        ("id", "url", "state", "position", "lag", "failures", "last error"),
        [
            (
                one.webhook_id,
                one.url,
                one.state,
                one.position,
                _lag(one, head),
                one.failures,
                one.reason or (one.last_error if one.failures else None),
            )
            for one in found
        ],
        right="position lag failures",
    )


@app.command()
def show(webhook_id: Id, *, as_json: Json = False) -> None:
    """Show one webhook and its last attempts."""

    async def ask(webhooks: "PostgresWebhooks") -> "tuple[Webhook, int, Sequence[Attempt]]":
        return (
            await webhooks.get(webhook_id),
            await webhooks.head(),
            await webhooks.attempts(webhook_id, before=None, limit=20),
        )

    one, head, attempts = _carry_out(ask)
    if as_json:
        deliveries = [dataclasses.asdict(attempt) for attempt in attempts]
        print_json({**_plain(one, head), "deliveries": deliveries})
        return
    print_pairs(
        one.url,
        {
            "id": one.webhook_id,
            "types": ", ".join(one.types) or "all",
            "course": one.course_id or "all",
            "description": one.description,
            "state": one.state,
            "reason": one.reason,
            "delivered up to position": one.position,
            "positions of the log after that": _lag(one, head),
            "failures since the last delivery": one.failures,
            "failing since": one.failing_since,
            "tried again at": one.retry_at,
            "last delivery": one.last_success_at,
            "last error": one.last_error,
            "old secret signs until": one.old_secret_until,
            "made": one.created_at,
            "by": one.created_by,
            "changed": one.updated_at,
            "changed by": one.updated_by,
        },
    )
    print_table(
        "last attempts",
        ("number", "at", "kind", "events", "until", "status", "seconds", "error"),
        [
            (a.number, a.at, a.kind, a.events, a.until, a.status, a.seconds, a.error)
            for a in attempts
        ],
        right="number events until status seconds",
    )


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to deliver.")],
    *,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="An event type; several may be given.")
    ] = None,
    course: Annotated[str | None, typer.Option(help="Only events of this course.")] = None,
    description: Annotated[str, typer.Option(help="What to call it.")] = "",
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin after this position; else where the log ends.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have events delivered to an address; prints the secret, which is not shown again."""
    from api.event_types import event_types
    from api.webhooks import NewWebhook

    known = {kind.TOPIC for kind in event_types()}
    for name in types or ():
        if name not in known:
            raise CommandError(f"there is no event type {name!r}", code=USAGE)
    new = NewWebhook(url, tuple(types or ()), course, description, after)
    made = _carry_out(lambda webhooks: webhooks.create(new, by=BY)).value
    webhook = made.webhook
    said = f"webhook {webhook.webhook_id} begins after position {webhook.position:,}"
    _show_secret(webhook, made.secret, said, as_json=as_json)


@app.command()
def pause(webhook_id: Id, *, as_json: Json = False) -> None:
    """Deliver nothing until `resume`."""
    _set_state(webhook_id, "paused", as_json=as_json)


@app.command()
def resume(webhook_id: Id, *, as_json: Json = False) -> None:
    """Go on where it was, at once, also if it was disabled."""
    _set_state(webhook_id, "active", as_json=as_json)


@app.command()
def remove(webhook_id: Id, *, as_json: Json = False) -> None:
    """Deliver nothing more, and forget the webhook."""
    _carry_out(lambda webhooks: webhooks.remove(webhook_id, by=BY))
    if as_json:
        print_json({"removed": webhook_id})
    else:
        typer.echo(f"webhook {webhook_id} is removed")


@app.command()
def rotate(webhook_id: Id, *, as_json: Json = False) -> None:
    """Make a new secret and print it; the one before signs beside it for 24 hours."""
    made = _carry_out(lambda webhooks: webhooks.rotate(webhook_id, by=BY)).value
    said = f"webhook {webhook_id} has a new secret; the one before signs beside it for 24 hours"
    _show_secret(made.webhook, made.secret, said, as_json=as_json)


@app.command(name="test")
def ping(webhook_id: Id, *, as_json: Json = False) -> None:
    """Send a ping now; fails if the target does not take it."""
    attempt: Attempt = _carry_out(lambda webhooks: webhooks.test(webhook_id, by=BY)).value
    if as_json:
        print_json(dataclasses.asdict(attempt))
    elif attempt.delivered:
        typer.echo(f"the target answered {attempt.status} in {attempt.seconds:.3f} seconds")
    if not attempt.delivered:
        raise CommandError(str(attempt.error), code=FAILED)


@app.command()
def deliver(
    *,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Deliver in a process of its own. Several may run, and beside projectors that deliver."""
    import threading

    from infra.cli.processes import follow_parent, on_signals
    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.settings import read_settings
    from infra.webhooks.running import deliver as run

    stop = threading.Event()
    on_signals(stop.set)
    follow_parent(lifeline)
    settings = read_settings()
    configure(settings, role="webhooks")
    with database(settings) as dsn:
        refuse_copy(dsn)
        if as_json:
            print_json({"pid": os.getpid()})
        elif lifeline is None:
            typer.echo("webhooks are delivered")
        asyncio.run(run(settings, dsn, stop, settings.webhook_concurrency or DEFAULT_CONCURRENCY))


DEFAULT_CONCURRENCY: Final = 32


def _set_state(webhook_id: UUID, state: str, *, as_json: bool) -> None:
    one = _carry_out(lambda webhooks: webhooks.change(webhook_id, {"state": state}, by=BY))
    if as_json:
        print_json(_plain(one))
    else:
        typer.echo(f"webhook {webhook_id} is {one.state}; it is at position {one.position:,}")


def _show_secret(webhook: "Webhook", secret: str, said: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_plain(webhook), "secret": secret})
        return
    typer.echo(said)
    typer.echo("its secret, which is not shown again:")
    typer.echo(secret)


def _plain(webhook: "Webhook", head: int | None = None) -> dict[str, Any]:
    found = dataclasses.asdict(webhook)
    lag = {} if head is None else {"lag": _lag(webhook, head)}
    return {"id": found.pop("webhook_id"), **found, **lag}


def _lag(webhook: "Webhook", head: int) -> int:
    return max(0, head - webhook.position)


def _carry_out(work: "Callable[[PostgresWebhooks], Awaitable[T]]") -> T:
    """Work on the webhooks of the database that the settings name."""
    from api.webhooks import WebhookTargetError
    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.settings import master_key, read_settings
    from infra.webhooks.running import policy_of
    from infra.webhooks.store import PostgresWebhooks

    settings = read_settings()
    configure(settings, role="webhooks", quiet=True)

    async def on(dsn: str) -> T:
        webhooks = PostgresWebhooks(
            dsn,
            master_key=master_key(settings),
            policy=policy_of(settings),
            source=settings.event_source,
        )
        try:
            return await work(webhooks)
        finally:
            await webhooks.close()

    with database(settings) as dsn:
        refuse_copy(dsn)
        try:
            return asyncio.run(on(dsn))
        except WebhookTargetError as refused:
            raise CommandError(str(refused), code=USAGE) from None
