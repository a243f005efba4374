"""The log of ``domain.application``, in PostgreSQL, for the tasks of one event loop."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg

from domain.application import Appended, Claim, HeldClaim, IdWanted
from domain.errors import UnavailableError
from domain.events import Event, Provenance, Recorded
from infra.batching import Batcher
from infra.log import arrays
from infra.log.appender import (
    PAUSE_BEFORE_RETRY,
    SERVER_CANNOT,
    Appender,
    EncodedEvent,
    Figures,
    new_event_id,
)
from infra.log.bell import Bell
from infra.log.channel import Channel, NotSentError
from infra.log.codec import (
    decode_event,
    decode_rows,
    encode_event,
    encode_provenance,
)
from infra.postgres import Row

READ_STREAMS: Final = """
SELECT e.stream_id, e.version, e.type, e.data
FROM unnest($1::uuid[]) AS t (stream_id)
CROSS JOIN LATERAL (
    SELECT * FROM events e WHERE e.stream_id = t.stream_id ORDER BY e.version
) AS e
"""

FIND_CLAIMS: Final = """
SELECT key, stream_id, payload, position FROM claims
WHERE key = ANY ($1::text[]) AND (expires_at IS NULL OR expires_at > now())
"""

TAKE_IDS: Final = """
SELECT CASE WHEN new_stream IS NULL
                OR NOT EXISTS (SELECT FROM events e WHERE e.stream_id = new_stream)
            THEN nextval(name::regclass) END
