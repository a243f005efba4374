"""Makes steps of messages: parsed, linked to what came before, in the order of the log."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter

from consumers.following.chain import Chain, GapError
from consumers.following.followed import Followed
from consumers.following.steps import Entry, Item, Step, Unreadable
from consumers.kafka.client import Message, Partition
from consumers.messages import (
    BadMessageError,
    Positioned,
    Reached,
    parse_wanted,
    place_in_log,
)
from domain.events import UnknownEventTypeError


def read_step(
    messages: Sequence[Message],
    followed: Mapping[Partition, Followed],
    wanted: AbstractSet[bytes] | None,
) -> tuple[Step, dict[Partition, GapError]]:
    """What these messages say, and which partitions lack something for good.

    Args:
        messages: as they came; those of partitions that are not followed are dropped.
        followed: the partitions, whose chains go on.
        wanted: stored names of the types whose events are read; None for all.
    """
    entries: list[Entry] = []
    gaps: dict[Partition, GapError] = {}
    touched: dict[Partition, Followed] = {}
    for message in messages:
        partition = message.partition
        found = touched.get(partition) or followed.get(partition)
        if found is None or partition in gaps:
            continue
        touched[partition] = found
        try:
            _link(found.chain, message, wanted, entries)
        except GapError as error:
            gaps[partition] = error
    entries.sort(key=attrgetter("position"))
    before = {partition: one.standing for partition, one in touched.items()}
    after = {partition: one.reached() for partition, one in touched.items()}
    return Step(entries, before, after), gaps


def _link(
    chain: Chain[tuple[Item, Message]],
    message: Message,
    wanted: AbstractSet[bytes] | None,
    entries: list[Entry],
) -> None:
    """Take a message into the chain of its partition; note what is next now."""
    partition, size = message.partition, len(message.value or b"")
    try:
        found = parse_wanted(message, wanted, after=chain.position)
    except (BadMessageError, UnknownEventTypeError) as error:
        item = Unreadable(error)
        place = place_in_log(message)
        if place is None:
            chain.step_over(message.offset)
            entries.append(Entry(chain.position, partition, message.offset, item, message))
            return
        previous, position = place
        if chain.keeps(previous, position):
            # It repeats what waits for its turn, and is not to take the place of that.
            chain.step_over(message.offset)
            return
        taken = chain.take(message.offset, previous, position, (item, message), size)
    else:
        if isinstance(found, Positioned):
            previous, recorded = found
            taken = chain.take(
                message.offset, previous, recorded.position, (recorded, message), size
            )
        elif isinstance(found, Reached) and found.position <= chain.position:
            # It leads nowhere new, but may say of more that it is graded.
            chain.step_over(message.offset)
            taken = [(chain.position, message.offset, (found, message))]
        else:
            taken = chain.take(message.offset, found.previous, found.position, (found, message))
    if taken is not None:
        for reached, offset, (now, of) in taken:
            entries.append(Entry(reached, partition, offset, now, of))
