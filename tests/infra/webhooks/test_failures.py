"""What fails is tried again, later and later, and nothing is lost or comes out of order."""

import email.utils
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.webhooks.deliverer import Backoff
from infra.webhooks.sending import LONGEST_ANSWER
from infra.webhooks.targets import Policy
from infra.webhooks.turns import GiveUp
from tests.infra.webhooks.hooks import Hooks, local_policy
from tests.infra.webhooks.target import Reply, Target, certificate, closed_port, target

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_what_was_refused_is_sent_again_as_it_was(hooks: Hooks, there: Target, status: int) -> None:
    made = hooks.add(there)
    hooks.write(3)
    gate = threading.Event()
    there.answers(Reply(status), Reply(status, waits=gate))
    with hooks.delivering():
        there.next()
        there.next()
        hooks.write(3)  # what comes meanwhile does not change what is sent again
        gate.set()
        hooks.until_at(made, hooks.head())
    first, second, third, *_ = there.got
    assert first.message_id == second.message_id == third.message_id
    assert first.body == second.body == third.body
    taken = [position for got in there.got[2:] for position in got.positions]
    assert taken == list(range(1, hooks.head() + 1))
    newest, *_, second_try, first_try = hooks.attempts(made)
    assert (newest.delivered, newest.status, newest.error) == (True, 204, None)
    assert (first_try.number, first_try.delivered, first_try.status) == (1, False, status)
    assert second_try.message_id == first_try.message_id
    assert hooks.get(made).failures == 0


def test_the_pauses_double_up_to_a_limit_and_chance_shortens_them() -> None:
    longest = Backoff(chance=lambda: 1.0)
    seconds = [longest.after(n, None).total_seconds() for n in (1, 2, 3, 12, 13, 1000)]
    assert seconds == [1, 2, 4, 2048, 3600, 3600]
    assert Backoff(chance=lambda: 0.25).after(3, None) == timedelta(seconds=1)
    assert {Backoff().after(10, None) for _ in range(20)} != {Backoff().after(10, None)}


def test_a_target_may_ask_to_be_left_alone_for_a_while() -> None:
    backoff = Backoff(chance=lambda: 0.5)
    assert backoff.after(1, 30.0) == timedelta(seconds=30)
    assert backoff.after(8, 30.0) == timedelta(seconds=64)
    assert backoff.after(1, 1e9) == HOUR


@pytest.mark.parametrize("form", ["seconds", "date", "nonsense", "overflow"])
def test_it_says_so_in_retry_after(hooks: Hooks, there: Target, form: str) -> None:
    moment = datetime.now(UTC) + HOUR / 2
    value = {
        "seconds": "1800",
        "date": email.utils.format_datetime(moment, usegmt=True),
        "overflow": f"Mon, 01 Jan 2024 00:00:00 +{10**17}",
    }
    there.answers(Reply(429, {"Retry-After": value.get(form, "soon")}))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(backoff=Backoff(chance=lambda: 0.0)):
        there.next()
        if form in {"nonsense", "overflow"}:
            hooks.until_at(made, hooks.head())
            assert hooks.attempts(made)[-1].error == "the target answered 429"
            return
        hooks.until(lambda: hooks.get(made).failures)
    assert hooks.get(hooks.add(there)).retry_at is None
    pause = hooks.get(made).retry_at - datetime.now(UTC)
    assert HOUR / 4 < pause <= HOUR / 2


