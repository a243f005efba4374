"""A step cut in two leads where it leads as a whole, and never past what is not written yet."""

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.following.offsets import Standing
from consumers.following.steps import Entry, Step
from consumers.kafka.client import Message, Partition
from consumers.messages import Passed

A, B = Partition("courses", 0), Partition("courses", 1)


def entry(position: int, partition: Partition, offset: int) -> Entry:
    message = Message(partition, offset, None, None, (), 0)
    return Entry(position, partition, offset, Passed(position - 1, position), message)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Entries of two partitions; a gap that was closed brings offsets out of order."""
    entries, before, after = [], {}, {}
    position = 0
    for partition in (A, B):
        offsets = draw(st.permutations(range(10, 10 + draw(st.integers(0, 5)))))
        begin = Standing(None, draw(st.integers(0, 10)), 0)
        reached = 0
        for offset in offsets:
            position += draw(st.integers(1, 3))
            reached = position
            entries.append(entry(position, partition, offset))
        before[partition] = begin
        after[partition] = Standing(None, draw(st.integers(10, 17)), reached)
    return Step(sorted(entries), before, after)


@settings(deadline=None)
@given(steps(), st.data())
def test_the_parts_follow_on_each_other_and_lead_to_the_same_end(
    step: Step, data: st.DataObject
) -> None:
    first, second = step.cut(data.draw(st.integers(0, len(step.entries))))
    assert [*first.entries, *second.entries] == list(step.entries)
    standings = dict(step.before)
    for part in (first, second):
        assert {p: standings[p] for p in part.after} == dict(part.before)
        standings |= part.after
    assert standings == step.after
    assert {e.partition for e in second.entries} == set(second.after)


@settings(deadline=None)
@given(steps(), st.data())
def test_between_the_parts_nothing_is_passed_over(step: Step, data: st.DataObject) -> None:
    first, second = step.cut(data.draw(st.integers(0, len(step.entries))))
    for later in second.entries:
        standing = first.after.get(later.partition, step.before[later.partition])
        if later.partition in first.after:
            assert standing.next_offset <= later.offset
            assert standing.position < later.position
