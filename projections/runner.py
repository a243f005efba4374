"""The one loop that folds batches of the log into all read models.

Each read model has one active runner among all processes: the one that holds its lock, for
as long as its connection lives. Others stand by and take over. Rows and position are
written in one transaction, so whoever takes over goes on exactly where the rows are.
"""

import selectors
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from psycopg import Connection

from domain.events import Event
from projections import positions
from projections.bulk import collector_paused
from projections.log import Batch, LogReader
from projections.positions import BUILDING, MovedError
from projections.read_ahead import ReadAhead
from projections.read_model import ReadModel, Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

CHANNEL: Final = "gradelog_events"
BATCH: Final = 5000
SHORTEST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
PAUSE_GROWTH: Final = 1.25
TAKE_OVER_EVERY: Final = 1.0
"""Seconds between two looks at what others run and at what has failed."""

FIRST_RECONNECT: Final = 0.1
LONGEST_RECONNECT: Final = 2.0

LOCK: Final = "runs"

# Server errors that come with the connection ones and yet speak of what was to be written:
# a value is too large for an index, a statement too complex.
_PROGRAM_LIMIT: Final = "54"


@dataclass(slots=True)
class Figures:
    """What a runner did so far, for the metrics. Seconds are of the wall clock."""

    events: int = 0
    batches: int = 0
    reading: float = 0.0
    folding: float = 0.0
    reconnects: int = 0


@dataclass(slots=True)
class _Follower:
    """A read model that this runner holds the lock of."""

    model: ReadModel
    position: int
    state: str
    failed: bool = False

    @property
    def schema(self) -> str:
        return self.model.schema()


