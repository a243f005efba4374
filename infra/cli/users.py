"""Who may sign in here: users, their passwords, and where they are signed in.

Users are facts of the log like everything else about people; passwords and sessions are
not, and are kept beside it.
"""

import getpass
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeVar
from uuid import UUID

import typer

from infra.cli.output import USAGE, CommandError, Json, print_json, print_table

if TYPE_CHECKING:
    from domain.events import Provenance
    from infra.log.postgres_log import PostgresLog
    from infra.sessions import PostgresSessions
    from infra.settings import Settings
    from infra.vault import Vault

T = TypeVar("T")

app: Final = typer.Typer(no_args_is_help=True)

PAGE: Final = 1000
LONGEST_LINE: Final = 65_536

Username = Annotated[str, typer.Argument(metavar="USERNAME")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Take the first line of standard input.")
]


@dataclass(frozen=True, slots=True)
class Opened:
    """What these commands work on."""

    settings: "Settings"
    dsn: str
    log: "PostgresLog"
    vault: "Vault"
    sessions: "PostgresSessions"


@app.command()
def add(
    username: Username,
    *,
    email: Annotated[str | None, typer.Option(help="Address.")] = None,
    full_name: Annotated[str | None, typer.Option(help="Name.")] = None,
    staff: Annotated[
        bool | None, typer.Option("--staff/--no-staff", help="May do everything, everywhere.")
    ] = None,
    user_id: Annotated[int | None, typer.Option(help="Number; the next one if not given.")] = None,
    password_stdin: FromStdin = False,
    as_json: Json = False,
) -> None:
    """Register a user, or change one. Without a password nobody can sign in by this name."""
    from domain.learners.application import Learners
    from infra.database import now
    from infra.passwords import check_password

    given = _read_password() if password_stdin else None
    if given is not None:
        check_password(given)

    async def work(opened: Opened) -> dict[str, object]:
        learners = Learners(opened.log, now, opened.vault)
        done = await learners.register_user(
            username,
            user_id=user_id,
            email=email,
            full_name=full_name,
            is_staff=staff,
            provenance=_provenance(),
        )
        state = done.value
        if given is not None:
            await opened.sessions.set_password(state.user_id, given, at=now())
        return {
            "user_id": state.user_id,
            "username": state.username,
            "is_staff": state.is_staff,
            "created": state.created,
            "position": done.position,
        }

    user = _run(work)
    if as_json:
        print_json(user)
    else:
        what = "registered" if user["created"] else "known"
        typer.echo(f"{user['username']} is {what}, as number {user['user_id']}")


@app.command()
def password(username: Username, *, password_stdin: FromStdin = False) -> None:
    """Set a user's password, and sign the user out everywhere."""
    from infra.database import now
    from infra.passwords import check_password

    given = _read_password() if password_stdin else _ask_password()
    check_password(given)

    async def work(opened: Opened) -> None:
        user_id = await _number_of(opened, username)
        await opened.sessions.set_password(user_id, given, at=now())

    _run(work)
    typer.echo(f"the password of {username} is set", err=True)


@app.command("list")
def list_users(*, as_json: Json = False) -> None:
    """Print who is registered, in the order of their names."""
    from infra.cli.serving import projector
    from infra.reads import PostgresReads
    from projections.gradebook.queries import users_page

    async def work(opened: Opened) -> list[dict[str, object]]:
        reads = PostgresReads(opened.dsn, size=1, timeout=opened.settings.read_timeout, wait=60.0)
        await reads.open()
        found: list[dict[str, object]] = []
        try:
            with projector(quiet=True):
                after = None
                while page := (await reads.ask(users_page(after, PAGE), latest=True)).value:
                    after = page[-1].username
                    able = await opened.sessions.with_password([row.user_id for row in page])
                    found += [
                        {
                            "user_id": row.user_id,
                            "username": row.username,
                            "is_active": row.is_active,
                            "is_staff": row.is_staff,
                            "has_password": row.user_id in able,
                            "registered_at": row.registered_at,
                        }
                        for row in page
                    ]
        finally:
            await reads.close()
        return found

    users = _run(work)
    if as_json:
        print_json(users)
        return
    print_table(
        "registered users",
        ("number", "name", "active", "staff", "password", "registered at"),
        [(str(number), *rest) for number, *rest in (user.values() for user in users)],
        right="number",
    )


