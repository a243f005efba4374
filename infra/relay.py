"""The relay in a process: made from the settings, in a thread, and how far it is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import AsyncConnection, Connection

from api.backend import RelayProgress
from consumers.relay.relay import Relay
from consumers.relay.topics import TopicSettings
from infra.kafka.client import kafka_client
from infra.postgres import Row, Session, fetch_all, options, parameters
from infra.settings import Settings
from infra.threads import in_thread

STATEMENT_TIMEOUT: Final = 30.0
LINGER: Final = 0.3
"""Seconds. The relay flushes whenever it has caught up, so only large batches wait: they cost
half as much as many small ones, and leave time to send."""

# Free once the lease is over: a holder that died has not told. Relays may run elsewhere, with
# settings that this process does not know: what works renews its lease and what fails notes its
# error every few seconds, what ends in order is no holder any more, and what died still is one.
PROGRESS: Final = """
SELECT r.name, r.is_wanted OR (r.epoch > 0 OR r.error IS NOT NULL)
        AND r.updated_at > clock_timestamp() - CASE
            WHEN r.holder IS NULL THEN interval '5 minutes' ELSE interval '1 day' END,
    coalesce(r.position, h.head), greatest(h.head - r.position, 0),
    CASE WHEN r.expires_at > clock_timestamp() THEN r.holder END, r.error
FROM (
    SELECT 'relay' AS name, %b AS is_wanted, position, holder, epoch, expires_at, updated_at, error
    FROM gradelog.relay
    UNION ALL
    SELECT 'event_bus', %b, position, holder, epoch, expires_at, updated_at, error
    FROM gradelog.openedx_relay
) AS r, (SELECT coalesce(max(position), 0) AS head FROM gradelog.events) AS h
"""
"""How far each is, and whether it is switched on: wanted, or at work somewhere else."""


def make_relay(settings: Settings, dsn: str) -> Relay:
    """A relay from a database to the cluster of the settings, which must name one.

    Raises:
        KafkaError: the client library that the settings name is not installed.
    """
    return Relay(
        kafka_client(settings, name="gradelog-relay", linger=LINGER),
        lambda: connect(dsn),
        TopicSettings(
            settings.kafka_topic_prefix, settings.kafka_partitions, settings.kafka_replicas
        ),
        source=settings.event_source,
    )


def connect(dsn: str) -> Connection[Row]:
    """A connection for a relay; what it saves is on the disk when it says so."""
    return psycopg.connect(
        dsn,
        autocommit=True,
        **parameters(
            options=options(statement_timeout=STATEMENT_TIMEOUT) + " -c synchronous_commit=on",
            application_name="gradelog relay",
        ),
    )


@contextmanager
def relaying(settings: Settings, dsn: str) -> Iterator[Relay]:
    """Publish the log to Kafka in a thread, until the end, or stand by while others do."""
    relay = make_relay(settings, dsn)
    with in_thread(relay.run, "gradelog relay"):
        yield relay


class PostgresRelayStatus:
    """``api.backend.RelayStatus`` over the tables of the log."""

    def __init__(
        self, dsn: str, *, relay: bool = False, event_bus: bool = False, timeout: float = 10.0
    ) -> None:
        """Make it; connects when it is first asked.

        Args:
            dsn: connection string of the database of the log.
            relay: there shall be one, even if none works.
            event_bus: it shall be written, even if nobody does.
            timeout: seconds after which a question is given up.
        """
        self._session = Session(dsn, statement_timeout=timeout, application_name="gradelog api")
        self._wanted = (relay, event_bus)
        self._timeout = timeout

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def progress(self) -> Mapping[str, RelayProgress]:
        """How far ``relay`` and ``event_bus`` are; without those that are switched off."""

        async def ask(db: AsyncConnection[Row]) -> list[Row]:
            return await fetch_all(db, PROGRESS, self._wanted)

        rows = await self._session.run(ask, within=self._timeout)
        return {name: RelayProgress(*rest) for name, is_on, *rest in rows if is_on}
