"""Wakes the readers that tail the log and have gone to sleep.

NOTIFY inside an append would make all writers of the database queue up at commit. So it
is sent on a connection of its own, after the append, and seldom: it shortens the wait of a
reader that polls anyway, and nothing is lost when it fails.
"""

import asyncio
import contextlib
from typing import Final

import psycopg

from infra.log.channel import Channel, NotSentError

CHANNEL: Final = "gradelog_events"
QUIET: Final = 0.05
"""Seconds between two notifications at least; readers that are awake poll faster."""

_NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"


class Bell:
    """Rings once for all appends of a short time."""

    def __init__(self, dsn: str) -> None:
        self._channel = Channel(dsn, statement_timeout=1.0, name="gradelog bell")
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    def ring(self) -> None:
        """Tell readers that there is more. Returns at once."""
        if self._ringing is None:
            self._ringing = asyncio.get_running_loop().create_task(self._ring())
        else:
            self._again = True

    async def close(self) -> None:
        """Stop ringing."""
        if self._ringing is not None:
            self._ringing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ringing
        await self._channel.close()

    async def _ring(self) -> None:
        try:
            self._again = True
            while self._again:
                self._again = False
                with contextlib.suppress(NotSentError, psycopg.Error, TimeoutError):
                    deadline = asyncio.get_running_loop().time() + 1.0
                    await self._channel.run(_NOTIFY, (), deadline=deadline)
                await asyncio.sleep(QUIET)
        finally:
            self._ringing = None
