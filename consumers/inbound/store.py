"""What the consumer of inbound topics keeps in PostgreSQL: offsets, attempts, parked messages.

Kafka's own offsets are told to the broker for those who measure lag; where to begin is read
here, because an offset must never be kept before what it stands for.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from consumers.inbound.parking import PATIENCE, Database, ParkedMessages, storable
from consumers.kafka.client import Message, Partition
from projections.read_model import Row

BEGIN: Final = """
INSERT INTO gradelog.inbound_offsets AS o (consumer_group, topic, partition, topic_id, begun)
SELECT %s, t.*, 1 FROM unnest(%s::text[], %s::int[], %s::uuid[]) AS t ORDER BY 2, 3
ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET
    topic_id = excluded.topic_id,
    next_offset = CASE WHEN o.topic_id = excluded.topic_id THEN o.next_offset END,
    begun = CASE WHEN o.topic_id = excluded.topic_id THEN o.begun + 1 ELSE 1 END,
    updated_at = now()
RETURNING topic, partition, next_offset, begun
"""
# Never backwards, and never for a topic that was made anew meanwhile: a member of the group
# that was thought dead may still finish what it had begun.
MOVE: Final = """
WITH moved AS (
    SELECT * FROM unnest(%s::text[], %s::int[], %s::uuid[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[], %s::boolean[])
    AS t (topic, partition, topic_id, next_offset, carried_out, repeated, rejected, well)
), forgotten AS (
    DELETE FROM gradelog.inbound_attempts a USING moved m
    WHERE a.topic = m.topic AND a.partition = m.partition
        AND (a.topic_id <> m.topic_id OR a.message_offset < m.next_offset)
), locked AS MATERIALIZED (
    SELECT o.topic, o.partition, m.next_offset, m.carried_out, m.repeated, m.rejected, m.well
    FROM gradelog.inbound_offsets o JOIN moved m USING (topic, partition, topic_id)
    WHERE o.consumer_group = %s
    ORDER BY o.topic, o.partition FOR UPDATE OF o
)
UPDATE gradelog.inbound_offsets o SET
    next_offset = greatest(o.next_offset, l.next_offset),
    begun = CASE WHEN l.well AND l.next_offset > coalesce(o.next_offset, 0) THEN 0
        ELSE o.begun END,
    carried_out = o.carried_out + l.carried_out,
    repeated = o.repeated + l.repeated,
    rejected = o.rejected + l.rejected,
    updated_at = now()
FROM locked l
WHERE o.consumer_group = %s AND o.topic = l.topic AND o.partition = l.partition
"""
REST: Final = """
UPDATE gradelog.inbound_offsets o SET begun = 0
FROM unnest(%s::text[], %s::int[]) AS t (topic, partition)
WHERE o.consumer_group = %s AND o.topic = t.topic AND o.partition = t.partition AND o.begun > 0
"""
PLACE: Final = """
UPDATE gradelog.inbound_offsets SET next_offset = %s, updated_at = now()
WHERE consumer_group = %s AND topic = %s AND partition = %s AND topic_id = %s
"""
COUNT_ATTEMPT: Final = """
INSERT INTO gradelog.inbound_attempts AS a
    (topic, topic_id, partition, message_offset, attempts, error)
VALUES (%s, %s, %s, %s, 1, %s)
ON CONFLICT (topic, topic_id, partition, message_offset) DO UPDATE SET
    attempts = a.attempts + 1, error = coalesce(excluded.error, a.error), last_at = now()
RETURNING attempts, error
"""
FORGIVE: Final = """
UPDATE gradelog.inbound_attempts SET attempts = greatest(attempts - 1, 0)
WHERE topic = %s AND topic_id = %s AND partition = %s AND message_offset = %s
"""
NOTE_ERROR: Final = """
UPDATE gradelog.inbound_attempts SET error = %s
WHERE topic = %s AND topic_id = %s AND partition = %s AND message_offset = %s
"""
FIGURES: Final = """
SELECT topic, sum(carried_out)::bigint, sum(repeated)::bigint, sum(rejected)::bigint,
    (SELECT count(*) FROM gradelog.inbound_parked p WHERE p.topic = o.topic)
FROM gradelog.inbound_offsets o WHERE %(group)s::text IS NULL OR consumer_group = %(group)s
GROUP BY topic ORDER BY topic
"""


class Beginning(NamedTuple):
    """Where to begin with a partition; None: with its first message.

    ``begun``: how often somebody has begun there without getting any further, this time included.
    """

    next_offset: int | None
    begun: int


class Moved(NamedTuple):
    """How far a partition is done, and what became of the messages since the last time.

    ``well``: nothing is suspected any more of what comes next.
    """

    topic_id: UUID
    next_offset: int
    carried_out: int
    repeated: int
    rejected: int
    well: bool


class Figures(NamedTuple):
    """What became of the messages of a topic so far, and how many are parked now."""

    topic: str
    carried_out: int
    repeated: int
    rejected: int
    parked: int


class Store(ParkedMessages):
    """The tables of the inbound topics; for the tasks of one event loop."""

    def __init__(self, database: Database, group: str = "") -> None:
        super().__init__(database)
        self._group = group

    async def begin(self, partitions: Mapping[Partition, UUID]) -> dict[Partition, Beginning]:
        """Where to begin with partitions of topics with these ids; notes that somebody begins."""
        topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]
        rows = await self._rows(BEGIN, (self._group, topics, numbers, list(partitions.values())))
        return {
            Partition(topic, number): Beginning(next_offset, begun)
            for topic, number, next_offset, begun in rows
        }

    async def move(self, moved: Mapping[Partition, Moved]) -> None:
        """Keep how far partitions are done. Done twice, it counts the messages twice."""
        columns = [
            [p.topic for p in moved],
            [p.number for p in moved],
            *(list(column) for column in zip(*moved.values(), strict=True)),
        ]

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(MOVE, (*columns, self._group, self._group))

        await self._database.run(write, within=PATIENCE)

    async def rest(self, partitions: Collection[Partition]) -> None:
        """Note that work on partitions ended in good order."""
        topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(REST, (topics, numbers, self._group))

        await self._database.run(write, within=PATIENCE)

    async def place(self, partition: Partition, topic_id: UUID, next_offset: int) -> None:
        """Go on elsewhere, perhaps further back, because the broker has lost messages."""
        topic, number = partition

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(PLACE, (next_offset, self._group, topic, number, topic_id))

        await self._database.run(write, within=PATIENCE)

    async def count_attempt(
        self, topic_id: UUID, message: Message, error: str | None
    ) -> tuple[int, str | None]:
        """Count a try of a message; return how many there were, and the last error known."""
        partition = message.partition
        values = (partition.topic, topic_id, partition.number, message.offset, storable(error))
        ((attempts, known),) = await self._rows(COUNT_ATTEMPT, values)
        return attempts, known

    async def forgive(self, topic_id: UUID, message: Message) -> None:
        """Take a try back that was counted before it was made, because it was survived."""
        topic, number = message.partition

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(FORGIVE, (topic, topic_id, number, message.offset))

        await self._database.run(write, within=PATIENCE)

    async def note_error(self, topic_id: UUID, message: Message, error: str) -> None:
        """Keep why a try failed that was counted before it was made."""
        topic, number = message.partition

        async def write(db: AsyncConnection[Row]) -> None:
            values = (storable(error), topic, topic_id, number, message.offset)
            await db.execute(NOTE_ERROR, values)

        await self._database.run(write, within=PATIENCE)

    async def figures(self, group: str | None = None) -> list[Figures]:
        """What became of the messages, by topic."""
        return [Figures(*row) for row in await self._rows(FIGURES, {"group": group})]
