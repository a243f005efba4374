"""The log as read models see it: batches of events, whoever reads them from wherever."""

from bisect import bisect_right
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from psycopg import Connection

from domain.events import Event, Recorded
from projections.read_model import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of the log without a gap.

    Attributes:
        after: the position before the first event.
        end: the position of the last event; ``after`` when there is none.
        events: those of them that somebody wanted.
    """

    after: int
    end: int
    events: Sequence[Recorded]

    def __len__(self) -> int:
        return self.end - self.after

    def halves(self) -> tuple["Batch", "Batch"]:
        """The same stretch as two."""
        middle = (self.after + self.end) // 2
        cut = bisect_right(self.events, middle, key=attrgetter("position"))
        return (
            Batch(self.after, middle, self.events[:cut]),
            Batch(middle, self.end, self.events[cut:]),
        )


class LogReader(Protocol):
    """Reads the log in its order."""

    def read(
        self, db: Connection[Row], *, after: int, limit: int, types: AbstractSet[type[Event]]
    ) -> Batch:
        """Return what follows a position: at most ``limit`` events, decoded if of these types.

        Raises:
            psycopg.OperationalError: not now.
            Exception: one of them cannot be read; with ``limit`` 1 it is the next one.
        """

    def head(self, db: Connection[Row]) -> int:
        """The last position of the log; 0 when it is empty."""
