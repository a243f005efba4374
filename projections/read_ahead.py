"""Reads the next batch of the log while the last one is being folded.

Reading is work for Python, folding mostly for the server: one after the other each would
wait for half of the time. A live runner has nothing to read ahead; catching up has.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import psycopg
from psycopg import Connection

from domain.events import Event
from projections.log import Batch, LogReader
from projections.read_model import Row

Wanted = tuple[int, int, AbstractSet[type[Event]]]


class ReadAhead:
    """One thread with a connection of its own, as long as there is anything to read ahead."""

    def __init__(self, connect: Callable[[], Connection[Row]], reader: LogReader) -> None:
        self._connect = connect
        self._reader = reader
        self._thread: ThreadPoolExecutor | None = None
        self._db: Connection[Row] | None = None
        self._wanted: Wanted | None = None
        self._coming: Future[Batch] | None = None

    def begin(self, *, after: int, limit: int, types: AbstractSet[type[Event]]) -> None:
        """Begin to read what is probably wanted next."""
        self._forget()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gradelog read-ahead")
        self._wanted = (after, limit, types)
        self._coming = self._thread.submit(self._read, *self._wanted)

    def take(self, *, after: int, limit: int, types: AbstractSet[type[Event]]) -> Batch | None:
        """Return what was read ahead; None if something else was, or it went wrong.

        Then it has to be read again, on the connection that tells what is the matter.
        """
        coming, wanted = self._coming, self._wanted
        self._coming = self._wanted = None
        if coming is None or wanted != (after, limit, types):
            return None
        try:
            return coming.result()
        except Exception:  # noqa: BLE001 - whoever reads it again meets it again
            return None

    def close(self) -> None:
        """Stop the thread and give back its connection."""
        self._forget()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True)
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def _read(self, after: int, limit: int, types: AbstractSet[type[Event]]) -> Batch:
        if self._db is None or self._db.closed:
            self._db = self._connect()
        return self._reader.read(self._db, after=after, limit=limit, types=types)

    def _forget(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
        self._coming = self._wanted = None
