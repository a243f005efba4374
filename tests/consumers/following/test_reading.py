"""Steps are made of messages, whatever they look like."""

from typing import Any

import pytest

from consumers.following.chain import Chain
from consumers.following.followed import Followed
from consumers.following.offsets import Standing
from consumers.following.reading import read_step
from consumers.kafka.client import Message, Partition

THERE = Partition("gradelog.courses", 0)
KIND = ("ce_type", b"grades.CoursePassedFirstTime")


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
