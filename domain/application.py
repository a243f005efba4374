"""Load, decide, append: what the applications of all contexts share.

A decision is a function over the streams it may change. It is taken on aggregates that
may come from a cache, so it counts only when its events were appended: the log refuses a
version that is taken, and a refusal or an empty decision on cached state is decided again
on the stream as it stands in the log. Decisions about one stream take turns inside a
process; between processes the log is the judge.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast
from uuid import UUID

from eventsourcing.domain import Aggregate

from domain.errors import ConflictError, DomainError, IdempotencyKeyReusedError
from domain.events import Event, Provenance

R = TypeVar("R")
A = TypeVar("A", bound=Aggregate)

Clock = Callable[[], datetime]
"""Gives the current moment as an aware datetime in UTC."""

DECIDING_SECONDS = 10.0
"""How long a decision is taken again that others keep winning."""

EAGER_DECISIONS = 3
"""So often a decision is taken at once, and by who stood still for longer than that, too."""

LONGEST_PAUSE = 0.1
"""Seconds at most before a further try; the pauses of rivals are random, so one gets through."""

CACHED_AGGREGATES = 10_000


# --- the log as the domain sees it ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that only one append may ever hold: uniqueness that spans streams.

    Attributes:
        key: scope and value, for example ``submission:<uuid>``.
        stream_id: the stream that the key stands for.
        payload: what to answer to whoever finds the key taken.
        expires_at: when the key may be taken again; never, if None.
        after: how many of the append's events it stands behind; all of them, if None.
    """

    key: str
    stream_id: UUID | None = None
    payload: bytes | None = None
    expires_at: datetime | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim as the log holds it, with the position of the event it stands behind."""

    key: str
    stream_id: UUID | None
    payload: bytes | None
    position: int


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the events of one append stand: ``first_position`` and the ones that follow it."""

    first_position: int
    recorded_at: datetime


class StreamConflictError(Exception):
    """A stream has moved on since it was read. Nothing was appended."""


class ClaimTakenError(Exception):
    """Somebody holds one of the claims already. Nothing was appended."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__(", ".join(keys))
        self.keys = frozenset(keys)


@dataclass(frozen=True, slots=True)
class IdWanted:
    """An integer id of a named sequence; with a stream, only if nothing happened to it yet."""

    sequence: str
    new_stream: UUID | None = None


class Log(Protocol):
    """The one append-only log.

    What is asked is on its way when a method returns; awaiting it gives the answer.
    """

    def read_streams(self, stream_ids: Collection[UUID]) -> Awaitable[Mapping[UUID, list[Event]]]:
        """Return the events of each stream, oldest first; a stream without events is left out."""

    def find_claims(self, keys: Collection[str]) -> Awaitable[Mapping[str, HeldClaim]]:
        """Return those of the claims that are held and not expired."""

    def take_ids(self, *wanted: "IdWanted") -> Awaitable[Sequence[int | None]]:
        """Return the next integer id of each sequence: rising, never given out twice.

        None where the stream has events already, and its id with them.
        """

    async def append(
        self,
        events: Sequence[Event],
        *,
        provenance: Provenance,
        claims: Sequence[Claim] = (),
        releases: Sequence[str] = (),
    ) -> Appended:
        """Store the events, take the claims, drop the releases: all or nothing, durably.

        Raises:
            StreamConflictError: a stream has an event of that version already.
            ClaimTakenError: a claim is held already.
            UnavailableError: nothing was stored, and cannot be at the moment.
            OutcomeUnknownError: the answer of the database was lost.
        """


# --- what a decision works on ----------------------------------------------------------------


class Work:
    """The aggregates one decision may read and change, and the claims it makes."""

    def __init__(
        self, log: Log, aggregates: dict[UUID, Aggregate], ids: dict[str, list[int]], *, fresh: bool
    ) -> None:
        self._log = log
        self._aggregates = aggregates
        self._ids = ids
        self.fresh = fresh
        self.claims: list[Claim] = []
        self.releases: list[str] = []

    def find(self, kind: type[A], stream_id: UUID) -> A | None:
        """The aggregate of this stream, if anything ever happened to it."""
        found = self._aggregates.get(stream_id)
        assert found is None or isinstance(found, kind)
        return found

    def add(self, aggregate: A) -> A:
        """Take up a new aggregate."""
        self._aggregates[aggregate.id] = aggregate
        return aggregate

    async def take_id(self, sequence: str) -> int:
        """The next id of a sequence; one that the command foresaw is at hand already."""
        ready = self._ids.get(sequence)
        if ready:
            return ready.pop(0)
        (taken,) = await self._log.take_ids(IdWanted(sequence))
        assert taken is not None
        return taken

    async def take_ids(self, sequence: str, count: int) -> list[int]:
        """The next ids of a sequence, asked for at once."""
        taken = await self._log.take_ids(*[IdWanted(sequence)] * count) if count else ()
        return [one for one in taken if one is not None]

    def pending(self) -> int:
        """How many events the decisions so far have made."""
        return sum(len(a.pending_events) for a in self._aggregates.values())

    def collect(self) -> list[Event]:
        """Hand over the events that the decisions made."""
        return [
            cast(Event, event)
            for aggregate in self._aggregates.values()
            if aggregate.pending_events
            for event in aggregate.collect_events()
        ]

    def aggregates(self) -> Iterable[Aggregate]:
        """All aggregates, to be kept for the next decision."""
        return self._aggregates.values()


@dataclass(frozen=True, slots=True)
class Idempotency(Generic[R]):
    """The caller's promise that the same key means the same request.

    Attributes:
        key: unique among the keys of one caller; scope it with the caller's name.
        fingerprint: digest of the request.
        render: makes the answer to be given again, from the result of the command.
        expires_at: until when the answer is kept.
    """

    key: str
    fingerprint: bytes
    render: Callable[[R], bytes]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Command(Generic[R]):
    """One decision.

    Attributes:
        decide: takes the decision; refuses with a DomainError.
        idempotency: the key under which the answer is kept.
        ids: what the decision is going to take; asked for while the streams are read.
    """

    decide: Callable[[Work], Awaitable[R]]
    idempotency: Idempotency[R] | None = None
    ids: Sequence[IdWanted] = ()


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A command that was carried out, now or before.

    Attributes:
        result: what the decision returned; None when ``replay`` is given.
        position: position of the command's last event; None if it had nothing to write.
        replay: the answer kept under the idempotency key, when it was carried out before.
    """

    result: R | None
    position: int | None
    replay: bytes | None = None

    @property
    def value(self) -> R:
        """The result of a command that was carried out now."""
        assert self.replay is None
        return cast(R, self.result)


