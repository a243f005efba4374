"""The tables of a subscriber in its own database: offsets, attempts and parked messages."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql

from consumers.kafka.client import Headers, Message, Partition
from consumers.offsets import Offsets, Standing
from consumers.steps import Step
from projections.read_model import Row

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
CREATE INDEX IF NOT EXISTS {parked_keys} ON {parked} (subscription, topic, key);
"""
_CREATION_LOCK: Final = (
    "SELECT pg_advisory_xact_lock(hashtextextended('gradelog subscriber tables', 0))"
)
# A stretch that begins where an earlier one began is tried again: whoever tried it did not
# come to its end. Up to that end every message goes alone, and only what goes alone is counted
# then. ``first`` is the offset of the first message that is tried; repeats may stand before it.
_BEGIN: Final = """
INSERT INTO {attempts} AS a (subscription, topic, partition, began, until, attempts, careful)
SELECT %(subscription)s, topic, partition, began, until, 1,
    CASE WHEN %(careful)s THEN until ELSE -1 END
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(began)s::bigint[], %(until)s::bigint[])
    AS t (topic, partition, began, until)
ORDER BY topic, partition
ON CONFLICT (subscription, topic, partition) DO UPDATE SET
    careful = greatest(a.careful, excluded.careful,
        CASE WHEN a.began = excluded.began THEN a.until ELSE -1 END),
    (began, until, attempts) = (
        SELECT
            CASE WHEN waits THEN a.began ELSE excluded.began END,
            CASE WHEN waits THEN a.until ELSE excluded.until END,
            CASE WHEN waits THEN a.attempts WHEN a.began = excluded.began
                AND a.until = excluded.until THEN a.attempts + 1 ELSE 1 END
        FROM (
            SELECT NOT %(alone)s AND greatest(a.careful,
                CASE WHEN a.began = excluded.began THEN a.until ELSE -1 END) >= f.first AS waits
            FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(first)s::bigint[])
                AS f (topic, partition, first)
            WHERE f.topic = excluded.topic AND f.partition = excluded.partition
        ) AS w
    )
RETURNING topic, partition, attempts, careful
"""
_PARK: Final = """
INSERT INTO {parked} (subscription, topic, partition, "offset", position, type, key, payload,
    header_names, header_values, produced_at, error, attempts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_COLUMNS: Final = """
id, topic, partition, "offset", position, type, key, payload, header_names, header_values,
produced_at, error, attempts, parked_at
"""
_PARKED: Final = "SELECT {columns} FROM {parked} WHERE subscription = %s ORDER BY id"
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
_COUNT: Final = "SELECT count(*) FROM {parked} WHERE subscription = %s"
_REPLAY: Final = """
INSERT INTO {offsets} AS o (subscription, topic, partition, next_offset, position)
SELECT %s, *, 0, %s FROM unnest(%s::text[], %s::int[])
ON CONFLICT (subscription, topic, partition) DO UPDATE SET next_offset = 0, position = %s
"""
_FORGET_ATTEMPTS: Final = "DELETE FROM {attempts} WHERE subscription = %s"
_FORGET_PARKED: Final = "DELETE FROM {parked} WHERE subscription = %s AND position > %s"


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


class Tries(NamedTuple):
    """How often a stretch was begun, and up to which offset messages go alone; -1: to none."""

    attempts: int
    careful: int


@dataclass(frozen=True, slots=True)
class Tables:
    """What one subscription keeps in a schema that several may share."""

    subscription: str
    schema: str

    @property
    def offsets(self) -> Offsets:
        """Where it stands."""
        return Offsets(self.subscription, self.schema, "offsets")

    def create(self, db: Connection[Row]) -> None:
        """Create the schema and the tables that are missing."""
        with db.transaction():
            db.execute(_CREATION_LOCK)
            db.execute(self._statement(_CREATE))
            self.offsets.create(db)

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
        until: dict[Partition, int] = {}
        for entry in step.entries:
            first[entry.partition] = min(entry.offset, first.get(entry.partition, entry.offset))
            until[entry.partition] = max(entry.offset, until.get(entry.partition, entry.offset))
        arguments = {
            "subscription": self.subscription,
            "careful": careful,
            "alone": alone,
            "topics": [p.topic for p in until],
            "partitions": [p.number for p in until],
            "began": [step.before[p].next_offset for p in until],
            "first": list(first.values()),
            "until": list(until.values()),
        }
        rows = db.execute(self._statement(_BEGIN), arguments).fetchall()
        return {Partition(t, n): Tries(attempts, end) for t, n, attempts, end in rows}

    # --- parked messages --------------------------------------------------------------------

    def park(
        self,
        db: Connection[Row],
        message: Message,
        position: int | None,
        error: str,
        attempts: int,
    ) -> None:
        """Put a message aside."""
        headers = dict(message.headers)
        type_ = headers.get("ce_type")
        db.execute(
            self._statement(_PARK),
            (
                self.subscription,
                *message.partition,
                message.offset,
                position,
                None if type_ is None else type_.decode(errors="replace"),
                message.key,
                message.value,
                list(headers),
                list(headers.values()),
                message.timestamp,
                error,
                attempts,
            ),
        )

    def parked(self, db: Connection[Row]) -> list[Parked]:
        """What was put aside, the oldest first."""
        with db.cursor(binary=True) as cursor:
            rows = cursor.execute(self._statement(_PARKED), (self.subscription,)).fetchall()
        return [_parked(row) for row in rows]

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
        db.execute(self._statement(_FAILED), (error, self.subscription, id_))

    def count(self, db: Connection[Row]) -> int:
        """How many are parked."""
        row = db.execute(self._statement(_COUNT), (self.subscription,)).fetchone()
        assert row is not None
        return int(row[0])

    def blocked(
        self, db: Connection[Row], keys: Collection[tuple[str, bytes]]
    ) -> set[tuple[str, bytes]]:
        """Those of these topics and keys of which a message is parked."""
        arguments = (self.subscription, [topic for topic, _ in keys], [key for _, key in keys])
        with db.cursor(binary=True) as cursor:
            rows = cursor.execute(self._statement(_BLOCKED), arguments).fetchall()
        return {(topic, bytes(key)) for topic, key in rows}

    # --- going back -------------------------------------------------------------------------

    def replay(self, db: Connection[Row], position: int, partitions: Sequence[Partition]) -> None:
        """Let every partition begin again after a position; what was parked after it comes again."""
        with db.transaction():
            topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]
            statement = self._statement(_REPLAY)
            db.execute(statement, (self.subscription, position, topics, numbers, position))
            db.execute(self._statement(_FORGET_ATTEMPTS), (self.subscription,))
            db.execute(self._statement(_FORGET_PARKED), (self.subscription, position))

    def standings(self, db: Connection[Row]) -> dict[Partition, Standing]:
        """Where every partition stands."""
        return self.offsets.load_all(db)

    def _statement(self, statement: Any) -> sql.Composed:
        names = {name: sql.Identifier(self.schema, name) for name in ("attempts", "parked")}
        return sql.SQL(statement).format(
            columns=sql.SQL(_COLUMNS),
            schema=sql.Identifier(self.schema),
            offsets=sql.Identifier(self.schema, "offsets"),
            parked_keys=sql.Identifier("parked_keys"),
            **names,
        )


def _parked(row: Row) -> Parked:
    id_, topic, number, offset, position, type_, key, payload, names, values, at, *rest = row
    headers: Headers = list(zip(names, map(bytes, values), strict=True))
    message = Message(Partition(topic, number), offset, key, payload, headers, at)
    return Parked(id_, message, position, type_, *rest)
