"""Sessions, passwords and attempts in PostgreSQL.

One connection serves them all: each statement finds one row by its key. Every piece of work
may be done twice, because it is when the connection breaks.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, LiteralString
from uuid import UUID, uuid4

import psycopg

from api.sessions import Session
from infra import postgres
from infra.passwords import Hashing, hash_password, is_outdated, matches
from infra.postgres import Row, fetch_all

SESSIONS_OF_ONE_USER: Final = 50
KEY_BYTES: Final = 32
AT_ONCE: Final = 1000

_COLUMNS: Final = "session_id, user_id, username, created_at, last_used_at, expires_at"

BEGIN: Final = f"""
WITH too_many AS (
    DELETE FROM sessions WHERE session_id IN (
        SELECT session_id FROM sessions WHERE user_id = %b AND session_id <> %b
        ORDER BY created_at DESC, session_id OFFSET {SESSIONS_OF_ONE_USER - 1}
    )
)
INSERT INTO sessions
    (session_id, secret_digest, user_id, username, created_at, last_used_at, expires_at)
VALUES (%b, %b, %b, %b, %b, %b, %b)
ON CONFLICT (session_id) DO NOTHING
"""
FIND: Final = f"SELECT {_COLUMNS} FROM sessions WHERE secret_digest = %b AND expires_at > %b"
USE: Final = f"""
UPDATE sessions SET last_used_at = %b WHERE secret_digest = %b AND expires_at > %b
RETURNING {_COLUMNS}
"""
END: Final = f"DELETE FROM sessions WHERE secret_digest = %b RETURNING {_COLUMNS}"
OF_USER: Final = f"""
SELECT {_COLUMNS} FROM sessions WHERE user_id = %b AND expires_at > %b
ORDER BY created_at, session_id
"""
REVOKE: Final = """
DELETE FROM sessions WHERE user_id = %b AND (%b::uuid IS NULL OR session_id = %b::uuid)
RETURNING session_id
"""
FIND_HASH: Final = "SELECT password_hash FROM credentials WHERE user_id = %b"
# Whoever knew the old password is signed out everywhere.
SET_HASH: Final = """
WITH ended AS (DELETE FROM sessions WHERE user_id = %b)
INSERT INTO credentials (user_id, password_hash, changed_at) VALUES (%b, %b, %b)
ON CONFLICT (user_id) DO UPDATE
SET password_hash = excluded.password_hash, changed_at = excluded.changed_at
"""
HASH_ANEW: Final = """
UPDATE credentials SET password_hash = %b WHERE user_id = %b AND password_hash = %b
"""
WITH_HASH: Final = "SELECT user_id FROM credentials WHERE user_id = ANY (%b::bigint[])"
COUNT: Final = """
INSERT INTO sign_in_attempts AS a (key, attempts, expires_at) VALUES (%b, 1, %b)
ON CONFLICT (key) DO UPDATE SET
    attempts = CASE WHEN a.expires_at <= %b THEN 1 ELSE least(a.attempts + 1, 1000000) END,
    expires_at = CASE WHEN a.expires_at <= %b THEN excluded.expires_at ELSE a.expires_at END
