"""A position in the log that one process of several moves: a row in PostgreSQL under a lease.

A lease with a time lets one of any number of processes work; the clock is the database's. Each
holder has a higher epoch than the one before, and whatever a process writes here it writes only
while its epoch is the last one. So a clock that jumps may end a lease too early, but cannot do
harm; and a lease that ends later than anybody would have it is none, or a clock that was set
back would keep everybody waiting for the dead.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, LiteralString

import psycopg
from psycopg import Connection

from projections.bulk import fetch
from projections.read_model import Row
from projections.telling import LONGEST_ERROR

_FREE: Final = """
(expires_at <= clock_timestamp()
 OR expires_at > clock_timestamp() + 2 * make_interval(secs => %b))
"""
_IS_FREE: Final = "SELECT {free} FROM gradelog.{table}"
_ACQUIRE: Final = """
UPDATE gradelog.{table} SET holder = %b, epoch = epoch + 1, position = {begin},
    expires_at = clock_timestamp() + make_interval(secs => %b), updated_at = clock_timestamp()
WHERE {free}
RETURNING epoch, position
"""
_SAVE: Final = """
WITH mine AS (
    UPDATE gradelog.{table} SET position = %b::bigint,
        expires_at = clock_timestamp() + make_interval(secs => %b),
        updated_at = clock_timestamp(),
        error = CASE WHEN %b OR position <> %b::bigint THEN NULL ELSE error END
    WHERE epoch = %b::bigint AND holder = %b
    RETURNING true
){also}
SELECT count(*) FROM mine
"""
_RELEASE: Final = """
UPDATE gradelog.{table} SET holder = NULL, expires_at = '-infinity',
    updated_at = clock_timestamp()
WHERE epoch = %b::bigint AND holder = %b
"""
_NOTE: Final = """
UPDATE gradelog.{table} SET error = %b, updated_at = clock_timestamp() WHERE {free}
"""
_LOCK_MINE: Final = (
    "SELECT FROM gradelog.{table} WHERE epoch = %b::bigint AND holder = %b FOR UPDATE"
)


class LeaseLostError(Exception):
    """Another process works, or may: this one must stop."""


def new_holder() -> str:
    """A name for a holder of leases.

    The random part tells two apart whose processes have the same number, on machines that
    have the same name.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class LeasedPosition:
    """The row, over one connection in autocommit mode.

    Attributes:
        db: the connection.
        lifetime: seconds that the lease lasts without being renewed.
        position: of the last event that is done with; known once the lease is ours.
        lease_ends: by this process's monotonic clock; the database waits longer, never shorter.
    """

    TABLE: ClassVar[LiteralString]
    """Of the schema ``gradelog``, with columns holder, epoch, position, expires_at, updated_at
    and error, and one row."""

    BEGIN: ClassVar[LiteralString] = "position"
    """SQL: where the next holder goes on."""

    ALSO: ClassVar[LiteralString] = ""
    """SQL: further parts of the statement that saves, each after a comma; ``mine`` is empty if
    the lease is not ours."""

    def __init__(self, db: Connection[Row], *, holder: str, lifetime: float) -> None:
        """Make it; the lease is somebody else's until ``acquire``.

        Args:
            db: the connection.
            holder: name of this holder; no two at any time have the same.
            lifetime: seconds that the lease lasts without being renewed.
        """
        self.db = db
        self.lifetime = lifetime
        self._holder = holder
        self._epoch = 0
        self.position = 0
        self.lease_ends = 0.0

    @property
    def is_ours(self) -> bool:
        """Whether the lease is ours by our own clock, which is the more careful one."""
        return time.monotonic() < self.lease_ends

    def is_free(self) -> bool:
        """Whether nobody holds the lease."""
        return bool(fetch(self.db, self._sql(_IS_FREE), self.lifetime)[0][0])

    def acquire(self) -> bool:
        """Take the lease if it is free; then ``position`` is where to go on."""
        began = time.monotonic()
        rows = fetch(self.db, self._sql(_ACQUIRE), self._holder, self.lifetime, self.lifetime)
        if not rows:
            return False
        self._epoch, self.position = rows[0]
        self.lease_ends = began + self.lifetime
        return True

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Take the lease if it is free, and give it back; yields whether it is ours."""
        ours = self.acquire()
        try:
            yield ours
        finally:
            if ours:
                with suppress(psycopg.Error):
                    self.release()

    def release(self) -> None:
        """Give the lease back if it is still ours."""
        self.lease_ends = 0.0
        self.db.execute(self._sql(_RELEASE), (self._epoch, self._holder))

    def note(self, error: str) -> None:
        """Tell why nobody works; nothing is noted while somebody does."""
        self.db.execute(self._sql(_NOTE), (error[:LONGEST_ERROR], self.lifetime))

    def _save(self, position: int, *also: Any, well: bool) -> None:
        """Note that everything up to a position is done, and keep the lease.

        Args:
            position: of the last event that is done with for sure, with all before it.
            also: arguments of ``ALSO``.
            well: there is nothing to complain about, even if the position stays.

        Raises:
            LeaseLostError: another process has taken over; nothing was noted.
        """
        began = time.monotonic()
        mine = (position, self.lifetime, well, position, self._epoch, self._holder)
        if fetch(self.db, self._sql(_SAVE), *mine, *also)[0][0] != 1:
            raise LeaseLostError("another process has taken over")
        self.position = position
        self.lease_ends = began + self.lifetime

    def _lock(self) -> None:
        """Keep the lease from being taken until the transaction ends.

        Raises:
            LeaseLostError: it is not ours.
        """
        if not self.db.execute(self._sql(_LOCK_MINE), (self._epoch, self._holder)).rowcount:
            raise LeaseLostError("another process has taken over")

    def _sql(self, text: LiteralString) -> LiteralString:
        return text.format(table=self.TABLE, free=_FREE, begin=self.BEGIN, also=self.ALSO)