@app.command()
def sessions(username: Username, *, as_json: Json = False) -> None:
    """Print the browsers that a user is signed in with."""
    from infra.database import now

    async def work(opened: Opened) -> list[dict[str, object]]:
        user_id = await _number_of(opened, username)
        return [
            {
                "session_id": one.session_id,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
                "expires_at": one.expires_at,
            }
            for one in await opened.sessions.of_user(user_id, at=now())
        ]

    found = _run(work)
    if as_json:
        print_json(found)
        return
    print_table(
        f"sessions of {username}",
        ("session", "signed in", "last used", "ends"),
        [tuple(one.values()) for one in found],
    )


@app.command()
def revoke(
    username: Username,
    *,
    session: Annotated[
        list[UUID] | None, typer.Option(help="Only this session; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign a user out everywhere. Tokens made before are good until they expire."""

    async def work(opened: Opened) -> int:
        user_id = await _number_of(opened, username)
        wanted: Sequence[UUID | None] = session or [None]
        return sum([await opened.sessions.revoke(user_id, one) for one in wanted])

    ended = _run(work)
    if as_json:
        print_json({"ended": ended})
    else:
        typer.echo(f"{ended} sessions of {username} ended")


def _run(work: Callable[[Opened], Awaitable[T]]) -> T:
    """Do the work of one command on the database of the settings."""
    import uvloop

    from infra.database import database, refuse_copy
    from infra.logging import configure
    from infra.settings import read_settings

    settings = read_settings()
    configure(settings, role="command", quiet=True)
    with database(settings) as dsn:
        refuse_copy(dsn)

        async def run() -> T:
            async with _opened(settings, dsn) as opened:
                return await work(opened)

        return uvloop.run(run())


@asynccontextmanager
async def _opened(settings: "Settings", dsn: str) -> AsyncIterator[Opened]:
    from infra.log.postgres_log import PostgresLog
    from infra.sessions import PostgresSessions
    from infra.settings import master_key
    from infra.vault import Vault

    log = PostgresLog(dsn, timeout=settings.append_timeout, queue=settings.log_queue)
    vault = Vault(dsn, master_key=master_key(settings), timeout=settings.append_timeout)
    kept = PostgresSessions(dsn, timeout=settings.append_timeout)
    try:
        yield Opened(settings, dsn, log, vault, kept)
    finally:
        await kept.close()
        await vault.close()
        await log.close()


async def _number_of(opened: Opened, username: str) -> int:
    """The number of a user, by the log itself: no read model has to be up to date."""
    from domain.application import rebuild
    from domain.learners.user import User, username_claim

    key = username_claim(username)
    held = (await opened.log.find_claims([key])).get(key)
    stream_id = None if held is None else held.stream_id
    if stream_id is not None:
        events = (await opened.log.read_streams([stream_id])).get(stream_id)
        user = rebuild(events) if events else None
        if isinstance(user, User):
            return user.user_id
    raise CommandError(f"there is no user {username}; gradelog user add {username} registers one")


def _provenance() -> "Provenance":
    from domain.events import Provenance

    return Provenance(actor="operator", via="command line")


def _read_password() -> str:
    """The first line of standard input."""
    line = sys.stdin.buffer.readline(LONGEST_LINE).rstrip(b"\r\n")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise CommandError("the password is not UTF-8 text", code=USAGE) from None


def _ask_password() -> str:
    """What somebody types twice at a terminal."""
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask at; use --password-stdin", code=USAGE)
    given = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != given:
        raise CommandError("these were two different passwords", code=USAGE)
    return given
