"""Of several processes one works and the others stand by: the loop around a lease.

What keeps a process from working is told, in its log and beside the lease, and tried again.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import psycopg
import structlog
from psycopg import Connection
from structlog.stdlib import BoundLogger

from consumers.leased import LeasedPosition, LeaseLostError
from projections.read_model import Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_LOOK: Final = 1.0
"""Seconds between two looks at a lease that somebody else has, at most."""

Store = TypeVar("Store", bound=LeasedPosition)


class StandstillError(Exception):
    """It does not go on before somebody does something; the message says about what."""


class StuckError(StandstillError):
    """An event cannot be sent; those after it wait."""

    def __init__(self, position: int, reason: object) -> None:
        super().__init__(f"the event at position {position} cannot be published: {reason}")
        self.position = position


def take_turns(
    name: str,
    connect: Callable[[], Connection[Row]],
    make_store: Callable[[Connection[Row]], Store],
    work: Callable[[Store], None],
    stop: threading.Event,
    *,
    passing: type[Exception] | tuple[type[Exception], ...],
    longest_pause: float,
) -> None:
    """Try to work whenever nobody else does, until ``stop`` is set, whatever happens.

    Args:
        name: of what is done, for the log.
        connect: opens a connection to the database with the lease, in autocommit mode.
        make_store: makes what has the lease, over a connection.
        work: takes the lease if it can do the work, and works; looks at ``stop``, too. It
            returns to begin anew.
        stop: set by somebody else.
        passing: errors that are no defects and may be over soon, beside those of the database.
        longest_pause: seconds until what went wrong is tried again, at most.
    """
    log = logger.bind(who=name)
    pause = FIRST_PAUSE
    while not stop.is_set():
        began = time.monotonic()
        try:
            with connect() as db:
                _stand_by(make_store(db), work, stop, log)
            continue
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.warning("lost the database", error=_told(error))
        except passing as error:
            log.warning("cannot go on", error=_told(error))
        except StandstillError as error:
            log.error("stands still", error=_told(error))  # noqa: TRY400 - no defect
        except Exception:
            log.exception("stumbled")
        if time.monotonic() - began > 2 * longest_pause:
            pause = FIRST_PAUSE
        stop.wait(pause)
        pause = min(pause * 2, longest_pause)


def _stand_by(
    store: Store, work: Callable[[Store], None], stop: threading.Event, log: BoundLogger
) -> None:
    while not stop.is_set():
        if not store.is_free():
            stop.wait(min(LONGEST_LOOK, store.lifetime / 4))
            continue
        try:
            work(store)
        except LeaseLostError as error:
            log.warning("begins anew", reason=str(error))
        except Exception as error:
            with suppress(psycopg.Error):
                store.note(_told(error))
            raise


def _told(error: Exception) -> str:
    """What is wrong; what says what to do says all."""
    return in_one_line(error, named=not isinstance(error, StandstillError))