RETURNING attempts, expires_at
"""
TAKE_BACK: Final = """
UPDATE sign_in_attempts SET attempts = attempts - 1 WHERE key = %b AND attempts > 0 RETURNING key
"""
FORGET_ATTEMPTS: Final = "DELETE FROM sign_in_attempts WHERE key = %b RETURNING key"
MAKE_KEY: Final = """
INSERT INTO signing_keys (purpose, key) VALUES (%b, %b) ON CONFLICT (purpose) DO NOTHING
"""
FIND_KEY: Final = "SELECT key FROM signing_keys WHERE purpose = %b"

FORGET_EXPIRED: Final[Sequence[LiteralString]] = (
    """
    DELETE FROM sessions WHERE session_id IN (
        SELECT session_id FROM sessions WHERE expires_at < now()
        ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    """,
    """
    DELETE FROM sign_in_attempts WHERE key IN (
        SELECT key FROM sign_in_attempts WHERE expires_at < now()
        ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    """,
)


class PostgresSessions:
    """``api.sessions.Sessions`` for the tasks of one event loop, and what operators ask."""

    def __init__(self, dsn: str, *, timeout: float = 10.0) -> None:
        """Make it; nothing is opened before it is needed.

        Args:
            dsn: connection string of the database.
            timeout: seconds for one piece of work.
        """
        self._session = postgres.Session(
            dsn, statement_timeout=timeout, application_name="gradelog sessions"
        )
        self._timeout = timeout
        self._hashing = Hashing()
        self._keys: dict[str, bytes] = {}

    async def close(self) -> None:
        """Close the connection."""
        self._hashing.close()
        await self._session.close()

    # --- sessions -----------------------------------------------------------------------------

    async def begin(
        self, user_id: int, username: str, secret_digest: bytes, *, at: datetime, until: datetime
    ) -> Session:
        """Remember that somebody has signed in; see ``api.sessions``."""
        made = Session(uuid4(), user_id, username, at, at, until)
        values = (made.session_id, secret_digest, user_id, username, at, at, until)
        await self._execute(BEGIN, (user_id, made.session_id, *values))
        return made

    async def find(
        self, secret_digest: bytes, *, at: datetime, use: bool = False
    ) -> Session | None:
        """The session of a secret, unless it has ended."""
        if use:
            rows = await self._fetch(USE, (at, secret_digest, at))
        else:
            rows = await self._fetch(FIND, (secret_digest, at))
        return Session(*rows[0]) if rows else None

    async def end(self, secret_digest: bytes) -> Session | None:
        """End a session; return it, if there was one."""
        rows = await self._fetch(END, (secret_digest,))
        return Session(*rows[0]) if rows else None

    async def of_user(self, user_id: int, *, at: datetime) -> list[Session]:
        """The sessions of a user that have not ended, the oldest first."""
        return [Session(*row) for row in await self._fetch(OF_USER, (user_id, at))]

    async def revoke(self, user_id: int, session_id: UUID | None = None) -> int:
        """End all sessions of a user, or one; return how many."""
        return len(await self._fetch(REVOKE, (user_id, session_id, session_id)))

    # --- passwords ----------------------------------------------------------------------------

    async def has_password(self, user_id: int | None, password: str, *, at: datetime) -> bool:
        """Whether this is the user's password; see ``api.sessions``."""
        del at  # a new hash of the same password is no change of it
        rows = await self._fetch(FIND_HASH, (-1 if user_id is None else user_id,))
        stored: str | None = rows[0][0] if rows else None
        if not await self._hashing.run(partial(matches, password, stored)) or stored is None:
            return False
        if is_outdated(stored):
            anew = await self._hashing.run(partial(hash_password, password))
            await self._execute(HASH_ANEW, (anew, user_id, stored))
        return True

    async def set_password(self, user_id: int, password: str, *, at: datetime) -> None:
        """Set a password, and end the sessions of whoever knew the one before.

        Raises:
            PasswordError: too short or too long.
        """
        made = await self._hashing.run(partial(hash_password, password))
        await self._execute(SET_HASH, (user_id, user_id, made, at))

    async def with_password(self, user_ids: Sequence[int]) -> set[int]:
        """Those of the users who have a password here."""
        return {row[0] for row in await self._fetch(WITH_HASH, (list(user_ids),))}

    # --- attempts -----------------------------------------------------------------------------

    async def count_attempt(
        self, key: bytes, *, limit: int, window: timedelta, at: datetime
    ) -> timedelta | None:
        """Count an attempt; how long to wait when there were too many of them."""
        ((attempts, expires_at),) = await self._fetch(COUNT, (key, at + window, at, at))
        return None if attempts <= limit else max(expires_at - at, timedelta(seconds=1))

    async def forget_attempts(self, key: bytes) -> None:
        """Begin to count anew."""
        await self._fetch(FORGET_ATTEMPTS, (key,))

    async def take_back_attempt(self, key: bytes) -> None:
        """Count one attempt less."""
        await self._fetch(TAKE_BACK, (key,))

    # --- keys ---------------------------------------------------------------------------------

    async def signing_key(self, purpose: str) -> bytes:
        """32 bytes that all processes of this installation share, made by the first one."""
        if purpose not in self._keys:
            rows = await self._fetch(FIND_KEY, (purpose,))
            if not rows:
                await self._execute(MAKE_KEY, (purpose, os.urandom(KEY_BYTES)))
                rows = await self._fetch(FIND_KEY, (purpose,))
            self._keys[purpose] = rows[0][0]
        return self._keys[purpose]

    async def _fetch(self, statement: LiteralString, arguments: Sequence[object]) -> list[Row]:
        return await self._session.run(
            lambda db: fetch_all(db, statement, arguments), within=self._timeout
        )

    async def _execute(self, statement: LiteralString, arguments: Sequence[object]) -> None:
        async def work(db: psycopg.AsyncConnection[Row]) -> None:
            await db.execute(statement, arguments)

        await self._session.run(work, within=self._timeout)


async def forget_expired(session: postgres.Session, *, within: float) -> int:
    """Remove sessions and attempts whose time is over; return how many there were."""
    forgotten = 0
    for statement in FORGET_EXPIRED:

        async def some(db: psycopg.AsyncConnection[Row], statement: LiteralString) -> int:
            return (await db.execute(statement, (AT_ONCE,))).rowcount

        while found := await session.run(partial(some, statement=statement), within=within):
            forgotten += found
    return forgotten
