"""A member of a subscription: counts attempts and parks what fails.

An attempt is counted in the database before it is made. What raises is counted like what kills
the process: when a stretch of messages did not come to its end, each of them goes alone, so
that what is counted is the one message at fault. What ended because the database was lost is
nobody's fault, and not counted; unless it is lost with the same message again and again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection

from consumers.following.offsets import OffsetsHeldError
from consumers.following.steps import Entry, Step
from consumers.kafka.client import (
    Consumer,
    Message,
    Partition,
)
from consumers.messages import Passed, place_in_log
from consumers.subscriber.joining import SubscribedFollowing
from consumers.subscriber.tables import FEW_LOSSES, Tables, Tries
from domain.events import Recorded, UnknownEventTypeError
from projections.read_model import Row
from projections.telling import in_one_line

Handle = Callable[[Connection[Row], Sequence[Recorded]], None]

LOSSES: Final = 10
"""How often the database may be lost with a message that goes alone before it is parked."""

_BEHIND: Final = "an earlier message of its key is parked"
_STOOD_STILL: Final = "25P03"
"""The server ended a transaction in which nothing was done for long."""


class ParkingFollowing(SubscribedFollowing):
    """Counts what is tried, and parks what fails."""

    def __init__(
        self,
        *arguments: Any,
        tables: Tables,
        handle: Handle,
        attempts: int,
        block: bool,
        **more: Any,
    ) -> None:
        """Make a member; see ``SubscribedFollowing`` for what is not here.

        Args:
            arguments: of ``SubscribedFollowing``.
            tables: where attempts are counted and messages parked.
            handle: what the subscriber does with events.
            attempts: how often a message is tried before it is parked.
            block: park what comes after a parked message of the same key.
            more: of ``SubscribedFollowing``.
        """

        def apply(db: Connection[Row], events: Sequence[Recorded], _: object) -> None:
            if events:
                handle(db, events)

        super().__init__(
            *arguments,
            tables=tables,
            apply=apply,
            on_bad=self._park_unreadable,
            on_poison=self._park_poison,
            **more,
        )
        self._attempts = attempts
        self._block = block
        self._tries: dict[Partition, Tries] = {}
        self._alone: Entry | None = None
        self._begun: Step | None = None
        self._not_counted: tuple[Step, Exception] | None = None

    # --- attempts ---------------------------------------------------------------------------

    def _look_around(self, consumer: Consumer) -> None:
        self._take_back()
        super()._look_around(consumer)

    def _try(self, step: Step) -> None:
        self._alone = None
        try:
            if any(type(entry.item) is Recorded for entry in step.entries):
                tries = self._count(step)
                while any(entry.offset <= tries[entry.partition].careful for entry in step.entries):
                    first, rest = step.cut(1)
                    self._begin_alone(first)
                    step = self._still_ours(rest)
            super()._try(step)
        except Exception as error:
            if self._begun is not None and self._is_innocent(error):
                self._not_counted = self._begun, error
            raise
        finally:
            self._begun = None

    def _is_innocent(self, error: Exception) -> bool:
        """Whether an attempt came to no end for a reason that is none of the message's."""
        if isinstance(error, psycopg.Error) and error.sqlstate == _STOOD_STILL:
            return False
        db = self._database
        closed_by_handler = db.is_there and db.connection().closed and not db.connection().broken
        return not closed_by_handler

    def _count(
        self, step: Step, *, alone: bool = False, careful: bool = False
    ) -> dict[Partition, Tries]:
        self._begun = None
        self._tries = self._tables.begin(self._connected(), step, alone=alone, careful=careful)
        self._begun = step
        return self._tries

    def _take_back(self) -> None:
        """Let the attempt not count with which the database was lost."""
        if self._not_counted is None:
            return
        step, error = self._not_counted
        losses = self._tables.take_back(self._connected(), step, in_one_line(error))
        self._not_counted = None
        if len(step.entries) == 1 and losses >= FEW_LOSSES:
            self._stop(step.entries[0].partition, error)  # for the others to go on

    def _begin_alone(self, step: Step) -> None:
        (entry,) = step.entries
        tries = self._count(step, alone=True)
        self._alone = entry
        tried, _, losses, lost_with = tries[entry.partition]
        if tried > self._attempts and isinstance(entry.item, Recorded):
            self._at_fault(step, entry, ProcessEndedError(tried - 1))
        elif losses >= LOSSES and isinstance(entry.item, Recorded):
            self._at_fault(step, entry, DatabaseLostError(losses, lost_with))
        else:
            self._carry_out(step)
        self._alone = None

    def _at_fault(self, step: Step, entry: Entry, error: Exception) -> None:
        if self._alone != entry and isinstance(entry.item, Recorded):
            # Found by halving: it is counted now, and goes alone from now on.
            self._count(step, alone=True, careful=True)
        super()._at_fault(step, entry, error)

    def _stop(self, partition: Partition, error: Exception) -> None:
        if isinstance(error, OffsetsHeldError) and self._begun is not None:
            self._tables.take_back(self._connected(), self._begun.of(partition))
        super()._stop(partition, error)

    # --- parking ----------------------------------------------------------------------------

    def _handle(self, db: Connection[Row], step: Step) -> None:
        super()._handle(db, self._parked_behind(db, step) if self._block else step)

    def _parked_behind(self, db: Connection[Row], step: Step) -> Step:
        """Park events of keys that have a parked message; the step without them."""
        keys = {_key(e) for e in step.entries if type(e.item) is Recorded}
        blocked = self._tables.parked.blocked(db, keys) if keys else set()
        if not blocked:
            return step
        entries = []
        for entry in step.entries:
            if isinstance(entry.item, Recorded) and _key(entry) in blocked:
                self._park(db, entry.message, entry.item.position, _BEHIND, 0)
                passed = Passed(entry.position, entry.position)
                entries.append(entry._replace(item=passed))
            else:
                entries.append(entry)
        return Step(entries, step.before, step.after)

    def _park_unreadable(self, db: Connection[Row], message: Message, error: Exception) -> bool:
        if type(error) is UnknownEventTypeError and self._wanted is not None:
            return True  # newer than this code, and not what was asked for
        place = place_in_log(message)
        self._park(db, message, place and place[1], in_one_line(error), 1)
        return True

    def _park_poison(
        self, db: Connection[Row], recorded: Recorded, message: Message, error: Exception
    ) -> bool:
        tried = self._tries[message.partition].attempts
        if isinstance(error, DatabaseLostError):
            tried = error.times
        elif tried < self._attempts:
            return False
        else:
            tried = min(tried, self._attempts)
        self._park(db, message, recorded.position, in_one_line(error), tried)
        return True

    def _park(
        self,
        db: Connection[Row],
        message: Message,
        position: int | None,
        error: str,
        attempts: int,
    ) -> None:
        followed = self._followed.get(message.partition)
        topic_id = None if followed is None else followed.topic_id
        self._tables.parked.park(db, message, position, error, attempts, topic_id=topic_id)


class ProcessEndedError(Exception):
    """Every process that handled a message has ended before it was done."""

    def __init__(self, times: int) -> None:
        super().__init__(
            f"the process ended {times} times while it handled this message, or stood still"
        )


class DatabaseLostError(Exception):
    """The database was lost each time that a message was handled."""

    def __init__(self, times: int, error: str | None) -> None:
        super().__init__(f"lost {times} times while this message was handled: {error}")
        self.times = times


def _key(entry: Entry) -> tuple[str, bytes]:
    return entry.partition.topic, entry.message.key or b""
