"""Writes steps: what they mean and where they lead, in one transaction, or nothing of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import psycopg
import structlog
from psycopg import Connection
from psycopg.pq import TransactionStatus

from consumers.following.faults import FIRST_RETRY, Faults
from consumers.following.followed import Figures, Followed
from consumers.following.offsets import Offsets, OffsetsHeldError, OffsetsMovedError
from consumers.following.reader_database import ReaderDatabase, is_conflict
from consumers.following.steps import Entry, Step
from consumers.kafka.client import Message, Partition
from consumers.messages import Reached
from domain.events import Recorded
from projections.read_model import Row

logger = structlog.get_logger(__name__)

CONFLICTS: Final = 5
"""How often a step is written again at once because somebody else was in the way."""

Apply = Callable[[Connection[Row], Sequence[Recorded], Mapping[Partition, int]], None]
"""Writes what events mean, inside the transaction that also moves the partitions.

Told of events in the order of the log, and up to where each touched partition is applied with
them; called without events when only positions move."""

OnMarks = Callable[[Connection[Row], Mapping[Partition, Reached]], None]
OnBad = Callable[[Connection[Row], Message, Exception], bool]
OnPoison = Callable[[Connection[Row], Recorded, Message, Exception], bool]


class NotWrittenError(Exception):
    """What an ``apply`` did was undone by the server, and it did not say so."""


class StepWriting(ABC):
    """What is written of the partitions that a member follows."""

    def __init__(
        self,
        connect: Callable[[], Connection[Row]],
        *,
        offsets: Offsets,
        apply: Apply,
        on_marks: OnMarks | None = None,
        on_bad: OnBad | None = None,
        on_poison: OnPoison | None = None,
        retry_after: float = FIRST_RETRY,
    ) -> None:
        """Make it; see ``Following`` for what is handed in."""
        self._database = ReaderDatabase(connect)
        self._offsets = offsets
        self._apply = apply
        self._on_marks = on_marks
        self._on_bad = on_bad
        self._on_poison = on_poison
        self._followed: dict[Partition, Followed] = {}
        # As they were when the step that is being written was read.
        self._here: Mapping[Partition, Followed] = {}
        self._faults = Faults(retry_after)
        self.figures = Figures()

    @abstractmethod
    def _stop(self, partition: Partition, error: Exception) -> None:
        """Let a partition stand still for a while; the others go on."""

    @abstractmethod
    def _moved_by_others(self, partitions: Collection[Partition]) -> None:
        """Take up these partitions where they stand now."""

    def _connected(self) -> Connection[Row]:
        return self._database.connection()

    def _carry_out(self, step: Step) -> None:
        """Write a step; on a failure write what comes before the event at fault."""
        try:
            self._write_past_conflicts(step)
        except OffsetsMovedError:
            self._moved_by_others(step.after)
        except OffsetsHeldError as error:
            # The others need not wait for the one that is held.
            for partition in step.after:
                if len(step.after) == 1:
                    self._stop(partition, error)
                else:
                    self._carry_out(self._still_ours(step.of(partition)))
        except Exception as error:
            if self._database.is_lost_by(error):
                raise
            if len(step.entries) > 1:
                for half in step.halves():
                    self._carry_out(self._still_ours(half))
            elif step.entries:
                self._at_fault(step, step.entries[0], error)
            else:
                raise

    def _still_ours(self, step: Step) -> Step:
        """A part of a step without what was taken away or stopped by the parts before it.

        What was taken away and given back meanwhile has a new chain, which reads the rest of
        the step by itself.
        """
        return step.without(
            {
                partition
                for partition, standing in step.before.items()
                if self._faults.is_stopped(partition)
                or (followed := self._followed.get(partition)) is None
                or followed is not self._here.get(partition)
                or followed.standing != standing
            }
        )

    def _write_past_conflicts(self, step: Step) -> None:
        for left in reversed(range(CONFLICTS)):
            try:
                self._write(step)
            except psycopg.Error as error:
                if not left or not is_conflict(error) or self._database.is_lost_by(error):
                    raise
            else:
                return

    def _write(self, step: Step) -> None:
        if not step.entries and step.after == step.before:
            return
        db = self._connected()
        is_done = False
        with db.transaction():
            self._offsets.move(db, step.before, step.after)
            self._handle(db, step)
            check_transaction(db)
            is_done = True
        if not is_done:
            raise NotWrittenError("the transaction was rolled back by psycopg.Rollback")
        self._written(step)

    def _handle(self, db: Connection[Row], step: Step) -> None:
        for message, error in step.unreadable:
            if self._on_bad is None or not self._on_bad(db, message, error):
                raise error
        if step.entries:
            self._apply(db, step.events, step.positions())
        marks = step.marks
        if marks and self._on_marks is not None:
            self._on_marks(db, marks)

    def _written(self, step: Step) -> None:
        for partition, standing in step.after.items():
            followed = self._followed.get(partition)
            if followed is not None:
                followed.standing = standing
            self._faults.forget(partition)
        for entry in step.entries:
            if type(entry.item) is Recorded:
                self.figures.events += 1
        self._database.is_well()

    def _at_fault(self, step: Step, entry: Entry, error: Exception) -> None:
        """One message is at fault: somebody takes care of it, or its partition stops."""
        if isinstance(entry.item, Recorded) and self._on_poison is not None:
            try:
                if self._is_cared_for(step, entry, error):
                    self._written(step)
                    return
            except OffsetsMovedError:
                self._moved_by_others(step.after)
                return
            except Exception as another:
                if self._database.is_lost_by(another):
                    raise
                logger.exception("a message cannot be put aside")
        self._stop(entry.partition, error)

    def _is_cared_for(self, step: Step, entry: Entry, error: Exception) -> bool:
        assert isinstance(entry.item, Recorded)
        assert self._on_poison is not None
        db = self._connected()
        with db.transaction() as transaction:
            self._offsets.move(db, step.before, step.after)
            if not self._on_poison(db, entry.item, entry.message, error):
                raise psycopg.Rollback(transaction)
            self._apply(db, (), step.positions())
            return True
        return False


def check_transaction(db: Connection[Row]) -> None:
    """Make sure that what was written will stay, before it is committed.

    Raises:
        NotWrittenError: a statement failed, and whoever ran it went on. The server would
            answer a commit with a rollback, which is no error.
    """
    if db.info.transaction_status != TransactionStatus.INTRANS:
        raise NotWrittenError(
            "an error of the database was passed over, which undoes the transaction: what may"
            " fail belongs in a block of its own, `with db.transaction():`"
        )
