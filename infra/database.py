"""The database of the settings: given or embedded, brought up to date, and what it is for."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from infra.embedded import EmbeddedPostgres, EmbeddedPostgresError
from infra.log.reader import connect
from infra.migrate import migrate
from infra.settings import Settings
from projections.positions import ReadModelError, ensure, is_fed
from projections.registry import READ_MODELS

logger = structlog.get_logger(__name__)

WATCH_EVERY: Final = 1.0
"""Seconds between two looks at the embedded server."""


def now() -> datetime:
    """The clock of this process."""
    return datetime.now(UTC)


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The database of these settings, up to date: given, or embedded and started.

    Yields:
        its connection string.

    Raises:
        EmbeddedPostgresError: the embedded server cannot start.
        MigrationError: the database cannot be brought up to date.
    """
    with ExitStack() as stack:
        dsn = settings.database_url
        if dsn is None:
            embedded = stack.enter_context(EmbeddedPostgres(settings.home))
            stack.enter_context(kept_running(embedded))
            dsn = embedded.dsn
        prepare(dsn)
        yield dsn


@contextmanager
def kept_running(embedded: EmbeddedPostgres) -> Iterator[None]:
    """Start the embedded server again when it dies; nobody else would."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(WATCH_EVERY):
            if embedded.pid is None:
                logger.warning("the embedded PostgreSQL is gone and is started again")
                try:
                    embedded.start()
                except EmbeddedPostgresError:
                    logger.exception("the embedded PostgreSQL does not start")

    watcher = threading.Thread(target=watch, name="keeper of PostgreSQL", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def prepare(dsn: str) -> None:
    """Bring a database up to date and make the tables of read models that it lacks.

    Raises:
        MigrationError: the database cannot be brought up to date.
    """
    migrate(dsn)
    with connect(dsn) as db:
        # Who feeds read models from Kafka says which, and makes them.
        if is_fed(db):
            return
        try:
            ensure(db, READ_MODELS)
        except ReadModelError:
            if not is_fed(db):  # else somebody has begun to, just now
                raise


def refuse_copy(dsn: str) -> None:
    """Let nobody work on a log that is elsewhere.

    Raises:
        ReadModelError: the database is fed from Kafka.
    """
    if is_copy(dsn):
        raise ReadModelError(
            "this database is fed from Kafka and has no log; gradelog consume feeds it, gradelog"
            " api answers reads from it"
        )


def is_copy(dsn: str) -> bool:
    """Whether the read models of a database are fed from Kafka, and its own log stays empty."""
    with connect(dsn, name="gradelog") as db:
        return is_fed(db)
