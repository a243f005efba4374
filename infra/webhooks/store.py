"""Webhooks in PostgreSQL: what ``api.webhooks`` asks for.

What somebody does is one transaction, with the answer under his idempotency key in it. A
piece of work may be done twice, because it is when the connection breaks: the second time
finds what the first one has left, if it has left anything.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import structlog
from psycopg import AsyncConnection

from api.webhooks import (
    ACTIVE,
    Attempt,
    NewWebhook,
    TooManyWebhooksError,
    Webhook,
    WebhookFigures,
    WebhookNotFoundError,
    WebhookTargetError,
    WithSecret,
)
from domain.application import Done, Idempotency
from domain.errors import Fault, IdempotencyKeyReusedError, InvalidFieldsError
from infra.postgres import Row, Session
from infra.webhooks.attempts import KEPT_ATTEMPTS, RECORD, ping
from infra.webhooks.sending import Sender
from infra.webhooks.signing import Keeper, new_secret, secret_text
from infra.webhooks.targets import Policy, TargetError

T = TypeVar("T")
R = TypeVar("R")

logger = structlog.get_logger(__name__)

MOST_WEBHOOKS: Final = 1000
OLD_SECRET_LIFETIME: Final = timedelta(hours=24)

_COLUMNS: Final = """
webhook_id, url, types, course_id, description, state, reason, position, failures,
failing_since,
CASE WHEN state = 'active' AND (failures > 0 OR retry_at > now()) THEN retry_at END,
last_success_at, last_error,
CASE WHEN old_secret_until > now() THEN old_secret_until END,
created_at, created_by, updated_at, updated_by
"""

HEAD: Final = "SELECT coalesce(max(position), 0) FROM gradelog.events"
COUNT: Final = "SELECT count(*) FROM gradelog.webhooks"
INSERT: Final = f"""
INSERT INTO gradelog.webhooks
    (webhook_id, url, types, course_id, description, secret, position, created_by, updated_by)
VALUES (%s, %s, %s::text[], %s, %s, %s, %s, %s, %s)
RETURNING {_COLUMNS}
"""
GET: Final = f"SELECT {_COLUMNS} FROM gradelog.webhooks WHERE webhook_id = %s"
PAGE: Final = f"""
SELECT {_COLUMNS} FROM gradelog.webhooks
WHERE %s::timestamptz IS NULL OR (created_at, webhook_id) > (%s::timestamptz, %s::uuid)
ORDER BY created_at, webhook_id LIMIT %s
"""
# What is asked for otherwise is another batch, and a new address or a new start is tried at once.
# With a new address the turn ends: what the old one still answers says nothing about it.
CHANGE: Final = f"""
UPDATE gradelog.webhooks SET
    url = coalesce(%(url)s, url),
    types = coalesce(%(types)s::text[], types),
    description = coalesce(%(description)s, description),
    state = coalesce(%(state)s, state),
    pending_until = CASE WHEN %(types)s::text[] <> types THEN NULL ELSE pending_until END,
    reason = CASE WHEN %(state)s IS NULL THEN reason END,
    failures = CASE WHEN %(anew)s THEN 0 ELSE failures END,
    failing_since = CASE WHEN %(anew)s THEN NULL ELSE failing_since END,
    retry_at = CASE WHEN %(anew)s THEN now() ELSE retry_at END,
    turn = turn + (coalesce(%(url)s, url) <> url)::integer,
    leased_until = CASE WHEN coalesce(%(url)s, url) <> url THEN now() ELSE leased_until END,
    updated_at = now(), updated_by = %(by)s
WHERE webhook_id = %(webhook_id)s
RETURNING {_COLUMNS}
"""
REMOVE: Final = "DELETE FROM gradelog.webhooks WHERE webhook_id = %s RETURNING webhook_id"
ROTATE: Final = f"""
UPDATE gradelog.webhooks SET old_secret = secret, old_secret_until = now() + %s, secret = %s,
    updated_at = now(), updated_by = %s
