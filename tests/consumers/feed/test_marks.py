"""What marks say of grades is told, also when they lead nowhere new."""

from datetime import UTC, datetime

from consumers.following.chain import Chain
from consumers.following.followed import Followed
from consumers.following.offsets import Standing
from consumers.following.reading import read_step
from consumers.kafka.client import Message, Partition
from consumers.messages import Reached, mark

PARTITION = Partition("gradelog.courses", 3)


def test_a_mark_at_a_position_that_is_reached_tells_that_more_is_graded() -> None:
    followed = Followed(Chain(position=9, next_offset=5), None, Standing(None, 5, 9))
    again = Reached(position=9, previous=8, graded=9, graded_at=9)
    step, gaps = read_step([message(5, again)], {PARTITION: followed}, frozenset())
    assert not gaps
    assert step.marks == {PARTITION: again}
    assert step.after == {PARTITION: Standing(None, 6, 9)}


def test_a_mark_after_something_that_is_missing_waits_for_it() -> None:
    followed = Followed(Chain(position=9, next_offset=5), None, Standing(None, 5, 9))
    ahead = Reached(position=12, previous=11, graded=12, graded_at=12)
    step, _ = read_step([message(5, ahead)], {PARTITION: followed}, frozenset())
    assert step.marks == {}
    assert step.positions() == {PARTITION: 9}


def message(offset: int, reached: Reached) -> Message:
    value, headers = mark(reached, source=b"/tests", at=datetime(2026, 3, 2, tzinfo=UTC))
    return Message(PARTITION, offset, None, value, headers, 0)
