"""Messages that a subscriber has put aside, in its own database."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, sql

from consumers.kafka.client import Headers, Message, Partition
from projections.read_model import Row

CREATE: Final = """
CREATE TABLE IF NOT EXISTS {parked} (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription  text        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    position      bigint,
    type          text,
    key           bytea,
    payload       bytea,
    header_names  text[]      NOT NULL,
    header_values bytea[]     NOT NULL,
    produced_at   bigint      NOT NULL,
    error         text        NOT NULL,
    attempts      integer     NOT NULL,
    parked_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE {parked} ADD COLUMN IF NOT EXISTS topic_id uuid;
CREATE INDEX IF NOT EXISTS parked_keys ON {parked} (subscription, topic, key);
CREATE UNIQUE INDEX IF NOT EXISTS parked_places
    ON {parked} (subscription, topic_id, partition, "offset") WHERE topic_id IS NOT NULL;
"""
# The same message may come again, after a replay or a restart before a gap; once is enough.
_PARK: Final = """
INSERT INTO {parked} (subscription, topic, partition, topic_id, "offset", position, type, key,
    payload, header_names, header_values, produced_at, error, attempts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::bytea[], %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_COLUMNS: Final = """
id, topic, partition, "offset", position, type, key, payload, header_names, header_values,
produced_at, error, attempts, parked_at
"""
_PARKED: Final = """
SELECT {columns} FROM {parked} WHERE subscription = %s AND topic = ANY (%s) AND id > %s
ORDER BY id LIMIT %s
"""
_PLACES: Final = """
SELECT id, topic, key FROM {parked} WHERE subscription = %s AND topic = ANY (%s) ORDER BY id
"""
_LOCK: Final = """
SELECT {columns} FROM {parked} WHERE subscription = %s AND id = %s FOR UPDATE SKIP LOCKED
"""
_DROP: Final = "DELETE FROM {parked} WHERE subscription = %s AND id = ANY (%s)"
_FAILED: Final = """
UPDATE {parked} SET attempts = attempts + 1, error = %s WHERE subscription = %s AND id = %s
"""
_BLOCKED: Final = """
SELECT DISTINCT topic, key FROM {parked}
WHERE subscription = %s AND (topic, key) IN (SELECT * FROM unnest(%s::text[], %s::bytea[]))
"""
_COUNT: Final = "SELECT count(*) FROM {parked} WHERE subscription = %s AND topic = ANY (%s)"


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was put aside, and why.

    Attributes:
        id: what ``retry`` and ``drop`` know it by.
        message: as it came from Kafka.
        position: of the event in the log; None if the message does not tell.
        type: stored name of the event's type; None if the message does not tell.
        error: why it is here.
        attempts: how often it was tried.
        parked_at: since when.
    """

    id: int
    message: Message
    position: int | None
    type: str | None
    error: str
    attempts: int
    parked_at: datetime


class ParkedPlace(NamedTuple):
    """Which message is parked, and with which others it belongs together."""

    id: int
    topic: str
    key: bytes | None


@dataclass(frozen=True, slots=True)
class ParkedMessages:
    """The parked messages of one subscription."""

    subscription: str
    schema: str

    def park(
        self,
        db: Connection[Row],
        message: Message,
        position: int | None,
        error: str,
        attempts: int,
        *,
        topic_id: UUID | None,
    ) -> None:
        """Put a message aside, unless it is already."""
        type_ = dict(message.headers).get("ce_type")
        names = [storable(name) for name, _ in message.headers]
        db.execute(
            self._statement(_PARK),
            (
                self.subscription,
                *message.partition,
                topic_id,
                message.offset,
                position,
                None if type_ is None else storable(type_.decode(errors="replace")),
                message.key,
                message.value,
                names,
                [value for _, value in message.headers],
                message.timestamp,
                storable(error),
                attempts,
            ),
        )

    def all(
        self, db: Connection[Row], topics: Collection[str], *, after: int, limit: int | None
    ) -> list[Parked]:
        """What was put aside, the oldest first."""
        with db.cursor(binary=True) as cursor:
            arguments = (self.subscription, list(topics), after, limit)
            rows = cursor.execute(self._statement(_PARKED), arguments).fetchall()
        return [_parked(row) for row in rows]

    def places(self, db: Connection[Row], topics: Collection[str]) -> list[ParkedPlace]:
        """The same without what they hold, which may be much."""
        with db.cursor(binary=True) as cursor:
            cursor.execute(self._statement(_PLACES), (self.subscription, list(topics)))
            return [ParkedPlace(*row) for row in cursor.fetchall()]

    def lock(self, db: Connection[Row], id_: int) -> Parked | None:
        """A parked message that nobody else is busy with, until the transaction ends."""
        with db.cursor(binary=True) as cursor:
            cursor.execute(self._statement(_LOCK), (self.subscription, id_))
            row = cursor.fetchone()
        return None if row is None else _parked(row)

    def drop(self, db: Connection[Row], ids: Collection[int]) -> int:
        """Forget parked messages; return how many there were."""
        return db.execute(self._statement(_DROP), (self.subscription, list(ids))).rowcount

    def failed(self, db: Connection[Row], id_: int, error: str) -> None:
        """Note that a parked message was tried again in vain."""
        db.execute(self._statement(_FAILED), (storable(error), self.subscription, id_))

    def count(self, db: Connection[Row], topics: Collection[str]) -> int:
        """How many are parked."""
        arguments = (self.subscription, list(topics))
        ((found,),) = db.execute(self._statement(_COUNT), arguments).fetchall()
        return int(found)

    def blocked(
        self, db: Connection[Row], keys: Collection[tuple[str, bytes]]
    ) -> set[tuple[str, bytes]]:
        """Those of these topics and keys of which a message is parked."""
        arguments = (self.subscription, [topic for topic, _ in keys], [key for _, key in keys])
        with db.cursor(binary=True) as cursor:
            rows = cursor.execute(self._statement(_BLOCKED), arguments).fetchall()
        return {(topic, bytes(key)) for topic, key in rows}

    def _statement(self, statement: Any) -> sql.Composed:
        return sql.SQL(statement).format(
            columns=sql.SQL(_COLUMNS), parked=sql.Identifier(self.schema, "parked")
        )


def storable(text: str) -> str:
    """A text without what PostgreSQL does not take: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _parked(row: Row) -> Parked:
    id_, topic, number, offset, position, type_, key, payload, names, values, at, *rest = row
    # Kafka knows headers without a value, though the type of a message does not say so.
    headers: Headers = list(zip(names, values, strict=True))
    message = Message(Partition(topic, number), offset, key, payload, headers, at)
    return Parked(id_, message, position, type_, *rest)
