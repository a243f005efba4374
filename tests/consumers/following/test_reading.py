"""Steps are made of messages, whatever they look like."""

from typing import Any

import pytest

from consumers.following.chain import Chain
from consumers.following.followed import Followed
from consumers.following.offsets import Standing
from consumers.following.reading import read_step
from consumers.kafka.client import Message, Partition
from consumers.messages import StoredEvent, headers_of
from domain.events import Recorded
from infra.log.codec import encode_event, encode_provenance
from tests.consumers.following.publisher import SOURCE, passed

THERE = Partition("gradelog.courses", 0)
KIND = ("ce_type", b"grades.CoursePassedFirstTime")


def message(offset: int, recorded: Recorded, *, after: int, whole: bool = True) -> Message:
    """An event as the relay sends it, or the first half of it."""
    value = encode_event(recorded.event)
    stored = StoredEvent(
        recorded.position,
        recorded.event.originator_id,
        recorded.event.originator_version,
        recorded.type,
        value.decode(),
        encode_provenance(recorded.provenance),
        recorded.event_id,
        recorded.recorded_at,
    )
    headers = headers_of(stored, previous=after, source=SOURCE)
    return Message(THERE, offset, b"key", value if whole else value[: len(value) // 2], headers, 0)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_type", None)],
        [KIND, ("ce_position", None), ("ce_previous", b"0")],
        [KIND, ("ce_position", b"1"), ("ce_previous", None)],
        [KIND, ("ce_position", str(2**63).encode()), ("ce_previous", b"0")],
        [KIND, ("ce_position", b"-1"), ("ce_previous", b"-2")],
        [KIND, ("ce_position", b"9" * 5000), ("ce_previous", b"0")],
        [KIND, ("ce_position", b"\xff"), ("ce_previous", b"0")],
    ],
)
def test_a_message_of_anybody_is_unreadable_and_has_no_place(headers: Any) -> None:
    followed = Followed(Chain(), None, Standing())
    message = Message(THERE, 0, None, b"{}", headers, 0)
    step, gaps = read_step([message], {THERE: followed}, None)
    assert [found for found, _ in step.unreadable] == [message]
    assert step.positions() == {THERE: 0}
    assert not gaps


@pytest.mark.parametrize("readable", [[True, False], [False, True], [False, True, False]])
def test_of_what_waits_and_its_broken_repeats_the_event_counts(readable: list[bool]) -> None:
    """It waits because what it follows comes late; meanwhile somebody sends it again."""
    one, two = passed(2, courses=1)
    followed = {THERE: Followed(Chain(), None, Standing())}
    repeats = [message(n, two, after=1, whole=whole) for n, whole in enumerate(readable)]
    step, _ = read_step(repeats, followed, None)
    assert step.entries == []
    step, gaps = read_step([message(len(repeats), one, after=0)], followed, None)
    assert [event.position for event in step.events] == [1, 2]
    assert step.unreadable == []
    assert followed[THERE].chain.next_offset == len(repeats) + 1
    assert not gaps
