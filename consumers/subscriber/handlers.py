"""Functions that handle the events of a subscriber, by the types of events."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from psycopg import Connection

import domain.courses.course
import domain.grades.grade_import
import domain.grades.learner_grades
import domain.grades.problem_state
import domain.learners.cohort
import domain.learners.enrollment
import domain.learners.user
import domain.submissions.student_item
import domain.submissions.team_submission  # noqa: F401 - whoever reads events knows them all
from consumers.subscriber import database as subscriber_database
from consumers.subscriber.following import Handle
from domain.events import Event, Recorded, registered
from projections.read_model import Row

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class RecordedEvent(Recorded, Generic[E_co]):
    """``Recorded`` for who knows the type of its event."""

    event: E_co


HandleEach = Callable[[Connection[Row], RecordedEvent[E]], None]


class Handlers:
    """What is to be done with events; a ``Subscriber`` is one."""

    def __init__(self, types: Collection[type[Event]] | None) -> None:
        """Begin without functions.

        Args:
            types: the events that a function for batches is told of; None for all.

        Raises:
            TypeError: ``types`` holds something else.
        """
        _check_types(types or ())
        self._types = None if types is None else frozenset(types)
        self._each: dict[type[Event], HandleEach[Any]] = {}
        self._handle: Handle | None = None

    @overload
    def on(self, type_: type[E], /) -> Callable[[HandleEach[E]], HandleEach[E]]: ...

    @overload
    def on(
        self, type_: type[E], other: type[E2], /
    ) -> Callable[[HandleEach[E | E2]], HandleEach[E | E2]]: ...

    @overload
    def on(
        self, type_: type[Event], /, *types: type[Event]
    ) -> Callable[[HandleEach[Event]], HandleEach[Event]]: ...

    def on(self, *types: type[Event]) -> Callable[[HandleEach[Any]], HandleEach[Any]]:
        """Let a function handle the events of these types, one at a time.

        It gets the connection, in a transaction that it must not end, and the event.

        Raises:
            TypeError: no types are given, or something else is.
            ValueError: events of a type are handled by another function already.
        """
        _check_types(types)
        if not types:
            raise TypeError("on wants the types of the events: @subscriber.on(ScoreSet)")

        def note(handle: HandleEach[Any]) -> HandleEach[Any]:
            for type_ in types:
                if type_ in self._each:
                    raise ValueError(f"{type_.TOPIC} is handled by another function already")
                self._each[type_] = handle
            return handle

        return note

    def _wanted(self) -> frozenset[type[Event]] | None:
        if self._handle is None and not self._each:
            raise ValueError("nothing handles the events: give run a function, or use on")
        if self._handle is not None and self._types is None:
            return None
        return (self._types or frozenset()) | self._each.keys()

    def _handled(self, db: Connection[Row], events: Sequence[Recorded]) -> None:
        subscriber_database.as_usual(db)
        for recorded in events if self._each else ():
            each = self._each.get(type(recorded.event))
            if each is not None:
                each(db, _typed(recorded))
        if self._handle is not None:
            self._handle(db, events)


def _check_types(types: Collection[type[Event]]) -> None:
    known = set(registered())
    for type_ in types:
        if type_ not in known:
            raise TypeError(f"{type_!r} is not a type of events that are recorded")


def _typed(found: Recorded) -> RecordedEvent[Any]:
    return RecordedEvent(
        found.position,
        found.event,
        found.type,
        found.event_id,
        found.recorded_at,
        found.provenance,
    )
