"""What staff decide about grades when all work is done: overrides, each with its reason."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.demo.course import BEGIN, ITEMS, PAPER, QUIZ, WEEKS, Item
from infra.demo.people import ASSISTANT, INSTRUCTOR
from infra.demo.work import Step, final_points, showcase

SEED: Final = 20260330
MEETING: Final = BEGIN + timedelta(weeks=WEEKS + 2, hours=9)
RAISED: Final = 12
EXAMINED: Final = 3
LATE: Final = 2

RAISE: Final = (
    "Question 3 allowed a second reading; both answers count.",
    "Handed in on paper when the site could not be reached; graded from the sheets.",
    "The sum of the parts was one line short.",
    "Full marks for the method, as the rubric says.",
)
EXAM: Final = "Was ill in the last week; oral exam instead."
TOO_LATE: Final = "Handed in after the deadline, which had not been extended."
NOT_LATE: Final = "The extension had been granted by mail; the paper counts as it is."
SECOND_READING: Final = "Second reading: part 4 is right but for the sign."
THIRD_READING: Final = "Third reading, agreed with the assistant: the sign is a slip of the pen."


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of a cell of the gradebook. Without points the override is taken away."""

    at: datetime
    student_id: str
    item: Item
    points: int | None
    by: str
    reason: str | None

    @property
    def cell(self) -> tuple[str, str]:
        """Student id and subsection."""
        return self.student_id, self.item.subsection


def decisions(steps: Sequence[Step]) -> list[Decision]:
    """All decisions, in the order of their time; what one learner got is seen in the plan."""
    dice = random.Random(SEED)  # noqa: S311 - a story, not a secret
    points = final_points(steps)
    shown = showcase(steps)
    cells = sorted(points, key=lambda cell: (cell[0], ITEMS.index(cell[1])))
    free = [cell for cell in cells if cell[0] != shown.student_id]
    dice.shuffle(free)
    found: list[tuple[str, Item, int | None, str, str | None]] = []

    def of(kinds: Iterable[str], least: float, most: float) -> tuple[str, Item]:
        """The next cell of these types whose share of the points lies between these."""
        for cell in free:
            item = cell[1]
            if item.assignment_type in kinds and least <= points[cell] / item.points < most:
                free.remove(cell)
                return cell
        raise AssertionError("the plan has no such work")

    for _ in range(RAISED):
        learner, item = of((QUIZ, PAPER), 0.3, 0.85)
        more = dice.randint(1, max(1, item.points // 5))
        better = min(item.points, points[learner, item] + more)
        found.append((learner, item, better, dice.choice((INSTRUCTOR, ASSISTANT)), dice.choice(RAISE)))
    for _ in range(EXAMINED):
        learner = _absent(dice, points)
        found.append((learner, ITEMS[-1], dice.randint(18, 36), INSTRUCTOR, EXAM))
    for _ in range(LATE):
        learner, item = of((PAPER,), 0.5, 1.0)
        found.append((learner, item, 0, ASSISTANT, TOO_LATE))
        found.append((learner, item, points[learner, item], INSTRUCTOR, NOT_LATE))
        found.append((learner, item, None, INSTRUCTOR, None))
    mine = points[shown.student_id, ITEMS[-1]]
    found.append((shown.student_id, ITEMS[-1], mine + 2, ASSISTANT, SECOND_READING))
    found.append((shown.student_id, ITEMS[-1], mine + 4, INSTRUCTOR, THIRD_READING))
    return [
        Decision(MEETING + number * timedelta(minutes=7), *decision)
        for number, decision in enumerate(found)
    ]
