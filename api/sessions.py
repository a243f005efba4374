"""What the interfaces need in order to sign people in and to remember that they are.

Times are passed in: whoever asks decides what time it is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that somebody is signed in with."""

    session_id: UUID
    user_id: int
    username: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class Sessions(Protocol):
    """Sessions, passwords, and how often somebody has tried one."""

    async def begin(
        self, user_id: int, username: str, secret_digest: bytes, *, at: datetime, until: datetime
    ) -> Session:
        """Remember that somebody has signed in; of too many sessions the oldest end.

        Raises:
            UnavailableError: the database does not answer; so for all that follows.
        """

    async def find(
        self, secret_digest: bytes, *, at: datetime, use: bool = False
    ) -> Session | None:
        """The session of a secret, unless it has ended. ``use``: note that it was used."""

    async def end(self, secret_digest: bytes) -> Session | None:
        """End a session; return it, if there was one."""

    async def has_password(self, user_id: int | None, password: str, *, at: datetime) -> bool:
        """Whether this is the user's password.

        It takes as long when there is no user or the user has no password.
        """

    async def count_attempt(
        self, key: bytes, *, limit: int, window: timedelta, at: datetime
    ) -> timedelta | None:
        """Count an attempt to sign in; how long to wait when there were too many of them."""

    async def forget_attempts(self, key: bytes) -> None:
        """Begin to count anew."""

    async def take_back_attempt(self, key: bytes) -> None:
        """Count one attempt less."""

    async def signing_key(self, purpose: str) -> bytes:
        """32 bytes that all processes of this installation share."""
