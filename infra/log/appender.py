"""The group-commit appender: many callers, one transaction, one flush.

What is waiting goes out as one call of ``append_events`` (0001_log.sql), which stores the
events of every caller without a conflict. A caller is released only after the commit that
holds its events. When the connection breaks while a batch is on its way, the batch is sent
again on a new connection: stream versions are unique and every event has a random id, so
the log itself tells whether the first try was stored.
"""

import asyncio
import os
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
import structlog

from domain.application import Appended, Claim, ClaimTakenError, StreamConflictError
from domain.errors import OutcomeUnknownError, UnavailableError
from infra.log import arrays
from infra.log.channel import Channel, NotSentError

logger = structlog.get_logger(__name__)

MAX_BATCH_EVENTS: Final = 4000
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
PAUSE_BEFORE_RETRY: Final = 0.05
QUEUE_SHARE: Final = 0.5
"""Part of a caller's time after which an append that was not sent is given up."""
SERVER_SHARE: Final = 0.4
"""Part of a caller's time that the server may take for a batch."""

APPEND: Final = """
SELECT head, at, stale, claimed FROM append_events(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""

FIND_STORED: Final = """
SELECT e.event_id, e.position, e.recorded_at
FROM unnest($1::uuid[], $2::int[]) AS t (stream_id, version)
JOIN events e ON e.stream_id = t.stream_id AND e.version = t.version
"""

_LOST: Final = (
    "the database was gone before it answered; repeat the command with the same idempotency"
    " key to learn whether it is stored"
)
_SERIALIZATION_FAILURES = frozenset({"40001", "40P01"})
# Classes of server errors that speak of the server, not of the batch: insufficient
# resources, operator intervention, lock or statement time-out, a read-only server.
SERVER_CANNOT = ("53", "57", "55", "25", "58")


class EncodedEvent(NamedTuple):
    """An event ready to be sent."""

    stream_id: UUID
    version: int
    type: str
    data: bytes
    event_id: bytes


@dataclass(slots=True)
class _Waiting:
    """One caller's append, from the queue to its answer.

    ``keys`` is what two appends of one batch must not share: streams, claims, releases.
    """

    events: Sequence[EncodedEvent]
    claims: Sequence[Claim]
    releases: Sequence[str]
    metadata: str
    keys: frozenset[int | str]
    size: int
    deadline: float
    answer: asyncio.Future[Appended]

    def succeed(self, appended: Appended) -> None:
        if not self.answer.done():
            self.answer.set_result(appended)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True)
class Figures:
    """What the appender did since it was made, for the metrics."""

    batches: int = 0
    events: int = 0
    conflicts: int = 0
    waiting: int = 0
    resent: int = 0


@dataclass(frozen=True, slots=True)
class _Reply:
    head: int
    at: datetime
    stale: frozenset[int] = field(default_factory=frozenset)
    claimed: frozenset[int] = field(default_factory=frozenset)


# What makes 128 random bits a UUID of version 4.
_UUID4_CLEAR: Final = (1 << 128) - 1 & ~(0xF000 << 64 | 0xC000 << 48)
_UUID4_SET: Final = 0x4000 << 64 | 0x8000 << 48


def new_event_id() -> bytes:
    """A random UUID (version 4) as bytes."""
    number = int.from_bytes(os.urandom(16), "big")
    return (number & _UUID4_CLEAR | _UUID4_SET).to_bytes(16, "big")


class Appender:
    """Appends for all tasks of one event loop over one connection."""

    def __init__(self, dsn: str, *, timeout: float, queue: int) -> None:
        """Make an appender; it connects when it is first needed.

        Args:
            dsn: connection string of the database.
            timeout: seconds after which a caller gets an answer, whatever happens.
            queue: how many appends may wait.
        """
        # The server gives up well before the caller does, so that a lock which is held for
        # too long is a clear no and not an unknown outcome.
        self._channel = Channel(
            dsn, statement_timeout=timeout * SERVER_SHARE, name="gradelog appender"
        )
        self._timeout = timeout
        self._queue = queue
        self._pending: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._figures = Figures()

    @property
    def figures(self) -> Figures:
        """What it did so far, and how many appends wait at this moment."""
        self._figures.waiting = len(self._pending)
        return self._figures

    def append(
        self,
        events: Sequence[EncodedEvent],
        *,
        metadata: str = "{}",
        claims: Sequence[Claim] = (),
        releases: Sequence[str] = (),
    ) -> asyncio.Future[Appended]:
        """Store events, claims and releases in one transaction, durably.

        The future that is returned raises, as this does:

        Raises:
            StreamConflictError: a stream has an event of that version already.
            ClaimTakenError: a claim is held already.
            UnavailableError: nothing was stored: the queue is full or the database away.
            OutcomeUnknownError: it was sent, and the database was gone before it answered.
        """
        if self._closed:
            raise UnavailableError("the log is closed")
        if len(self._pending) >= self._queue:
            raise UnavailableError(f"{self._queue} appends are waiting already")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            events,
            claims,
            releases,
            metadata,
            _keys(events, claims, releases),
            sum([len(event.data) for event in events]),
            loop.time() + self._timeout,
            loop.create_future(),
        )
        self._pending.append(waiting)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return waiting.answer

    async def close(self) -> None:
        """Send what is waiting, then close the connection."""
        self._closed = True
        if self._worker is not None:
            await self._worker
        await self._channel.close()

    # --- batches ----------------------------------------------------------------------------

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[_Waiting] = []
        try:
            # Let every task that is ready to append join the first batch.
            await asyncio.sleep(0)
            while self._pending:
                batch = self._take_batch(loop.time())
                if batch:
                    await self._store(batch)
        except BaseException as error:
            lost = OutcomeUnknownError("the appender stopped before the database answered")
            for waiting in batch:
                waiting.fail(lost)
            while self._pending:
                self._pending.popleft().fail(UnavailableError("the appender stopped"))
            if isinstance(error, Exception):
                logger.exception("appender failed")
                return
            raise
        finally:
            self._worker = None

    def _take_batch(self, now: float) -> list[_Waiting]:
        """Take appends that share no stream and no key; the others stay, in their order."""
        batch: list[_Waiting] = []
        taken: set[int | str] = set()
        left: list[_Waiting] = []
        count = size = 0
        pending = self._pending
        while pending:
            waiting = pending.popleft()
            if waiting.answer.done():  # its caller has gone
                continue
            if waiting.deadline - self._timeout * (1 - QUEUE_SHARE) <= now:
                waiting.fail(UnavailableError("waited too long for the log; nothing was stored"))
                continue
            if batch and (
                count + len(waiting.events) > MAX_BATCH_EVENTS
                or size + waiting.size > MAX_BATCH_BYTES
            ):
                pending.appendleft(waiting)
                break
            free = taken.isdisjoint(waiting.keys)
            taken |= waiting.keys
            if not free:
                left.append(waiting)
                continue
            batch.append(waiting)
            count += len(waiting.events)
            size += waiting.size
        pending.extendleft(reversed(left))
        return batch

    async def _store(self, batch: list[_Waiting], *, sent: bool = False) -> None:
        try:
            reply, sent = await self._send(batch, sent=sent)
        except _RefusedError as refused:
            await self._store_one_by_one(batch, refused)
            return
        except (UnavailableError, OutcomeUnknownError) as error:
            for waiting in batch:
                waiting.fail(error)
            return
        figures = self.figures
        figures.batches += 1
        left_out = reply.stale | reply.claimed
        stored = await self._stored_before(batch, left_out) if sent and left_out else {}
        position = reply.head + 1
        for number, waiting in enumerate(batch, 1):
            if number not in left_out:
                figures.events += len(waiting.events)
                waiting.succeed(Appended(position, reply.at))
                position += len(waiting.events)
            elif waiting.events and (before := stored.get(waiting.events[0].event_id)):
                waiting.succeed(before)
            else:
                figures.conflicts += 1
                waiting.fail(
                    StreamConflictError()
                    if number in reply.stale
                    else ClaimTakenError([claim.key for claim in waiting.claims])
                )

    async def _store_one_by_one(self, batch: list[_Waiting], refused: "_RefusedError") -> None:
        """The server refused a batch for what is in it: find the caller at fault."""
        if len(batch) == 1:
            # What was sent before without an answer may have been stored then.
            lost = OutcomeUnknownError(_LOST)
            batch[0].fail(lost if refused.sent else refused.error)
            return
        for waiting in batch:
            await self._store([waiting], sent=refused.sent)

    async def _stored_before(
        self, batch: list[_Waiting], left_out: frozenset[int]
    ) -> dict[bytes, Appended]:
        """Of appends that met a conflict on a second try: which the first try had stored."""
        firsts = [event for n in left_out for event in batch[n - 1].events[:1]]
        arguments = (
            arrays.uuids([event.stream_id.bytes for event in firsts]),
            arrays.integers([event.version for event in firsts]),
        )
        now = asyncio.get_running_loop().time()
        deadline = max(now + 1.0, min(batch[n - 1].deadline for n in left_out))
        while True:
            try:
                rows = await self._channel.run(FIND_STORED, arguments, deadline=deadline)
                return {row[0].bytes: Appended(row[1], row[2]) for row in rows}
            except (NotSentError, psycopg.Error, TimeoutError) as error:
                if asyncio.get_running_loop().time() + PAUSE_BEFORE_RETRY >= deadline:
                    unknown = OutcomeUnknownError(_LOST)
                    unknown.__cause__ = error
                    for number in left_out:
                        batch[number - 1].fail(unknown)
                    return {}
            await asyncio.sleep(PAUSE_BEFORE_RETRY)

    async def _send(self, batch: list[_Waiting], *, sent: bool) -> tuple[_Reply, bool]:
        """Send a batch until the server has answered or the first caller's time is over.

        Args:
            batch: what to store.
            sent: whether it was sent before without an answer.

        Returns:
            the reply, and whether there was a try before that got no answer.

        Raises:
            _RefusedError: the server refused the batch for what is in it.
            UnavailableError: nothing of it is stored.
            OutcomeUnknownError: it was sent and no answer came.
        """
        try:
            arguments = _arguments(batch)
        except (ValueError, struct.error) as error:  # a text or number that cannot be sent
            raise _RefusedError(error, sent=sent) from error
        deadline = min(waiting.deadline for waiting in batch)
        loop = asyncio.get_running_loop()
        while True:
            try:
                rows = await self._channel.run(APPEND, arguments, deadline=deadline)
            except NotSentError as error:
                cause: Exception = error
            except (psycopg.Error, TimeoutError) as error:
                cause = error
                if isinstance(error, psycopg.Error) and self._channel.usable:
                    # The server itself said no, on a connection that goes on.
                    code = error.sqlstate or ""
                    if not code.startswith(SERVER_CANNOT):
                        if code not in _SERIALIZATION_FAILURES:
                            raise _RefusedError(error, sent=sent) from error
                    elif not sent:
                        raise UnavailableError(f"the database cannot store now: {error}") from error
                else:
                    sent = True
            else:
                head, at, stale, claimed = rows[0]
                self.figures.resent += sent
                return _Reply(head, at, frozenset(stale or ()), frozenset(claimed or ())), sent
            if loop.time() + PAUSE_BEFORE_RETRY >= deadline:
                if sent:
                    raise OutcomeUnknownError(_LOST) from cause
                raise UnavailableError(f"the database does not answer: {cause}") from cause
            await asyncio.sleep(PAUSE_BEFORE_RETRY)


class _RefusedError(Exception):
    """The server refused a batch for what is in it; nothing of this try is stored."""

    def __init__(self, error: Exception, *, sent: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.sent = sent


def _keys(
    events: Sequence[EncodedEvent], claims: Sequence[Claim], releases: Sequence[str]
) -> frozenset[int | str]:
    # A UUID's number is hashed in C, the UUID itself in Python.
    if not claims and not releases and len(events) == 1:
        return frozenset((events[0].stream_id.int,))
    return frozenset(
        [
            *(event.stream_id.int for event in events),
            *(claim.key for claim in claims),
            *releases,
        ]
    )


def _arguments(batch: list[_Waiting]) -> tuple[bytes, ...]:
    numbered = [(n, event) for n, waiting in enumerate(batch, 1) for event in waiting.events]
    events = [event for _, event in numbered]
    before = list(accumulate((len(waiting.events) for waiting in batch), initial=0))
    claims = [(n, claim) for n, waiting in enumerate(batch, 1) for claim in waiting.claims]
    releases = [(n, key) for n, waiting in enumerate(batch, 1) for key in waiting.releases]
    return (
        arrays.integers([n for n, _ in numbered]),
        arrays.uuids([event.stream_id.bytes for event in events]),
        arrays.integers([event.version for event in events]),
        arrays.texts([event.type for event in events]),
        arrays.byte_strings([event.data for event in events]),
        arrays.texts([waiting.metadata for waiting in batch]),
        arrays.uuids([event.event_id for event in events]),
        arrays.integers([n for n, _ in claims]),
        arrays.integers(
            [before[n] if c.after is None else before[n - 1] + c.after for n, c in claims]
        ),
        arrays.texts([claim.key for _, claim in claims]),
        arrays.uuids([claim.stream_id.bytes if claim.stream_id else None for _, claim in claims]),
        arrays.byte_strings([claim.payload for _, claim in claims]),
        arrays.timestamps([claim.expires_at for _, claim in claims]),
        arrays.integers([n for n, _ in releases]),
        arrays.texts([key for _, key in releases]),
    )
