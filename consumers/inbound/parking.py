"""The messages that were not carried out, as they are kept in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from psycopg import AsyncConnection

from consumers.inbound.envelope import attributes_of
from consumers.inbound.parked import EVERYTHING, Parked, Selection
from consumers.inbound.requests import LONGEST_VALUE
from consumers.kafka.client import Message
from projections.read_model import Row

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds for one question to the database."""

CUT_OFF_AT: Final = 64 * 1024
"""Bytes that are kept of a payload that is too large, and of keys and headers at most."""

LONGEST_DETAIL: Final = 2000

PAGE: Final = 50
"""Messages that are fetched at once: of one megabyte each, at most."""

DROPPED_AT_ONCE: Final = 1000

LAST_ID: Final = 2**63 - 1

PARK: Final = """
INSERT INTO gradelog.inbound_parked (kind, topic, topic_id, partition, message_offset, sent_at,
    message_id, source, type, key, header_names, header_values, payload, payload_size, cut_off,
    reason, detail, attempts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT inbound_parked_once DO NOTHING
"""
_FIND: Final = """
SELECT id, kind, topic, partition, message_offset, sent_at, message_id, source, type,
    {contents}, payload_size, cut_off, reason, detail, attempts, parked_at, tried_at
FROM gradelog.inbound_parked
"""
_WHERE: Final = """
WHERE id > %(after)s AND id <= %(last)s
    AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s))
    AND (%(topic)s::text IS NULL OR topic = %(topic)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(before)s::timestamptz IS NULL OR parked_at < %(before)s)
"""
_WHOLE: Final = _FIND.format(contents="key, header_names, header_values, payload")
_SHORT: Final = _FIND.format(contents="NULL::bytea, '{}'::text[], '{}'::bytea[], NULL::bytea")
FIND: Final = f"{_WHOLE}{_WHERE} ORDER BY id LIMIT %(limit)s"
LIST: Final = f"{_SHORT}{_WHERE} ORDER BY id LIMIT %(limit)s"
COUNT: Final = f"SELECT count(*) FROM gradelog.inbound_parked {_WHERE}"  # noqa: S608 - constants
DROP: Final = f"""
DELETE FROM gradelog.inbound_parked WHERE id IN (
    SELECT id FROM gradelog.inbound_parked {_WHERE} ORDER BY id LIMIT %(limit)s
) RETURNING id
"""  # noqa: S608 - constants
LAST: Final = "SELECT coalesce(max(id), 0) FROM gradelog.inbound_parked"
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
        self,
        selection: Selection = EVERYTHING,
        *,
        after: int = 0,
        limit: int | None = None,
        whole: bool = True,
    ) -> list[Parked]:
        """Parked messages, oldest first, after the one with this id.

        Without ``whole`` what they hold, which may be large, is left out.
        """
        if selection.containing is None:
            arguments = _arguments(selection, after=after, limit=limit)
            return [Parked(*row) for row in await self._rows(FIND if whole else LIST, arguments)]
        found: list[Parked] = []
        async for page in self._containing(selection, selection.containing, after=after):
            found += page
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    async def count(self, selection: Selection = EVERYTHING) -> int:
        """How many are parked."""
        if selection.containing is not None:
            pages = self._containing(selection, selection.containing)
            return sum([len(page) async for page in pages])
        ((found,),) = await self._rows(COUNT, _arguments(selection))
        return int(found)

    async def last(self) -> int:
        """The id of what was parked last; 0 for nothing."""
        ((found,),) = await self._rows(LAST, ())
        return int(found)

    async def drop(self, selection: Selection) -> int:
        """Forget what is parked now; return how many messages that were.

        Some at a time: no statement may take long, however many there are.
        """
        last = await self.last()
        if selection.containing is None:
            return await self._drop(selection, last)
        dropped = 0
        async for page in self._containing(selection, selection.containing, last=last):
            dropped += await self._drop(Selection(ids=[one.id for one in page]), last)
        return dropped

    async def tried(self, parked: Parked, reason: str, detail: str) -> None:
        """Note that a parked message was tried again in vain."""

        async def write(db: AsyncConnection[Row]) -> None:
            await db.execute(TRIED, (reason, storable(detail), parked.id))

        await self._database.run(write, within=PATIENCE)

    async def _drop(self, selection: Selection, last: int) -> int:
        dropped = after = 0
        while True:
            arguments = _arguments(selection, after=after, last=last, limit=DROPPED_AT_ONCE)
            gone = await self._rows(DROP, arguments)
            dropped += len(gone)
            if len(gone) < DROPPED_AT_ONCE:
                return dropped
            after = max(id_ for (id_,) in gone)

    async def _containing(
        self, selection: Selection, text: str, *, after: int = 0, last: int = LAST_ID
    ) -> AsyncIterator[list[Parked]]:
        """Those that hold a text: looked for here, because JSON writes it in many ways."""
        while True:
            arguments = _arguments(selection, after=after, last=last, limit=PAGE)
            page = [Parked(*row) for row in await self._rows(FIND, arguments)]
            if not page:
                return
            after = page[-1].id
            if found := [one for one in page if one.holds(text)]:
                yield found

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
        value = raw or b""  # Kafka has headers without a value
        size += len(name) + len(value)
        if size > CUT_OFF_AT:
            break
        kept.append((name, value))
    return kept


def _arguments(
    selection: Selection, *, after: int = 0, last: int = LAST_ID, limit: int | None = None
) -> dict[str, Any]:
    """For a statement about ids after one and up to another; ``containing`` is not in it."""
    return {
        "ids": None if selection.ids is None else list(selection.ids),
        "topic": selection.topic,
        "reason": selection.reason,
        "before": selection.before,
        "after": after,
        "last": last,
        "limit": limit,
    }
