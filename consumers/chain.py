"""The rule by which the messages of a partition count once and in order, whoever repeats them.

Every message says after which position of its partition it comes. What is at or below the
position that was reached is a repeat; what comes after it is next; what comes after something
that is not here yet is ahead of a gap. It is kept until whoever sends closes the gap, which
it does by sending again, and never passed over.
"""

import heapq
from typing import Final, Generic, TypeVar

T = TypeVar("T")

KEPT: Final = 20_000
"""Most messages that wait for a gap to close."""


class GapError(Exception):
    """Messages are missing in a partition and did not come; the message says which."""


class Chain(Generic[T]):
    """Where a partition stands in the log, and what waits because something before it is missing.

    Attributes:
        position: everything of the partition up to here was taken.
    """

    __slots__ = ("_kept", "_limit", "_read", "position")

    def __init__(self, position: int = 0, next_offset: int = 0, *, limit: int = KEPT) -> None:
        """Begin after a position, with the message at an offset."""
        self.position = position
        self._read = next_offset
        self._limit = limit
        # By position. A mark at the position of an event comes after the event; the offset
        # makes all others comparable.
        self._kept: list[tuple[int, int, int, T]] = []

    @property
    def next_offset(self) -> int:
        """Where to begin after a restart: everything before was taken or is a repeat."""
        if self._kept:
            return min(offset for _, _, offset, _ in self._kept)
        return self._read

    @property
    def missing(self) -> tuple[int, int] | None:
        """What the kept ones wait for: something after the first position and up to the second."""
        return (self.position, self._kept[0][1]) if self._kept else None

    def take(
        self, offset: int, previous: int, position: int, item: T
    ) -> list[tuple[int, int, T]] | None:
        """Read the next message; return what is to be applied now, in order; None if nothing.

        Args:
            offset: of the message.
            previous: the position that must have been reached before it.
            position: the position that is reached with it.
            item: what it holds.

        Returns:
            positions, offsets and items.

        Raises:
            GapError: too many wait. The chain is as it was before.
        """
        if position <= self.position:
            self._read = offset + 1
            return None
        if previous > self.position:
            self._keep(offset, previous, position, item)
            return None
        self._read = offset + 1
        self.position = position
        if not self._kept:
            return [(position, offset, item)]
        return [(position, offset, item), *self._released()]

    def step_over(self, offset: int) -> None:
        """Read a message that has no place in the log."""
        self._read = offset + 1

    def _keep(self, offset: int, previous: int, position: int, item: T) -> None:
        if len(self._kept) >= self._limit:
            raise GapError(
                f"something after position {self.position} and up to {self._kept[0][1]} is"
                f" missing, and did not come with {self._limit} further messages"
            )
        self._read = offset + 1
        heapq.heappush(self._kept, (position, previous, offset, item))

    def _released(self) -> list[tuple[int, int, T]]:
        released = []
        while self._kept and (
            self._kept[0][0] <= self.position or self._kept[0][1] <= self.position
        ):
            position, _, offset, item = heapq.heappop(self._kept)
            if position > self.position:
                self.position = position
                released.append((position, offset, item))
        return released
