"""Courses, policies and scores for these tests; random ones too."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

from domain.grades.policy import GradingPolicy, read_policy
from domain.grades.scores import Override, SubsectionGrade, Totals, subsection_grade
from domain.grades.structure import CourseStructure, Subsection, read_structure

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

EXAMPLE_GRADERS: list[dict[str, Any]] = [
    {"type": "Homework", "short_label": "HW", "min_count": 4, "drop_count": 1, "weight": 0.4},
    {"type": "Final Exam", "short_label": "Final", "min_count": 1, "drop_count": 0, "weight": 0.6},
]
EXAMPLE_CUTOFFS = {"A": 0.9, "B": 0.8, "C": 0.7}


def block(usage_key: str, kind: str, parent: str | None, **more: Any) -> dict[str, Any]:
    return {
        "usage_key": usage_key,
        "type": kind,
        "parent": parent,
        "display_name": more.pop("display_name", usage_key.upper()),
        **more,
    }


def course(*blocks: dict[str, Any]) -> CourseStructure:
    """A course ``course`` with a chapter ``chapter``, and these blocks."""
    return read_structure(
        [block("course", "course", None), block("chapter", "chapter", "course"), *blocks]
    )


def homework(*problems: dict[str, Any], **more: Any) -> Subsection:
    """A graded sequential ``hw`` with these problems in a vertical ``v``."""
    structure = course(
        block("hw", "sequential", "chapter", graded=True, **more),
        block("v", "vertical", "hw"),
        *problems,
    )
    return structure.by_key["hw"]


def graded(
    kind: str | None, earned: float, possible: float, name: str = "", key: str = ""
) -> tuple[Subsection, SubsectionGrade]:
    """A subsection of this type, and its stored grade."""
    found = Subsection(
        usage_key=key,
        display_name=name,
        format=kind,
        graded=True,
        chapter_key="chapter",
        chapter_name="Chapter",
        due=None,
        staff_only=False,
        hidden_from_toc=False,
        listed=True,
        gates=(),
        problems=(),
    )
    totals = Totals(earned, possible, earned, possible)
    return found, subsection_grade(totals, NOW, None, totals)


def policy(*graders: dict[str, Any], **cutoffs: float) -> GradingPolicy:
    return read_policy(graders, cutoffs)


TYPES = ["Homework", "Lab", "Exam"]


class Chance(Random):
    """Makes courses that are strange in places, and worth something to somebody in most.

    Drawing each attribute by itself would give trees where hardly anything is both visible
    and graded. Only the size is left to shrink.
    """

    def one_in(self, times: int) -> bool:
        return self.randrange(times) == 0

    def points(self) -> float:
        return self.choice(
            [0.0, 1.0, 10.0, float(self.randrange(13)), self.randrange(48) / 4, self.uniform(0, 20)]
        )

    def moment(self) -> datetime:
        return NOW + timedelta(days=self.choice([-3, -2, -1, 0, 1]))

    def outline(self, size: int) -> list[dict[str, Any]]:
        """Any tree at all: chapters in sequentials, problems with children, what you like."""
        blocks = [block("course", "course", None, **self._attributes("course"))]
        path = ["course"]
        for number in range(size):
            kind = self.choice(
                ["chapter", "sequential", "sequential", "vertical", *["problem"] * 5, "html"]
            )
            if number < 2:
                kind = ["chapter", "sequential"][number]
            usual = {"chapter": 1, "sequential": 2, "vertical": 3}.get(kind, 4)
            depth = self.randint(1, len(path)) if self.one_in(6) else min(usual, len(path))
            key = f"{kind}{number}"
            blocks.append(block(key, kind, path[depth - 1], **self._attributes(kind)))
            path[depth:] = [key]
        return blocks

    def _attributes(self, kind: str) -> dict[str, Any]:
        strange: dict[str, Callable[[], Any]] = {
            "graded": lambda: self.choice([True, False]),
            "format": lambda: self.choice([*TYPES, "Unknown"]),
            "weight": lambda: self.choice([0.0, self.points()]),
            "start": lambda: self.moment().isoformat(),
            "visible_to_staff_only": lambda: True,
            "hide_from_toc": lambda: True,
            "group_access": lambda: {
                self.choice(["50", "7"]): self.sample([1, 2, 3], self.randrange(4))
            },
        }
        rare = 60 if kind in {"course", "chapter"} else 15
        found = {name: make() for name, make in strange.items() if self.one_in(rare)}
        if kind == "sequential" and not self.one_in(5):
            found = {"graded": True, "format": self.choice(["Homework", *TYPES]), **found}
        if kind == "problem" and not self.one_in(9):
            found["max_score"] = self.points()
            if self.one_in(4):
                found["weight"] = self.points()
        return found

    def graders(self) -> list[dict[str, Any]]:
        optional: dict[str, Callable[[], Any]] = {
            "min_count": lambda: self.choice([0, 1, 2, 3, 4.0]),
            "drop_count": lambda: self.choice([0, 0, 1, 1, 2, 4]),
            "short_label": lambda: self.choice(["HW", "L", ""]),
            "category": lambda: "Category",
            "section_type": lambda: "Section",
            "show_only_average": lambda: self.one_in(3),
            "hide_average": lambda: self.one_in(3),
            "starting_index": lambda: self.randrange(4),
        }
        found = []
        for name in self.sample(TYPES, self.choice([0, 1, 2, 3, 3])):
            more = {key: make() for key, make in optional.items() if self.one_in(2)}
            if not self.one_in(6):
                more["weight"] = self.choice([self.randrange(21) / 20, self.uniform(0, 1.5)])
            found.append({"type": name, **more})
        return found

    def cutoffs(self) -> dict[str, float]:
        letters = self.sample("ABCF", self.randrange(5))
        return {letter: self.choice([0, 0.1, 0.5, self.randrange(21) / 20]) for letter in letters}

    def groups(self) -> dict[str, set[int]] | None:
        """The groups of a learner; None for somebody who sees everything."""
        if self.one_in(4):
            return None
        names = self.sample(["50", "7"], self.randrange(3))
        return {name: set(self.sample([1, 2, 3], self.randrange(3))) for name in names}

    def scores(
        self, blocks: list[dict[str, Any]]
    ) -> dict[str, tuple[float, float, datetime | None]]:
        return {
            b["usage_key"]: (
                self.points(),
                self.points() if self.one_in(2) else b["max_score"],
                None if self.one_in(5) else self.moment(),
            )
            for b in blocks
            if "max_score" in b and not self.one_in(3)
        }

    def overrides(self, blocks: list[dict[str, Any]]) -> dict[str, Override]:
        return {
            b["usage_key"]: Override(*(None if self.one_in(2) else self.points() for _ in range(4)))
            for b in blocks
            if b["type"] == "sequential" and self.one_in(5)
        }


chances = st.integers(0, 2**32).map(Chance)
sizes = st.one_of(st.integers(2, 12), st.integers(30, 80))


def is_halfway(number: float) -> bool:
    return math.isclose(number % 1, 0.5, abs_tol=1e-9)
