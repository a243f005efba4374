"""Processes are killed and stopped at any moment: each event counts once all the same."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service
from tests.school import wait_until

# The group waits for each of the dead.
pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]

SESSIONS = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'gradelog subscriber%'
"""


@contextmanager
def process(
    service: Service,
    *,
    attempts: int = 3,
    poison: int = 0,
    then: signal.Signals = signal.SIGKILL,
    options: str = "",
) -> Iterator[subprocess.Popen[bytes]]:
    """A subscriber of the service as a process of its own; poison kills it, or what is said."""
    dsn = make_conninfo(service.dsn, options=options) if options else service.dsn
    command = [sys.executable, "-m", "tests.consumers.subscriber.process"]
    arguments = [service.kafka, dsn, service.prefix, str(attempts), str(poison), then.name]
    started = subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait(60)


def test_killed_at_any_moment(service: Service, publisher: Publisher) -> None:
    chance = random.Random(7)
    total = 0
    for _ in range(3):
        with process(service, attempts=100):
            publisher.publish(passed(400, after=total, courses=8))
            total += 400
            # A killed member's partitions are given to others only after its session: here
            # the next process has to wait, so each gets to do something before it is killed.
            goal = total - chance.randint(0, 390)
            wait_until(lambda goal=goal: len(service.handled()) >= goal, within=60)
    service.run()
    service.until(range(1, total + 1))
    assert service.subscriber().parked() == []


def test_a_message_that_kills_the_process_is_parked(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(60, courses=1))
    deaths = 0
    expected = [n for n in range(1, 61) if n != 33]
    while len(service.handled()) < len(expected):
        with process(service, attempts=2, poison=33) as running:
            wait_until(
                lambda running=running: (
                    running.poll() is not None or len(service.handled()) == len(expected)
                ),
                within=60,
            )
            deaths += running.poll() is not None
    assert sorted(service.handled()) == expected
    (parked,) = service.subscriber().parked()
    assert (parked.position, parked.attempts) == (33, 2)
    assert "the process ended 2 times while it handled this message" in parked.error
    assert deaths == 3  # once in a batch, twice alone


def test_a_process_that_stood_still_until_others_had_taken_over_writes_nothing(
    service: Service, publisher: Publisher
) -> None:
    with process(service) as frozen:
        publisher.publish(passed(200, courses=8))
        wait_until(lambda: len(service.handled()) == 200)
        freeze(service, frozen.pid)
        publisher.publish(passed(200, after=200, courses=8))
        service.run()
        service.until(range(1, 401))
        os.kill(frozen.pid, signal.SIGCONT)
        publisher.publish(passed(200, after=400, courses=8))
        service.until(range(1, 601))


def test_a_process_that_stands_still_in_a_transaction_does_not_hold_up_the_others(
    service: Service, publisher: Publisher
) -> None:
    publisher.publish(passed(60, courses=1))
    soon = "-c idle_in_transaction_session_timeout=15s"
    with process(service, poison=33, then=signal.SIGSTOP, options=soon) as frozen:
        wait_until(lambda: ("idle in transaction",) in service.rows(SESSIONS))
        wait_until(lambda: is_stopped(frozen.pid))
        service.run()
        wait_until(lambda: len(service.handled()) == 60, within=60)
        os.kill(frozen.pid, signal.SIGCONT)
        publisher.publish(passed(60, after=60, courses=1))
        service.until(range(1, 121))
    assert service.subscriber().parked() == []


def freeze(service: Service, pid: int) -> None:
    """Stop a process between two transactions; in one, it would hold what others need."""

    def is_frozen() -> bool:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(pid))
        # What it has sent before is carried out all the same.
        wait_until(lambda: ("active",) not in service.rows(SESSIONS))
        if ("idle in transaction",) not in service.rows(SESSIONS):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    wait_until(is_frozen)


def is_stopped(pid: int) -> bool:
    """Whether all threads of a process stand still: they do not stop all at once."""
    asked = subprocess.run(
        ["ps", "-L", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return all(state.strip().startswith("T") for state in asked.stdout.splitlines())


def test_members_come_and_go_in_the_middle_of_batches(
    service: Service, publisher: Publisher
) -> None:
    service.start(service.subscriber(batch=10), service.noting())
    leave = service.start(service.subscriber(batch=10), service.noting())
    done = threading.Event()

    def publish() -> None:
        for n in range(20):
            publisher.publish(passed(100, after=n * 100, courses=8))
        done.set()

    threading.Thread(target=publish, daemon=True).start()
    wait_until(lambda: len(service.handled()) > 300)
    leave()
    service.start(service.subscriber(batch=10), service.noting())
    wait_until(done.is_set, within=60)
    service.until(range(1, 2001))


def test_sigterm_ends_it_well(service: Service, publisher: Publisher) -> None:
    publisher.publish(passed(20))
    with process(service) as running:
        wait_until(lambda: len(service.handled()) == 20)
        running.terminate()
        assert running.wait(60) == 0
