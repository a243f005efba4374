"""Serving: one command starts everything, and nothing of it outlives the command."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.infra.cli.support import (
    PATIENCE,
    Cli,
    Running,
    children_of,
    eventually,
    is_running,
)

ITEM = {
    "student_id": "anna",
    "course_id": "course-v1:Org+C+R",
    "item_id": "block-v1:Org+C+R+type@problem+block@one",
    "item_type": "problem",
}


def call(address: str, path: str, token: str | None = None, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    if data:
        headers["Content-Type"] = "application/json"
    with urlopen(Request(address + path, data, headers), timeout=PATIENCE) as answer:
        return json.load(answer)


def hand_in(address: str, token: str) -> Any:
    body = {"student_item": ITEM, "answer": "42"}
    return call(address, "/api/submissions/v1/submissions/", token, body)


def newest(address: str, token: str) -> list[Any]:
    """What the read model says, at whatever position."""
    query = urlencode({name: ITEM[name] for name in ("course_id", "item_id", "item_type")})
    found: list[Any] = call(address, f"/api/submissions/v1/items/submissions/?{query}", token)[
        "results"
    ]
    return found


def shows(address: str, token: str, created: Any) -> bool:
    """Whether the read model has what was handed in; without an answer nobody knows yet."""
    try:
        return created["uuid"] in [row["uuid"] for row in newest(address, token)]
    except HTTPError as refused:
        refused.close()
        if refused.code != 503:
            raise
        return False


def staff(cli: Cli) -> str:
    return cli.run("token", "--username", "kim", "--staff").out.strip()


def test_the_printed_address_answers_and_its_token_opens(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as server:
        address = server.address()
        assert call(address, "/health/live") == {"status": "ok"}
        with pytest.raises(HTTPError, match="401"):
            call(address, "/api/submissions/v1/submissions/", "no.such.token", {})
        token = staff(cli)
        created = hand_in(address, token)
        eventually(lambda: shows(address, token, created))


def test_the_address_is_json_for_a_machine(cli: Cli) -> None:
    with cli.start("serve", "--port", "0", "--json") as server:
        assert call(json.loads(server.line())["address"], "/health/live") == {"status": "ok"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_to_end_ends_everything_in_good_order(cli: Cli, number: signal.Signals) -> None:
    with cli.start("serve", "--port", "0") as server:
        address = server.address()
        projector = server.child("project")
        assert server.end(number) == 0
        assert not is_running(projector)
        with pytest.raises(OSError, match="refused"):
            call(address, "/health/live")


def test_a_port_in_use_is_told_before_anything_is_started(bare: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in (["serve"], ["api"], ["api", "--workers", "2"], ["demo"]):
            done = bare.run(*command, "--port", str(port))
            assert done.code == 1
            assert done.out == ""
            assert done.err == (
                f"gradelog: port {port} on 127.0.0.1 is in use;"
                " choose another with --port or GRADELOG_PORT\n"
            )
    assert not Path(bare.environment["GRADELOG_HOME"]).exists()


def test_an_address_of_another_machine_is_refused(cli: Cli) -> None:
    done = cli.run("serve", "--host", "192.0.2.1", "--port", "0")
    assert done.code == 1
    assert "cannot listen on port 0 of 192.0.2.1" in done.err
    assert cli.run("serve", "--host", "no such host").code == 2


def test_a_guessable_secret_is_not_served(cli: Cli) -> None:
    done = cli.but(GRADELOG_JWT_SECRET="secret").run("serve", "--port", "0")
    assert done.code == 2
    assert "well known example" in done.err
    done = cli.but(GRADELOG_JWT_SECRET=None).run("serve", "--port", "0")
    assert done.code == 2
    assert "must be set when DATABASE_URL is" in done.err


@pytest.mark.fault
def test_a_killed_server_leaves_no_projector_behind(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as server:
        server.address()
        projector = server.child("project")
        server.end(signal.SIGKILL)
        eventually(lambda: not is_running(projector))


@pytest.mark.fault
def test_a_killed_projector_is_started_again_and_goes_on(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as server:
        address, token = server.address(), staff(cli)
        first = server.child("project")
        os.kill(first, signal.SIGKILL)
        created = hand_in(address, token)
        eventually(lambda: shows(address, token, created))
        assert server.child("project") != first


def workers(server: Running) -> set[int]:
    return {pid for pid, command in children_of(server.pid).items() if " worker " in command}


def two_workers(server: Running, *, but: int = 0) -> set[int]:
    """Both, once both are there; the address is told when one of them serves."""
    return eventually(
        lambda: found if len(found := workers(server)) == 2 and but not in found else set()
    )


@pytest.mark.fault
def test_workers_share_the_port_and_are_replaced(cli: Cli) -> None:
    with cli.start("api", "--port", "0", "--workers", "2") as server:
        address = server.address()
        both = two_workers(server)
        for _ in range(10):
            assert call(address, "/health/live") == {"status": "ok"}
        lost = both.pop()
        os.kill(lost, signal.SIGKILL)
        assert call(address, "/health/live") == {"status": "ok"}
        now = two_workers(server, but=lost)
        assert server.end(signal.SIGTERM) == 0
        assert not any(map(is_running, now))


@pytest.mark.fault
def test_killed_supervisor_leaves_no_worker_behind(cli: Cli) -> None:
    with cli.start("api", "--port", "0", "--workers", "2") as server:
        server.address()
        both = two_workers(server)
        server.end(signal.SIGKILL)
        eventually(lambda: not any(map(is_running, both)))


def test_the_api_alone_has_no_projector(cli: Cli) -> None:
    with cli.start("api", "--port", "0") as server:
        address, token = server.address(), staff(cli)
        created = hand_in(address, token)
        assert children_of(server.pid) == {}
        assert newest(address, token) == []
        with cli.start("project"):
            eventually(lambda: shows(address, token, created))


@contextmanager
def closed_to_all(dsn: str) -> Iterator[None]:
    """A database that is there and lets nobody in."""
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as db:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format
        db.execute(allow(sql.Identifier(str(name)), sql.SQL("false")))
        try:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            yield
        finally:
            db.execute(allow(sql.Identifier(str(name)), sql.SQL("true")))


@pytest.mark.fault
def test_without_its_database_it_says_so_and_recovers_by_itself(cli: Cli, dsn: str) -> None:
    patient = cli.but(GRADELOG_LOG_FORMAT="json", GRADELOG_APPEND_TIMEOUT="1")
    with patient.start("serve", "--port", "0") as server:
        address, token = server.address(), staff(cli)
        eventually(lambda: handed_in(address, token))  # a second is little on a busy machine
        with closed_to_all(dsn), pytest.raises(HTTPError) as refused:
            hand_in(address, token)
        assert refused.value.code == 503
        assert refused.value.headers["Retry-After"]
        request_id = refused.value.headers["X-Request-ID"]
        refused.value.close()
        created = eventually(lambda: handed_in(address, token))
        eventually(lambda: shows(address, token, created))
    logged = [json.loads(line) for line in server.err.splitlines()]
    assert request_id in {line.get("request_id") for line in logged}
    assert {line["role"] for line in logged} == {"api", "projector"}


def handed_in(address: str, token: str) -> Any:
    try:
        return hand_in(address, token)
    except HTTPError as refused:
        refused.close()
        return None


@pytest.mark.slow
def test_without_a_database_one_is_started_and_stopped_with_it(bare: Cli) -> None:
    home = Path(bare.environment["GRADELOG_HOME"])
    with bare.start("serve", "--port", "0") as server:
        address, token = server.address(), staff(bare)
        created = hand_in(address, token)
        eventually(lambda: shows(address, token, created))
        assert (home / "postgres" / "postmaster.pid").exists()
        server.end(signal.SIGKILL)
        # The projector is the last to leave, and whoever is last stops the database.
        eventually(lambda: not (home / "postgres" / "postmaster.pid").exists())
    with bare.start("serve", "--port", "0") as server:
        address = server.address()
        assert [row["uuid"] for row in newest(address, token)] == [created["uuid"]]
