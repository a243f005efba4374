"""Messages that were not carried out: looking at them, trying again, letting go of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from domain.errors import OutcomeUnknownError, UnavailableError
from infra.cli.output import (
    FAILED,
    USAGE,
    CommandError,
    Json,
    bytes_text,
    print_json,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from consumers.inbound.parked import Parked, Selection
    from infra.inbound import Workshop

app: Final = typer.Typer(no_args_is_help=True)

PAGE: Final = 50
"""Messages that are fetched at once: of one megabyte each, at most."""

_LAST_MOMENT: Final = 253_402_300_799_000  # milliseconds: the end of the year 9999

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them.")]
Topic = Annotated[str | None, typer.Option(help="Only those of this topic.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason.")]
Containing = Annotated[
    str | None, typer.Option(help="Only those with this text in payload, key or headers.")
]
All = Annotated[bool, typer.Option("--all", help="All that are parked.")]


@app.command("list")
def list_parked(
    *,
    topic: Topic = None,
    reason: Reason = None,
    containing: Containing = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the oldest first.")] = 100,
    after: Annotated[
        int, typer.Option(min=0, metavar="ID", help="Those that were parked after this one.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Print what is parked, without the payloads."""
    from consumers.inbound.parked import Selection
    from consumers.inbound.store import Store
    from infra.inbound import ask_store

    selection = Selection(topic=topic, reason=reason, containing=containing)

    async def ask(store: Store) -> tuple[list["Parked"], int]:
        found = await store.find(selection, after=after, limit=limit, whole=False)
        return found, await store.count(selection)

    found, total = ask_store(ask)
    if as_json:
        print_json({"parked": [_summary(one) for one in found], "total": total})
        return
    if not found:
        typer.echo("nothing is parked")
        return
    print_table(
        f"parked messages; {total:,} in all" if total > len(found) else "parked messages",
        ("id", "parked at", "topic", "type", "from", "reason", "detail", "tries"),
        [
            (
                str(one.id),
                one.parked_at,
                one.topic,
                _visible(one.type),
                _visible(one.source),
                one.reason,
                _visible(_first_line(one.detail)),
                one.attempts,
            )
            for one in found
        ],
        right="id tries",
    )


@app.command()
def show(parked_id: Annotated[int, typer.Argument(metavar="ID")], *, as_json: Json = False) -> None:
    """Print one parked message with its payload, which may hold personal data."""
    from consumers.inbound.parked import Selection
    from infra.inbound import ask_store

    found = ask_store(lambda store: store.find(Selection(ids=[parked_id])))
    if not found:
        raise CommandError(f"no message is parked under {parked_id}", code=FAILED)
    (one,) = found
    payload, key = _text(one.payload), _text(one.key)
    headers = {
        name: _text(raw) for name, raw in zip(one.header_names, one.header_values, strict=True)
    }
    if as_json:
        print_json({**_summary(one), "key": key, "headers": headers, "payload": payload})
        return
    print_pairs(
        f"parked message {one.id}",
        {
            "reason": one.reason,
            "detail": _visible(one.detail),
            "parked at": one.parked_at,
            "tries": one.attempts,
            "last tried at": one.tried_at,
            "topic": one.topic,
            "partition": one.partition,
            "offset": one.offset,
            "sent at": _moment(one.sent_at),
            "size": bytes_text(one.payload_size) + (", cut off" if one.cut_off else ""),
            "key": _visible(key),
            **{_visible(name): _visible(value) for name, value in headers.items()},
        },
    )
    typer.echo(_visible(payload))


