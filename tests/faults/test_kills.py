"""Everything is killed at random moments while somebody goes on writing."""

from pathlib import Path

import pytest

from tests.faults import oracle
from tests.faults.servers import own_servers
from tests.faults.world import world
from tests.faults.writing import Writer

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(1800)]

RELAYS, READERS, BROKERS, DATABASES = 8, 10, 3, 2


def test_whatever_is_killed_nothing_is_lost_and_nothing_counts_twice(
    kafka_libraries: Path, tmp_path: Path
) -> None:
    with (
        own_servers(kafka_libraries) as (postgres, broker),
        world(
            postgres.dsn,
            broker.bootstrap_servers,
            "kills",
            tmp_path,
            postgres=postgres,
            broker=broker,
        ) as made,
    ):
        made.relay()
        made.relay()

        def relays() -> None:
            for _ in range(RELAYS):
                made.kill_relay()

        def readers() -> None:
            for _ in range(READERS):
                made.kill_reader()

        def servers() -> None:
            for n in range(BROKERS + DATABASES):
                if n % 2:
                    made.crash_postgres()
                else:
                    made.kill_broker(away=made.chance.uniform(0, 3))
                made.goes_on()

        with Writer(made.school, made.chance, a_second=30) as writer:
            made.goes_on()
            made.together(relays, readers, servers)
            made.goes_on()
        oracle.first_times_are_in_order(made.settle(writer))
