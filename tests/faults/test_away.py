"""A broker that is away for a minute, and relays that are frozen and come back."""

import statistics
import time
from pathlib import Path

import pytest

from tests.faults.servers import own_servers
from tests.faults.world import MEMBER, RELAY, World, world
from tests.faults.writing import AT_A_TIME, Writer

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(1800)]

AWAY = 60.0
FREEZES = 4
LEASE = 5.0
SILENT = 12.0


def test_writes_go_on_without_a_broker_and_a_frozen_relay_does_no_harm(
    kafka_libraries: Path, tmp_path: Path
) -> None:
    with (
        own_servers(kafka_libraries) as (postgres, broker),
        world(
            postgres.dsn,
            broker.bootstrap_servers,
            "away",
            tmp_path,
            postgres=postgres,
            broker=broker,
        ) as made,
    ):
        made.relay(LEASE)
        made.relay(LEASE)
        with Writer(made.school, made.chance, a_second=30) as writer:
            made.goes_on()
            for _ in range(FREEZES):
                freeze_relay(made)
            be_without_broker(made, writer)
            made.goes_on()
            made.freeze_broker(away=SILENT)
            made.goes_on()
        made.settle(writer)


def freeze_relay(made: World) -> None:
    """The relay that works is frozen until another works, and then goes on as if nothing was."""
    frozen = made.working_relay(made.published())
    made.pause(1.0)
    frozen.freeze()
    try:
        # Not merely a position that moves: the statement that the frozen one had sent is
        # carried out by the server all the same.
        made.another_relay(frozen)
        made.pause(1.0)
    finally:
        frozen.thaw()
    made.did("relay frozen and thawed")
    made.goes_on()


def be_without_broker(made: World, writer: Writer) -> None:
    """No broker for a minute; meanwhile PostgreSQL restarts, a relay and a member are killed."""
    assert made.broker is not None
    before = writer.since(made.began)
    assert made.broker.kill()
    away = time.monotonic()
    made.did("broker killed for a minute")
    made.over.wait(AWAY / 3)
    assert made.postgres is not None
    made.postgres.restart("immediate")
    made.did("PostgreSQL restarted")
    for role in (RELAY, MEMBER):
        found = made.until(lambda role=role: made.keeper.of(role), f"a {role} is at work")
        made.keeper.kill(made.chance.choice(found))
        made.did(f"{role} killed")
    made.over.wait(AWAY - (time.monotonic() - away))
    # A command that waited for the broker would not be answered: of those that are under way
    # together, and of more nobody would know.
    answered = made.until(
        lambda: enough if len(enough := writer.since(away)) > 10 * AT_A_TIME else None,
        "commands are answered without a broker",
    )
    for name, took in (("with", before), ("without", answered)):
        print(
            f"{len(took)} commands {name} a broker: median"
            f" {statistics.median(took) * 1000:.1f} ms, slowest {max(took):.2f} s"
        )
    assert made.broker.start() == made.kafka
