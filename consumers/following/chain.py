"""The rule by which the messages of a partition count once and in order, whoever repeats them.

Every message says after which position of its partition it comes. What is at or below the
position that was reached is a repeat; what comes after it is next; what comes after something
that is not here yet is ahead of a gap. It is kept until whoever sends closes the gap, which
it does by sending again, and never passed over.
"""

import heapq
from typing import Final, Generic, TypeVar

T = TypeVar("T")

KEPT: Final = 25_000
KEPT_BYTES: Final = 32 * 1024 * 1024
"""Most that waits for a gap to close: messages, and bytes of them. More messages than a relay has
on their way at a time, all of which may stand before those that close it."""


class GapError(Exception):
    """Messages are missing in a partition and did not come; the message says which."""


class Chain(Generic[T]):
    """Where a partition stands in the log, and what waits because something before it is missing.

    Attributes:
        position: everything of the partition up to here was taken.
    """

    __slots__ = ("_bytes", "_kept", "_limit", "_order", "_read", "position")

    def __init__(self, position: int = 0, next_offset: int = 0, *, limit: int = KEPT) -> None:
        """Begin after a position, with the message at an offset."""
        self.position = position
        self._read = next_offset
        self._limit = limit
        # By where they lead and what they follow, which a repeat has in common with the first.
        # A mark at the position of an event follows it.
        self._kept: dict[tuple[int, int], tuple[int, int, T]] = {}
        self._order: list[tuple[int, int]] = []
        self._bytes = 0

    @property
    def next_offset(self) -> int:
        """Where to begin after a restart: everything before was taken or is a repeat."""
        if self._kept:
            return min(offset for offset, _, _ in self._kept.values())
        return self._read

    @property
    def missing(self) -> tuple[int, int] | None:
        """What the kept ones wait for: something after the first position and up to the second."""
        return (self.position, self._order[0][1]) if self._order else None

    def take(
        self, offset: int, previous: int, position: int, item: T, size: int = 0
    ) -> list[tuple[int, int, T]] | None:
        """Read the next message; return what is to be applied now, in order; None if nothing.

        Args:
            offset: of the message.
            previous: the position that must have been reached before it.
            position: the position that is reached with it.
            item: what it holds.
            size: its bytes.

        Returns:
            positions, offsets and items.

        Raises:
            GapError: too many wait. The chain is as it was before.
        """
        if position <= self.position:
            self._read = offset + 1
            return None
        if previous > self.position:
            self._keep((position, previous), (offset, size, item))
            return None
        self._read = offset + 1
        self.position = position
        if not self._kept:
            return [(position, offset, item)]
        return [(position, offset, item), *self._released()]

    def keeps(self, previous: int, position: int) -> bool:
        """Whether what leads from the one position to the other waits already."""
        return (position, previous) in self._kept

    def step_over(self, offset: int) -> None:
        """Read a message that has no place in the log, or whose place is not its own."""
        self._read = offset + 1

    def _keep(self, place: tuple[int, int], kept: tuple[int, int, T]) -> None:
        offset, size, _ = kept
        before = self._kept.get(place)
        if before is None:
            if len(self._kept) >= self._limit or (self._kept and self._bytes + size > KEPT_BYTES):
                raise GapError(
                    f"something after position {self.position} and up to {self._order[0][1]} is"
                    f" missing, and did not come with {len(self._kept)} further messages"
                )
            heapq.heappush(self._order, place)
        else:
            # Of two marks the later may promise more; of two events one is as good as the other.
            self._bytes -= before[1]
        self._read = offset + 1
        self._kept[place] = kept
        self._bytes += size

    def _released(self) -> list[tuple[int, int, T]]:
        released = []
        order = self._order
        while order and (order[0][0] <= self.position or order[0][1] <= self.position):
            place = heapq.heappop(order)
            offset, size, item = self._kept.pop(place)
            self._bytes -= size
            if place[0] > self.position:
                self.position = place[0]
                released.append((place[0], offset, item))
        return released
