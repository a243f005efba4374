"""How a subscription is: where it stands, how much is left to do, what stands still."""

from collections.abc import Mapping
from dataclasses import dataclass

from consumers.following.followed import PartitionState
from consumers.following.offsets import Standing
from consumers.kafka.client import Partition, Topic


@dataclass(frozen=True, slots=True)
class Status:
    """How a subscription is.

    Attributes:
        partitions: where each partition stands, whoever reads it.
        lag: messages that nobody has handled yet; None while Kafka does not tell.
        parked: how many messages are parked.
        error: what is wrong, as far as is known here; None if nothing is. Why a partition
            stands still knows the process that reads it.
    """

    partitions: dict[Partition, PartitionState]
    lag: int | None
    parked: int
    error: str | None


def status_of(
    standings: Mapping[Partition, Standing],
    counts: Mapping[str, int],
    found: Mapping[str, Topic],
    ends: Mapping[Partition, int],
    errors: Mapping[Partition, str | None],
    *,
    parked: int,
    error: str | None,
) -> Status:
    """Put together what the database, Kafka and this process know.

    Args:
        standings: the partitions that have been read.
        counts: with how many partitions each topic is read.
        found: the topics that there are.
        ends: the offset of the next message of each partition, where it is known.
        errors: why partitions of this process stand still.
        parked: how many messages are parked.
        error: what else is wrong.
    """
    there = {name: topic.partitions for name, topic in found.items()}
    everywhere = {
        Partition(name, n) for name, count in {**counts, **there}.items() for n in range(count)
    }
    partitions = {}
    for partition in sorted(everywhere | standings.keys()):
        standing = standings.get(partition, Standing())
        topic, end = found.get(partition.topic), ends.get(partition)
        anew = topic is not None and standing.topic_id not in (None, topic.id)
        # What is told of a topic that was made anew is told of its first message.
        lag = None if end is None else max(0, end - (0 if anew else standing.next_offset))
        why = errors.get(partition)
        partitions[partition] = PartitionState(standing.position, standing.next_offset, lag, why)
    lags = [state.lag for state in partitions.values()]
    lag = None if not lags or None in lags else sum(found for found in lags if found is not None)
    return Status(partitions, lag, parked, error or _standing_still(partitions))


def _standing_still(partitions: Mapping[Partition, PartitionState]) -> str | None:
    still = {p: state.error for p, state in partitions.items() if state.error is not None}
    if not still:
        return None
    (topic, number), error = next(iter(still.items()))
    return f"{len(still)} partitions stand still, of them {topic}[{number}]: {error}"
