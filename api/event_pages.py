"""The log as others may read it: pages of stored events, and its end as it grows."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from api.cloudevents import StoredEvent


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events somebody wants; without any rule, all.

    Attributes:
        types: stored names; none for every type.
        course_id: the event's own ``course_id``.
        student_id: the event's own ``student_id``.
    """

    types: frozenset[str] = frozenset()
    course_id: str | None = None
    student_id: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every event is wanted."""
        return not self.types and not self.looks_inside

    @property
    def looks_inside(self) -> bool:
        """Whether it takes the fields of an event to tell."""
        return self.course_id is not None or self.student_id is not None

    def finds(self, type_: str, fields: Callable[[], Mapping[str, Any]]) -> bool:
        """Whether an event is wanted. Its fields are asked for only if they matter."""
        if self.types and type_ not in self.types:
            return False
        if not self.looks_inside:
            return True
        found = fields()
        return (self.course_id is None or found.get("course_id") == self.course_id) and (
            self.student_id is None or found.get("student_id") == self.student_id
        )


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the log.

    Attributes:
        events: those that were wanted, oldest first.
        position: up to where the log was looked through.
        head: where it ended at that time.
    """

    events: Sequence[StoredEvent]
    position: int
    head: int


class EventPages(Protocol):
    """Reads the log as it is stored."""

    async def page(self, selection: Selection, *, after: int, limit: int) -> Page:
        """What follows a position: so many events at most, and not too large together.

        One page looks through a bounded part of the log, so it may be empty before the end
        is reached; the position always advances.

        Raises:
            UnavailableError: the database does not answer, or too many ask at once.
        """

    def tail(self) -> AsyncGenerator[Page, None]:
        """The log as it grows from now on, for ever; first an empty page that says where."""
