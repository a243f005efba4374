"""The grading policy of a course: how many of what counts how much, and which letter it earns.

A policy is published as the course team's tools write it, with keys left out and numbers as
floats. It is checked then, by the courses context, and never again: what was published is
read whatever it holds, as replay must never fail.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
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
    """A policy as published, with its gaps filled. Never fails on what was published."""
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
