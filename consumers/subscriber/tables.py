"""The tables of a subscriber in its own database: who it is, where it stands, what it tries."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql

from consumers.following.offsets import Offsets, Standing
from consumers.following.steps import Step
from consumers.kafka.client import Partition
from consumers.subscriber import parked as subscriber_parked
from consumers.subscriber.parked import ParkedMessages, storable
from projections.read_model import Row

VERSION: Final = 2
"""Of the tables. Raised whenever what makes them changes; they are made anew in place."""

_CREATE: Final = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {attempts} (
    subscription text    NOT NULL,
    topic        text    NOT NULL,
    partition    integer NOT NULL,
    began        bigint  NOT NULL,
    until        bigint  NOT NULL,
    attempts     integer NOT NULL,
    careful      bigint  NOT NULL,
    PRIMARY KEY (subscription, topic, partition)
);
ALTER TABLE {attempts} ADD COLUMN IF NOT EXISTS topic_id uuid,
    ADD COLUMN IF NOT EXISTS losses integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS lost_with text;
CREATE TABLE IF NOT EXISTS {topics} (
    subscription text    NOT NULL,
    topic        text    NOT NULL,
    partitions   integer NOT NULL,
    settled      bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, topic)
);
CREATE TABLE IF NOT EXISTS {installation} (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id       uuid    NOT NULL DEFAULT gen_random_uuid(),
    version  integer NOT NULL
);
"""
_NOTE_VERSION: Final = """
INSERT INTO {installation} (version) VALUES (%s)
ON CONFLICT (only_one) DO UPDATE SET version = excluded.version
"""
_VERSION: Final = "SELECT version FROM {installation}"
_CREATION_LOCK: Final = (
    "SELECT pg_advisory_xact_lock(hashtextextended('gradelog subscriber tables', 0))"
)
# A database that was copied has another name or number: what reads there shares nothing.
_ID: Final = """
SELECT left(md5(concat_ws('/', i.id, d.oid, d.datname)), 12)
FROM {installation} i, pg_database d WHERE d.datname = current_database()
"""
# A stretch that begins where an earlier one began is tried again: whoever tried it did not
# come to its end. Up to that end every message goes alone, and only what goes alone is counted
# then. What was taken back is not counted, and does not make anything go alone. ``first`` is the offset of the first message that is tried; repeats may stand before it.
# Offsets of a topic that was made anew say nothing of those before. If a crash of the server
# loses this row, an attempt is not counted: no reason to wait for its disk.
_BEGIN: Final = """
INSERT INTO {attempts} AS a
    (subscription, topic, partition, topic_id, began, until, attempts, careful)
SELECT %(subscription)s, topic, partition, topic_id, began, until, 1,
    CASE WHEN %(careful)s THEN until ELSE -1 END
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(topic_ids)s::uuid[],
    %(began)s::bigint[], %(until)s::bigint[]) AS t (topic, partition, topic_id, began, until)
ORDER BY topic, partition
ON CONFLICT (subscription, topic, partition) DO UPDATE SET
    (topic_id, began, until, attempts, careful, losses) = (
        SELECT
            coalesce(excluded.topic_id, a.topic_id),
            CASE WHEN waits THEN a.began ELSE excluded.began END,
            CASE WHEN waits THEN a.until ELSE excluded.until END,
            CASE WHEN waits THEN a.attempts
                WHEN is_again AND a.until = excluded.until THEN a.attempts + 1 ELSE 1 END,
            greatest(excluded.careful, known),
            CASE WHEN waits OR is_again THEN a.losses ELSE 0 END
        FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(first)s::bigint[])
                AS f (topic, partition, first),
            LATERAL (SELECT a.topic_id IS NULL OR excluded.topic_id IS NULL
                OR a.topic_id = excluded.topic_id) AS s (is_same),
            LATERAL (SELECT is_same AND a.began = excluded.began) AS g (is_again),
            LATERAL (SELECT greatest(CASE WHEN is_same THEN a.careful ELSE -1 END,
                CASE WHEN is_again AND a.attempts > 0 THEN a.until ELSE -1 END)) AS k (known),
            LATERAL (SELECT NOT %(alone)s AND known >= f.first) AS w (waits)
        WHERE f.topic = excluded.topic AND f.partition = excluded.partition
    )
RETURNING topic, partition, attempts, careful, losses, lost_with,
    set_config('synchronous_commit', 'off', true)
"""
_TAKE_BACK: Final = """
UPDATE {attempts} a SET attempts = a.attempts - 1,
    losses = a.losses + %(loss)s, lost_with = coalesce(%(lost_with)s, a.lost_with),
    careful = CASE WHEN a.losses + %(loss)s >= %(most)s THEN greatest(a.careful, a.until)
        ELSE a.careful END
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(began)s::bigint[], %(until)s::bigint[])
    AS t (topic, partition, began, until)
WHERE a.subscription = %(subscription)s AND a.topic = t.topic AND a.partition = t.partition
    AND a.began = t.began AND a.until = t.until AND a.attempts > 0
RETURNING a.losses
"""
FEW_LOSSES: Final = 3
"""How often the database may be lost with the same messages until they go alone."""


