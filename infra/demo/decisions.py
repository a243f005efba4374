"""What staff decide about grades when all work is done: overrides, each with its reason."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.demo.course import BEGIN, ITEMS, PAPER, WEEKS, Item
from infra.demo.people import ASSISTANT, INSTRUCTOR
from infra.demo.work import Step, final_points, showcase

SEED: Final = 20260330
MEETING: Final = BEGIN + timedelta(weeks=WEEKS + 2, hours=9)
RAISED: Final = 30
FIRST_PAGE: Final = "learner-020"
"""Up to whom some decisions are made for whoever opens the gradebook and looks no further."""
EXAMINED: Final = 3
LATE: Final = 2

RAISE: Final = (
    "The question can be read in two ways; both answers count.",
    "Handed in on paper when the site could not be reached; graded from the sheets.",
    "The sum of the parts was one line short.",
    "More for the method, as the rubric says.",
)
EXAM: Final = "Was ill in the last week; oral exam instead."
TOO_LATE: Final = "Handed in after the deadline, which had not been extended."
NOT_LATE: Final = "The extension had been granted by mail; the paper counts as it is."
SECOND_READING: Final = "Second reading: part 4 is right but for the sign."
THIRD_READING: Final = "Third reading, agreed with the assistant: the sign is a slip of the pen."

Cell = tuple[str, Item]
Points = Mapping[Cell, int]
_Made = tuple[str, Item, int | None, str, str | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of a cell of the gradebook. Without points the override is taken away."""

    at: datetime
    student_id: str
    item: Item
    points: int | None
    by: str
    reason: str | None


def decisions(steps: Sequence[Step]) -> list[Decision]:
    """All decisions, in the order of their time."""
    dice = random.Random(SEED)  # noqa: S311 - a story, not a secret
    points = final_points(steps)
    shown = showcase(steps)
    cells = [cell for cell in points if cell[0] != shown.student_id]
    made = [*_raised(dice, points, cells), *_examined(dice, points, cells)]
    made += _taken_back(dice, points, cells)
    item = next(item for item in ITEMS if item.item_id == shown.item_id)
    mine = points[shown.student_id, item]
    made += [
        (shown.student_id, item, min(item.points, mine + 2), ASSISTANT, SECOND_READING),
        (shown.student_id, item, min(item.points, mine + 4), INSTRUCTOR, THIRD_READING),
    ]
    times = (MEETING + number * timedelta(minutes=7) for number in range(len(made)))
    return [Decision(at, *decision) for at, decision in zip(times, made, strict=True)]


def _raised(dice: random.Random, points: Points, cells: Sequence[Cell]) -> Iterator[_Made]:
    """A few points more for what was nearly right."""
    middling = [
        (learner, item)
        for learner, item in cells
        if item.week < WEEKS - 1 and 0.3 <= points[learner, item] / item.points <= 0.8
    ]
    first = [cell for cell in middling if cell[0] <= FIRST_PAGE]
    others = [cell for cell in middling if cell[0] > FIRST_PAGE]
    chosen = dice.sample(first, RAISED // 5) + dice.sample(others, RAISED - RAISED // 5)
    for learner, item in chosen:
        better = points[learner, item] + dice.randint(1, item.points // 5)
        yield learner, item, better, dice.choice((INSTRUCTOR, ASSISTANT)), dice.choice(RAISE)


def _examined(dice: random.Random, points: Points, cells: Sequence[Cell]) -> Iterator[_Made]:
    """An oral exam for some who worked until the end and did not hand in the last thing."""
    *_, before, last = ITEMS
    absent = [one for one, item in cells if item == before and (one, last) not in points]
    for learner in dice.sample(absent, EXAMINED):
        yield learner, last, dice.randint(18, 36), INSTRUCTOR, EXAM


def _taken_back(dice: random.Random, points: Points, cells: Sequence[Cell]) -> Iterator[_Made]:
    """Somebody is too late, is not after all, and the calculated grade counts again."""
    papers = [
        (one, item) for one, item in cells if item.assignment_type == PAPER and points[one, item]
    ]
    for learner, item in dice.sample(papers, LATE):
        yield learner, item, 0, ASSISTANT, TOO_LATE
        yield learner, item, points[learner, item], INSTRUCTOR, NOT_LATE
        yield learner, item, None, INSTRUCTOR, None
