"""Who can see a block: what it asks of a viewer, and what a viewer brings.

A learner sees a block when its start and those of all blocks above it lie in the past, none of
them is for staff only, and the learner is in one of the groups that each of them names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

ENROLLMENT_TRACK_PARTITION: Final = "50"
"""The partition whose groups are the enrolment modes; others are made by course teams."""

GROUP_OF_MODE: Final[Mapping[str, int]] = {
    "audit": 1,
    "verified": 2,
    "professional": 3,
    "no-id-professional": 4,
    "credit": 5,
    "honor": 6,
    "masters": 7,
    "executive-education": 8,
    "unpaid-executive-education": 9,
    "paid-executive-education": 10,
    "unpaid-bootcamp": 11,
    "paid-bootcamp": 12,
}
"""The group of each enrolment mode. The numbers stand in published outlines.

Source: Open edX LMS, setting ``COURSE_ENROLLMENT_MODES``.
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a block asks of whoever wants to see it."""

    start: datetime | None
    staff_only: bool
    group_access: Mapping[str, frozenset[int]] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose eyes: the groups of a learner by partition id. Staff see everything."""

    groups: Mapping[str, frozenset[int]] = field(hash=False)
    is_staff: bool = False


def visible(gates: Sequence[Gate], viewer: Viewer, now: datetime) -> bool:
    """Whether the viewer passes all gates. A start is passed when it lies in the past."""
    if viewer.is_staff:
        return True
    for gate in gates:
        if gate.staff_only or (gate.start is not None and gate.start >= now):
            return False
        for partition, allowed in gate.group_access.items():
            if allowed.isdisjoint(viewer.groups.get(partition, ())):
                return False
    return True
