"""What is delivered: everything that was asked for, in order, and nothing else."""

import threading

import pytest

from tests.infra.webhooks.hooks import AT_ONCE, Hooks
from tests.infra.webhooks.target import PATIENCE, Reply, Target, target


def test_every_event_comes_in_the_order_of_the_log(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    with hooks.delivering():
        first = hooks.write(120)
        more = hooks.write(3)
        hooks.until_at(made, more[-1])
    assert there.positions() == [*first, *more]
    assert max(len(got.events) for got in there.got) <= 50
    webhook = hooks.get(made)
    assert (webhook.failures, webhook.last_error) == (0, None)
    assert webhook.last_success_at is not None


def test_an_event_looks_as_the_log_has_it(hooks: Hooks, there: Target) -> None:
    hooks.add(there)
    position = hooks.write(answer="a secret confession")[-1]
    with hooks.delivering():
        got = there.next()
    event = got.events[-1]
    ((type_, data, event_id),) = hooks.rows(
        "SELECT type, data::json, event_id FROM gradelog.events WHERE position = %s", position
    )
    assert (event["type"], event["data"], event["id"]) == (type_, data, str(event_id))
    assert (event["position"], event["specversion"]) == (position, "1.0")
    assert event["source"] == "/gradelog"
    assert got.headers["content-type"] == "application/cloudevents-batch+json; charset=UTF-8"
    assert got.path == "/hook?a=b"
    assert b"confession" not in got.body


def test_only_what_was_asked_for_comes(hooks: Hooks, there: Target, elsewhere: Target) -> None:
    scores = hooks.add(there, types=["submissions.ScoreSet"])
    course = hooks.add(elsewhere, course_id="course-v1:Demo+Other+2026")
    with hooks.delivering():
        first = hooks.score()
        other = hooks.write(2, course_id="course-v1:Demo+Other+2026")
        second = hooks.score()
        last = hooks.write()[-1]
        hooks.until_at(scores, last)
        hooks.until_at(course, last)
    assert there.positions() == [first, second]
    assert elsewhere.positions() == other


def test_it_begins_where_it_was_asked_to(hooks: Hooks, there: Target, elsewhere: Target) -> None:
    old = hooks.write(3)
    from_now = hooks.add(there, after=None)
    hooks.add(elsewhere, after=old[0])
    assert from_now.webhook.position == old[-1]
    with hooks.delivering():
        new = hooks.write(2)
        hooks.until_at(from_now, new[-1])
        hooks.until(lambda: elsewhere.positions()[-1:] == new[-1:])
    assert there.positions() == new
    assert elsewhere.positions() == [*old[1:], *new]


def test_a_large_event_comes_alone(hooks: Hooks, there: Target) -> None:
    made = hooks.add(there)
    for _ in range(12):
        hooks.write(answer="x" * 60_000)
    last = hooks.write()[-1]
    with hooks.delivering():
        hooks.until_at(made, last)
    assert there.positions() == list(range(1, last + 1))
    assert all(len(got.body) < 600_000 for got in there.got)
    assert len(there.got) > 1


def test_one_request_at_a_time_for_each_webhook(hooks: Hooks, there: Target) -> None:
    gate = threading.Event()
    there.answers(Reply(waits=gate))
    made = hooks.add(there)
    last = hooks.write(200)[-1]
    with hooks.delivering():
        there.next()
        more = hooks.write(5)[-1]
        assert len(there.got) == 1
        gate.set()
        hooks.until_at(made, more)
    assert there.positions() == list(range(1, more + 1))
    assert last < more


def test_a_slow_target_delays_nobody_else(hooks: Hooks, there: Target) -> None:
    gate = threading.Event()
    with target() as slow:
        slow.otherwise = Reply(waits=gate)
        stuck = [hooks.add(slow) for _ in range(3)]
        made = hooks.add(there)
        with hooks.delivering(concurrency=4):
            hooks.write()
            for _ in stuck:
                slow.next()
            for _ in range(5):
                hooks.until_at(made, hooks.write()[-1])
            assert [hooks.get(one).position for one in stuck] == [0, 0, 0]
            gate.set()
            for one in stuck:
                hooks.until_at(one, hooks.head())


def test_failing_targets_never_take_all_places(hooks: Hooks, there: Target) -> None:
    gate = threading.Event()
    hooks.write()
    with target() as failing:
        failing.otherwise = Reply(status=500)
        bad = [hooks.add(failing) for _ in range(6)]
        with hooks.delivering():
            hooks.until(lambda: all(hooks.get(one).failures > 0 for one in bad))
        while not failing.coming.empty():
            failing.next()
        failing.otherwise = Reply(status=500, waits=gate)
        made = hooks.add(there)
        with hooks.delivering(concurrency=2):
            failing.next()
            hooks.until_at(made, 1)
            hooks.until_at(made, hooks.write()[-1])
            gate.set()


def test_webhooks_at_the_same_place_share_what_is_read(hooks: Hooks, there: Target) -> None:
    quiet = [hooks.add(there, types=["courses.CourseRegistered"]) for _ in range(20)]
    last = hooks.write(100)[-1]
    with hooks.delivering(backoff=AT_ONCE) as deliverer:
        for one in quiet:
            hooks.until_at(one, last)
        assert deliverer.pages.reads < 5
    assert there.got == []
    ((turns,),) = hooks.rows("SELECT sum(turn)::int FROM gradelog.webhooks")
    assert turns == 0


def test_a_connection_is_used_again(
    hooks: Hooks, there: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.webhooks.sending.KEEP_ALIVE", PATIENCE)
    made = hooks.add(there)
    last = hooks.write(200)[-1]
    with hooks.delivering():
        hooks.until_at(made, last)
    assert len(there.got) == -(-last // 50)
    assert there.connections == 1