class Tries(NamedTuple):
    """How often a stretch was begun.

    ``careful`` is up to which offset messages go alone, -1 to none; ``losses`` how often the
    database was lost meanwhile, the last time with the error ``lost_with``.
    """

    attempts: int
    careful: int
    losses: int = 0
    lost_with: str | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """What one subscription keeps in a schema that several may share."""

    subscription: str
    schema: str

    @property
    def offsets(self) -> Offsets:
        """Where it stands."""
        return Offsets(self.subscription, self.schema, "offsets")

    @property
    def parked(self) -> ParkedMessages:
        """What it has put aside."""
        return ParkedMessages(self.subscription, self.schema)

    def create(self, db: Connection[Row]) -> None:
        """Create what is missing, and bring what an older version made up to date."""
        if self._version(db) >= VERSION:
            return  # to change a table, even in nothing, waits for all who use it
        with db.transaction():
            db.execute(_CREATION_LOCK)
            db.execute(self._statement(_CREATE))
            db.execute(self._statement(subscriber_parked.CREATE))
            self.offsets.create(db)
            db.execute(self._statement(_NOTE_VERSION), (VERSION,))

    def _version(self, db: Connection[Row]) -> int:
        name = sql.Identifier(self.schema, "installation").as_string(db)
        ((is_there,),) = db.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchall()
        found = db.execute(self._statement(_VERSION)).fetchall() if is_there else ()
        return max((int(version) for (version,) in found), default=0)

    def group(self, db: Connection[Row], prefix: str) -> str:
        """The group of those who share this subscription: of these topics, in this database."""
        ((id_,),) = db.execute(self._statement(_ID)).fetchall()
        return f"gradelog-subscriber.{self.subscription}.{prefix}.{id_}"

    # --- attempts ---------------------------------------------------------------------------

    def begin(
        self, db: Connection[Row], step: Step, *, alone: bool = False, careful: bool = False
    ) -> dict[Partition, Tries]:
        """Note, before anything else is done, that the messages of a step are tried.

        Args:
            db: outside of a transaction.
            step: what is tried.
            alone: it is one message, and counted whatever happened before.
            careful: it has failed already; it goes alone from now on.
        """
        first: dict[Partition, int] = {}
        for entry in step.entries:
            first[entry.partition] = min(entry.offset, first.get(entry.partition, entry.offset))
        topics, partitions, began, until = _stretches(step)
        arguments = {
            "subscription": self.subscription,
            "careful": careful,
            "alone": alone,
            "topics": topics,
            "partitions": partitions,
            "topic_ids": [step.after[p].topic_id for p in first],
            "began": began,
            "first": list(first.values()),
            "until": until,
        }
        rows = db.execute(self._prepared(_BEGIN), arguments, prepare=True).fetchall()
        return {Partition(topic, number): Tries(*found) for topic, number, *found, _ in rows}

    def take_back(self, db: Connection[Row], step: Step, lost_with: str | None = None) -> int:
        """Let what ``begin`` noted of a step not count.

        Args:
            db: the database.
            step: what was tried.
            lost_with: the error with which the database was lost meanwhile, if it was.

        Returns:
            how often it was lost with messages of this step; the most of its partitions.
        """
        topics, partitions, began, until = _stretches(step)
        arguments = {
            "subscription": self.subscription,
            "topics": topics,
            "partitions": partitions,
            "began": began,
            "until": until,
            "loss": 0 if lost_with is None else 1,
            "lost_with": None if lost_with is None else storable(lost_with),
            "most": FEW_LOSSES,
        }
        rows = db.execute(self._statement(_TAKE_BACK), arguments).fetchall()
        return max((int(losses) for (losses,) in rows), default=0)

    # --- where it stands --------------------------------------------------------------------

    def standings(self, db: Connection[Row]) -> Mapping[Partition, Standing]:
        """Where every partition stands."""
        return self.offsets.load_all(db)

    def _statement(self, statement: Any) -> sql.Composed:
        names = ("attempts", "installation", "parked", "topics")
        return sql.SQL(statement).format(
            schema=sql.Identifier(self.schema),
            **{name: sql.Identifier(self.schema, name) for name in names},
        )

    def _prepared(self, statement: Any) -> bytes:
        """The same for what is run all the time."""
        return _composed(self, statement)


@lru_cache
def _composed(tables: Tables, statement: str) -> bytes:
    return tables._statement(statement).as_bytes(None)  # noqa: SLF001 - of this module


def _stretches(step: Step) -> tuple[list[str], list[int], list[int], list[int]]:
    """Topics, partitions, where each begins, and the offset of the last message of each."""
    until: dict[Partition, int] = {}
    for entry in step.entries:
        until[entry.partition] = max(entry.offset, until.get(entry.partition, entry.offset))
    return (
        [p.topic for p in until],
        [p.number for p in until],
        [step.before[p].next_offset for p in until],
        list(until.values()),
    )
