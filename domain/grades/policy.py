"""The grading policy of a course: how many of what counts how much, and which letter it earns.

A policy is published as the course team's tools write it, with keys left out and numbers as
floats. It is checked then (``check_policy``) and never again: what was published is read
(``read_policy``) whatever it holds, as replay must never fail.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

DEFAULT_GRADERS: Final[tuple[Mapping[str, Any], ...]] = (
    {"type": "Homework", "min_count": 12, "drop_count": 2, "short_label": "HW", "weight": 0.15},
    {"type": "Lab", "min_count": 12, "drop_count": 2, "weight": 0.15},
    {
        "type": "Midterm Exam",
        "short_label": "Midterm",
        "min_count": 1,
        "drop_count": 0,
        "weight": 0.3,
    },
    {"type": "Final Exam", "short_label": "Final", "min_count": 1, "drop_count": 0, "weight": 0.4},
)
"""The policy of a course that has none of its own."""

DEFAULT_CUTOFFS: Final[Mapping[str, float]] = {"Pass": 0.5}

MAX_GRADERS: Final = 100
MAX_COUNT: Final = 1000
"""Each entry up to ``min_count`` is listed for every learner, whether it exists or not."""

MAX_TEXT: Final = 255

Problem = tuple[tuple[str | int, ...], str]
"""Where in ``{"graders": ..., "cutoffs": ...}`` something is wrong, and what."""


@dataclass(frozen=True, slots=True)
class Grader:
    """The rule of one assignment type."""

    type: str
    short_label: str
    min_count: int
    drop_count: int
    weight: float
    category: str
    section_type: str
    show_only_average: bool
    hide_average: bool
    starting_index: int


@dataclass(frozen=True, slots=True)
class GradingPolicy:
    """What counts how much, and the least percent of each letter.

    Attributes:
        graders: in the order of the policy.
        cutoffs: letter to the least percent (0 to 1) that earns it, highest first.
        hash: tells this policy from others; see ``policy_hash``.
        lowest_passing: the smallest cut-off above 0, None when no percent passes.
        short_labels: assignment type to its short label; of equal types the last wins.
    """

    graders: tuple[Grader, ...]
    cutoffs: Mapping[str, float] = field(hash=False)
    hash: str
    lowest_passing: float | None = field(init=False, repr=False, compare=False)
    short_labels: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        falling = dict(sorted(self.cutoffs.items(), key=lambda cutoff: cutoff[1], reverse=True))
        object.__setattr__(self, "cutoffs", falling)
        passing = min((least for least in falling.values() if least > 0), default=None)
        object.__setattr__(self, "lowest_passing", passing)
        labels = {grader.type: grader.short_label for grader in self.graders}
        object.__setattr__(self, "short_labels", labels)

    def letter_for(self, percent: float) -> str | None:
        """The letter of the highest cut-off that this percent reaches."""
        for letter, least in self.cutoffs.items():
            if least <= percent:
                return letter
        return None


def policy_hash(graders: Sequence[Mapping[str, Any]], cutoffs: Mapping[str, float]) -> str:
    """Base64 of the SHA-1 of the policy as given, as JSON with sorted keys and no spaces.

    Source: Open edX LMS, ``grading_policy_hash`` of a stored course grade.
    """
    given = {"GRADER": [dict(grader) for grader in graders], "GRADE_CUTOFFS": dict(cutoffs)}
    text = json.dumps(given, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def read_policy(
    graders: Sequence[Mapping[str, Any]], cutoffs: Mapping[str, float]
) -> GradingPolicy:
    """A policy as published, with its gaps filled. Never fails on what passed ``check_policy``."""
    return GradingPolicy(
        graders=tuple(map(_read_grader, graders)),
        cutoffs={str(letter): float(least) for letter, least in cutoffs.items()},
        hash=policy_hash(graders, cutoffs),
    )


def _read_grader(raw: Mapping[str, Any]) -> Grader:
    name = str(raw.get("type") or "")
    index = raw.get("starting_index")
    return Grader(
        type=name,
        short_label=str(raw.get("short_label") or name),
        min_count=int(raw.get("min_count") or 0),
        drop_count=int(raw.get("drop_count") or 0),
        weight=float(raw.get("weight") or 0.0),
        category=str(raw.get("category") or name),
        section_type=str(raw.get("section_type") or name),
        show_only_average=bool(raw.get("show_only_average")),
        hide_average=bool(raw.get("hide_average")),
        starting_index=1 if index is None else int(index),
    )


def check_policy(graders: object, cutoffs: object) -> list[Problem]:
    """What is wrong with a policy that somebody wants to publish; nothing, if it may be.

    Keys that no rule knows are let through: they are kept, hashed and not read. A key may be
    missing or null, but for ``type``. Counts may come as whole floats.
    """
    return [*_problems_of_graders(graders), *_problems_of_cutoffs(cutoffs)]


def _problems_of_graders(graders: object) -> Iterator[Problem]:
    if not isinstance(graders, Sequence) or isinstance(graders, str | bytes):
        yield ("graders",), "Must be a list."
        return
    if len(graders) > MAX_GRADERS:
        yield ("graders",), f"At most {MAX_GRADERS} assignment types."
        return
    seen: set[str] = set()
    for position, grader in enumerate(graders):
        if not isinstance(grader, Mapping):
            yield ("graders", position), "Must be an object."
            continue
        for name, message in _problems_of_grader(grader):
            yield ("graders", position, name), message
        kind = grader.get("type")
        if isinstance(kind, str):
            if kind in seen:
                yield ("graders", position, "type"), "Each assignment type may stand once."
            seen.add(kind)


def _problems_of_grader(grader: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    if message := _problem_of_text(grader.get("type")):
        yield "type", message
    for name in ("short_label", "category", "section_type"):
        value = grader.get(name)
        if value is not None and value != "" and (message := _problem_of_text(value)):
            yield name, message
    for name in ("min_count", "drop_count", "starting_index"):
        value = grader.get(name)
        if value is not None and not (
            _is_number(value) and value == int(value) and 0 <= value <= MAX_COUNT
        ):
            yield name, f"Must be a whole number from 0 to {MAX_COUNT}."
    weight = grader.get("weight")
    if weight is not None and not (_is_number(weight) and weight >= 0):
        yield "weight", "Must be a number, 0 or more."
    for name in ("show_only_average", "hide_average"):
        if not isinstance(grader.get(name), bool | None):
            yield name, "Must be true or false."


def _problems_of_cutoffs(cutoffs: object) -> Iterator[Problem]:
    if not isinstance(cutoffs, Mapping):
        yield ("cutoffs",), "Must be an object of letters and numbers."
        return
    if len(cutoffs) > MAX_GRADERS:
        yield ("cutoffs",), f"At most {MAX_GRADERS} letters."
        return
    for letter, least in cutoffs.items():
        if message := _problem_of_text(letter):
            yield ("cutoffs", str(letter)), message
        if not (_is_number(least) and 0 <= least <= 1):
            yield ("cutoffs", str(letter)), "Must be a number from 0 to 1."


def _problem_of_text(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "Must be text."
    if len(value) > MAX_TEXT:
        return f"At most {MAX_TEXT} characters."
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "Holds a character that cannot be stored."
    return None


def _is_number(value: object) -> bool:
    """A number that a float can hold; ``true`` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
