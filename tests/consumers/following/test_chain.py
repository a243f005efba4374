"""Whatever a relay repeats, sends late or leaves for later, every event is taken once, in order."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.following.chain import KEPT_BYTES, Chain, GapError


@dataclass(frozen=True)
class Link:
    previous: int
    position: int
    mark: bool = False


def take(chain: Chain[Link], offset: int, link: Link) -> list[Link]:
    return [item for _, _, item in chain.take(offset, link.previous, link.position, link) or ()]


def links(steps: list[int]) -> list[Link]:
    """A partition's part of the log: positions rise, and not by one, for others have some."""
    made, previous = [], 0
    for step in steps:
        made.append(Link(previous, previous + step))
        previous += step
    return made


@st.composite
def topics(draw: st.DrawFn) -> tuple[list[Link], list[Link]]:
    """The events of a partition, and the messages that troubled relays made of them.

    Each begins at a saved position, so not after the first event that is missing; what it
    has in flight when it freezes or dies is lost or comes late. The last one goes through.
    """
    events = links(draw(st.lists(st.integers(1, 5), min_size=1, max_size=12)))
    messages: list[Link] = []
    late: list[Link] = []
    for last in [*draw(st.lists(st.just(False), max_size=4)), True]:
        stored = {message.position for message in messages if not message.mark}
        saved = next((n for n, e in enumerate(events) if e.position not in stored), len(events))
        start = draw(st.integers(0, saved))
        end = len(events) if last else draw(st.integers(start, len(events)))
        for n in range(start, end):
            fate = "sent" if last else draw(st.sampled_from(["sent", "sent", "lost", "late"]))
            if fate == "sent":
                messages.append(events[n])
            elif fate == "late":
                late.append(events[n])
            if draw(st.booleans()):
                # True of the log, whatever of it has come so far.
                following = events[n + 1].position if n + 1 < len(events) else 100
                reached = draw(st.integers(events[n].position, following - 1))
                messages.append(Link(events[n].position, reached, mark=True))
            while late and draw(st.booleans()):
                messages.append(late.pop(draw(st.integers(0, len(late) - 1))))
    return events, messages + late


@settings(deadline=None)
@given(topics(), st.data())
def test_every_event_is_taken_once_and_in_order_however_it_is_sent_and_cut(
    made: tuple[list[Link], list[Link]], data: st.DataObject
) -> None:
    events, messages = made
    chain: Chain[Link] = Chain()
    taken: list[Link] = []
    committed: tuple[list[Link], int, int] = ([], 0, 0)
    read, crashes = 0, data.draw(st.integers(0, 3))
    while read < len(messages):
        for _ in range(min(data.draw(st.integers(1, 4)), len(messages) - read)):
            taken += take(chain, read, messages[read])
            read += 1
        if crashes and data.draw(st.booleans()):
            crashes -= 1
            before, position, read = committed
            taken, chain = list(before), Chain(position, read)
        else:
            committed = (list(taken), chain.position, chain.next_offset)
    assert [link for link in taken if not link.mark] == events
    assert [link.position for link in taken] == sorted({link.position for link in taken})
    assert chain.missing is None
    assert chain.next_offset == len(messages)


@settings(deadline=None)
@given(topics())
def test_what_is_read_again_from_the_first_offset_changes_nothing(
    made: tuple[list[Link], list[Link]],
) -> None:
    _, messages = made
    chain: Chain[Link] = Chain()
    for offset, link in enumerate(messages):
        take(chain, offset, link)
    again: Chain[Link] = Chain(chain.position)
    assert [
        found for offset, link in enumerate(messages) for found in take(again, offset, link)
    ] == []


def test_nothing_is_taken_and_the_offset_stays_while_something_is_missing() -> None:
    one, two, three = links([2, 2, 2])
    chain: Chain[Link] = Chain()
    assert take(chain, 0, one) == [one]
    assert take(chain, 1, three) == []
    assert (chain.position, chain.next_offset, chain.missing) == (2, 1, (2, 4))
    assert take(chain, 2, two) == [two, three]
    assert (chain.position, chain.next_offset, chain.missing) == (6, 3, None)


def test_a_gap_that_does_not_close_is_an_error_and_never_passed_over() -> None:
    one, _, three, four, five = links([2, 2, 2, 2, 2])
    chain: Chain[Link] = Chain(limit=2)
    take(chain, 0, one)
    take(chain, 1, three)
    take(chain, 2, four)
    with pytest.raises(GapError, match="after position 2 and up to 4 is missing"):
        chain.take(3, five.previous, five.position, five)
    assert (chain.position, chain.next_offset) == (2, 1)


def test_what_waits_for_a_gap_is_bounded_in_bytes() -> None:
    one, _, three, four = links([2, 2, 2, 2])
    chain: Chain[Link] = Chain()
    take(chain, 0, one)
    # One message may be larger than all bounds; it waits alone.
    assert chain.take(1, three.previous, three.position, three, 2 * KEPT_BYTES) is None
    with pytest.raises(GapError):
        chain.take(2, four.previous, four.position, four, 1)


def test_repeats_of_what_waits_take_no_room() -> None:
    one, two, three, four = links([2, 2, 2, 2])
    chain: Chain[Link] = Chain(limit=2)
    take(chain, 0, one)
    for offset in range(1, 101, 2):
        take(chain, offset, three)
        take(chain, offset + 1, four)
    assert take(chain, 101, two) == [two, three, four]
    assert (chain.position, chain.next_offset, chain.missing) == (8, 102, None)


def test_of_marks_that_wait_at_one_place_the_last_counts() -> None:
    one, two = links([2, 2])
    first, last = Link(4, 9, mark=True), Link(4, 9, mark=False)
    chain: Chain[Link] = Chain()
    take(chain, 0, one)
    take(chain, 1, first)
    take(chain, 2, last)
    assert take(chain, 3, two) == [two, last]


def test_a_mark_counts_only_when_what_it_speaks_of_has_come() -> None:
    one, two = links([2, 2])
    mark = Link(4, 9, mark=True)
    chain: Chain[Link] = Chain()
    take(chain, 0, one)
    assert take(chain, 1, mark) == []
    assert chain.position == 2
    assert take(chain, 2, two) == [two, mark]
    assert chain.position == 9
    assert take(chain, 3, Link(4, 12)) == [Link(4, 12)]
