"""Uploads of grades as CSV: who uploaded what, and what became of each row."""

from typing import Any
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

_NAMESPACE = UUID("7a2ad2c9-7d55-5f39-8f8c-5a5b0b8d4c7e")


def grade_import_stream(operation_id: int) -> UUID:
    """The stream of one upload."""
    return uuid5(_NAMESPACE, str(operation_id))


class GradesImported(OpeningEvent):
    """A file of grades was uploaded; its overrides are events of their learners.

    ``rows`` are the rows of the file with ``status`` and ``error``; ``columns`` their
    names in order.
    """

    TOPIC = "grades.GradesImported"
    operation_id: int
    course_id: str
    file_name: str
    imported_by: str | None
    total_rows: int
    processed_rows: int
    saved_rows: int
    columns: list[str]
    rows: list[dict[str, Any]]
    error_message: str | None


register(GradesImported)


class GradeImport(EventSourced):
    """One upload."""

    Event = events.Event

    def __init__(self) -> None:
        pass


GradesImported.OPENS = GradeImport
