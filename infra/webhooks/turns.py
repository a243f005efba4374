"""Whose turn it is: each webhook is delivered by one process at a time.

A turn is a lease in the webhook's row, by the clock of the database, with a number that
rises: whoever lost it, because he stood still for too long, saves nothing any more.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID, uuid4

from psycopg import AsyncConnection

from infra.postgres import Row, Session
from infra.webhooks.attempts import OF_TURN
from infra.webhooks.pages import Wanted
from infra.webhooks.sending import Outcome

T = TypeVar("T")

LEASE: Final = timedelta(seconds=60)
"""Well above what a request may take; a crash holds up a webhook for so long."""

AT_ONCE: Final = 2000
"""Webhooks that are looked at in one round."""

SLOW: Final = 2.0
"""Seconds for a request above which a target counts as slow."""

_FREE: Final = "state = 'active' AND retry_at <= now() AND leased_until <= now()"

HEAD: Final = "SELECT coalesce(max(position), 0) FROM gradelog.events"
# Who waits longest is first, whatever he is behind.
DUE: Final = f"""
SELECT h.head, w.webhook_id, w.types, w.course_id, w.position,
    w.failures > 0 OR w.last_seconds > {SLOW} AS is_slow
FROM ({HEAD}) AS h (head) LEFT JOIN LATERAL (
    SELECT * FROM gradelog.webhooks WHERE {_FREE} AND position < h.head
    ORDER BY turn_at LIMIT {AT_ONCE}
) AS w ON true
ORDER BY w.turn_at
"""
MOVE: Final = """
UPDATE gradelog.webhooks w SET position = t.until
FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) AS t (webhook_id, after, until)
WHERE w.webhook_id = t.webhook_id AND w.position = t.after AND w.pending_until IS NULL
    AND w.state = 'active' AND w.leased_until <= now()
"""
TAKE: Final = f"""
UPDATE gradelog.webhooks SET holder = %s, turn = turn + 1, turn_at = now(),
    leased_until = now() + %s
WHERE webhook_id IN (
    SELECT webhook_id FROM gradelog.webhooks WHERE webhook_id = ANY (%s::uuid[]) AND {_FREE}
    FOR UPDATE SKIP LOCKED
)
RETURNING webhook_id, turn, types, course_id, position, pending_until, failures
"""
_MINE: Final = "webhook_id = %(webhook_id)s AND holder = %(holder)s AND turn = %(turn)s"
BEGIN: Final = f"""
UPDATE gradelog.webhooks SET pending_until = %(until)s, leased_until = now() + %(lease)s
WHERE {_MINE} AND state = 'active' AND types = %(types)s::text[]
RETURNING url, secret, CASE WHEN old_secret_until > now() THEN old_secret END
"""
ADVANCE: Final = f"""
UPDATE gradelog.webhooks SET position = %(until)s, pending_until = NULL,
    leased_until = now() + %(lease)s
WHERE {_MINE} AND state = 'active' AND types = %(types)s::text[]
RETURNING webhook_id
"""
RELEASE: Final = f"""
UPDATE gradelog.webhooks SET holder = NULL, leased_until = now() WHERE {_MINE}
"""
# What is wrong is wrong here and not with the target, so its time does not run.
PUT_OFF: Final = f"""
UPDATE gradelog.webhooks SET holder = NULL, leased_until = now(), last_error = %(error)s,
    retry_at = now() + %(delay)s
WHERE {_MINE}
"""


class Due(NamedTuple):
    """A webhook that is behind the head of the log and nobody's turn."""

    webhook_id: UUID
    wanted: Wanted
    position: int
    is_slow: bool


@dataclass(slots=True)
class Turn:
    """A webhook that is ours for a while. ``pending_until``: a batch to be sent again."""

    webhook_id: UUID
    number: int
    types: Sequence[str]
    wanted: Wanted
    position: int
    pending_until: int | None
    failures: int


class Begun(NamedTuple):
    """What a batch is sent with."""

    url: str
    secrets: Sequence[str]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """When a target counts as dead: it has failed for so long, and not only once or twice."""

    after: timedelta = timedelta(hours=24)
    least_failures: int = 10


