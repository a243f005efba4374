"""Tokens for development: what the command signs, the API believes."""

import asyncio

from api.http.auth import Caller, Tokens
from api.http.config import HttpConfig
from tests.infra.cli.support import SECRET, Cli

COURSE = "course-v1:OU+AAA+2013J"


def believed(token: str, *, audience: str | None = None, issuer: str | None = None) -> Caller:
    config = HttpConfig(jwt_secret=SECRET, jwt_audience=audience, jwt_issuer=issuer)
    return asyncio.run(Tokens(config).caller(b"Bearer " + token.encode()))


def test_a_token_says_what_the_command_line_said(bare: Cli) -> None:
    done = bare.run(
        *("token", "--username", "anna", "--user-id", "7", "--anonymous-id", "a1"),
        *("--anonymous-id", "a2", "--course-role", f"staff={COURSE}", "--scope", "events:read"),
    )
    assert done.err == ""
    assert done.out.count("\n") == 1
    assert believed(done.out.strip()) == Caller(
        username="anna",
        user_id="7",
        scopes=frozenset({"events:read"}),
        course_roles={"staff": frozenset({COURSE})},
        anonymous_ids=frozenset({"a1", "a2"}),
    )


def test_a_token_of_global_staff(bare: Cli) -> None:
    assert believed(bare.run("token", "--username", "root", "--staff").out.strip()).is_global_staff


def test_a_token_is_for_the_audience_of_the_settings(bare: Cli) -> None:
    cli = bare.but(GRADELOG_JWT_AUDIENCE="gradelog", GRADELOG_JWT_ISSUER="https://lms.example")
    token = cli.ask("token", "--username", "anna", "--expires", "60")["token"]
    caller = believed(token, audience="gradelog", issuer="https://lms.example")
    assert caller.username == "anna"


def test_a_guessable_secret_signs_nothing(bare: Cli) -> None:
    done = bare.but(GRADELOG_JWT_SECRET="change-me").run("token", "--username", "anna")
    assert done.code == 2
    assert done.out == ""
    assert "well known" in done.err


def test_without_a_secret_somebody_else_must_sign(bare: Cli) -> None:
    cli = bare.but(GRADELOG_JWT_SECRET=None, GRADELOG_JWKS_URL="https://lms.example/jwks")
    done = cli.run("token", "--username", "anna")
    assert done.code == 2
    assert "GRADELOG_JWKS_URL" in done.err
