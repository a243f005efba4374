"""With how many partitions a subscriber has read its topics, and what if that has changed.

A course stands in one of the partitions, which depends on how many there are. Where a partition
stands says what was handled of the courses in it: with another number of partitions, of other
courses. That can be carried over if all partitions stand at the same position, and else not.

Whoever reads a topic does not see at once that it was made anew; what moves meanwhile says
nothing. So it is kept up to which position everything was handled before for sure: ``settled``.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from consumers.kafka.client import Client, Partition, Topic, UnknownTopicError
from consumers.subscriber.database import as_usual
from consumers.subscriber.tables import Tables
from projections.read_model import Row

# Before this table was there, rows of partitions were: there are as many at least.
_NOTE: Final = """
INSERT INTO {topics} (subscription, topic, partitions)
SELECT %s, t.topic, greatest(t.partitions,
    (SELECT max(o.partition) + 1 FROM {offsets} o WHERE o.subscription = %s AND o.topic = t.topic))
FROM unnest(%s::text[], %s::int[]) AS t (topic, partitions)
ORDER BY t.topic ON CONFLICT DO NOTHING
"""
_KNOWN: Final = """
SELECT topic, partitions FROM {topics} WHERE subscription = %s AND topic = ANY (%s)
ORDER BY topic
"""
_LOWEST: Final = """
SELECT t.topic, min(coalesce(o.position, 0))
FROM {topics} t CROSS JOIN generate_series(0, t.partitions - 1) AS n
LEFT JOIN {offsets} o ON (o.subscription, o.topic, o.partition) = (t.subscription, t.topic, n)
WHERE t.subscription = %s AND t.topic = ANY (%s)
GROUP BY t.topic HAVING min(coalesce(o.position, 0)) > min(t.settled)
"""
_SETTLE: Final = """
UPDATE {topics} t SET settled = s.position
FROM unnest(%s::text[], %s::bigint[]) AS s (topic, position)
WHERE t.subscription = %s AND t.topic = s.topic AND t.settled < s.position
"""
_SETTLED: Final = "SELECT settled FROM {topics} WHERE subscription = %s AND topic = %s"
_POSITIONS: Final = """
SELECT partition, position FROM {offsets} WHERE subscription = %s AND topic = %s
ORDER BY partition FOR UPDATE
"""
_FORGET_ROWS: Final = "DELETE FROM {offsets} WHERE subscription = %s AND topic = %s"
_FORGET_TRIES: Final = "DELETE FROM {attempts} WHERE subscription = %s AND topic = %s"
_ADD_ROWS: Final = """
INSERT INTO {offsets} (subscription, topic, partition, next_offset, position)
SELECT %s, %s, n, 0, %s FROM generate_series(0, %s - 1) AS n ORDER BY n
ON CONFLICT DO NOTHING
"""
_CHANGE: Final = """
UPDATE {topics} SET partitions = %s, settled = %s WHERE subscription = %s AND topic = %s
"""
_UNSETTLE: Final = """
UPDATE {topics} SET settled = least(settled, %s) WHERE subscription = %s AND topic = %s
"""
_BACK: Final = """
UPDATE {offsets} SET next_offset = 0, position = least(position, %s)
WHERE subscription = %s AND topic = %s
"""
_FORGET_PARKED: Final = """
DELETE FROM {parked} WHERE subscription = %s AND topic = ANY (%s) AND position > %s
"""


class PartitionsChangedError(Exception):
    """A topic has another number of partitions, and what was handled cannot be told any more."""

    def __init__(self, topic: str, known: int, found: int, settled: int) -> None:
        super().__init__(
            f"the topic {topic} has {found} partitions, and was read with {known}: of the courses"
            " that stand in another one now it cannot be told what was handled after position"
            f" {settled}. Undo what was made of later events, and replay({settled})"
        )


@dataclass(frozen=True, slots=True)
class SubscribedTopics:
    """The topics of one subscription, and their partitions in its tables."""

    tables: Tables
    names: Collection[str]

    def known(self, db: Connection[Row], *, locked: bool = False) -> dict[str, int]:
        """With how many partitions each topic is read.

        Args:
            db: the database.
            locked: nobody changes it until the transaction ends.
        """
        statement = f"{_KNOWN} FOR SHARE" if locked else _KNOWN
        arguments = (self.tables.subscription, list(self.names))
        return dict(db.execute(self._statement(statement), arguments).fetchall())

    def lay_out(self, db: Connection[Row], found: Iterable[Topic]) -> None:
        """Make the rows be those of the partitions that there are.

        Raises:
            PartitionsChangedError: there are others, and they do not stand at one position.
        """
        topics = sorted(found, key=lambda topic: topic.name)
        self._note(db, topics)
        known = self.known(db)
        if all(known[topic.name] == topic.partitions for topic in topics):
            return
        with db.transaction():
            known = self._locked(db)
            for topic in topics:
                count = known[topic.name]
                if count != topic.partitions:
                    settled, positions = self._positions(db, topic.name, count)
                    if positions != {settled}:
                        raise PartitionsChangedError(topic.name, count, topic.partitions, settled)
                    self._lay_anew(db, topic, settled)

    def lowest(self, db: Connection[Row]) -> dict[str, int]:
        """Up to where each topic is handled in all of its partitions, if that has changed."""
        arguments = (self.tables.subscription, list(self.names))
        return dict(db.execute(self._statement(_LOWEST), arguments).fetchall())

    def settle(self, db: Connection[Row], positions: Mapping[str, int]) -> None:
        """Note that this was so while the topics were those that are known."""
        arguments = (list(positions), list(positions.values()), self.tables.subscription)
        db.execute(self._statement(_SETTLE), arguments)

    def replay(self, db: Connection[Row], position: int, found: Mapping[str, Topic]) -> None:
        """Let every partition begin again after a position; what was parked after it comes again.

        Raises:
            UnknownTopicError: there is no such topic, and nothing was ever read of it.
            PartitionsChangedError: the topic has others, and they have to begin earlier.
        """
        subscription = self.tables.subscription
        with db.transaction():
            as_usual(db)
            self._note(db, found.values())
            known = self._locked(db)
            for name in sorted(self.names):
                if name not in known:
                    raise UnknownTopicError(f"there is no topic {name}")
                topic = found.get(name) or Topic(name, None, known[name])
                settled, positions = self._positions(db, name, known[name])
                db.execute(self._statement(_UNSETTLE), (position, subscription, name))
                if topic.partitions != known[name]:
                    if position > settled and positions != {settled}:
                        raise PartitionsChangedError(name, known[name], topic.partitions, settled)
                    self._lay_anew(db, topic, min(position, settled))
                    continue
                db.execute(self._statement(_BACK), (position, subscription, name))
                arguments = (subscription, name, position, topic.partitions)
                db.execute(self._statement(_ADD_ROWS), arguments)
                db.execute(self._statement(_FORGET_TRIES), (subscription, name))
            later = (subscription, list(self.names), position)
            db.execute(self._statement(_FORGET_PARKED), later)

    def _note(self, db: Connection[Row], found: Collection[Topic]) -> None:
        names, counts = [topic.name for topic in found], [topic.partitions for topic in found]
        subscription = self.tables.subscription
        db.execute(self._statement(_NOTE), (subscription, subscription, names, counts))

    def _locked(self, db: Connection[Row]) -> dict[str, int]:
        arguments = (self.tables.subscription, list(self.names))
        return dict(db.execute(self._statement(f"{_KNOWN} FOR UPDATE"), arguments).fetchall())

    def _positions(self, db: Connection[Row], topic: str, count: int) -> tuple[int, set[int]]:
        """Up to where all is handled for sure, and where the partitions stand.

        Who moves them meanwhile is waited for, or waits.
        """
        place = (self.tables.subscription, topic)
        rows: dict[int, int] = dict(db.execute(self._statement(_POSITIONS), place).fetchall())
        ((settled,),) = db.execute(self._statement(_SETTLED), place).fetchall()
        positions = {rows.get(number, 0) for number in range(count)}
        return min(settled, *positions), positions

    def _lay_anew(self, db: Connection[Row], topic: Topic, position: int) -> None:
        place = (self.tables.subscription, topic.name)
        db.execute(self._statement(_FORGET_ROWS), place)
        db.execute(self._statement(_FORGET_TRIES), place)
        db.execute(self._statement(_ADD_ROWS), (*place, position, topic.partitions))
        db.execute(self._statement(_CHANGE), (topic.partitions, position, *place))

    def _statement(self, statement: Any) -> sql.Composed:
        names = ("attempts", "offsets", "parked", "topics")
        schema = self.tables.schema
        return sql.SQL(statement).format(**{n: sql.Identifier(schema, n) for n in names})


def partitions_of(topics: Iterable[Topic]) -> list[Partition]:
    """The partitions of these topics."""
    return [Partition(topic.name, n) for topic in topics for n in range(topic.partitions)]


def ask(client: Client, names: Collection[str]) -> dict[str, Topic]:
    """Those of the topics that exist.

    Raises:
        KafkaError: Kafka does not tell.
    """
    with closing(client.admin()) as admin:
        return dict(admin.topics(names))


def ends_of(client: Client, topics: Iterable[Topic]) -> dict[Partition, int]:
    """The offset of the next message of each partition.

    Raises:
        KafkaError: Kafka does not tell.
    """
    partitions = partitions_of(topics)
    with closing(client.consumer()) as consumer:
        return dict(consumer.end_offsets(partitions)) if partitions else {}
