"""What the relay keeps in PostgreSQL: how far it is, where it published to, and who it is.

A lease with a time lets one of any number of relays work; the clock is the database's. Each
holder has a higher epoch than the one before, and whatever a relay writes here it writes
only while its epoch is the last one. So a clock that jumps may end a lease too early, but
cannot do harm; and a lease that ends later than any relay would have it is none, or a clock
that was set back would keep everybody waiting for the dead.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from psycopg import Connection

from consumers.kafka.client import Partition, Topic
from projections.bulk import fetch
from projections.read_model import Row

LONGEST_ERROR: Final = 1000

_IS_FREE: Final = """
SELECT expires_at <= clock_timestamp()
    OR expires_at > clock_timestamp() + 2 * make_interval(secs => %b)
FROM gradelog.relay
"""
_ACQUIRE: Final = """
UPDATE gradelog.relay SET holder = %b, epoch = epoch + 1,
    expires_at = clock_timestamp() + make_interval(secs => %b), updated_at = clock_timestamp()
WHERE expires_at <= clock_timestamp()
    OR expires_at > clock_timestamp() + 2 * make_interval(secs => %b)
RETURNING epoch, position
"""
_PARTITIONS: Final = "SELECT topic, partition, position FROM gradelog.relay_partitions"
# Position and positions of partitions are of one moment: a chain that went on from others
# would tell readers of gaps that there are not, or hide one.
_SAVE: Final = """
WITH mine AS (
    UPDATE gradelog.relay SET position = %b::bigint,
        expires_at = clock_timestamp() + make_interval(secs => %b),
        updated_at = clock_timestamp(),
        error = CASE WHEN %b OR position <> %b::bigint THEN NULL ELSE error END
    WHERE epoch = %b::bigint AND holder = %b
    RETURNING true
), moved AS (
    INSERT INTO gradelog.relay_partitions (topic, partition, position)
    SELECT m.* FROM unnest(%b::text[], %b::int[], %b::bigint[]) AS m, mine
    ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position
)
SELECT count(*) FROM mine
"""
_RELEASE: Final = """
UPDATE gradelog.relay SET holder = NULL, expires_at = '-infinity', updated_at = clock_timestamp()
WHERE epoch = %b::bigint AND holder = %b
"""
_NOTE: Final = """
UPDATE gradelog.relay SET error = %b, updated_at = clock_timestamp()
WHERE expires_at <= clock_timestamp()
    OR expires_at > clock_timestamp() + 2 * make_interval(secs => %b)
"""
_LOCK_MINE: Final = "SELECT FROM gradelog.relay WHERE epoch = %b::bigint AND holder = %b FOR UPDATE"
_TOPICS: Final = "SELECT topic, topic_id, partitions FROM gradelog.relay_topics"
_FORGET_TOPICS: Final = "DELETE FROM gradelog.relay_topics"
_NOTE_TOPIC: Final = (
    "INSERT INTO gradelog.relay_topics (topic, topic_id, partitions) VALUES (%b, %b::uuid, %b::int)"
)
_FORGET_PARTITIONS: Final = "DELETE FROM gradelog.relay_partitions"
_BEGIN_AGAIN: Final = "UPDATE gradelog.relay SET position = 0"
_GRADING: Final = "SELECT position, recorded_at_position FROM gradelog.grading_progress"


class LeaseLostError(Exception):
    """Another relay works, or may: this one must stop."""


@dataclass(frozen=True, slots=True)
class NotedTopic:
    """A topic as it was when the log was published to it."""

    id: UUID | None
    partitions: int


class RelayStore:
    """The rows of the relay, over one connection in autocommit mode."""

    def __init__(self, db: Connection[Row], *, holder: str, lifetime: float) -> None:
        """Make it; the lease is somebody else's until ``acquire``.

        Args:
            db: the connection.
            holder: name of this relay; no two at any time have the same.
            lifetime: seconds that the lease lasts without being renewed.
        """
        self._db = db
        self._holder = holder
        self._lifetime = lifetime
        self._epoch = 0
        self.position = 0
        self.lease_ends = 0.0
        """By this process's monotonic clock; the database waits longer, never shorter."""

    # --- the lease --------------------------------------------------------------------------

    def is_free(self) -> bool:
        """Whether no relay holds the lease."""
        return bool(fetch(self._db, _IS_FREE, self._lifetime)[0][0])

    def acquire(self) -> bool:
        """Take the lease if it is free; then ``position`` is where to go on."""
        began = time.monotonic()
        rows = fetch(self._db, _ACQUIRE, self._holder, self._lifetime, self._lifetime)
        if not rows:
            return False
        self._epoch, self.position = rows[0]
        self.lease_ends = began + self._lifetime
        return True

    def partitions(self) -> dict[Partition, int]:
        """The position of the last event in each partition that has one."""
        rows = fetch(self._db, _PARTITIONS)
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
        began = time.monotonic()
        arguments = (
            *(position, self._lifetime, well, position, self._epoch, self._holder),
            [partition.topic for partition in moved],
            [partition.number for partition in moved],
            list(moved.values()),
        )
        if fetch(self._db, _SAVE, *arguments)[0][0] != 1:
            raise LeaseLostError("another relay has taken over")
        self.position = position
        self.lease_ends = began + self._lifetime

    def release(self) -> None:
        """Give the lease back if it is still ours."""
        self._db.execute(_RELEASE, (self._epoch, self._holder))

    def note(self, error: str) -> None:
        """Tell why no relay works; nothing is noted while one does."""
        self._db.execute(_NOTE, (error[:LONGEST_ERROR], self._lifetime))

    # --- topics -----------------------------------------------------------------------------

    def topics(self) -> dict[str, NotedTopic]:
        """The topics that the position speaks of."""
        return {topic: NotedTopic(*rest) for topic, *rest in fetch(self._db, _TOPICS)}

    def note_topics(self, topics: Collection[Topic], *, begin_again: bool) -> None:
        """Publish to these from now on; from the beginning of the log if they are others.

        Raises:
            LeaseLostError: another relay has taken over; nothing was noted.
        """
        with self._db.transaction():
            if not self._db.execute(_LOCK_MINE, (self._epoch, self._holder)).rowcount:
                raise LeaseLostError("another relay has taken over")
            self._db.execute(_FORGET_TOPICS)
            for topic in topics:
                self._db.execute(_NOTE_TOPIC, (topic.name, topic.id, topic.partitions))
            if begin_again:
                self._db.execute(_FORGET_PARTITIONS)
                self._db.execute(_BEGIN_AGAIN)
        if begin_again:
            self.position = 0

    # --- grading ----------------------------------------------------------------------------

    def grading(self) -> tuple[int, int]:
        """Up to where grades are calculated, and where the last of that is recorded."""
        graded, graded_at = fetch(self._db, _GRADING)[0]
        return graded, graded_at