WHERE webhook_id = %s
RETURNING {_COLUMNS}
"""
SECRETS: Final = """
SELECT url, secret, CASE WHEN old_secret_until > now() THEN old_secret END
FROM gradelog.webhooks WHERE webhook_id = %s
"""
ATTEMPTS: Final = """
SELECT number, at, message_id, kind, after, until, events, delivered, status, seconds, error
FROM gradelog.webhook_deliveries WHERE webhook_id = %s AND number < %s
ORDER BY number DESC LIMIT %s
"""
FIGURES: Final = f"""
SELECT webhook_id, state, failures, greatest(({HEAD}) - position, 0) FROM gradelog.webhooks
"""

# A key that has expired is free; one that somebody takes at this moment is waited for.
FREE_KEY: Final = "DELETE FROM gradelog.claims WHERE key = %s AND expires_at <= now()"
FIND_KEY: Final = "SELECT payload, position FROM gradelog.claims WHERE key = %s"
TAKE_KEY: Final = f"""
INSERT INTO gradelog.claims (key, payload, position, expires_at)
VALUES (%s, %s, ({HEAD}), %s) ON CONFLICT (key) DO NOTHING
"""

_LAST: Final = 2**63 - 1


class _KeyTakenError(Exception):
    """Somebody has carried out the same request at the same moment."""


class PostgresWebhooks:
    """``api.webhooks.Webhooks`` for the tasks of one event loop."""

    def __init__(
        self,
        dsn: str,
        *,
        master_key: bytes | None = None,
        policy: Policy | None = None,
        source: str = "/gradelog",
        timeout: float = 10.0,
    ) -> None:
        """Make it; nothing is opened before it is needed.

        Args:
            dsn: connection string of the database.
            master_key: wraps the secrets, if there is one.
            policy: where requests may go; to the public internet by default.
            source: the ``source`` of events.
            timeout: seconds for one piece of work.
        """
        self._session = Session(
            dsn, statement_timeout=timeout, application_name="gradelog webhooks"
        )
        self._timeout = timeout
        self._keeper = Keeper(master_key)
        self._policy = policy or Policy()
        self._source = source
        self._sender: Sender | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._sender is not None:
            await self._sender.close()
        self._policy.close()
        await self._session.close()

    async def create(
        self, new: NewWebhook, *, by: str, idempotency: Idempotency[WithSecret] | None = None
    ) -> Done[WithSecret]:
        """Make a webhook; see ``api.webhooks``."""
        await self._check(new.url)
        webhook_id, secret = uuid4(), new_secret()
        kept = self._keeper.wrap(secret)

        async def work(db: AsyncConnection[Row]) -> WithSecret:
            # Of two who come at once, one counts after the other.
            await db.execute("LOCK TABLE gradelog.webhooks IN SHARE ROW EXCLUSIVE MODE")
            if found := await _rows(db, GET, (webhook_id,)):
                return WithSecret(Webhook(*found[0]), secret_text(secret), kept)
            if (await _rows(db, COUNT, ()))[0][0] >= MOST_WEBHOOKS:
                raise TooManyWebhooksError(f"there are {MOST_WEBHOOKS} webhooks already")
            head = (await _rows(db, HEAD, ()))[0][0]
            if new.after is not None and new.after > head:
                raise InvalidFieldsError([Fault(("after",), f"The log ends at {head}.", "invalid")])
            (row,) = await _rows(
                db,
                INSERT,
                (
                    webhook_id,
                    new.url,
                    list(new.types),
                    new.course_id,
                    new.description,
                    kept,
                    head if new.after is None else new.after,
                    by,
                    by,
                ),
            )
            return WithSecret(Webhook(*row), secret_text(secret), kept)

        done = await self._once(idempotency, work)
        if done.replay is None:
            logger.info("webhook made", webhook=str(webhook_id), by=by)
        return done

    async def get(self, webhook_id: UUID) -> Webhook:
        """One webhook."""
        return _one(await self._ask(GET, (webhook_id,)), webhook_id)

    async def page(self, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Webhook]:
        """Webhooks in the order in which they were made."""
        moment, last = after or (None, None)
        return [Webhook(*row) for row in await self._ask(PAGE, (moment, moment, last, limit))]

    async def change(self, webhook_id: UUID, changes: dict[str, Any], *, by: str) -> Webhook:
        """Change a webhook; see ``api.webhooks``."""
        if "url" in changes:
            await self.get(webhook_id)
            await self._check(changes["url"])
        names = ("url", "types", "description", "state")
        arguments = {name: changes.get(name) for name in names} | {
            "anew": "url" in changes or changes.get("state") == ACTIVE,
            "by": by,
            "webhook_id": webhook_id,
        }

        async def work(db: AsyncConnection[Row]) -> list[Row]:
            return await (await db.execute(CHANGE, arguments)).fetchall()

        found = _one(await self._session.run(work, within=self._timeout), webhook_id)
        logger.info("webhook changed", webhook=str(webhook_id), by=by, fields=sorted(changes))
        return found

    async def remove(self, webhook_id: UUID, *, by: str) -> None:
        """Forget a webhook and its attempts."""
        if not await self._ask(REMOVE, (webhook_id,)):
            raise _missing(webhook_id)
        logger.info("webhook removed", webhook=str(webhook_id), by=by)

    async def rotate(
        self, webhook_id: UUID, *, by: str, idempotency: Idempotency[WithSecret] | None = None
    ) -> Done[WithSecret]:
        """Make a new secret; see ``api.webhooks``."""
        secret = new_secret()
        kept = self._keeper.wrap(secret)

        async def work(db: AsyncConnection[Row]) -> WithSecret:
            found = await _rows(db, f"{SECRETS} FOR UPDATE", (webhook_id,))
            if not found:
                raise _missing(webhook_id)
            if found[0][1] == kept:  # done, by the time the connection broke
                (row,) = await _rows(db, GET, (webhook_id,))
            else:
                arguments = (OLD_SECRET_LIFETIME, kept, by, webhook_id)
                (row,) = await _rows(db, ROTATE, arguments)
            return WithSecret(Webhook(*row), secret_text(secret), kept)

        done = await self._once(idempotency, work)
        if done.replay is None:
            logger.info("webhook has a new secret", webhook=str(webhook_id), by=by)
        return done

    async def test(
        self, webhook_id: UUID, *, by: str, idempotency: Idempotency[Attempt] | None = None
    ) -> Done[Attempt]:
        """Send a ping now; see ``api.webhooks``."""
        if idempotency and (before := await self._replayed(idempotency)):
            return before
        found = await self._ask(SECRETS, (webhook_id,))
        if not found:
            raise _missing(webhook_id)
        url, *stored = found[0]
        if self._sender is None:
            self._sender = Sender(self._policy)
        message_id, body = ping(webhook_id, source=self._source)
        secrets = [self._keeper.open(one) for one in stored if one]
        outcome = await self._sender.send(url, message_id, body, secrets)
        logger.info("webhook tested", webhook=str(webhook_id), by=by, status=outcome.status)

        async def work(db: AsyncConnection[Row]) -> Attempt:
            arguments = {
                "webhook_id": webhook_id,
                "message_id": message_id,
                "kind": "ping",
                "after": None,
                "until": None,
                "events": 1,
                "delivered": outcome.delivered,
                "status": outcome.status,
                "seconds": outcome.seconds,
                "error": outcome.error,
            }
            rows = await (await db.execute(RECORD, arguments)).fetchall()
            if not rows:
                raise _missing(webhook_id)
            return Attempt(*rows[0])

        return await self._once(idempotency, work)

    async def attempts(
        self, webhook_id: UUID, *, before: int | None, limit: int
    ) -> Sequence[Attempt]:
        """The attempts that are still known, the newest first."""
        await self.get(webhook_id)
        arguments = (webhook_id, before or _LAST, min(limit, KEPT_ATTEMPTS))
        return [Attempt(*row) for row in await self._ask(ATTEMPTS, arguments)]

    def reopened(self, kept: str) -> str:
        """The secret behind ``WithSecret.kept``, as its owner gets it."""
        return secret_text(self._keeper.open(kept))

    async def head(self) -> int:
        """Where the log ends."""
        return int((await self._ask(HEAD, ()))[0][0])

    async def figures(self) -> WebhookFigures:
        """How all webhooks are."""
        figures = WebhookFigures(states=dict.fromkeys(("active", "paused", "disabled"), 0))
        failing = 0
        for webhook_id, state, failures, lag in await self._ask(FIGURES, ()):
            figures.states[state] += 1
            if state == ACTIVE:
                failing += failures > 0
                figures.lags[webhook_id] = lag
            figures.failures[webhook_id] = failures
        return WebhookFigures(figures.states, failing, figures.lags, figures.failures)

    # --- once ---------------------------------------------------------------------------------

    async def _check(self, url: str) -> None:
        try:
            await self._policy.check(url)
        except TargetError as refused:
            raise WebhookTargetError(str(refused), refused.kind) from None

    async def _once(
        self,
        idempotency: Idempotency[R] | None,
        work: Callable[[AsyncConnection[Row]], Awaitable[R]],
    ) -> Done[R]:
        """Do work in a transaction, unless the caller has had it done before."""

        async def carry_out(db: AsyncConnection[Row]) -> Done[R]:
            async with db.transaction():
                if idempotency is None:
                    return Done(await work(db), None)
                await db.execute(FREE_KEY, (idempotency.key,))
                if before := _replay(idempotency, await _rows(db, FIND_KEY, (idempotency.key,))):
                    return before
                result = await work(db)
                payload = idempotency.fingerprint + idempotency.render(result)
                arguments = (idempotency.key, payload, idempotency.expires_at)
                if not (await db.execute(TAKE_KEY, arguments)).rowcount:
                    raise _KeyTakenError
                return Done(result, None)

        try:
            return await self._session.run(carry_out, within=self._timeout)
        except _KeyTakenError:
            # Waiting for the key has shown that the other one is done.
            return await self._session.run(carry_out, within=self._timeout)

    async def _replayed(self, idempotency: Idempotency[R]) -> Done[R] | None:
        async def find(db: AsyncConnection[Row]) -> Done[R] | None:
            async with db.transaction():
                await db.execute(FREE_KEY, (idempotency.key,))
                return _replay(idempotency, await _rows(db, FIND_KEY, (idempotency.key,)))

        return await self._session.run(find, within=self._timeout)

    async def _ask(self, statement: str, arguments: Sequence[object]) -> list[Row]:
        return await self._session.run(
            lambda db: _rows(db, statement, arguments), within=self._timeout
        )


async def _rows(db: AsyncConnection[Row], statement: str, arguments: Sequence[object]) -> list[Row]:
    cursor = await db.execute(statement, arguments)
    return await cursor.fetchall()


def _replay(idempotency: Idempotency[R], found: Sequence[Row]) -> Done[R] | None:
    if not found:
        return None
    payload, position = found[0]
    length = len(idempotency.fingerprint)
    if payload is None or payload[:length] != idempotency.fingerprint:
        raise IdempotencyKeyReusedError("the idempotency key was used with another request")
    return Done(None, position, payload[length:])


def _one(rows: Sequence[Row], webhook_id: UUID) -> Webhook:
    if not rows:
        raise _missing(webhook_id)
    return Webhook(*rows[0])


def _missing(webhook_id: UUID) -> WebhookNotFoundError:
    return WebhookNotFoundError(f"there is no webhook {webhook_id}")
