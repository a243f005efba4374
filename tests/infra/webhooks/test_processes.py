"""Many processes deliver, one at a time each webhook; killed ones lose nothing."""

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.infra.cli.support import Cli
from tests.infra.webhooks.hooks import Hooks
from tests.infra.webhooks.target import PATIENCE, Reply, Target
from tests.infra.webhooks.test_signing import verify


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    return Cli(
        tmp_path,
        DATABASE_URL=dsn,
        GRADELOG_WEBHOOK_ALLOW_INSECURE="true",
        GRADELOG_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8 ::1/128",
        GRADELOG_LOG_LEVEL="WARNING",
    )


@pytest.fixture
def bare(hooks: Hooks) -> Hooks:
    """Webhooks whose secrets no master key wraps."""
    hooks.store._keeper = type(hooks.store._keeper)(None)
    return hooks


def test_two_deliverers_keep_the_order_between_them(hooks: Hooks, there: Target) -> None:
    made = [hooks.add(there, description=str(n)) for n in range(4)]
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(hooks.delivering())
        for _ in range(5):
            hooks.write(30)
        for one in made:
            hooks.until_at(one, hooks.head())
    assert len(there.positions()) == 4 * hooks.head()
    secrets = [one.secret for one in made]
    of_each: dict[str, list[int]] = {secret: [] for secret in secrets}
    for got in there.got:
        for secret in secrets:
            try:
                verify()(got.body, got.headers, secret)
            except ValueError:
                continue
            of_each[secret] += got.positions
    assert all(found == list(range(1, hooks.head() + 1)) for found in of_each.values())


def test_who_has_lost_his_turn_saves_nothing(hooks: Hooks, there: Target) -> None:
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        there.next()
        hooks.rows("UPDATE gradelog.webhooks SET leased_until = now()")
        with hooks.delivering():
            again = there.next()
            hooks.until_at(made, hooks.head())
            hooks.rows(
                "UPDATE gradelog.webhooks SET position = 0, retry_at = now() + interval '1 day'"
            )
            gate.set()
        # The first one has its answer by now, and ends.
    assert again.message_id == there.got[0].message_id
    assert hooks.get(made).position == 0


def test_a_process_that_ends_gives_its_turns_back(
    hooks: Hooks, there: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.webhooks.deliverer.GRACE", PATIENCE / 2)
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    hooks.write(120)

    def answer_late() -> None:
        hooks.until(lambda: deliverer._stopping)
        gate.set()

    with hooks.delivering() as deliverer:
        there.next()
        late = threading.Thread(target=answer_late)
        late.start()
    late.join()
    ((holder, position),) = hooks.rows("SELECT holder, position FROM gradelog.webhooks")
    assert (holder, position) == (None, 50)
    with hooks.delivering():
        hooks.until_at(made, hooks.head())
    assert there.positions() == list(range(1, hooks.head() + 1))


@pytest.mark.fault
def test_a_killed_deliverer_loses_nothing_and_repeats_one_batch(
    cli: Cli, bare: Hooks, there: Target
) -> None:
    gate = threading.Event()
    there.answers(Reply(), Reply(waits=gate))
    made = bare.add(there)
    bare.write(120)
    with cli.start("webhooks", "deliver") as first:
        there.next()
        cut_off = there.next()
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
    gate.set()
    ((holder,),) = bare.rows("SELECT holder FROM gradelog.webhooks")
    assert holder is not None
    # Time goes on: the lease runs out.
    bare.rows("UPDATE gradelog.webhooks SET leased_until = now()")
    bare.write(3)
    with cli.start("webhooks", "deliver") as second:
        assert second.line() == "webhooks are delivered"
        bare.until_at(made, bare.head())
        assert second.end(signal.SIGTERM) == 0
    again = there.got[2]
    assert (again.message_id, again.body) == (cut_off.message_id, cut_off.body)
    rest = [*there.got[:1], *there.got[2:]]
    assert [p for got in rest for p in got.positions] == list(range(1, bare.head() + 1))


@pytest.mark.fault
def test_a_deliverer_goes_on_after_the_database_was_away(
    hooks: Hooks, there: Target, elsewhere: Target
) -> None:
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    hooks.write()
    with hooks.delivering():
        there.next()
        for _ in range(3):
            hooks.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'gradelog webhooks'"
            )
        gate.set()
        hooks.until_at(made, hooks.head())
        hooks.write(2)
        hooks.until_at(made, hooks.head())
    assert there.positions() == list(range(1, hooks.head() + 1))