FROM unnest($1::text[], $2::uuid[]) AS t (name, new_stream)
"""

READ_RECORDED_STREAM: Final = """
SELECT position, stream_id, version, type, data, metadata, event_id, recorded_at
FROM events WHERE stream_id = $1::uuid AND position <= $2::bigint ORDER BY version
"""

POSITION_AT: Final = "SELECT position_at($1::timestamptz)"

HEAD: Final = "SELECT coalesce(max(position), 0) FROM events"
LAST_POSITION: Final = 2**63 - 1


class PostgresLog:
    """Reads and appends, each question sent together with those of concurrent tasks."""

    def __init__(self, dsn: str, *, timeout: float = 10.0, queue: int = 10_000) -> None:
        """Make a log; it connects when it is first used.

        Args:
            dsn: connection string; the schema of the log is on its search path.
            timeout: seconds after which every call has an answer.
            queue: how many appends may wait at a time.
        """
        self._timeout = timeout
        self._appender = Appender(dsn, timeout=timeout, queue=queue)
        self._reads = _Asker(dsn, timeout, "gradelog streams")
        self._ids = _Asker(dsn, timeout, "gradelog ids")
        self._stream_batches = Batcher(self._read_streams)
        self._claim_batches = Batcher(self._find_claims)
        self._id_batches = Batcher(self._take_ids)
        self._bell = Bell(dsn)

    @property
    def figures(self) -> Figures:
        """What the appender did so far."""
        return self._appender.figures

    async def close(self) -> None:
        """Send what is waiting and close the connections."""
        await self._appender.close()
        await self._bell.close()
        await self._reads.close()
        await self._ids.close()

    def read_streams(self, stream_ids: Collection[UUID]) -> Awaitable[Mapping[UUID, list[Event]]]:
        """Return the events of each stream, oldest first; see ``domain.application.Log``."""
        return self._stream_batches(tuple(stream_ids))

    def find_claims(self, keys: Collection[str]) -> Awaitable[Mapping[str, HeldClaim]]:
        """Return those of the claims that are held and not expired."""
        return self._claim_batches(tuple(keys))

    def take_ids(self, *wanted: IdWanted) -> Awaitable[Sequence[int | None]]:
        """Return the next id of each sequence; see ``domain.application.Log``."""
        return self._id_batches(wanted)

    async def append(
        self,
        events: Sequence[Event],
        *,
        provenance: Provenance,
        claims: Sequence[Claim] = (),
        releases: Sequence[str] = (),
    ) -> Appended:
        """Store events, claims and releases; see ``domain.application.Log``."""
        encoded = [
            EncodedEvent(
                event.originator_id,
                event.originator_version,
                event.TOPIC,
                encode_event(event),
                new_event_id(),
            )
            for event in events
        ]
        return await self.append_encoded(
            encoded, metadata=encode_provenance(provenance), claims=claims, releases=releases
        )

    async def append_encoded(
        self,
        events: Sequence[EncodedEvent],
        *,
        metadata: str = "{}",
        claims: Sequence[Claim] = (),
        releases: Sequence[str] = (),
    ) -> Appended:
        """Store events that are encoded already."""
        appended = await self._appender.append(
            events, metadata=metadata, claims=claims, releases=releases
        )
        self._bell.ring()
        return appended

    async def read_recorded_stream(
        self, stream_id: UUID, *, until: int = LAST_POSITION
    ) -> list[Recorded]:
        """One stream with who, when and why, up to and including a position."""
        arguments = (stream_id.bytes, until.to_bytes(8, "big"))
        return decode_rows(await self._reads.ask(READ_RECORDED_STREAM, arguments))

    async def position_at(self, moment: datetime) -> int:
        """The last position recorded at or before a moment; 0 when there is none."""
        return int((await self._reads.ask(POSITION_AT, (arrays.timestamp(moment),)))[0][0])

    async def head(self) -> int:
        """The last position of the log; 0 when it is empty."""
        return int((await self._reads.ask(HEAD, ()))[0][0])

    # --- batches ----------------------------------------------------------------------------

    async def _read_streams(
        self, questions: Sequence[tuple[UUID, ...]]
    ) -> Sequence[dict[UUID, list[Event]]]:
        wanted = list({stream_id for question in questions for stream_id in question})
        rows: dict[UUID, list[tuple[int, str, str]]] = {}
        arguments = (arrays.uuids([stream_id.bytes for stream_id in wanted]),)
        for stream_id, version, type_, data in await self._reads.ask(READ_STREAMS, arguments):
            rows.setdefault(stream_id, []).append((version, type_, data))
        # Decoded for each question anew: nobody shares what another may change.
        return [
            {
                stream_id: [
                    decode_event(type_, data, stream_id, version)
                    for version, type_, data in rows[stream_id]
                ]
                for stream_id in question
                if stream_id in rows
            }
            for question in questions
        ]

    async def _find_claims(
        self, questions: Sequence[tuple[str, ...]]
    ) -> Sequence[dict[str, HeldClaim]]:
        wanted = list({key for question in questions for key in question})
        rows = await self._reads.ask(FIND_CLAIMS, (arrays.texts(wanted),))
        held = {row[0]: HeldClaim(*row) for row in rows}
        return [{key: held[key] for key in question if key in held} for question in questions]

    async def _take_ids(
        self, questions: Sequence[tuple[IdWanted, ...]]
    ) -> Sequence[list[int | None]]:
        wanted = [one for question in questions for one in question]
        arguments = (
            arrays.texts([one.sequence for one in wanted]),
            arrays.uuids([one.new_stream.bytes if one.new_stream else None for one in wanted]),
        )
        ids = iter([row[0] for row in await self._ids.ask(TAKE_IDS, arguments)])
        return [[next(ids) for _ in question] for question in questions]


class _Asker:
    """Asks questions that may safely be asked twice, one after the other."""

    def __init__(self, dsn: str, timeout: float, name: str) -> None:
        self._channel = Channel(dsn, statement_timeout=timeout, name=name)
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def ask(self, statement: str, arguments: Sequence[bytes]) -> list[Row]:
        """Return the rows of a statement; ask again when the connection breaks.

        Raises:
            UnavailableError: no answer in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        pause = PAUSE_BEFORE_RETRY
        while True:
            try:
                async with self._turn:
                    return await self._channel.run(statement, arguments, deadline=deadline)
            except (NotSentError, psycopg.Error, TimeoutError) as error:
                if self._channel.usable and not _server_cannot(error):
                    raise
                if loop.time() + pause >= deadline:
                    raise UnavailableError(f"the database does not answer: {error}") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _server_cannot(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(SERVER_CANNOT)