def test_a_dead_target_is_disabled_and_goes_on_where_it_was(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write(2)
    there.otherwise = Reply(500)
    with hooks.delivering(give_up=GiveUp(timedelta(0), least_failures=4)):
        hooks.until(lambda: hooks.get(made).state == "disabled")
        webhook = hooks.get(made)
        assert webhook.reason is not None
        assert "in 4 attempts" in webhook.reason
        assert (webhook.position, webhook.failures, len(there.got)) == (0, 4, 4)
        there.otherwise = Reply(204)
        hooks.write(2)
        resumed = hooks.change(made, state="active")
        assert (resumed.failures, resumed.failing_since, resumed.reason) == (0, None, None)
        hooks.until_at(made, hooks.head())
    taken = [position for got in there.got[4:] for position in got.positions]
    assert taken == list(range(1, hooks.head() + 1))


def test_a_target_is_not_dead_before_its_time(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write()
    there.otherwise = Reply(500)
    with hooks.delivering(give_up=GiveUp(HOUR, least_failures=2)):
        hooks.until(lambda: hooks.get(made).failures >= 5)
        assert hooks.get(made).state == "active"
        hooks.rows("UPDATE gradelog.webhooks SET failing_since = now() - interval '1 hour'")
        hooks.until(lambda: hooks.get(made).state == "disabled")


def test_who_is_gone_is_disabled_at_once(hooks: Hooks, there: Target) -> None:
    there.otherwise = Reply(410)
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        hooks.until(lambda: hooks.get(made).state == "disabled")
    assert len(there.got) == 1
    assert "410" in str(hooks.get(made).reason)


def test_a_paused_webhook_gets_nothing_and_loses_nothing(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    other = hooks.add(there, description="the one that shows that time goes on")
    hooks.change(made, state="paused")
    hooks.write(3)
    with hooks.delivering():
        hooks.until_at(other, hooks.head())
        assert hooks.get(made).position == 0
        hooks.change(made, state="active")
        hooks.until_at(made, hooks.head())
    assert sorted(there.positions()) == sorted([*range(1, hooks.head() + 1)] * 2)


def test_pausing_and_new_types_count_while_a_batch_is_under_way(
    hooks: Hooks, there: Target
) -> None:
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    hooks.write(60)
    with hooks.delivering():
        there.next()
        hooks.change(made, state="paused", types=["submissions.ScoreSet"])
        gate.set()
        hooks.until(lambda: hooks.get(made).position)
        score = hooks.score()
        hooks.change(made, state="active")
        hooks.until_at(made, hooks.head())
    assert [got.positions for got in there.got] == [list(range(1, 51)), [score]]


@pytest.mark.parametrize("late", [410, 500])
def test_what_an_old_address_answers_says_nothing_about_the_new_one(
    hooks: Hooks, there: Target, elsewhere: Target, late: int
) -> None:
    gate, closed = threading.Event(), threading.Event()
    there.answers(Reply(late, waits=gate))
    made = hooks.add(there)
    hooks.write()
    elsewhere.otherwise = Reply(waits=closed)
    with hooks.delivering() as deliverer:
        there.next()
        hooks.change(made, url=elsewhere.url)
        again = elsewhere.next()  # at once: nobody waits for the old one
        gate.set()
        hooks.until(lambda: len(deliverer._tasks) == 1)  # it has answered
        assert (hooks.get(made).state, hooks.get(made).failures) == ("active", 0)
        closed.set()
        hooks.until_at(made, hooks.head())
    assert again.message_id == there.got[0].message_id


def test_a_new_address_counts_at_once(hooks: Hooks, there: Target, elsewhere: Target) -> None:
    there.otherwise = Reply(500)
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(backoff=Backoff(first=3600, chance=lambda: 1.0)):
        there.next()
        hooks.until(lambda: hooks.get(made).failures == 1)
        hooks.change(made, url=elsewhere.url)
        hooks.until_at(made, hooks.head())
    assert elsewhere.got[0].message_id == there.got[0].message_id


# --- what targets do --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(
    hooks: Hooks, there: Target, elsewhere: Target, status: int
) -> None:
    there.otherwise = Reply(status, {"Location": elsewhere.url})
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        hooks.until(lambda: hooks.get(made).failures > 1)
    assert elsewhere.got == []
    assert hooks.get(made).last_error == f"the target answered {status}; redirects are not followed"


def test_an_endless_answer_is_not_read_to_its_end(hooks: Hooks, there: Target) -> None:
    size = 50_000_000
    there.answers(Reply(200, {"Content-Length": str(size)}, b"x" * (LONGEST_ANSWER * 4)))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        hooks.until_at(made, hooks.head())
        hooks.write()
        hooks.until_at(made, hooks.head())
    assert there.connections == 2  # the first was given up, not read


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "the target does not speak HTTP as it should"),
        (b"220 mail.example ESMTP\r\n", "the target does not speak HTTP as it should"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "the target does not speak HTTP as it should"),
    ],
)
def test_what_is_no_answer(hooks: Hooks, there: Target, raw: bytes, error: str) -> None:
    there.answers(Reply(raw=raw))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        hooks.until_at(made, hooks.head())
    assert hooks.attempts(made)[-1].error == error