@app.command()
def replay(
    ids: Ids = None,
    *,
    everything: All = False,
    topic: Topic = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Try parked messages again, the oldest first. What is carried out is parked no more."""
    from infra.database import database, refuse_copy
    from infra.inbound import workshop
    from infra.logging import configure
    from infra.settings import read_settings

    selection = _selection(ids, topic, reason, everything=everything)
    settings = read_settings()
    configure(settings, role="inbound", quiet=True)
    results: list[dict[str, Any]] = []
    ended_by: Exception | None = None
    with database(settings) as dsn:
        refuse_copy(dsn)
        with workshop(settings, dsn) as opened:
            try:
                for one in _each(opened, selection):
                    results.append(_replayed(opened, one))
                    if not as_json:
                        _tell(results[-1])
            except (UnavailableError, OutcomeUnknownError) as error:
                ended_by = error
    failed = sum(result["reason"] is not None for result in results)
    # What was done is told, whatever became of the rest.
    if as_json:
        print_json(
            {"carried_out": len(results) - failed, "still_parked": failed, "messages": results}
        )
    else:
        typer.echo(f"{len(results) - failed:,} carried out, {failed:,} still parked")
    if ended_by is not None:
        raise ended_by
    _refuse_missing(ids, {result["id"] for result in results})
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def drop(
    ids: Ids = None,
    *,
    everything: All = False,
    older_than: Annotated[
        int | None,
        typer.Option(min=0, max=36_500, metavar="DAYS", help="Those parked before that."),
    ] = None,
    topic: Topic = None,
    reason: Reason = None,
    containing: Containing = None,
    as_json: Json = False,
) -> None:
    """Forget parked messages. They are gone for good."""
    from dataclasses import replace

    from consumers.inbound.store import Store
    from infra.inbound import ask_store

    before = None
    if older_than is not None:
        before = datetime.now(UTC) - timedelta(days=older_than)
    selection = _selection(ids, topic, reason, everything=everything or before is not None)
    selection = replace(selection, before=before, containing=containing)

    async def forget(store: Store) -> tuple[set[int], int]:
        named = await store.find(selection, whole=False) if ids else []
        return {one.id for one in named}, await store.drop(selection)

    found, dropped = ask_store(forget)
    if as_json:
        print_json({"dropped": dropped})
    else:
        typer.echo(f"{dropped:,} forgotten")
    _refuse_missing(ids, found)


def _selection(
    ids: list[int] | None, topic: str | None, reason: str | None, *, everything: bool
) -> "Selection":
    from consumers.inbound.parked import Selection

    if bool(ids) == everything:
        raise CommandError("either ids or --all is needed", code=USAGE)
    return Selection(ids=ids or None, topic=topic, reason=reason)


def _each(opened: "Workshop", selection: "Selection") -> "Iterator[Parked]":
    """Those that are parked now; what is parked meanwhile is for the next time."""
    after = 0
    last = opened.engine.run(opened.store.last)
    while found := opened.engine.run(
        lambda: opened.store.find(selection, after=after, limit=PAGE)  # noqa: B023
    ):
        for one in found:
            if one.id > last:
                return
            yield one
        after = found[-1].id


def _replayed(opened: "Workshop", one: "Parked") -> dict[str, Any]:
    inlet = opened.inlets.get(one.kind)
    if inlet is None:
        detail = f"messages of the kind {one.kind} cannot be read with these settings"
        return {"id": one.id, "reason": "unknown kind", "detail": detail}
    failure = opened.engine.run(lambda: opened.carrier.replay(inlet, one))
    return {
        "id": one.id,
        "reason": None if failure is None else failure.reason,
        "detail": None if failure is None else failure.detail,
    }


def _tell(result: dict[str, Any]) -> None:
    if result["reason"] is not None:
        detail = _visible(_first_line(result["detail"]))
        typer.echo(f"{result['id']}: {result['reason']}: {detail}")


def _refuse_missing(ids: list[int] | None, found: set[Any]) -> None:
    if missing := sorted(set(ids or ()) - found):
        raise CommandError(f"not parked: {', '.join(map(str, missing))}")


def _summary(one: "Parked") -> dict[str, Any]:
    names = ("id", "kind", "topic", "partition", "offset", "message_id", "source", "type")
    why = ("payload_size", "cut_off", "reason", "detail", "attempts", "parked_at", "tried_at")
    found = {name: getattr(one, name) for name in (*names, *why)}
    return {**found, "sent_at": _moment(one.sent_at)}


def _moment(milliseconds: int) -> datetime | None:
    """A time of Kafka, which may be any number: senders choose it."""
    if not 0 <= milliseconds <= _LAST_MOMENT:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def _visible(text: str | None) -> str:
    """A text of somebody else for a terminal, which must not take any of it for an order."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text or ""
    )


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