Outcome = Done[R] | DomainError


class _Turns:
    """Locks by key, gone when nobody waits. Keys are taken in one order, so nobody deadlocks."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def take(self, keys: Sequence[UUID]) -> AsyncIterator[None]:
        taken: list[UUID] = []
        try:
            for key in sorted(set(keys)) if len(keys) > 1 else keys:
                queue = self._waiting.get(key)
                if queue is None:
                    self._waiting[key] = deque()
                else:
                    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    queue.append(turn)
                    try:
                        await turn
                    except asyncio.CancelledError:
                        if turn.done() and not turn.cancelled():
                            self._pass_on(key)
                        raise
                taken.append(key)
            yield
        finally:
            for key in taken:
                self._pass_on(key)

    def _pass_on(self, key: UUID) -> None:
        queue = self._waiting[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[key]


class Application:
    """Carries out commands against the log. One instance an event loop."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._turns = _Turns()
        self._cache: OrderedDict[UUID, Aggregate] = OrderedDict()

    async def _execute(
        self, stream_ids: Sequence[UUID], command: Command[R], *, provenance: Provenance
    ) -> Done[R]:
        """Carry out one command over the given streams.

        Raises:
            DomainError: refused; nothing was written.
            ConflictError: others kept winning the streams.
        """
        outcome = (await self._execute_all(stream_ids, [command], provenance=provenance))[0]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    async def _execute_all(
        self,
        stream_ids: Sequence[UUID],
        commands: Sequence[Command[Any]],
        *,
        provenance: Provenance,
    ) -> list[Outcome[Any]]:
        """Carry out commands over the same streams, in order, in one append.

        A refused command has its refusal as outcome and does not touch the others.
        """
        foreseen = [wanted for command in commands for wanted in command.ids]
        once = dict.fromkeys(wanted for wanted in foreseen if wanted.new_stream is not None)
        foreseen = [*once, *(wanted for wanted in foreseen if wanted.new_stream is None)]
        ids: dict[str, list[int]] = {}
        async with self._turns.take(stream_ids):
            fresh = False
            attempt = 0
            loop = asyncio.get_running_loop()
            deadline = loop.time() + DECIDING_SECONDS
            while attempt < EAGER_DECISIONS or loop.time() < deadline:
                work = await self._load(
                    stream_ids, ids, foreseen if attempt == 0 else (), fresh=fresh
                )
                attempt += 1
                outcomes = await self._decide_all(work, commands)
                if outcomes is None:  # a refusal on cached state counts for nothing
                    fresh = True
                    continue
                events = work.collect()
                if not events and not work.fresh:
                    fresh = True
                    continue
                if not events and not work.claims:
                    self._keep(work)
                    return list(outcomes)
                try:
                    appended = await self._log.append(
                        events,
                        provenance=provenance,
                        claims=work.claims,
                        releases=work.releases,
                    )
                except (StreamConflictError, ClaimTakenError):
                    fresh = True
                    if attempt > EAGER_DECISIONS:
                        pause = min(0.001 * 2 ** (attempt - EAGER_DECISIONS), LONGEST_PAUSE)
                        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311
                    continue
                self._keep(work)
                return [_placed(outcome, appended.first_position) for outcome in outcomes]
            raise ConflictError(f"other writers changed the same streams {attempt} times in a row")

    async def _decide_all(
        self, work: Work, commands: Sequence[Command[Any]]
    ) -> list[Outcome[Any]] | None:
        """Outcomes with positions counted from 0; None if it must be decided on fresh state."""
        keys = [c.idempotency.key for c in commands if c.idempotency]
        held = await self._log.find_claims(keys) if keys else {}
        outcomes: list[Outcome[Any]] = []
        made = 0
        for command in commands:
            idempotency = command.idempotency
            if idempotency and (before := held.get(idempotency.key)):
                outcomes.append(_replay(before, idempotency))
                continue
            try:
                result = await command.decide(work)
            except DomainError as refusal:
                if not work.fresh:
                    return None
                if work.pending() != made:
                    if len(commands) > 1:
                        raise RuntimeError("a decision refused after it had decided") from refusal
                    raise
                outcomes.append(refusal)
                continue
            count = work.pending()
            position = count - 1 if count > made else None
            made = count
            if idempotency:  # also when there was nothing to do: a repeat must not find more
                work.claims.append(
                    Claim(
                        idempotency.key,
                        payload=idempotency.fingerprint + idempotency.render(result),
                        expires_at=idempotency.expires_at,
                        after=count,
                    )
                )
            outcomes.append(Done(result, position))
        return outcomes

    async def _load(
        self,
        stream_ids: Sequence[UUID],
        ids: dict[str, list[int]],
        foreseen: Sequence[IdWanted],
        *,
        fresh: bool,
    ) -> Work:
        """Aggregates from the cache or the log, and the ids that are going to be needed."""
        aggregates: dict[UUID, Aggregate] = {}
        missing: list[UUID] = []
        for stream_id in stream_ids:
            # Taken out while it is being changed: what fails half-way is never seen again.
            cached = self._cache.pop(stream_id, None)
            if cached is None or fresh:
                missing.append(stream_id)
            else:
                aggregates[stream_id] = cached
        # Both are on their way before either is waited for.
        wanted = [w for w in foreseen if w.new_stream is None or w.new_stream in missing]
        taking = self._log.take_ids(*wanted) if wanted else None
        if missing:
            for stream_id, events in (await self._log.read_streams(missing)).items():
                aggregates[stream_id] = rebuild(events)
        if taking is not None:
            for want, taken in zip(wanted, await taking, strict=True):
                if taken is not None:
                    ids.setdefault(want.sequence, []).append(taken)
        return Work(self._log, aggregates, ids, fresh=len(missing) == len(stream_ids))

    def _keep(self, work: Work) -> None:
        cache = self._cache
        for aggregate in work.aggregates():
            cache[aggregate.id] = aggregate
            cache.move_to_end(aggregate.id)
        while len(cache) > CACHED_AGGREGATES:
            cache.popitem(last=False)


def rebuild(events: Iterable[Event]) -> Aggregate:
    """Fold the events of one stream, oldest first, into its aggregate."""
    aggregate: Aggregate | None = None
    for event in events:
        aggregate = event.mutate(aggregate)
    assert aggregate is not None
    return aggregate


def _placed(outcome: Outcome[R], first_position: int) -> Outcome[R]:
    if isinstance(outcome, DomainError) or outcome.replay is not None or outcome.position is None:
        return outcome
    return Done(outcome.result, first_position + outcome.position)


def _replay(held: HeldClaim, idempotency: Idempotency[R]) -> Outcome[R]:
    payload = held.payload or b""
    length = len(idempotency.fingerprint)
    if payload[:length] != idempotency.fingerprint:
        return IdempotencyKeyReusedError(
            "this idempotency key was used before with another request"
        )
    return Done(None, held.position, payload[length:])
