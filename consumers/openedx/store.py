"""How far the event bus is written, and who writes: one row in PostgreSQL, under a lease."""

import time
from typing import Final

from psycopg import Connection

from projections.bulk import fetch
from projections.read_model import Row

LONGEST_ERROR: Final = 1000

# A lease that ends later than anybody would have it is none: the clock was set back.
_FREE: Final = """
(expires_at <= clock_timestamp()
 OR expires_at > clock_timestamp() + 2 * make_interval(secs => %b))
"""
_IS_FREE: Final = f"SELECT {_FREE} FROM gradelog.openedx_relay"  # noqa: S608 - constants
# Where nobody has written yet, it begins with what happens from now on.
_ACQUIRE: Final = f"""
UPDATE gradelog.openedx_relay SET holder = %b, epoch = epoch + 1,
    position = coalesce(position, (SELECT coalesce(max(position), 0) FROM gradelog.events)),
    expires_at = clock_timestamp() + make_interval(secs => %b), updated_at = clock_timestamp()
WHERE {_FREE}
RETURNING epoch, position
"""  # noqa: S608 - constants
_SAVE: Final = """
UPDATE gradelog.openedx_relay SET position = %b::bigint,
    expires_at = clock_timestamp() + make_interval(secs => %b), updated_at = clock_timestamp(),
    error = CASE WHEN %b OR position <> %b::bigint THEN NULL ELSE error END
WHERE epoch = %b::bigint AND holder = %b
"""
_RELEASE: Final = """
UPDATE gradelog.openedx_relay SET holder = NULL, expires_at = '-infinity',
    updated_at = clock_timestamp()
WHERE epoch = %b::bigint AND holder = %b
"""
_NOTE: Final = f"""
UPDATE gradelog.openedx_relay SET error = %b, updated_at = clock_timestamp() WHERE {_FREE}
"""  # noqa: S608 - constants


class LeaseLostError(Exception):
    """Another process writes, or may: this one must stop."""


class OpenEdxStore:
    """The row, over a connection in autocommit mode."""

    def __init__(self, db: Connection[Row], *, holder: str, lifetime: float) -> None:
        self._db = db
        self._holder = holder
        self._lifetime = lifetime
        self._epoch = 0
        self.position = 0
        self._lease_ends = 0.0

    @property
    def is_ours(self) -> bool:
        """Whether the lease is ours by our own clock, which is the more careful one."""
        return time.monotonic() < self._lease_ends

    def is_free(self) -> bool:
        """Whether nobody holds the lease."""
        return bool(fetch(self._db, _IS_FREE, self._lifetime)[0][0])

    def acquire(self) -> bool:
        """Take the lease if it is free; then ``position`` is where to go on."""
        began = time.monotonic()
        rows = fetch(self._db, _ACQUIRE, self._holder, self._lifetime, self._lifetime)
        if not rows:
            return False
        self._epoch, self.position = rows[0]
        self._lease_ends = began + self._lifetime
        return True

    def save(self, position: int, *, well: bool = False) -> None:
        """Note that everything up to a position is stored, and keep the lease.

        Args:
            position: of the log.
            well: there is nothing to complain about, even if the position stays.

        Raises:
            LeaseLostError: somebody else has taken over; nothing was noted.
        """
        began = time.monotonic()
        done = self._db.execute(
            _SAVE, (position, self._lifetime, well, position, self._epoch, self._holder)
        )
        if done.rowcount != 1:
            raise LeaseLostError("another process writes to the event bus")
        self.position = position
        self._lease_ends = began + self._lifetime

    def release(self) -> None:
        """Give the lease back if it is still ours."""
        self._db.execute(_RELEASE, (self._epoch, self._holder))

    def note(self, error: str) -> None:
        """Tell why nobody writes; nothing is noted while somebody does."""
        self._db.execute(_NOTE, (error[:LONGEST_ERROR], self._lifetime))
