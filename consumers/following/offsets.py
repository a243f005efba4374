"""Where a reader of topics stands, kept in its own database beside what it made of them.

Kafka's own offsets cannot be written together with rows of a database; these can. Whoever
writes says where it believes the reader to stand: a member of the group that was thought dead
and comes back finds that others have moved on, and writes nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, errors, sql

from consumers.kafka.client import Partition
from projections.read_model import Row

SCHEMA: Final = "gradelog"
TABLE: Final = "kafka_offsets"

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    subscription text    NOT NULL,
    topic        text    NOT NULL,
    partition    integer NOT NULL,
    topic_id     uuid,
    next_offset  bigint  NOT NULL DEFAULT 0,
    position     bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, topic, partition)
)
"""
# The conflict alone would wait for whoever is just moving a row that is there.
_ADD: Final = """
INSERT INTO {table} (subscription, topic, partition)
SELECT %s, * FROM unnest(%s::text[], %s::int[]) AS w (topic, partition)
WHERE NOT EXISTS (
    SELECT FROM {table} o
    WHERE o.subscription = %s AND o.topic = w.topic AND o.partition = w.partition
)
ON CONFLICT DO NOTHING
"""
_LOAD: Final = """
SELECT o.topic, o.partition, o.topic_id, o.next_offset, o.position
FROM {table} o JOIN unnest(%s::text[], %s::int[]) AS t (topic, partition) USING (topic, partition)
WHERE o.subscription = %s
"""
_LOAD_ALL: Final = """
SELECT topic, partition, topic_id, next_offset, position FROM {table} WHERE subscription = %s
"""
# Two who move the same rows take their locks in the same order; who comes second finds the
# rows moved and gets fewer of them.
_MOVE: Final = """
WITH wanted AS (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::uuid[], %s::bigint[], %s::bigint[],
        %s::uuid[], %s::bigint[], %s::bigint[])
    AS t (topic, partition, old_topic_id, old_next_offset, old_position,
        topic_id, next_offset, position)
), locked AS MATERIALIZED (
    SELECT o.topic, o.partition, w.topic_id, w.next_offset, w.position
    FROM {table} o JOIN wanted w USING (topic, partition)
    WHERE o.subscription = %s AND o.next_offset = w.old_next_offset
        AND o.position = w.old_position AND o.topic_id IS NOT DISTINCT FROM w.old_topic_id
    ORDER BY o.topic, o.partition FOR UPDATE OF o
)
UPDATE {table} o
SET topic_id = l.topic_id, next_offset = l.next_offset, position = l.position
FROM locked l
WHERE o.subscription = %s AND o.topic = l.topic AND o.partition = l.partition
"""


class OffsetsMovedError(Exception):
    """Somebody else has moved a partition meanwhile; nothing may be written."""


class OffsetsHeldError(Exception):
    """Somebody else is moving a partition, and does not come to an end."""


class Standing(NamedTuple):
    """Where a partition stands.

    Attributes:
        topic_id: of the topic that the offset is of; None while nothing was read of it.
        next_offset: of the message to be read next; 0 is the first that there is.
        position: of the log; everything of the partition up to it is applied.
    """

    topic_id: UUID | None = None
    next_offset: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Offsets:
    """The rows of one subscription in a table that it may share with others."""

    subscription: str
    schema: str = SCHEMA
    table: str = TABLE

    def create(self, db: Connection[Row]) -> None:
        """Create the table where it is missing; its schema exists."""
        db.execute(self._statement(_CREATE))

    def load(
        self, db: Connection[Row], partitions: Collection[Partition]
    ) -> dict[Partition, Standing]:
        """Where these partitions stand; a new one is added at the beginning."""
        topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]
        arguments = (self.subscription, topics, numbers, self.subscription)
        db.execute(self._statement(_ADD), arguments)
        return self._standings(db, _LOAD, (topics, numbers, self.subscription))

    def load_all(self, db: Connection[Row]) -> dict[Partition, Standing]:
        """Where every partition stands that was ever read."""
        return self._standings(db, _LOAD_ALL, (self.subscription,))

    def move(
        self,
        db: Connection[Row],
        before: Mapping[Partition, Standing],
        after: Mapping[Partition, Standing],
    ) -> None:
        """Move the partitions of ``after``, and let nobody else do so until the transaction ends.

        Raises:
            OffsetsMovedError: one of them does not stand as ``before`` says.
            OffsetsHeldError: the lock on one was not there within the connection's
                ``lock_timeout``.
        """
        # Sorted, because the order of rows in the table is nobody's promise.
        touched = sorted(after)
        old, new = [before[p] for p in touched], [after[p] for p in touched]
        arguments = (
            [p.topic for p in touched],
            [p.number for p in touched],
            *_columns(old),
            *_columns(new),
            self.subscription,
            self.subscription,
        )
        try:
            moved = db.execute(self._statement(_MOVE), arguments, prepare=True).rowcount
        except errors.LockNotAvailable as error:
            raise OffsetsHeldError("another member holds the partition") from error
        if moved != len(touched):
            raise OffsetsMovedError

    def _standings(
        self, db: Connection[Row], statement: Any, arguments: Iterable[Any]
    ) -> dict[Partition, Standing]:
        rows = db.execute(self._statement(statement), tuple(arguments)).fetchall()
        return {
            Partition(topic, number): Standing(topic_id, next_offset, position)
            for topic, number, topic_id, next_offset, position in rows
        }

    def _statement(self, statement: Any) -> sql.Composed:
        return sql.SQL(statement).format(table=sql.Identifier(self.schema, self.table))


def _columns(standings: Collection[Standing]) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [s.topic_id for s in standings],
        [s.next_offset for s in standings],
        [s.position for s in standings],
    )
