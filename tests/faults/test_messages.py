"""Strange messages, topics that are gone, and members that come and go, while somebody writes."""

import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from consumers.kafka.client import KafkaError
from consumers.messages import topic_names
from tests.faults.injecting import Injector, publish_out_of_order
from tests.faults.oracle import rows
from tests.faults.world import World, world
from tests.faults.writing import Writer

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(1800)]

COME_AND_GO, SHUFFLES, DELETIONS, ROUNDS = 6, 3, 2, 12
LEASE = 5.0


def test_strange_messages_and_lost_topics_change_nothing(
    server: str, kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with world(server, kafka, topic_prefix, tmp_path) as made:
        made.relay(LEASE)
        with Writer(made.school, made.chance, a_second=50) as writer:
            made.goes_on()
            turn = threading.Lock()
            made.together(
                lambda: come_and_go(made),
                lambda: inject(made, turn),
                lambda: change_topics(made, turn),
            )
            made.goes_on()
        made.settle(writer)
        parked = "SELECT DISTINCT position IS NULL FROM gradelog_subscriber.parked"
        assert rows(made.copy, parked) == [(True,)]


def come_and_go(made: World) -> None:
    for _ in range(COME_AND_GO):
        made.replace_reader()


def inject(made: World, turn: threading.Lock) -> None:
    for _ in range(ROUNDS):
        made.pause(2.0)
        # What is repeated and broken must not come into a topic that was made anew since it was
        # read: there it would stand before what it repeats, as only a broken relay would have it.
        # (One that was made a moment ago may have no leader yet.)
        with (
            suppress(KafkaError),
            turn,
            Injector(made.client, made.prefix, made.chance) as injector,
        ):
            made.done["strange messages"] += injector.repeat() + injector.rubbish()
            made.did("round of strange messages")


def change_topics(made: World, turn: threading.Lock) -> None:
    names = topic_names(made.prefix)
    works: list[Callable[[], None]] = [
        *[lambda: shuffle(made)] * SHUFFLES,
        *[lambda name=name: delete(made, name, turn) for name in [*names.values()][:DELETIONS]],
    ]
    made.chance.shuffle(works)
    for work in works:
        work()
        made.goes_on()


def shuffle(made: World) -> None:
    """What comes next is published in any order, before the relay does so in the right one."""
    relay = made.working_relay(0)
    relay.freeze()
    try:
        sent = made.until(
            lambda: publish_out_of_order(made.dsn, made.client, made.prefix, made.chance),
            "something is published out of order",
        )
    finally:
        relay.thaw()
    made.done["messages out of order"] += sent
    made.did("stretch out of order")


def delete(made: World, name: str, turn: threading.Lock) -> None:
    made.pause(2.0)
    with turn, closing(made.client.admin()) as admin:
        before = admin.topics([name])[name].id
        admin.delete([name])
        made.did("topic deleted")

        def is_made_anew() -> bool:
            found = admin.topics([name]).get(name)
            return found is not None and found.id != before

        made.until(is_made_anew, f"{name} is made anew")
