"""A course that never was: weeks of work of a few hundred learners, the same every time.

Everything goes through the same commands as real work. Only the clock is simulated, so a
term takes seconds. Each command has an idempotency key, so a demonstration that was cut
off, or is started again, adds what is missing and nothing else.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, Protocol
from uuid import UUID

from domain.application import Done, HeldClaim, Idempotency
from domain.events import Provenance
from domain.submissions.application import CreatedSubmission, Submissions
from domain.submissions.fields import StudentItemKey

COURSE: Final = "course-v1:Gradelog+DEMO101+2026_1"
"""A change of the plan below makes another course: raise the number at the end."""

BEGIN: Final = datetime(2026, 2, 2, tzinfo=UTC)
WEEKS: Final = 6
LEARNERS: Final = 300
SEED: Final = 20260202
TURN: Final = timedelta(hours=12)
"""What lies within this time is carried out side by side."""

ESSAY: Final = "openassessment"
PROBLEM: Final = "problem"
AUTOMATIC: Final = "automatic-grader"
PEERS: Final = "peer-grading"
STAFF: Final = ("staff-kim", "staff-lee")
VIA: Final = "demo"

_moment: ContextVar[datetime] = ContextVar("simulated moment")


def simulated_now() -> datetime:
    """The clock of the demonstration: each step has its own time."""
    return _moment.get()


@dataclass(frozen=True, slots=True)
class Item:
    """Something to hand in."""

    name: str
    item_type: str
    points: int
    week: int

    @property
    def item_id(self) -> str:
        """Its usage key."""
        run = COURSE.removeprefix("course-v1:")
        return f"block-v1:{run}+type@{self.item_type}+block@{self.name}"


ITEMS: Final = (
    Item("fractions_quiz", PROBLEM, 10, 0),
    Item("first_essay", ESSAY, 20, 1),
    Item("equations_quiz", PROBLEM, 10, 1),
    Item("lab_report", ESSAY, 30, 2),
    Item("functions_quiz", PROBLEM, 10, 3),
    Item("second_essay", ESSAY, 20, 4),
    Item("final_problem_set", PROBLEM, 40, 5),
)
SHOWN: Final = ITEMS[1]
"""The item whose top list is shown."""

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


# --- the plan ---------------------------------------------------------------------------------


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
    due = BEGIN + timedelta(weeks=item.week + 1)
    at = due - timedelta(hours=min(150.0, dice.expovariate(1 / 30.0)), seconds=dice.randrange(3600))
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


# --- carrying it out ----------------------------------------------------------------------------


class Claims(Protocol):
    """The part of the log that tells which steps are done."""

    def find_claims(self, keys: Sequence[str]) -> Awaitable[Mapping[str, HeldClaim]]:
        """Return those of the keys that are held."""


async def carry_out(
    submissions: Submissions,
    log: Claims,
    steps: Sequence[Step],
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Carry out the steps that are not done yet; return how many that were.

    ``submissions`` must tell the time with ``simulated_now``.
    """
    keys = [f"demo:{COURSE}:{number}" for number in range(len(steps))]
    held = await log.find_claims(keys)
    if len(held) == len(keys):
        progress(len(steps))
        return 0
    run = _Run(submissions)
    turns = groupby(zip(keys, steps, strict=True), key=lambda keyed: (keyed[1].at - BEGIN) // TURN)
    for _, turn in turns:
        work: dict[StudentItemKey, list[tuple[str, Step]]] = {}
        count = 0
        for key, step in turn:
            work.setdefault(step.student_item, []).append((key, step))
            count += 1
        await asyncio.gather(*(run.one_after_the_other(mine) for mine in work.values()))
        progress(count)
    return len(keys) - len(held)


class _Run:
    def __init__(self, submissions: Submissions) -> None:
        self._submissions = submissions
        self._uuids: dict[tuple[StudentItemKey, int], UUID] = {}

    async def one_after_the_other(self, steps: Sequence[tuple[str, Step]]) -> None:
        for key, step in steps:
            _moment.set(step.at)
            await self._step(key, step)

    async def _step(self, key: str, step: Step) -> None:
        submissions, item = self._submissions, step.student_item
        by = Provenance(actor=step.actor, via=VIA)
        match step.what:
            case "create":
                done = await submissions.create_submission(
                    item.as_dict(),
                    {"parts": [{"text": step.answer}]},
                    provenance=by,
                    idempotency=_once(key, step, _uuid_of),
                )
                self._uuids[item, step.attempt] = _created(done)
            case "clear":
                await submissions.reset_score(
                    *item[:3],
                    clear_state=True,
                    provenance=by,
                    idempotency=_once(key, step, _nothing),
                )
            case _:
                await self._score(key, step, by)

    async def _score(self, key: str, step: Step, by: Provenance) -> None:
        submissions, item = self._submissions, step.student_item
        if step.what == "override":
            # As Open edX does: the old score is taken back silently, the new one is news.
            await submissions.reset_score(
                *item[:3],
                emit_signal=False,
                provenance=by,
                idempotency=_once(f"{key}:reset", step, _nothing),
            )
        await submissions.set_score(
            self._uuids[item, step.attempt],
            step.points,
            step.item.points,
            step.actor if step.reason else None,
            "staff_defined" if step.reason else None,
            step.reason or None,
            provenance=by,
            idempotency=_once(key, step, _nothing),
        )


def _once(key: str, step: Step, render: Callable[[Any], bytes]) -> Idempotency[Any]:
    digest = hashlib.blake2b(repr(step).encode(), digest_size=16).digest()
    return Idempotency(key, digest, render)


def _uuid_of(created: CreatedSubmission) -> bytes:
    return created.event.submission_uuid.bytes


def _created(done: Done[CreatedSubmission]) -> UUID:
    if done.replay is not None:
        return UUID(bytes=done.replay)
    return done.value.event.submission_uuid


def _nothing(_: object) -> bytes:
    return b""
