"""Users from the command line: what an operator says, people can sign in with."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from infra.sessions import PostgresSessions
from tests.infra.cli.support import PATIENCE, Cli, Done, eventually

PASSWORD = "correct horse battery staple"


def with_password(cli: Cli, *arguments: str, password: str | bytes = PASSWORD) -> Done:
    """Run a command with a password on standard input."""
    given = password if isinstance(password, bytes) else password.encode() + b"\n"
    return cli.run(*arguments, "--password-stdin", given=given)


def ask(dsn: str, work: Callable[[PostgresSessions], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        sessions = PostgresSessions(dsn)
        try:
            return await work(sessions)
        finally:
            await sessions.close()

    return asyncio.run(run())


def is_password(dsn: str, user_id: int, password: str) -> bool:
    at = datetime.now(UTC)
    return bool(ask(dsn, lambda sessions: sessions.has_password(user_id, password, at=at)))


def begin(dsn: str, user_id: int, secret: bytes) -> UUID:
    at = datetime.now(UTC)
    until = at + timedelta(days=1)
    made = ask(dsn, lambda s: s.begin(user_id, "ann", secret, at=at, until=until))
    return UUID(str(made.session_id))


def test_a_user_is_registered_with_a_password(cli: Cli, dsn: str) -> None:
    done = with_password(
        cli,
        *("user", "add", "ann", "--email", "ann@example.org", "--full-name", "Ann Onym"),
        *("--staff", "--json"),
    )
    assert done.code == 0, done.err
    user = json.loads(done.out)
    assert (user["username"], user["is_staff"], user["created"]) == ("ann", True, True)
    assert is_password(dsn, user["user_id"], PASSWORD)
    assert not is_password(dsn, user["user_id"], PASSWORD + "x")
    with psycopg.connect(dsn) as db:
        (stored,) = db.execute("SELECT password_hash FROM gradelog.credentials").fetchall()
        ((data, metadata),) = db.execute("SELECT data, metadata FROM gradelog.events").fetchall()
    assert stored[0].startswith("$argon2id$")
    assert "ann@example.org" not in data
    assert json.loads(metadata)["actor"] == "operator"


def test_the_same_again_changes_nothing(cli: Cli) -> None:
    first = cli.ask("user", "add", "ann", "--user-id", "70")
    again = cli.ask("user", "add", "ann")
    assert (first["user_id"], again["user_id"]) == (70, 70)
    assert (again["created"], again["position"]) == (False, None)
    assert cli.ask("user", "add", "ann", "--staff")["is_staff"] is True
    assert cli.ask("user", "add", "ann", "--no-staff")["is_staff"] is False


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short", "10 to 1000 characters"),
        ("x" * 1001, "10 to 1000 characters"),
        ("", "10 to 1000 characters"),
        (b"\xff" * 12, "not UTF-8"),
    ],
)
def test_a_bad_password_registers_nobody(
    cli: Cli, dsn: str, password: str | bytes, problem: str
) -> None:
    done = with_password(cli, "user", "add", "ann", password=password)
    assert done.code != 0
    assert problem in done.err
    assert done.err.count("\n") == 1
    with psycopg.connect(dsn) as db:
        tables = db.execute("SELECT to_regclass('gradelog.events')").fetchall()
        assert tables != [(None,)]
        assert db.execute("SELECT count(*) FROM gradelog.events").fetchall() == [(0,)]


def test_a_password_is_the_same_however_it_is_typed(cli: Cli, dsn: str) -> None:
    done = with_password(
        cli, "user", "add", "ann", "--json", password="caf\u00e9 au lait\r\nrest\n".encode()
    )
    user_id = json.loads(done.out)["user_id"]
    assert is_password(dsn, user_id, "cafe\u0301 au lait")


def test_a_new_password_ends_the_sessions(cli: Cli, dsn: str) -> None:
    user_id = cli.ask("user", "add", "ann")["user_id"]
    begin(dsn, user_id, b"1")
    assert with_password(cli, "user", "password", "Ann").code == 0  # names differ in more than case
    assert is_password(dsn, user_id, PASSWORD)
    assert cli.ask("user", "sessions", "ann") == []


def test_sessions_are_shown_and_revoked(cli: Cli, dsn: str) -> None:
    user_id = cli.ask("user", "add", "ann")["user_id"]
    made = [begin(dsn, user_id, bytes([number])) for number in range(3)]
    shown = cli.ask("user", "sessions", "ann")
    assert [entry["session_id"] for entry in shown] == [str(one) for one in made]
    assert set(shown[0]) == {"session_id", "created_at", "last_used_at", "expires_at"}
    assert cli.ask("user", "revoke", "ann", "--session", str(made[0])) == {"ended": 1}
    assert len(cli.ask("user", "sessions", "ann")) == 2
    assert cli.ask("user", "revoke", "ann") == {"ended": 2}
    assert cli.ask("user", "sessions", "ann") == []
    assert "sessions of ann" in cli.run("user", "sessions", "ann").out


def test_everybody_is_listed(cli: Cli) -> None:
    cli.ask("user", "add", "bob", "--staff")
    assert with_password(cli, "user", "add", "ann").code == 0
    listed = cli.ask("user", "list")
    assert [
        (one["username"], one["is_staff"], one["has_password"], one["is_active"]) for one in listed
    ] == [("ann", False, True, True), ("bob", True, False, True)]
    table = cli.run("user", "list")
    assert table.code == 0
    assert "registered users" in table.out


def test_who_is_not_there_has_nothing(cli: Cli) -> None:
    for command in (("sessions",), ("revoke",)):
        done = cli.run("user", *command, "nobody")
        assert done.code == 1
        assert "there is no user nobody" in done.err
    assert with_password(cli, "user", "password", "nobody").code == 1


def test_without_a_terminal_nobody_is_asked(cli: Cli) -> None:
    done = cli.run("user", "password", "ann")
    assert done.code == 2
    assert "--password-stdin" in done.err


def test_development_does_not_listen_to_the_network(cli: Cli) -> None:
    exposed = cli.but(GRADELOG_DEVELOPMENT="1", GRADELOG_HOST="0.0.0.0")
    done = exposed.run("serve", "--port", "0")
    assert done.code == 2
    assert "could be anybody" in done.err
    assert "GRADELOG_DEVELOPMENT_ANYWHERE" in done.err
    insisting = exposed.but(GRADELOG_DEVELOPMENT_ANYWHERE="1")
    with insisting.start("api", "--port", "0") as running:
        assert running.line().startswith("serving on ")


def test_who_is_registered_signs_in_to_what_is_served(cli: Cli) -> None:
    assert with_password(cli, "user", "add", "ann", "--staff").code == 0
    mfe = "http://localhost:1994"
    served = cli.but(
        GRADELOG_ALLOWED_ORIGINS=mfe, GRADELOG_SITE_NAME="Grades & more", GRADELOG_SESSION_DAYS="2"
    )
    with served.start("serve", "--port", "0") as running, httpx.Client(timeout=PATIENCE) as client:
        client.base_url = httpx.URL(running.address())
        page = eventually(lambda: _page(client))
        assert "Grades &amp; more" in page.text
        token = page.text.partition("name=csrf_token value='")[2].partition("'")[0]
        form = {"username": "ann", "password": PASSWORD, "csrf_token": token, "next": f"{mfe}/x"}
        answer = eventually(lambda: _unless_unavailable(client.post("/login", data=form)))
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{mfe}/x")
        assert "Max-Age=172800" in answer.headers["Set-Cookie"]
        refreshed = client.post("/login_refresh", headers={"Origin": mfe})
        assert refreshed.status_code == 200
        assert refreshed.headers["Access-Control-Allow-Origin"] == mfe
        assert cli.ask("user", "revoke", "ann") == {"ended": 1}
        assert client.post("/login_refresh").status_code == 401
    (line,) = [one for one in running.err.splitlines() if "staff signed in" in one]
    assert json.loads(line)["user_id"] == 1
    assert PASSWORD not in running.err


def _page(client: httpx.Client) -> httpx.Response | None:
    return _unless_unavailable(client.get("/login"))


def _unless_unavailable(answer: httpx.Response) -> httpx.Response | None:
    """An answer, once read models serve."""
    return None if answer.status_code == 503 else answer
