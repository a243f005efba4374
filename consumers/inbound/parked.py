"""The messages that were not carried out, as they are kept in PostgreSQL."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from psycopg import AsyncConnection

from consumers.inbound.envelope import attributes_of
from consumers.inbound.requests import LONGEST_VALUE
from consumers.kafka.client import Message, Partition
from projections.read_model import Row

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds for one question to the database."""

CUT_OFF_AT: Final = 64 * 1024
"""Bytes that are kept of a payload that is too large, and of keys and headers at most."""

LONGEST_DETAIL: Final = 2000

PARK: Final = """
INSERT INTO gradelog.inbound_parked (kind, topic, topic_id, partition, message_offset, sent_at,
    message_id, source, type, key, header_names, header_values, payload, payload_size, cut_off,
    reason, detail, attempts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT inbound_parked_once DO NOTHING
"""
_COLUMNS: Final = """
SELECT id, kind, topic, partition, message_offset, sent_at, message_id, source, type, key,
    header_names, header_values, payload, payload_size, cut_off, reason, detail, attempts,
    parked_at, tried_at
FROM gradelog.inbound_parked
"""
_WHERE: Final = """
WHERE (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s))
    AND (%(topic)s::text IS NULL OR topic = %(topic)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(before)s::timestamptz IS NULL OR parked_at < %(before)s)
    AND (%(containing)s::bytea IS NULL OR position(%(containing)s::bytea IN payload) > 0
        OR position(%(containing)s::bytea IN key) > 0)
"""
FIND: Final = f"{_COLUMNS}{_WHERE} AND id > %(after)s ORDER BY id LIMIT %(limit)s"
COUNT: Final = f"SELECT count(*) FROM gradelog.inbound_parked {_WHERE}"  # noqa: S608 - constants
LAST: Final = "SELECT coalesce(max(id), 0) FROM gradelog.inbound_parked"
DROP: Final = f"DELETE FROM gradelog.inbound_parked {_WHERE}"  # noqa: S608 - constants
TRIED: Final = """
UPDATE gradelog.inbound_parked
SET reason = %s, detail = %s, attempts = attempts + 1, tried_at = now() WHERE id = %s
"""


class Database(Protocol):
    """A connection that heals itself."""

    async def run(
        self, work: Callable[[AsyncConnection[Row]], Awaitable[T]], *, within: float
    ) -> T:
        """Do work that may safely be done twice.

        Raises:
            UnavailableError: it was not done within that many seconds.
        """


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was not carried out, and why."""

    id: int
    kind: str
    topic: str
    partition: int
    offset: int
    sent_at: int
    message_id: str | None
    source: str | None
    type: str | None
    key: bytes | None
    header_names: Sequence[str]
    header_values: Sequence[bytes]
    payload: bytes | None
    payload_size: int
    cut_off: bool
    reason: str
    detail: str
    attempts: int
    parked_at: datetime
    tried_at: datetime

    @property
    def message(self) -> Message:
        """The message as it was read."""
        return Message(
            Partition(self.topic, self.partition),
            self.offset,
            self.key,
            self.payload,
            list(zip(self.header_names, self.header_values, strict=True)),
            self.sent_at,
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parked messages are meant; all that are given must be so."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: str | None = None
    before: datetime | None = None
    containing: str | None = None

    def arguments(self) -> dict[str, Any]:
        """For a statement."""
        return {
            "ids": None if self.ids is None else list(self.ids),
            "topic": self.topic,
            "reason": self.reason,
            "before": self.before,
            "containing": None if self.containing is None else self.containing.encode(),
        }


EVERYTHING: Final = Selection()


class ParkedMessages:
    """The parked messages; for the tasks of one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def park(
        self, kind: str, topic_id: UUID, message: Message, reason: str, detail: str, attempts: int
    ) -> None:
        """Keep a message that cannot be carried out; one that is kept already stays as it is."""
        message_id, source, type_ = attributes_of(message)
        value = message.value
        too_large = value is not None and len(value) > LONGEST_VALUE
        key = None if message.key is None else message.key[:CUT_OFF_AT]
        headers = _bounded(message)
        values = (
            kind,
            message.partition.topic,
            topic_id,
            message.partition.number,
            message.offset,
            message.timestamp,
            message_id,
            source,
            type_,
            key,
            [storable(name) for name, _ in headers],
            [raw for _, raw in headers],
            value[:CUT_OFF_AT] if value is not None and too_large else value,
            0 if value is None else len(value),
            too_large or key != message.key or len(headers) < len(message.headers),
            reason,
            storable(detail),
            attempts,
        )

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(PARK, values)

        await self._database.run(write, within=PATIENCE)

    async def find(
        self, selection: Selection = EVERYTHING, *, after: int = 0, limit: int | None = None
    ) -> list[Parked]:
        """Parked messages, oldest first, after the one with this id."""
        arguments = {**selection.arguments(), "after": after, "limit": limit}
        return [Parked(*row) for row in await self._rows(FIND, arguments)]

    async def count(self, selection: Selection = EVERYTHING) -> int:
        """How many are parked."""
        ((found,),) = await self._rows(COUNT, selection.arguments())
        return int(found)

    async def last(self) -> int:
        """The id of what was parked last; 0 for nothing."""
        ((found,),) = await self._rows(LAST, ())
        return int(found)

    async def drop(self, selection: Selection) -> int:
        """Forget parked messages; return how many."""

        async def write(db: AsyncConnection[Row]) -> int:
            return (await db.execute(DROP, selection.arguments())).rowcount

        return await self._database.run(write, within=PATIENCE)

    async def tried(self, parked: Parked, reason: str, detail: str) -> None:
        """Note that a parked message was tried again in vain."""

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(TRIED, (reason, storable(detail), parked.id))

        await self._database.run(write, within=PATIENCE)

    async def _rows(self, statement: Any, arguments: Any) -> list[Row]:
        async def ask(db: AsyncConnection[Row]) -> list[Row]:
            return await (await db.execute(statement, arguments)).fetchall()

        return await self._database.run(ask, within=PATIENCE)


def storable(value: str | None) -> str | None:
    """A text that PostgreSQL takes, and not too long."""
    if value is None:
        return None
    clean = value.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return clean if len(clean) <= LONGEST_DETAIL else clean[: LONGEST_DETAIL - 1] + "…"


def _bounded(message: Message) -> list[tuple[str, bytes]]:
    """The headers, as many of the first ones as there is room for."""
    kept: list[tuple[str, bytes]] = []
    size = 0
    for name, raw in message.headers:
        size += len(name) + len(raw)
        if size > CUT_OFF_AT:
            break
        kept.append((name, raw))
    return kept
