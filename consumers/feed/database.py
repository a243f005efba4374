"""A database whose read models are fed from Kafka: what makes it one, and where they stand.

Its own log is empty and stays so. A read model stands where the partition stands that is
furthest behind: every event up to there is applied. The rows of partitions are written with
what they are about; the row that readers look at follows a moment later, so that members which
work at the same time do not wait for each other.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from psycopg import Connection

from consumers.following.offsets import SCHEMA, TABLE, Offsets
from consumers.kafka.client import Partition
from consumers.messages import Reached
from projections import positions
from projections.bulk import execute, fetch
from projections.read_model import ReadModel, Row
from projections.runner import LOCK as RUNS

_MARK: Final = "SELECT gradelog.feed_from_kafka(%b)"
_FEED: Final = "SELECT topic_prefix, partitions FROM gradelog.kafka_feed"
_DATABASE_ID: Final = "SELECT database_id FROM gradelog.kafka_feed"
_NOTE_PARTITIONS: Final = """
UPDATE gradelog.kafka_feed SET partitions = %b::int WHERE partitions IS NULL
"""
_READ_MODELS: Final = "SELECT schema FROM gradelog.read_models"
_FORGET_OFFSETS: Final = f"DELETE FROM {SCHEMA}.{TABLE} WHERE subscription = %b"  # noqa: S608
_FORGET_PARTITIONS: Final = "DELETE FROM gradelog.kafka_feed_partitions WHERE schema = %b"
_CAUGHT_UP: Final = """
INSERT INTO gradelog.kafka_feed_partitions (schema, topic, partition, caught_up)
SELECT %b, *, true FROM unnest(%b::text[], %b::int[])
ON CONFLICT (schema, topic, partition) DO UPDATE SET caught_up = true
"""
_TELL_ERRORS: Final = """
INSERT INTO gradelog.kafka_feed_partitions AS p (schema, topic, partition, error)
SELECT %b, * FROM unnest(%b::text[], %b::int[], %b::text[])
ON CONFLICT (schema, topic, partition) DO UPDATE SET error = excluded.error
WHERE p.error IS DISTINCT FROM excluded.error
"""
# Every partition has to have been read, and to have been read to its end once: of those that
# nobody has looked at there are no rows. Those beyond the number are of a topic that had more for
# a while, and nobody reads them any more; people are in one, which the number always covers. A
# position never goes back.
_TELL: Final = f"""
WITH reached AS (
    SELECT count(*) AS partitions, min(o.position) AS lowest, max(o.position) AS highest
    FROM {SCHEMA}.{TABLE} o, gradelog.kafka_feed f
    WHERE o.subscription = %b AND o.partition < f.partitions
), seen AS (
    SELECT count(*) FILTER (WHERE p.caught_up) AS caught_up, min(p.error) AS error
    FROM gradelog.kafka_feed_partitions p, gradelog.kafka_feed f
    WHERE p.schema = %b AND p.partition < f.partitions
), told AS (
    UPDATE gradelog.kafka_feed f SET head = r.highest FROM reached r WHERE f.head < r.highest
), standing AS (
    SELECT CASE WHEN r.partitions > f.partitions THEN r.lowest ELSE 0 END AS position,
        s.caught_up > f.partitions AS caught_up, s.error
    FROM reached r, seen s, gradelog.kafka_feed f
)
UPDATE gradelog.read_models m
SET position = greatest(m.position, s.position), error = s.error, failed_at_position = NULL,
    state = CASE
        WHEN m.state = 'building' AND (s.caught_up IS NOT TRUE OR s.position = 0) THEN m.state
        WHEN s.error IS NULL THEN 'serving' ELSE 'failed' END,
    updated_at = now()
FROM standing s
WHERE m.schema = %b AND (m.position < s.position OR m.error IS DISTINCT FROM s.error
    OR m.state = 'building' AND s.caught_up AND s.position > 0)
"""  # noqa: S608 - constants
_TELL_MEMBER: Final = """
INSERT INTO gradelog.kafka_feed_members
    (schema, member, partitions, messages_left, trouble, seen_at)
VALUES (%b, %b::uuid, %b::int, %b::bigint, %b::text, clock_timestamp())
ON CONFLICT (schema, member) DO UPDATE
SET partitions = excluded.partitions, messages_left = excluded.messages_left,
    trouble = excluded.trouble, seen_at = excluded.seen_at
"""
_FORGET_MEMBERS: Final = """
DELETE FROM gradelog.kafka_feed_members
WHERE schema = %b AND seen_at < clock_timestamp() - interval '1 day'
"""
# Graded is a matter of the log, wherever it is told: the furthest mark counts, and readers
# wait until the gradebook shows what it speaks of.
_GRADED: Final = """
UPDATE gradelog.grading_progress
SET position = greatest(position, %b::bigint),
    recorded_at_position = greatest(recorded_at_position, %b::bigint), updated_at = now()
