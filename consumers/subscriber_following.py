"""A member of a subscription: follows the topics, counts attempts and parks what fails.

An attempt is counted in the database before it is made. What raises is counted like what kills
the process: when a stretch of messages did not come to its end, each of them goes alone, so
that what is counted is the one message at fault.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg import Connection

from consumers.following import Following, message_of
from consumers.kafka.client import Message, Partition
from consumers.messages import Passed, place_in_log
from consumers.steps import Entry, Step
from consumers.subscriber_tables import Tables, Tries
from domain.events import Recorded, UnknownEventTypeError
from projections.read_model import Row

Handle = Callable[[Connection[Row], Sequence[Recorded]], None]

_BEHIND: Final = "an earlier message of its key is parked"


class ParkingFollowing(Following):
    """Follows the topics for a subscriber."""

    def __init__(
        self,
        *arguments: Any,
        tables: Tables,
        handle: Handle,
        attempts: int,
        block: bool,
        **more: Any,
    ) -> None:
        """Make a member; see ``Following`` for what is not here.

        Args:
            arguments: of ``Following``.
            tables: where attempts are counted and messages parked.
            handle: what the subscriber does with events.
            attempts: how often a message is tried before it is parked.
            block: park what comes after a parked message of the same key.
            more: of ``Following``.
        """

        def apply(db: Connection[Row], events: Sequence[Recorded], _: object) -> None:
            if events:
                handle(db, events)

        super().__init__(
            *arguments,
            offsets=tables.offsets,
            apply=apply,
            on_bad=self._park_unreadable,
            on_poison=self._park_poison,
            **more,
        )
        self._tables = tables
        self._attempts = attempts
        self._block = block
        self._tries: dict[Partition, Tries] = {}
        self._alone: Entry | None = None

    # --- attempts ---------------------------------------------------------------------------

    def _begin(self, step: Step) -> None:
        self._alone = None
        if any(type(entry.item) is Recorded for entry in step.entries):
            tries = self._tries = self._tables.begin(self._connected(), step)
            while any(entry.offset <= tries[entry.partition].careful for entry in step.entries):
                first, rest = step.cut(1)
                self._begin_alone(first)
                step = self._still_ours(rest)
        self._carry_out(step)

    def _begin_alone(self, step: Step) -> None:
        (entry,) = step.entries
        self._tries = self._tables.begin(self._connected(), step, alone=True)
        self._alone = entry
        tried = self._tries[entry.partition].attempts
        if tried > self._attempts and isinstance(entry.item, Recorded):
            self._at_fault(step, entry, ProcessEndedError(tried - 1))
        else:
            self._carry_out(step)
        self._alone = None

    def _at_fault(self, step: Step, entry: Entry, error: Exception) -> None:
        if self._alone != entry and isinstance(entry.item, Recorded):
            # Found by halving: it is counted now, and goes alone from now on.
            self._tries = self._tables.begin(self._connected(), step, alone=True, careful=True)
        super()._at_fault(step, entry, error)

    # --- parking ----------------------------------------------------------------------------

    def _handle(self, db: Connection[Row], step: Step) -> None:
        super()._handle(db, self._parked_behind(db, step) if self._block else step)

    def _parked_behind(self, db: Connection[Row], step: Step) -> Step:
        """Park events of keys that have a parked message; the step without them."""
        keys = {_key(e) for e in step.entries if type(e.item) is Recorded}
        blocked = self._tables.blocked(db, keys) if keys else set()
        if not blocked:
            return step
        entries = []
        for entry in step.entries:
            if isinstance(entry.item, Recorded) and _key(entry) in blocked:
                self._tables.park(db, entry.message, entry.item.position, _BEHIND, 0)
                passed = Passed(entry.position, entry.position)
                entries.append(entry._replace(item=passed))
            else:
                entries.append(entry)
        return Step(entries, step.before, step.after)

    def _park_unreadable(self, db: Connection[Row], message: Message, error: Exception) -> bool:
        if isinstance(error, UnknownEventTypeError) and self._wanted is not None:
            return True  # newer than this code, and not what was asked for
        place = place_in_log(message)
        self._tables.park(db, message, place and place[1], message_of(error), 1)
        return True

    def _park_poison(
        self, db: Connection[Row], recorded: Recorded, message: Message, error: Exception
    ) -> bool:
        tried = self._tries[message.partition].attempts
        if tried < self._attempts:
            return False
        tried = min(tried, self._attempts)
        self._tables.park(db, message, recorded.position, message_of(error), tried)
        return True


class ProcessEndedError(Exception):
    """Every process that handled a message has ended before it was done."""

    def __init__(self, times: int) -> None:
        super().__init__(f"the process ended {times} times while it handled this message")


def _key(entry: Entry) -> tuple[str, bytes]:
    return entry.partition.topic, entry.message.key or b""
