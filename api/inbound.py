"""What became of the messages that carry commands, for those who look after the installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class InboundTopic:
    """What became of the messages of a topic so far.

    Attributes:
        topic: its name.
        carried_out: messages whose commands were carried out.
        repeated: messages that had been carried out before.
        rejected: messages that were parked.
        parked: messages that are parked still.
    """

    topic: str
    carried_out: int
    repeated: int
    rejected: int
    parked: int


class InboundStatus(Protocol):
    """Tells what became of the messages."""

    async def figures(self) -> Sequence[InboundTopic]:
        """By topic; nothing if no topic was ever read."""