WHERE position < %b::bigint OR recorded_at_position < %b::bigint
"""


class FeedError(Exception):
    """A database cannot be fed from these topics; the message says why, and what to do."""


def mark_as_fed(db: Connection[Row], prefix: str) -> None:
    """Let a database be fed from the topics of a prefix, and by nobody else.

    Raises:
        FeedError: it has a log of its own, or is fed from other topics.
    """
    with db.transaction():
        # Whoever makes read models of a log sees before each whether there is still one.
        positions.lock_creation(db)
        new = not positions.is_fed(db)
        if new:
            _refuse_if_projected(db)
        if not fetch(db, _MARK, prefix)[0][0]:
            raise FeedError(
                "this database has a log of its own: read models are fed from Kafka in another"
                " one; name an empty one with DATABASE_URL"
            )
        ((known, _),) = fetch(db, _FEED)
        if known != prefix:
            raise FeedError(
                f"this database is fed from the topics {known}.*, not from {prefix}.*;"
                " name an empty one with DATABASE_URL"
            )
        if new:
            # Made when nobody knew yet what the database is for.
            for (schema,) in fetch(db, _READ_MODELS):
                positions.forget(db, schema)


def _refuse_if_projected(db: Connection[Row]) -> None:
    """Leave a database alone that somebody is about to use as one with a log."""
    for (schema,) in fetch(db, _READ_MODELS):
        if not positions.try_lock(db, RUNS, schema):
            raise FeedError(
                "a projector works on this database, so it is meant for a log: read models are fed"
                " from Kafka in another one; name that with DATABASE_URL, or stop the projector"
            )
        positions.unlock(db, RUNS, schema)


def group_of(db: Connection[Row], offsets: Offsets) -> str:
    """The group of those who feed a read model of this database, and of no other."""
    ((database_id,),) = fetch(db, _DATABASE_ID)
    return f"{offsets.subscription}.{database_id}"


def check_partitions(db: Connection[Row], count: int) -> None:
    """Note how many partitions the topic of courses has, or see that there are as many still.

    Raises:
        FeedError: there are others.
    """
    execute(db, _NOTE_PARTITIONS, count)
    ((_, known),) = fetch(db, _FEED)
    if known != count:
        raise FeedError(
            f"the topic of courses has {count} partitions, and this database was fed from"
            f" {known}: its courses may stand in others now; delete the topic, so that the relay"
            f" makes it anew with GRADELOG_KAFKA_PARTITIONS={known}, and start again, or name an"
            " empty database with DATABASE_URL"
        )


def ensure(db: Connection[Row], model: type[ReadModel], offsets: Offsets) -> None:
    """Make the tables of a read model, and of where it stands."""
    schema = model.schema()
    with db.transaction():
        positions.lock_creation(db)
        offsets.create(db)
        if positions.standing(db, schema) is None:
            # If it was there before, what was applied to it is gone, too.
            execute(db, _FORGET_OFFSETS, offsets.subscription)
            execute(db, _FORGET_PARTITIONS, schema)
        positions.ensure(db, [model], fed=True)
        execute(db, _FORGET_MEMBERS, schema)


def hold(db: Connection[Row], schema: str) -> None:
    """Let nobody drop a read model for as long as the connection lives.

    Raises:
        FeedError: somebody has.
    """
    positions.share_lock(db, RUNS, schema)
    if positions.standing(db, schema) is None:
        raise FeedError(f"the tables of {schema} were dropped; start gradelog consume again")


def caught_up(db: Connection[Row], schema: str, partitions: Collection[Partition]) -> None:
    """Note that all that there was in these partitions is applied."""
    topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]
    execute(db, _CAUGHT_UP, schema, topics, numbers)


def tell_errors(db: Connection[Row], schema: str, errors: Mapping[Partition, str | None]) -> None:
    """Note why partitions stand still, or that they do not."""
    topics, numbers = [p.topic for p in errors], [p.number for p in errors]
    execute(db, _TELL_ERRORS, schema, topics, numbers, list(errors.values()))


def tell_member(
    db: Connection[Row],
    schema: str,
    member: UUID,
    *,
    partitions: int,
    messages_left: int | None,
    trouble: str | None,
) -> None:
    """Note that a member feeds a read model, and how that goes."""
    execute(db, _TELL_MEMBER, schema, member, partitions, messages_left, trouble)


def tell(db: Connection[Row], schema: str, offsets: Offsets) -> None:
    """Let readers know how far a read model is."""
    execute(db, _TELL, offsets.subscription, schema, schema)


def tell_graded(db: Connection[Row], marks: Sequence[Reached]) -> None:
    """Let readers know up to where grades are calculated."""
    graded = max(mark.graded for mark in marks)
    graded_at = max(mark.graded_at for mark in marks)
    execute(db, _GRADED, graded, graded_at, graded, graded_at)
