"""What is written in one transaction: entries in the order of the log, and where they lead."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from consumers.following.offsets import Standing
from consumers.kafka.client import Message, Partition
from consumers.messages import Passed, Reached
from domain.events import Recorded


class Unreadable(NamedTuple):
    """A message that is no event of this code, and why."""

    error: Exception


Item = Recorded | Reached | Passed | Unreadable


class Entry(NamedTuple):
    """A message whose turn has come.

    ``position`` is of the log; of a message without one, that of the one before it.
    """

    position: int
    partition: Partition
    offset: int
    item: Item
    message: Message


@dataclass(frozen=True, slots=True)
class Step:
    """Entries, and where each partition that they are of stands before and after them.

    A partition may stand elsewhere afterwards although it has no entry: there were repeats.
    """

    entries: Sequence[Entry]
    before: Mapping[Partition, Standing]
    after: Mapping[Partition, Standing]

    @property
    def events(self) -> list[Recorded]:
        """The events that are wanted, in the order of the log."""
        return [entry.item for entry in self.entries if type(entry.item) is Recorded]

    @property
    def marks(self) -> dict[Partition, Reached]:
        """The last mark of each partition that has one."""
        return {e.partition: e.item for e in self.entries if type(e.item) is Reached}

    @property
    def unreadable(self) -> list[tuple[Message, Exception]]:
        """The messages that are no events, and why."""
        return [(e.message, e.item.error) for e in self.entries if type(e.item) is Unreadable]

    def positions(self) -> dict[Partition, int]:
        """Up to where each partition is applied after it."""
        return {partition: standing.position for partition, standing in self.after.items()}

    def without(self, partitions: AbstractSet[Partition]) -> "Step":
        """The same without these partitions."""
        if partitions.isdisjoint(self.after):
            return self
        return Step(
            [entry for entry in self.entries if entry.partition not in partitions],
            {p: standing for p, standing in self.before.items() if p not in partitions},
            {p: standing for p, standing in self.after.items() if p not in partitions},
        )

    def of(self, partition: Partition) -> "Step":
        """The same without all other partitions."""
        return self.without(self.after.keys() - {partition})

    def halves(self) -> tuple["Step", "Step"]:
        """The same as two, one after the other."""
        return self.cut(len(self.entries) // 2)

    def cut(self, count: int) -> tuple["Step", "Step"]:
        """The first so many entries, and the rest."""
        first, second = self.entries[:count], self.entries[count:]
        between = _between(first, second, self.after)
        left = {e.partition for e in second}
        return (
            Step(first, {p: self.before[p] for p in between}, between),
            Step(
                second,
                {p: between.get(p, self.before[p]) for p in left},
                {p: self.after[p] for p in left},
            ),
        )


def _between(
    first: Iterable[Entry],
    second: Iterable[Entry],
    after: Mapping[Partition, Standing],
) -> dict[Partition, Standing]:
    reached = {entry.partition: entry.position for entry in first}
    waiting: dict[Partition, int] = {}
    for entry in second:
        offset = waiting.get(entry.partition, entry.offset)
        waiting[entry.partition] = min(offset, entry.offset)
    between = {}
    for partition, end in after.items():
        if partition not in waiting:
            between[partition] = end
        elif partition in reached:
            # The next half's first message may stand before others of this half.
            offset = min(end.next_offset, waiting[partition])
            between[partition] = Standing(end.topic_id, offset, reached[partition])
    return between
