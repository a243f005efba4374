"""Signatures that any library for Standard Webhooks can verify, and secrets that stay so."""

import base64
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.vault import VaultError
from infra.webhooks.signing import Keeper, new_secret, secret_text, signature
from tests.infra.webhooks.hooks import MASTER, Hooks
from tests.infra.webhooks.target import Got, Target

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


def verify() -> Callable[..., Any]:
    """The function that the documentation gives to receivers."""
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(program, names)
    return names["verify"]  # type: ignore[no-any-return]


def check(got: Got, secret: str, **more: Any) -> list[Any]:
    return verify()(got.body, got.headers, secret, **more)  # type: ignore[no-any-return]


def test_the_example_of_the_standard() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_documented_function_takes_what_comes(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        got = there.next()
    assert [event["position"] for event in check(got, made.secret)] == got.positions


@pytest.mark.parametrize("forged", ["body", "id", "time", "secret"])
def test_it_refuses_what_was_changed(hooks: Hooks, there: Target, forged: str) -> None:
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        got = there.next()
    headers, secret, body = dict(got.headers), made.secret, got.body
    match forged:
        case "body":
            body = body.replace(b'"1.0"', b'"1.1"', 1)
        case "id":
            headers["webhook-id"] += "0"
        case "time":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
        case _:
            secret = secret_text(new_secret())
    with pytest.raises(ValueError, match="signature"):
        verify()(body, headers, secret)


def test_it_refuses_what_is_old(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(clock=lambda: 1_700_000_000.0):
        got = there.next()
    assert got.headers["webhook-timestamp"] == "1700000000"
    with pytest.raises(ValueError, match="time"):
        check(got, made.secret)


def test_both_secrets_sign_while_the_old_one_is_valid(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    rotated = hooks.run(hooks.store.rotate(made.webhook.webhook_id, by="kim")).value
    assert rotated.secret != made.secret
    until = rotated.webhook.old_secret_until
    assert until is not None
    assert until - rotated.webhook.updated_at == timedelta(hours=24)
    hooks.write()
    with hooks.delivering():
        both = there.next()
        assert len(both.headers["webhook-signature"].split()) == 2
        for secret in (made.secret, rotated.secret):
            assert check(both, secret)
        hooks.until_at(made, hooks.head())
        hooks.rows("UPDATE gradelog.webhooks SET old_secret_until = now()")
        hooks.write()
        one = there.next()
    assert check(one, rotated.secret)
    with pytest.raises(ValueError, match="signature"):
        check(one, made.secret)
    assert hooks.get(made).old_secret_until is None


def test_a_stored_secret_is_wrapped(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    ((stored,),) = hooks.rows("SELECT secret FROM gradelog.webhooks")
    bare = made.secret.removeprefix("whsec_")
    assert bare not in stored
    assert secret_text(Keeper(MASTER).open(stored)) == made.secret
    assert Keeper(None).wrap(b"x") == "bare:eA=="
    for other in (Keeper(None), Keeper(bytes(32))):
        with pytest.raises(VaultError, match="GRADELOG_MASTER_KEY"):
            other.open(stored)


def test_without_its_master_key_a_webhook_waits_and_says_why(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(master=None):
        hooks.until(lambda: hooks.get(made).last_error)
    webhook = hooks.get(made)
    assert "GRADELOG_MASTER_KEY" in str(webhook.last_error)
    assert (webhook.state, webhook.failures, there.got) == ("active", 0, [])
    hooks.change(made, state="active")
    with hooks.delivering():
        hooks.until_at(made, hooks.head())
