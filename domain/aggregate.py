"""What our aggregates share: events made and applied without detours.

The library makes an event by the constructor of a frozen dataclass and checks topics and
arguments each time; of the time that a command takes in Python that was a third. Events
are made here as they are read back (``events.made``), and evolve the aggregate by the same
``apply``.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast
from uuid import UUID

from eventsourcing.domain import Aggregate

from domain.events import CreatedEvent, Event, made

E = TypeVar("E", bound=Event)


class OpeningEvent(Event):
    """An event with which a stream may begin, whichever of its kind comes first.

    ``OPENS`` is the aggregate that a stream of such events makes; it is set once that class
    is known.
    """

    OPENS: ClassVar[type["EventSourced"]]

    def mutate(self, aggregate: Any) -> Any:
        """Evolve the aggregate, an empty one if the stream begins here."""
        if aggregate is None:
            aggregate = self.OPENS.empty(self.originator_id, self.timestamp)
        return super().mutate(aggregate)


class EventSourced(Aggregate):
    """An aggregate of a stream in the log. Each kind has a stored name, ``TOPIC``."""

    if TYPE_CHECKING:
        TOPIC: ClassVar[str]

    @classmethod
    def begin(
        cls, event_class: type[CreatedEvent], stream_id: UUID, at: datetime, **fields: Any
    ) -> Self:
        """Make the first event of a stream, and the aggregate with it."""
        event = made(
            event_class,
            {
                "originator_id": stream_id,
                "originator_version": cls.INITIAL_VERSION,
                "timestamp": at,
                "originator_topic": cls.TOPIC,
                **fields,
            },
        )
        aggregate = cast(Self, event.mutate(None))
        aggregate.pending_events.append(event)
        return aggregate

    @classmethod
    def empty(cls, stream_id: UUID, at: datetime) -> Self:
        """An aggregate to which nothing has happened; the next is the first event."""
        aggregate = cls.__new__(cls)
        aggregate.__base_init__(originator_id=stream_id, originator_version=0, timestamp=at)
        aggregate.__init__()  # type: ignore[misc]
        return aggregate

    def happened(self, event_class: type[E], at: datetime, **fields: Any) -> E:
        """Make the next event, evolve with it, and keep it to be stored."""
        version = self._version + 1
        event = made(
            event_class,
            {
                "originator_id": self._id,
                "originator_version": version,
                "timestamp": at,
                **fields,
            },
        )
        event.apply(self)
        self._version = version
        self._modified_on = at
        self._pending_events.append(event)
        return event