def test_a_projector_delivers_unless_others_do(cli: Cli, bare: Hooks, there: Target) -> None:
    made = bare.add(there)
    bare.write()
    quiet = cli.but(GRADELOG_WEBHOOK_CONCURRENCY="0")
    with quiet.start("project") as projector:
        projector.line()
        position = "SELECT min(position) FROM gradelog.read_models WHERE name = 'submissions'"
        bare.until(lambda: bare.rows(position)[0][0] == bare.head())
        assert there.got == []
    with cli.start("project"):
        bare.until_at(made, bare.head())


def test_the_command_does_what_an_operator_needs(cli: Cli, bare: Hooks, there: Target) -> None:
    bare.write(2)
    made = cli.ask(
        "webhooks",
        "add",
        there.url,
        "--type",
        "submissions.ScoreSet",
        "--after",
        "1",
        "--description",
        "ours",
    )
    name = made["id"]
    assert made["secret"].startswith("whsec_")
    (listed,) = cli.ask("webhooks", "list")
    assert (listed["id"], listed["lag"], listed["state"]) == (name, bare.head() - 1, "active")
    assert cli.ask("webhooks", "pause", name)["state"] == "paused"
    assert [one["lag"] for one in cli.ask("webhooks", "list")] == [bare.head() - 1]
    assert cli.ask("webhooks", "test", name)["delivered"] is True
    shown = cli.ask("webhooks", "show", name)
    assert shown["lag"] == bare.head() - 1
    assert [delivery["kind"] for delivery in shown["deliveries"]] == ["ping"]
    assert "secret" not in shown
    assert cli.ask("webhooks", "rotate", name)["secret"] != made["secret"]
    assert cli.ask("webhooks", "resume", name)["state"] == "active"
    said = cli.run("webhooks", "rotate", name).out.splitlines()
    assert (
        said[0] == f"webhook {name} has a new secret; the one before signs beside it for 24 hours"
    )
    there.otherwise = Reply(500)
    failed = cli.run("webhooks", "test", name)
    assert (failed.code, failed.err) == (1, "gradelog: the target answered 500\n")
    for told in ("list", f"show {name}"):
        done = cli.run("webhooks", *told.split())
        assert (done.code, name in done.out) == (0, True)
    assert cli.ask("webhooks", "remove", name) == {"removed": name}
    assert cli.ask("webhooks", "list") == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["add", "https://127.0.0.1/"], 2, "The address is not on the public internet."),
        (["add", "http://1.1.1.1/"], 2, "The address must begin with https://."),
        (["add", "https://1.1.1.1/", "--type", "no.such"], 2, "there is no event type 'no.such'"),
        (["add", "https://1.1.1.1/", "--after", "9"], 1, "The log ends at 0."),
        (["pause", "00000000-0000-4000-8000-000000000000"], 1, "there is no webhook"),
        (["show", "nonsense"], 2, "valid UUID"),
    ],
)
def test_what_it_refuses(cli: Cli, words: list[str], code: int, told: str) -> None:
    strict = cli.but(GRADELOG_WEBHOOK_ALLOW_INSECURE=None, GRADELOG_WEBHOOK_ALLOWED_NETWORKS=None)
    done = strict.run("webhooks", *words)
    assert (done.code, told in done.err) == (code, True), done.err
