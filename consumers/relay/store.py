"""What the relay keeps in PostgreSQL: how far it is, where it published to, and who it is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from consumers.kafka.client import Partition, Topic
from consumers.leased import LeasedPosition
from projections.bulk import fetch

_PARTITIONS: Final = "SELECT topic, partition, position FROM gradelog.relay_partitions"
# Position and positions of partitions are of one moment: a chain that went on from others
# would tell readers of gaps that there are not, or hide one.
_MOVE_PARTITIONS: Final = """, moved AS (
    INSERT INTO gradelog.relay_partitions (topic, partition, position)
    SELECT m.* FROM unnest(%b::text[], %b::int[], %b::bigint[]) AS m, mine
    ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position
)"""
_TOPICS: Final = "SELECT topic, topic_id, partitions FROM gradelog.relay_topics"
_FORGET_TOPICS: Final = "DELETE FROM gradelog.relay_topics"
_NOTE_TOPIC: Final = (
    "INSERT INTO gradelog.relay_topics (topic, topic_id, partitions) VALUES (%b, %b::uuid, %b::int)"
)
_FORGET_PARTITIONS: Final = "DELETE FROM gradelog.relay_partitions"
_BEGIN_AGAIN: Final = "UPDATE gradelog.relay SET position = 0"
_GRADING: Final = "SELECT position, recorded_at_position FROM gradelog.grading_progress"


@dataclass(frozen=True, slots=True)
class NotedTopic:
    """A topic as it was when the log was published to it."""

    id: UUID | None
    partitions: int


class RelayStore(LeasedPosition):
    """The rows of the relay, over one connection in autocommit mode."""

    TABLE = "relay"
    ALSO = _MOVE_PARTITIONS

    def partitions(self) -> dict[Partition, int]:
        """The position of the last event in each partition that has one."""
        rows = fetch(self.db, _PARTITIONS)
        return {Partition(topic, number): position for topic, number, position in rows}

    def save(self, position: int, moved: Mapping[Partition, int], *, well: bool = False) -> None:
        """Note that everything up to a position is stored, and keep the lease.

        Args:
            position: of the last event that is stored for sure, with all before it.
            moved: the partitions whose last event changed, with its position.
            well: there is nothing to complain about, even if the position stays.

        Raises:
            LeaseLostError: another relay has taken over; nothing was noted.
        """
        self._save(
            position,
            [partition.topic for partition in moved],
            [partition.number for partition in moved],
            list(moved.values()),
            well=well,
        )

    # --- topics -----------------------------------------------------------------------------

    def topics(self) -> dict[str, NotedTopic]:
        """The topics that the position speaks of."""
        return {topic: NotedTopic(*rest) for topic, *rest in fetch(self.db, _TOPICS)}

    def note_topics(self, topics: Collection[Topic], *, begin_again: bool) -> None:
        """Publish to these from now on; from the beginning of the log if they are others.

        Raises:
            LeaseLostError: another relay has taken over; nothing was noted.
        """
        with self.db.transaction():
            self._lock()
            self.db.execute(_FORGET_TOPICS)
            for topic in topics:
                self.db.execute(_NOTE_TOPIC, (topic.name, topic.id, topic.partitions))
            if begin_again:
                self.db.execute(_FORGET_PARTITIONS)
                self.db.execute(_BEGIN_AGAIN)
        if begin_again:
            self.position = 0

    # --- grading ----------------------------------------------------------------------------

    def grading(self) -> tuple[int, int]:
        """Up to where grades are calculated, and where the last of that is recorded."""
        graded, graded_at = fetch(self.db, _GRADING)[0]
        return graded, graded_at
