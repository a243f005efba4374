"""What a course was at some moment: a fold of its events up to there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.courses.course import (
    CourseDetailsChanged,
    CourseFlagsChanged,
    CourseModesChanged,
    CourseOutlinePublished,
    CourseRegistered,
    Details,
    Flags,
    GradingPolicyChanged,
)
from domain.events import Event

UNTOLD: Final = Flags()


@dataclass(slots=True)
class CoursePast:
    """A course as it stood.

    Attributes:
        details: None while it was not registered.
        graders: None while the default policy counted.
        edited_at: when the outline was published.
    """

    course_id: str = ""
    org: str = ""
    details: Details | None = None
    flags: Flags = UNTOLD
    modes: Sequence[Mapping[str, Any]] = ()
    graders: Sequence[Mapping[str, Any]] | None = None
    cutoffs: Mapping[str, float] | None = None
    policy_hash: str | None = None
    version: str | None = None
    edited_at: datetime | None = None
    blocks: Sequence[Mapping[str, Any]] = ()


def course_past(events: Iterable[Event]) -> CoursePast:
    """Fold the events of one course, oldest first."""
    past = CoursePast()
    for event in events:
        match event:
            case CourseRegistered():
                past.course_id, past.org = event.course_id, event.org
                past.details = _details(event)
            case CourseDetailsChanged():
                past.details = _details(event)
            case CourseFlagsChanged():
                past.flags = Flags(*(getattr(event, name) for name in Flags._fields))
            case CourseModesChanged():
                past.modes = event.modes
            case GradingPolicyChanged():
                past.graders, past.cutoffs = event.graders, event.cutoffs
                past.policy_hash = event.policy_hash
            case CourseOutlinePublished():
                past.version, past.blocks = event.version, event.blocks
                past.edited_at = event.timestamp
    return past


def _details(event: CourseRegistered | CourseDetailsChanged) -> Details:
    return Details(event.display_name, event.start, event.end, event.self_paced)
