"""What is taught: the outline, the grading policy, and the times of the term."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from domain.courses.outline import flatten
from domain.keys import parse_course_key

COURSE: Final = "course-v1:Gradelog+DEMO101+2026_2"
"""A change of the plan of this package makes another course: raise the number at the end."""

TITLE: Final = "How to Be Right about Numbers"
BEGIN: Final = datetime(2026, 2, 2, tzinfo=UTC)
WEEKS: Final = 6
END: Final = BEGIN + timedelta(weeks=WEEKS + 3)
PUBLISHED: Final = BEGIN - timedelta(weeks=4)

ESSAY: Final = "openassessment"
PROBLEM: Final = "problem"

QUIZ: Final = "Quiz"
PAPER: Final = "Paper"
FINAL: Final = "Final"

MODES: Final[Sequence[Mapping[str, Any]]] = (
    {"slug": "audit", "name": "Audit"},
    {"slug": "verified", "name": "Verified Certificate"},
)
POLICY: Final[Mapping[str, Any]] = {
    "graders": [
        {"type": QUIZ, "short_label": "Quiz", "min_count": 3, "drop_count": 1, "weight": 0.3},
        {"type": PAPER, "short_label": "Paper", "min_count": 3, "drop_count": 0, "weight": 0.4},
        {"type": FINAL, "short_label": "Final", "min_count": 1, "drop_count": 0, "weight": 0.3},
    ],
    "cutoffs": {"A": 0.85, "B": 0.7, "C": 0.5},
}


@dataclass(frozen=True, slots=True)
class Item:
    """Something to hand in, alone in a subsection of the same name."""

    name: str
    item_type: str
    points: int
    week: int
    assignment_type: str

    @property
    def item_id(self) -> str:
        """Its usage key."""
        return _usage_key(self.item_type, self.name)

    @property
    def subsection(self) -> str:
        """The usage key of the subsection that is graded by it."""
        return _usage_key("sequential", self.name)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name.replace("_", " ").capitalize()

    @property
    def due(self) -> datetime:
        """The end of its week."""
        return BEGIN + timedelta(weeks=self.week + 1)


ITEMS: Final = (
    Item("fractions_quiz", PROBLEM, 10, 0, QUIZ),
    Item("first_essay", ESSAY, 20, 1, PAPER),
    Item("equations_quiz", PROBLEM, 10, 1, QUIZ),
    Item("lab_report", ESSAY, 30, 2, PAPER),
    Item("functions_quiz", PROBLEM, 10, 3, QUIZ),
    Item("second_essay", ESSAY, 20, 4, PAPER),
    Item("final_problem_set", PROBLEM, 40, 5, FINAL),
)
SHOWN: Final = ITEMS[1]
"""The item whose top list is shown."""


def blocks() -> list[Any]:
    """The outline as it is published: a chapter for each week."""
    chapters = [
        {
            "id": f"week_{week + 1}",
            "display_name": f"Week {week + 1}",
            "children": [_subsection(item) for item in items],
        }
        for week, items in groupby(ITEMS, key=lambda item: item.week)
    ]
    return flatten(parse_course_key(COURSE), chapters, display_name=TITLE)


def _subsection(item: Item) -> dict[str, Any]:
    problem = {
        "id": item.name,
        "type": item.item_type,
        "display_name": item.title,
        "max_score": item.points,
    }
    unit = {"id": f"{item.name}_unit", "display_name": item.title, "children": [problem]}
    return {
        "id": item.name,
        "display_name": item.title,
        "graded": True,
        "format": item.assignment_type,
        "due": item.due.isoformat(),
        "children": [unit],
    }


def _usage_key(kind: str, name: str) -> str:
    return f"block-v1:{COURSE.removeprefix('course-v1:')}+type@{kind}+block@{name}"
