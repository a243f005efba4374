"""The work: what learners hand in, what it is worth, and who takes that back."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.submissions.fields import StudentItemKey
from infra.demo.course import COURSE, ESSAY, ITEMS, WEEKS, Item
from infra.demo.people import ASSISTANT, INSTRUCTOR, LEARNERS

SEED: Final = 20260202
AUTOMATIC: Final = "automatic-grader"
PEERS: Final = "peer-grading"
STAFF: Final = (INSTRUCTOR, ASSISTANT)

TOPICS: Final = (
    "why a fair coin has no memory",
    "how long a shadow is at noon",
    "what a bicycle teaches about gears",
    "how to share a cake among three",
    "why maps lie",
    "what the tide has to do with the moon",
)
APPEALS: Final = (
    "The second part was on an extra sheet that had not been seen.",
    "Regraded after an appeal: the method was right, the slip was in the last line.",
    "Two peers had misread the rubric; graded by staff instead.",
    "The deadline had been extended for this learner.",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the plan.

    ``attempt`` counts the submissions of one learner for one item, across resets.
    """

    at: datetime
    what: str
    learner: str
    item: Item
    attempt: int
    actor: str
    answer: str = ""
    points: int = 0
    reason: str = ""

    @property
    def student_item(self) -> StudentItemKey:
        """Whose work at what."""
        return StudentItemKey(self.learner, COURSE, self.item.item_id, self.item.item_type)


def plan() -> list[Step]:
    """All steps, in the order of their time. Pure: no clock, and the same random numbers."""
    dice = random.Random(SEED)  # noqa: S311 - a story, not a secret
    steps: list[Step] = []
    for number in range(LEARNERS):
        learner = f"learner-{number + 1:03}"
        talent = min(0.92, max(0.15, dice.gauss(0.64, 0.15)))
        diligence = dice.uniform(0.7, 1.0)
        last_week = WEEKS if dice.random() < 0.85 else dice.randrange(WEEKS)
        for item in ITEMS:
            if item.week <= last_week and dice.random() < diligence:
                steps += _work(dice, learner, talent, item)
    return sorted(steps, key=lambda step: step.at)


def _work(dice: random.Random, learner: str, talent: float, item: Item) -> Iterator[Step]:
    """What one learner does about one item, and what others do about it."""
    early = timedelta(hours=min(150.0, dice.expovariate(1 / 30.0)), seconds=dice.randrange(3600))
    at = item.due - early
    attempts = 1 if item.item_type == ESSAY else 3
    attempt = 0
    points = 0
    while attempt < attempts:
        attempt += 1
        yield Step(at, "create", learner, item, attempt, learner, _answer(dice, item, attempt))
        points = _points(dice, talent + 0.1 * (attempt - 1), item)
        if item.item_type == ESSAY:
            at += timedelta(hours=dice.uniform(20, 70))
            yield Step(at, "score", learner, item, attempt, PEERS, points=points)
        else:
            yield Step(
                at + timedelta(seconds=2), "score", learner, item, attempt, AUTOMATIC, "", points
            )
        if points >= 0.8 * item.points or dice.random() < 0.35:
            break
        at += timedelta(hours=dice.uniform(0.5, 20))
    chance = dice.random()
    at += timedelta(hours=dice.uniform(24, 90))
    staff = dice.choice(STAFF)
    if chance < 0.05 and points < item.points:
        better = min(item.points, points + dice.randint(1, max(2, item.points // 4)))
        reason = dice.choice(APPEALS)
        yield Step(at, "override", learner, item, attempt, staff, "", better, reason)
    elif chance < 0.08:
        yield Step(at, "clear", learner, item, attempt, staff)
        at += timedelta(hours=dice.uniform(4, 40))
        again = attempt + 1
        yield Step(at, "create", learner, item, again, learner, _answer(dice, item, again))
        at += timedelta(hours=dice.uniform(1, 30))
        points = _points(dice, talent + 0.1, item)
        yield Step(at, "score", learner, item, again, staff, "", points, "Handed in again.")


def _answer(dice: random.Random, item: Item, attempt: int) -> str:
    if item.item_type == ESSAY:
        return f"On {dice.choice(TOPICS)}. " + "One thing follows from another. " * dice.randint(
            3, 30
        )
    return f"attempt {attempt}: x = {dice.randint(-20, 20)}"


def _points(dice: random.Random, talent: float, item: Item) -> int:
    return max(0, min(item.points, round(item.points * dice.gauss(talent, 0.07))))


def showcase(steps: Iterable[Step]) -> StudentItemKey:
    """The work with the longest history, for a reader who asks who did what, and why."""
    counts: dict[StudentItemKey, int] = {}
    overridden = set()
    for step in steps:
        weight = {"create": 0, "score": 1, "override": 2, "clear": 1}[step.what]
        counts[step.student_item] = counts.get(step.student_item, 0) + weight
        if step.what == "override":
            overridden.add(step.student_item)
    return max(sorted(overridden), key=lambda key: counts[key])


def final_points(steps: Iterable[Step]) -> dict[tuple[str, Item], int]:
    """By student id and item the points that count when all is done."""
    found: dict[tuple[str, Item], int] = {}
    for step in steps:
        if step.what == "clear":
            found.pop((step.learner, step.item), None)
        elif step.what != "create":
            found[step.learner, step.item] = step.points
    return found
