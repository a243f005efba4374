"""What a learner's work at a problem looked like each time it was saved.

An LMS that keeps the state of problems itself reports it here; it is the second source of
problem scores, after the submissions.
"""

from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

_NAMESPACE = UUID("1f0f8c0e-3f0b-5b0c-8a44-0f9a2f8f8c11")


def problem_state_stream(user_id: int, usage_key: str) -> UUID:
    """The stream of a learner's states of one problem."""
    return uuid5(_NAMESPACE, f"{usage_key}\0{user_id}")


class ProblemStateSaved(OpeningEvent):
    """A learner's state of a problem was saved.

    ``state`` is JSON text, encrypted with the key of ``user:{user_id}``; ``grade`` and
    ``max_grade`` are raw points, None when the problem was not graded.
    """

    TOPIC = "grades.ProblemStateSaved"
    state_id: int
    user_id: int
    course_id: str
    usage_key: str
    state: str | None
    grade: float | None
    max_grade: float | None


register(ProblemStateSaved)


class ProblemState(EventSourced):
    """A learner's states of one problem. No rule reads one back."""

    Event = events.Event

    def __init__(self) -> None:
        pass


ProblemStateSaved.OPENS = ProblemState
