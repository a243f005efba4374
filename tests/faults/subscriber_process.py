"""Another service: writes down each event that it is told of, in the order in which it is.

Its table takes the same event twice if it is told of it twice.
"""

import threading
from collections.abc import Sequence

import psycopg
from psycopg import Connection

from consumers.subscriber import Subscriber
from domain.events import Recorded
from infra.cli.processes import on_signals
from infra.logging import configure
from infra.settings import read_settings
from projections.read_model import Row

READY = "the subscriber runs"
TABLE = """
CREATE SCHEMA IF NOT EXISTS listening;
CREATE TABLE IF NOT EXISTS listening.told (n bigserial PRIMARY KEY, position bigint)
"""


def write_down(db: Connection[Row], events: Sequence[Recorded]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO listening.told (position) VALUES (%s)", [(e.position,) for e in events]
        )


def main() -> None:
    stop = threading.Event()
    on_signals(stop.set)
    settings = read_settings()
    configure(settings, role="subscriber")
    kafka, dsn = settings.kafka_bootstrap_servers, settings.database_url
    assert kafka is not None
    assert dsn is not None
    with psycopg.connect(dsn) as db:
        db.execute("SELECT pg_advisory_xact_lock(hashtextextended('listening', 0))")
        db.execute(TABLE)
    subscriber = Subscriber(kafka, dsn, "listening", prefix=settings.kafka_topic_prefix)
    print(READY, flush=True)
    subscriber.run(write_down, stop=stop)


if __name__ == "__main__":
    main()
