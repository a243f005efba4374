"""The log as a recorder of the ``eventsourcing`` library, for callers that are threads.

What is written with the library (its applications, its notification log, its runners)
lands in the same log under the same promises. Its stock PostgreSQL recorder locks the
table and notifies in every write, and slows down under concurrency; this one hands the
events to the group-commit appender.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Notification,
    OperationalError,
    StoredEvent,
    Subscription,
)
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain.application import Claim, ClaimTakenError, StreamConflictError
from domain.errors import OutcomeUnknownError, UnavailableError
from domain.events import NOBODY, Provenance
from infra.engine import Engine
from infra.log.appender import EncodedEvent, new_event_id
from infra.log.codec import encode_provenance
from infra.log.postgres_log import PostgresLog
from infra.postgres import LOG_SCHEMA, Row, pool

SELECT_EVENTS: Final = """
SELECT stream_id, version, type, data FROM events
WHERE stream_id = %b AND version > %b AND version <= %b ORDER BY version {order} LIMIT %b
"""
SELECT_ASCENDING: Final[LiteralString] = SELECT_EVENTS.replace("{order}", "ASC")
SELECT_DESCENDING: Final[LiteralString] = SELECT_EVENTS.replace("{order}", "DESC")
SELECT_NOTIFICATIONS: Final = """
SELECT stream_id, version, type, data, position FROM events
WHERE position >= %b AND position <= %b AND (%b OR type = ANY (%b)) ORDER BY position LIMIT %b
"""
SELECT_HEAD: Final = "SELECT max(position) FROM events"

_LAST_VERSION: Final = 2**31 - 1
_LAST_POSITION: Final = 2**63 - 1
SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.05


class LogRecorder(ApplicationRecorder):
    """Appends through the engine's log and reads over a pool of its own."""

    def __init__(
        self, engine: Engine, log: PostgresLog, pool: ConnectionPool[Connection[Row]]
    ) -> None:
        self._engine = engine
        self._log = log
        self._pool = pool

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        provenance: Provenance = NOBODY,
        claims: Sequence[Claim] = (),
        **_: Any,
    ) -> Sequence[int] | None:
        """Store events durably, all or nothing; return their positions.

        Raises:
            IntegrityError: a stream has an event of that version, or a claim is held.
            OperationalError: nothing was stored, or the outcome is not known; the cause tells.
        """
        if not stored_events:
            return []
        encoded = [
            EncodedEvent(
                _uuid(event.originator_id),
                event.originator_version,
                event.topic,
                event.state,
                new_event_id(),
            )
            for event in stored_events
        ]
        metadata = encode_provenance(provenance)
        try:
            appended = self._engine.run(
                lambda: self._log.append_encoded(encoded, metadata=metadata, claims=claims)
            )
        except (StreamConflictError, ClaimTakenError) as conflict:
            raise IntegrityError(*conflict.args) from conflict
        except (UnavailableError, OutcomeUnknownError) as error:
            raise OperationalError(str(error)) from error
        first = appended.first_position
        return list(range(first, first + len(encoded)))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Read one stream, or the part of it between two versions."""
        arguments = (
            _uuid(originator_id),
            -1 if gt is None else gt,
            _LAST_VERSION if lte is None else lte,
            limit,
        )
        statement = SELECT_DESCENDING if desc else SELECT_ASCENDING
        with self._pool.connection() as db:
            rows = db.execute(statement, arguments, binary=True).fetchall()
        return [StoredEvent(row[0], row[1], row[2], row[3].encode()) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Read the log from a position on."""
        first = 1 if start is None else start if inclusive_of_start else start + 1
        arguments = (
            first,
            _LAST_POSITION if stop is None else stop,
            not topics,
            list(topics),
            limit,
        )
        with self._pool.connection() as db:
            rows = db.execute(SELECT_NOTIFICATIONS, arguments, binary=True).fetchall()
        return [Notification(row[0], row[1], row[2], row[3].encode(), row[4]) for row in rows]

    def max_notification_id(self) -> int | None:
        """Return the head of the log; None when it is empty."""
        with self._pool.connection() as db:
            row = db.execute(SELECT_HEAD).fetchone()
        return row[0] if row else None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> "Subscription[ApplicationRecorder]":
        """Follow the log from a position on; blocks at its head until there is more."""
        return LogSubscription(self, gt, topics)


@contextmanager
def open_recorder(dsn: str, *, timeout: float = 10.0, size: int = 8) -> Iterator[LogRecorder]:
    """A recorder on the log of a database, with an engine and a pool of its own."""
    engine = Engine(limit=timeout)
    log = PostgresLog(dsn, timeout=timeout)
    reads = pool(dsn, size=size, statement_timeout=timeout, search_path=(LOG_SCHEMA,))
    try:
        with reads:
            yield LogRecorder(engine, log, reads)
    finally:
        engine.run(log.close)
        engine.close()


class LogSubscription(Subscription[ApplicationRecorder]):
    """Polls, because nothing in an append may wait for readers."""

    def __init__(
        self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._stopped = threading.Event()
        self._ready: list[Notification] = []

    def stop(self) -> None:
        """Let a blocked iteration end."""
        super().stop()
        self._stopped.set()

    def __next__(self) -> Notification:
        pause = SHORTEST_PAUSE
        while not self._stopped.is_set():
            if self._ready:
                notification = self._ready.pop()
                self._last_notification_id = notification.id
                return notification
            found = self._recorder.select_notifications(
                start=self._last_notification_id,
                limit=500,
                topics=self._topics,
                inclusive_of_start=self._last_notification_id is None,
            )
            self._ready = list(reversed(found))
            if not found:
                self._stopped.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        raise StopIteration


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