class Runner:
    """Keeps read models up to date until it is told to stop."""

    def __init__(
        self,
        connect: Callable[[], Connection[Row]],
        reader: LogReader,
        models: Sequence[type[ReadModel]],
        *,
        batch: int = BATCH,
    ) -> None:
        """Make a runner.

        Args:
            connect: opens a connection in autocommit mode.
            reader: reads the log over it.
            models: the read models of this code.
            batch: most events to fold in one transaction.
        """
        self._connect = connect
        self._reader = reader
        self._models = models
        self._batch = batch
        self._followers: dict[str, _Follower] = {}
        self._ahead = ReadAhead(connect, reader)
        self.figures = Figures()

    @property
    def active(self) -> dict[str, int]:
        """The position of each read model, by schema, that this runner keeps up to date."""
        # Other threads ask, and read models are taken over meanwhile.
        return {schema: follower.position for schema, follower in list(self._followers.items())}

    def run(self, stop: threading.Event) -> None:
        """Follow the log until ``stop`` is set, whatever happens to the database."""
        pause = FIRST_RECONNECT
        while not stop.is_set():
            began = time.monotonic()
            try:
                with self._connect() as db:
                    positions.ensure(db, self._models)
                    logger.info("projector follows the log")
                    self._follow(db, stop)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.figures.reconnects += 1
                logger.warning("projector lost the database", error=in_one_line(error))
                if time.monotonic() - began > LONGEST_RECONNECT:
                    pause = FIRST_RECONNECT
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_RECONNECT)
            except Exception:
                # A defect, or an operator's mistake. What it is about may come right again;
                # a projector that has gone never does.
                logger.exception("projector stumbled")
                stop.wait(LONGEST_RECONNECT)
            finally:
                self._followers.clear()
                self._ahead.close()

    # --- following --------------------------------------------------------------------------

    def _follow(self, db: Connection[Row], stop: threading.Event) -> None:
        # Without a handler the driver would keep every notification.
        db.add_notify_handler(lambda _: None)
        db.execute(f"LISTEN {CHANNEL}")
        pause, next_look = SHORTEST_PAUSE, 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(db.fileno(), selectors.EVENT_READ)
            while not stop.is_set():
                if time.monotonic() >= next_look:
                    self._take_over(db)
                    next_look = time.monotonic() + TAKE_OVER_EVERY
                moved = self._advance(db)
                if moved >= self._batch:
                    continue
                self._ahead.close()
                pause = SHORTEST_PAUSE if moved else min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
                selector.select(pause)

    def _take_over(self, db: Connection[Row]) -> None:
        """Follow what nobody follows, and what has failed and shall be tried again."""
        for model in self._models:
            schema = model.schema()
            follower = self._followers.get(schema)
            if follower is None and not positions.try_lock(db, LOCK, schema):
                continue
            if follower is not None and not follower.failed:
                continue
            standing = positions.standing(db, schema)
            if standing is None:
                raise positions.ReadModelError(f"the read model {schema} was removed")
            if follower is None:
                self._followers[schema] = _Follower(model(), standing.position, standing.state)
                logger.info("read model taken over", schema=schema, position=standing.position)
            elif standing.error is None:
                follower.failed = False
                follower.position, follower.state = standing.position, standing.state
                logger.info("read model tried again", schema=schema, position=standing.position)

    def _advance(self, db: Connection[Row]) -> int:
        """Fold one batch into each read model; return the size of the largest."""
        groups: dict[int, list[_Follower]] = {}
        for follower in self._followers.values():
            if not follower.failed:
                groups.setdefault(follower.position, []).append(follower)
        largest = 0
        starts = sorted(groups)
        for start, next_start in zip(starts, [*starts[1:], None], strict=False):
            # Those who are behind stop where others stand, and go on together with them.
            limit = self._batch if next_start is None else min(self._batch, next_start - start)
            with collector_paused():
                largest = max(largest, self._advance_group(db, groups[start], start, limit))
        return largest

    def _advance_group(
        self, db: Connection[Row], group: list[_Follower], start: int, limit: int
    ) -> int:
        began = time.perf_counter()
        types = frozenset[type[Event]]().union(*[follower.model.folds for follower in group])
        try:
            batch = self._read(db, start, limit, types)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - told of the read model
            if len(group) > 1:
                # What one of them asks for may be at fault; the others go on without it.
                return max(self._advance_group(db, [one], start, limit) for one in group)
            self._fail(db, group[0], start + 1, error)
            return 0
        read = time.perf_counter()
        self.figures.reading += read - began
        for follower in group:
            self._apply(db, follower, batch)
        if batch:
            self.figures.folding += time.perf_counter() - read
            self.figures.events += len(batch)
            self.figures.batches += 1
        return len(batch)

    def _read(
        self, db: Connection[Row], after: int, limit: int, types: frozenset[type[Event]]
    ) -> Batch:
        """The next batch; a smaller one if an event further on cannot be read."""
        while True:
            try:
                return self._read_once(db, after, limit, types)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except Exception as error:
                if limit == 1:
                    raise
                logger.warning(
                    "batch cannot be read", after=after, limit=limit, error=in_one_line(error)
                )
                limit //= 2

    def _read_once(
        self, db: Connection[Row], after: int, limit: int, types: frozenset[type[Event]]
    ) -> Batch:
        batch = self._ahead.take(after=after, limit=limit, types=types)
        if batch is None:
            batch = self._reader.read(db, after=after, limit=limit, types=types)
        if len(batch) == self._batch:
            self._ahead.begin(after=batch.end, limit=limit, types=types)
        return batch

    # --- one read model ---------------------------------------------------------------------

    def _apply(self, db: Connection[Row], follower: _Follower, batch: Batch) -> bool:
        """Fold a batch; on a failure fold what comes before the event at fault, and stop there."""
        try:
            self._fold(db, follower, batch)
        except MovedError:
            self._reload(db, follower)
            return False
        except Exception as error:
            if db.closed or not _is_of_the_batch(error):
                raise
            if len(batch) == 1:
                self._fail(db, follower, batch.end, error)
                return False
            first, second = batch.halves()
            return self._apply(db, follower, first) and self._apply(db, follower, second)
        return True

    def _fold(self, db: Connection[Row], follower: _Follower, batch: Batch) -> None:
        complete = follower.state == BUILDING and self._reader.head(db) == batch.end
        if batch:
            positions.fold(db, follower.model, follower.schema, batch, complete=complete)
            follower.position = batch.end
        elif complete:
            positions.serve(db, follower.schema, follower.position)
        if complete:
            self._served(follower)

    def _served(self, follower: _Follower) -> None:
        follower.state = positions.SERVING
        logger.info("read model serves", schema=follower.schema, position=follower.position)

    def _reload(self, db: Connection[Row], follower: _Follower) -> None:
        standing = positions.standing(db, follower.schema)
        if standing is None:
            raise positions.ReadModelError(f"the read model {follower.schema} was removed")
        logger.info(
            "read model was moved by somebody else",
            schema=follower.schema,
            before=follower.position,
            position=standing.position,
        )
        follower.position, follower.state = standing.position, standing.state

    def _fail(
        self, db: Connection[Row], follower: _Follower, position: int, error: Exception
    ) -> None:
        follower.failed = True
        message = in_one_line(error)
        logger.error(
            "read model failed and stands still",
            schema=follower.schema,
            failed_at_position=position,
            error=message,
            exc_info=error,
        )
        positions.mark_failed(db, follower.schema, position, message)


def _is_of_the_batch(error: Exception) -> bool:
    """Whether what was to be written is at fault, and not the database or the connection."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return (error.sqlstate or "").startswith(_PROGRAM_LIMIT)
    return True
