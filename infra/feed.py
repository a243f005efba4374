"""Read models fed from Kafka, in a process: made from the settings, and what opens names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
import structlog
from psycopg import Connection

from consumers.feed.feeding import Feeding
from domain.events import Recorded
from infra.kafka.client import kafka_client
from infra.log.personal import is_personal, with_personal
from infra.log.reader import connect
from infra.postgres import Row
from infra.settings import Settings, keys_of, master_key
from infra.threads import in_thread
from infra.vault import Vault
from projections.read_model import ReadModel

logger = structlog.get_logger(__name__)

NAME = "gradelog consume"


def make_feeding(settings: Settings, dsn: str, models: Sequence[type[ReadModel]]) -> Feeding:
    """Feeds these read models of a database from the cluster of the settings, which name one.

    Raises:
        KafkaError: the client library that the settings name is not installed.
    """
    keys = keys_of(settings, dsn)
    if keys is None:
        logger.warning("names and addresses stay sealed, because GRADELOG_KEYS_URL is not set")
    return Feeding(
        kafka_client(settings, name="gradelog-feed"),
        lambda: connect(dsn, name=NAME),
        models,
        prefix=settings.kafka_topic_prefix,
        opening=lambda: Opening(
            None if keys is None else Vault(keys, master_key=master_key(settings)),
            lambda: connect(keys or dsn, name=NAME),
        ),
    )


class Opening:
    """Opens what identifies people in events, over a connection of one thread."""

    def __init__(self, vault: Vault | None, connect: Callable[[], Connection[Row]]) -> None:
        """Make it.

        Args:
            vault: opens, if anything is to be opened.
            connect: opens a connection to the database of the keys.
        """
        self._vault = vault
        self._connect = connect
        self._db: Connection[Row] | None = None

    def __call__(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        """The same events, opened; None where the key was destroyed.

        Raises:
            KeysMissingError: a key is not there, although nobody destroyed it.
            psycopg.OperationalError: the keys cannot be reached.
        """
        if not any(is_personal(recorded.event) for recorded in events):
            return events
        try:
            if self._db is None:
                self._db = self._connect()
            return with_personal(self._db, events, self._vault)
        except psycopg.Error:
            db, self._db = self._db, None
            if db is not None:
                with suppress(psycopg.Error):
                    db.close()
            raise


@contextmanager
def feeding(settings: Settings, dsn: str, models: Sequence[type[ReadModel]]) -> Iterator[Feeding]:
    """Feed these read models in threads, until the end."""
    made = make_feeding(settings, dsn, models)
    made.prepare()
    with in_thread(made.run, "gradelog feed"):
        yield made
