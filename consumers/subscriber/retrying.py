"""Handles parked messages again."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import structlog
from psycopg import Connection

from consumers.following.reader_database import ReaderDatabase
from consumers.following.step_writing import NotWrittenError, check_transaction
from consumers.messages import Positioned, parse
from consumers.subscriber.following import Handle
from consumers.subscriber.parked import ParkedMessages, ParkedPlace
from domain.events import Event
from projections.read_model import Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retrying:
    """Handles messages one by one, each in a transaction of its own.

    Attributes:
        db: in autocommit mode.
        parked: where they are.
        handle: handles their events.
        wanted: the types of events that it knows; None for all.
    """

    db: Connection[Row]
    parked: ParkedMessages
    handle: Handle
    wanted: frozenset[type[Event]] | None

    def retry(
        self, places: Iterable[ParkedPlace], ids: AbstractSet[int], *, block: bool
    ) -> list[int]:
        """Handle these messages; return the ids of those that went.

        Args:
            places: the parked messages, the oldest first.
            ids: which of them; all when empty.
            block: leave alone what comes after one of the same key that stays.
        """
        done: list[int] = []
        held: set[tuple[str, bytes | None]] = set()
        for id_, topic, key in places:
            asked = not ids or id_ in ids
            if asked and (topic, key) not in held and self._one(id_):
                done.append(id_)
            elif block:
                held.add((topic, key))
        return done

    def _one(self, id_: int) -> bool:
        database = ReaderDatabase(lambda: self.db)
        database.open()
        try:
            return self._handled(id_)
        except Exception as error:
            if database.is_lost_by(error):
                raise
            logger.warning("parked message fails again", id=id_, error=in_one_line(error))
            self.parked.failed(self.db, id_, in_one_line(error))
            return False

    def _handled(self, id_: int) -> bool:
        is_done = False
        with self.db.transaction():
            found = self.parked.lock(self.db, id_)
            if found is None:
                return False  # somebody else is busy with it
            read = parse(found.message)
            events = [read.recorded] if isinstance(read, Positioned) else []  # or a mark
            wanted = self.wanted
            if wanted is not None and any(type(e.event) not in wanted for e in events):
                return False
            self.parked.drop(self.db, [id_])
            self.handle(self.db, events)
            check_transaction(self.db)
            is_done = True
        if not is_done:
            raise NotWrittenError("the transaction was rolled back by psycopg.Rollback")
        return True
