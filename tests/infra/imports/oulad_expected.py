"""What the course grades of the data set are, from its files and the rules alone.

Nothing of gradelog is used here. ``percent`` follows the rules step by step in doubles, as
Open edX calculates; ``exact`` is the same total as a fraction, which no rounding has touched.
"""

import csv
import gzip
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

MONTHS = {"B": 2, "J": 10}
CUTOFFS = (("Distinction", 0.85), ("Pass", 0.4))
GIFT = Fraction(55, 100)
"""Of a percent: 0.05, and 0.5 to round halves up."""


class Expected(NamedTuple):
    """One enrolment. Everything of a grade is None where no result has a score."""

    percent: float | None
    letter: str | None
    exact: Fraction | None
    is_active: bool
    enrolled_at: datetime
    unenrolled_at: datetime | None
    records: dict[str, float]
    """Points by assessment."""

    @property
    def exact_percent(self) -> float | None:
        """What it would be without any error of doubles."""
        return None if self.exact is None else math.floor(self.exact * 100 + GIFT) / 100

    @property
    def is_on_boundary(self) -> bool:
        """Whether the total lies exactly where the next percent begins."""
        return self.exact is not None and (self.exact * 100 + GIFT).denominator == 1


def table(directory: Path, name: str) -> Iterator[dict[str, str]]:
    """The rows of a file of the large data set."""
    with gzip.open(directory / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def enrollments(directory: Path) -> dict[tuple[str, str], Expected]:
    """Every enrolment by the key of the course and the name of the learner."""
    weights: dict[str, dict[str, Fraction]] = {}
    course_of: dict[str, str] = {}
    for row in table(directory, "assessments"):
        course = _course(row)
        course_of[row["id_assessment"]] = course
        weights.setdefault(course, {})[row["id_assessment"]] = Fraction(row["weight"])
    scores: dict[tuple[str, str], dict[str, int]] = {}
    for row in table(directory, "studentAssessment"):
        if row["score"]:
            key = course_of[row["id_assessment"]], row["id_student"]
            scores.setdefault(key, {})[row["id_assessment"]] = int(row["score"])
    found = {}
    for row in table(directory, "studentRegistration"):
        course, student, presentation = _course(row), row["id_student"], row["code_presentation"]
        start = datetime(int(presentation[:4]), MONTHS[presentation[4]], 1, tzinfo=UTC)
        first, last = row["date_registration"], row["date_unregistration"]
        points = scores.get((course, student))
        percent = letter = exact = None
        if points:
            percent, exact = _percent(points, weights[course])
            letter = next((name for name, least in CUTOFFS if percent >= least), None)
        found[course, f"oulad-{student}"] = Expected(
            percent,
            letter,
            exact,
            not last,
            start + timedelta(int(first) if first else min(0, int(last or 0))),
            start + timedelta(int(last)) if last else None,
            {name: float(score) for name, score in (points or {}).items()},
        )
    return found


def _percent(points: dict[str, int], weights: dict[str, Fraction]) -> tuple[float, Fraction]:
    of_all = sum(weights.values())
    total = 0.0
    exact = Fraction(0)
    for assessment, weight in weights.items():
        score = points.get(assessment, 0)
        total += score / 100 * (float(weight) / float(of_all))
        if score:
            exact += score * weight
    return math.floor(total * 100 + 0.05 + 0.5) / 100, exact / (100 * of_all)


def _course(row: dict[str, str]) -> str:
    return f"course-v1:OU+{row['code_module']}+{row['code_presentation']}"