class Turns:
    """The turns of one deliverer."""

    def __init__(
        self,
        dsn: str,
        *,
        lease: timedelta = LEASE,
        give_up: GiveUp | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Make it; nothing is opened before it is needed."""
        self._session = Session(
            dsn, statement_timeout=timeout, application_name="gradelog webhooks"
        )
        self._timeout = timeout
        self._lease = lease
        self._give_up = give_up or GiveUp()
        self._holder = uuid4()

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def run(self, work: Callable[[AsyncConnection[Row]], Awaitable[T]]) -> T:
        """Do work that may be done twice.

        Raises:
            UnavailableError: the database does not answer.
        """
        return await self._session.run(work, within=self._timeout)

    async def due(self) -> tuple[int, list[Due]]:
        """The head of the log, and who is behind it; the one who waits longest first."""
        rows = await self._fetch(DUE, ())
        return rows[0][0], [
            Due(webhook_id, Wanted(frozenset(types), course_id), position, is_slow)
            for _, webhook_id, types, course_id, position, is_slow in rows
            if webhook_id is not None
        ]

    async def let_pass(self, passed: Sequence[tuple[UUID, int, int]]) -> None:
        """Move webhooks over events that they did not ask for: from where, to where."""
        ids, after, until = zip(*passed, strict=True)
        await self._execute(MOVE, (list(ids), list(after), list(until)))

    async def take(self, webhook_ids: Sequence[UUID]) -> list[Turn]:
        """Take those that are still nobody's."""
        rows = await self._fetch(TAKE, (self._holder, self._lease, list(webhook_ids)))
        return [
            Turn(webhook_id, number, types, Wanted(frozenset(types), course), *rest)
            for webhook_id, number, types, course, *rest in rows
        ]

    async def begin(self, turn: Turn, until: int) -> Begun | None:
        """Note what is sent, before it is; None when the turn is lost or it is unwanted now."""
        rows = await self._fetch(BEGIN, self._of(turn, until=until))
        return Begun(rows[0][0], [one for one in rows[0][1:] if one]) if rows else None

    async def advance(self, turn: Turn, until: int) -> bool:
        """Move over events that were not asked for; False when the turn is lost."""
        return bool(await self._fetch(ADVANCE, self._of(turn, until=until)))

    async def ended(
        self,
        turn: Turn,
        outcome: Outcome,
        *,
        message_id: str,
        until: int,
        events: int,
        delay: timedelta,
        release: bool,
    ) -> tuple[str, int] | None:
        """Save what became of a batch: the webhook's state and failures now.

        None when the turn is lost: then somebody else sends the same again.
        """
        rows = await self._fetch(
            OF_TURN,
            self._of(
                turn,
                message_id=message_id,
                kind="events",
                after=turn.position,
                until=until,
                events=events,
                delivered=outcome.delivered,
                final=outcome.is_final,
                status=outcome.status,
                seconds=outcome.seconds,
                error=outcome.error,
                delay=delay,
                give_up=self._give_up.after,
                least_failures=self._give_up.least_failures,
                release=release,
            ),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    async def release(self, turn: Turn) -> None:
        """Give a turn back."""
        await self._execute(RELEASE, self._of(turn))

    async def put_off(self, turn: Turn, error: str, delay: timedelta) -> None:
        """Give a turn back that cannot be used here, and wait before the next."""
        await self._execute(PUT_OFF, self._of(turn, error=error, delay=delay))

    def _of(self, turn: Turn, **more: object) -> dict[str, Any]:
        return {
            "webhook_id": turn.webhook_id,
            "holder": self._holder,
            "turn": turn.number,
            "types": list(turn.types),
            "lease": self._lease,
            **more,
        }

    async def _fetch(self, statement: str, arguments: Any) -> list[Row]:
        async def work(db: AsyncConnection[Row]) -> list[Row]:
            cursor = await db.execute(statement, arguments)
            return await cursor.fetchall()

        return await self.run(work)

    async def _execute(self, statement: str, arguments: Any) -> None:
        async def work(db: AsyncConnection[Row]) -> None:
            await db.execute(statement, arguments)

        await self.run(work)
