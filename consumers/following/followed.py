"""What is known of the partitions that a member reads: where they stand and why they do not go on."""

from dataclasses import dataclass
from uuid import UUID

from consumers.following.chain import Chain
from consumers.following.offsets import Standing
from consumers.following.steps import Item
from consumers.kafka.client import Message


@dataclass(slots=True)
class Figures:
    """What was done so far, for the metrics. Seconds are of the wall clock."""

    messages: int = 0
    events: int = 0
    repeats: int = 0
    batches: int = 0
    polling: float = 0.0
    parsing: float = 0.0
    writing: float = 0.0
    fenced: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class PartitionState:
    """Where a partition stands, for those who look after it.

    Attributes:
        position: everything of the partition up to it is applied.
        next_offset: of the message to be read next.
        lag: how many messages there are from there on; None while that is not known.
        error: why it does not go on; None if it does.
    """

    position: int
    next_offset: int
    lag: int | None
    error: str | None


@dataclass(slots=True)
class Followed:
    """A partition that this member reads."""

    chain: Chain[tuple[Item, Message]]
    topic_id: UUID | None
    standing: Standing
    """As the database holds it."""

    gap_since: float | None = None

    def reached(self) -> Standing:
        return Standing(self.topic_id, self.chain.next_offset, self.chain.position)
