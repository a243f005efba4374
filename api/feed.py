"""Who feeds the read models of a copy, for those who look after the installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FeedProgress:
    """How the feeding of a read model from Kafka goes.

    Attributes:
        members: how many processes feed it.
        partitions_unread: how many partitions none of them reads; None as long as nobody
            knows how many there are.
        messages_left: how many messages in Kafka are not applied; None if nobody knows.
        silent_seconds: since the last sign of life of a member; None if there never was one.
        trouble: why nothing more is applied although no event is at fault.
    """

    members: int
    partitions_unread: int | None
    messages_left: int | None
    silent_seconds: float | None
    trouble: str | None


class FeedStatus(Protocol):
    """Tells who feeds read models."""

    async def progress(self) -> Mapping[str, FeedProgress]:
        """By name of read model; nothing where there is a log."""