def test_an_answer_that_does_not_come_is_not_waited_for(hooks: Hooks, there: Target) -> None:
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(total_timeout=0.3):
        hooks.until_at(made, hooks.head())
    gate.set()
    assert hooks.attempts(made)[-1].error == "no answer came within 0.3 seconds"
    assert there.got[0].message_id == there.got[1].message_id


def test_nobody_is_there(hooks: Hooks) -> None:
    with closed_port() as port:
        made = hooks.add(f"http://127.0.0.1:{port}/")
        hooks.write()
        with hooks.delivering():
            hooks.until(lambda: hooks.get(made).failures > 1)
    assert hooks.get(made).last_error == "the target cannot be connected to"


# --- where it leads ---------------------------------------------------------------------------


def test_a_name_that_has_come_to_mean_this_machine_gets_nothing(
    hooks: Hooks, there: Target
) -> None:
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering(policy=Policy(allow_insecure=True)):
        hooks.until(lambda: hooks.get(made).failures > 1)
    assert (there.got, there.connections) == ([], 0)
    assert hooks.get(made).last_error == "The address is not on the public internet."


def test_the_connection_goes_to_the_address_that_was_checked(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name server that means another address the second time it is asked.
    theirs, ours = certificate(tmp_path, "example.org")
    asked: list[str] = []

    def answers(host: str, port: int, *_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (address, port))]

    with target(tls=theirs, name="example.org") as there:
        monkeypatch.setattr("infra.webhooks.targets.socket.getaddrinfo", answers)
        made = hooks.add(there)
        asked.clear()
        hooks.write()
        with hooks.delivering(tls=ours, policy=local_policy()):
            got = there.next()
            hooks.until_at(made, hooks.head())
    assert asked == ["example.org"]
    assert got.headers["host"].startswith("example.org:")


@pytest.mark.parametrize("trusted", [True, False])
def test_the_certificate_must_be_of_the_name(hooks: Hooks, tmp_path: Path, trusted: bool) -> None:
    theirs, ours = certificate(tmp_path, "127.0.0.1" if trusted else "example.org")
    with target(tls=theirs) as there:
        made = hooks.add(there)
        hooks.write()
        with hooks.delivering(tls=ours):
            if trusted:
                hooks.until_at(made, hooks.head())
                return
            hooks.until(lambda: hooks.get(made).failures > 1)
        assert there.got == []
    assert hooks.get(made).last_error == "the certificate of the target cannot be trusted"


def test_encryption_that_breaks_midway_is_a_failure_like_others(
    hooks: Hooks, tmp_path: Path
) -> None:
    theirs, ours = certificate(tmp_path, "127.0.0.1")
    with target(tls=theirs) as there:
        there.answers(Reply(bare=b"this is no record of TLS"))
        made = hooks.add(there)
        hooks.write()
        with hooks.delivering(tls=ours):
            hooks.until_at(made, hooks.head())
    assert hooks.attempts(made)[-1].error == "the target does not speak TLS as it should"


def test_what_nobody_has_thought_of_is_told_and_waits(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    hooks.write()
    hooks.rows("UPDATE gradelog.webhooks SET secret = 'bare:x'")
    with hooks.delivering():
        hooks.until(lambda: hooks.get(made).last_error)
    webhook = hooks.get(made)
    assert (there.got, webhook.failures, webhook.state) == ([], 0, "active")
    assert webhook.retry_at > datetime.now(UTC)
    ((holder,),) = hooks.rows("SELECT holder FROM gradelog.webhooks")
    assert holder is None
