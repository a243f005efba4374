"""The students of the dataset as learners, and their registrations as enrolments."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from domain.application import Done, Outcome
from domain.errors import DomainError
from domain.events import Provenance
from domain.learners.application import Learners
from infra.imports.oulad import Dataset, Registration
from infra.imports.tables import TableError

WINDOW: Final = 1000
"""Registrations that are carried out together."""


def username(student_id: str) -> str:
    """What a student is called here. The submissions know them by their own number."""
    return f"oulad-{student_id}"


async def import_people(
    dataset: Dataset,
    registrations: Sequence[Registration],
    learners: Learners,
    provenance: Provenance,
    progress: Callable[[int], None],
) -> tuple[int, int]:
    """Register the students and enrol them, as far as they are not; return how many of each.

    Raises:
        TableError: one of them was refused, because of what others have written before.
        UnavailableError: the database cannot store now; what was stored stays.
        OutcomeUnknownError: the database was gone; the next run settles what is stored.
    """
    people = enrolled = 0
    for start in range(0, len(registrations), WINDOW):
        window = registrations[start : start + WINDOW]
        students = list({row.student_id: row for row in window}.values())
        outcomes: Sequence[Outcome[Any]] = await learners.register_users(
            [
                {"username": username(row.student_id), "anonymous_ids": [row.student_id]}
                for row in students
            ],
            provenance=provenance,
        )
        people += _counted(dataset, students, outcomes)
        outcomes = await learners.set_enrollments(map(_enrollment, window), provenance=provenance)
        enrolled += _counted(dataset, window, outcomes)
        progress(len(window))
    return people, enrolled


def _enrollment(row: Registration) -> dict[str, Any]:
    return {
        "username": username(row.student_id),
        "course_id": row.course.course_id,
        # Who has come back since the last import is not sent away again by saying nothing.
        "is_active": None if row.unenrolled_at is None else False,
        "enrolled_at": row.enrolled_at,
        "unenrolled_at": row.unenrolled_at,
    }


def _counted(
    dataset: Dataset, rows: Sequence[Registration], outcomes: Sequence[Outcome[Any]]
) -> int:
    """How many of them wrote anything.

    Raises:
        TableError: one was refused.
    """
    written = 0
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, DomainError):
            raise TableError(f"{dataset.place(row)}: {outcome}") from outcome
        written += isinstance(outcome, Done) and outcome.position is not None
    return written
