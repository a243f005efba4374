"""The cohorts of a course: groups of its learners. Who is in one stands with the user.

A cohort may stand for a content group: ``group_id`` of the partition ``user_partition_id``.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

_NAMESPACE = UUID("c0a1e7ee-6b0f-5f52-9d0c-7c0d0b7a4e32")

MANUAL = "manual"
RANDOM = "random"


def cohort_stream(cohort_id: int) -> UUID:
    """The stream of a cohort."""
    return uuid5(_NAMESPACE, f"cohort\0{cohort_id}")


def cohorting_stream(course_id: str) -> UUID:
    """The stream of what a course says about cohorts."""
    return uuid5(_NAMESPACE, f"cohorting\0{course_id}")


def cohort_name_claim(course_id: str, name: str) -> str:
    """The key that the name of a cohort holds in its course."""
    return f"cohort-name:{course_id}:{name}"


class CohortEvent(OpeningEvent):
    """What happens to a cohort says all that it is afterwards."""

    TOPIC = "learners.CohortEvent"
    cohort_id: int
    course_id: str
    name: str
    assignment_type: str
    user_partition_id: int | None
    group_id: int | None

    def apply(self, aggregate: "Cohort") -> None:
        aggregate.cohort_id = self.cohort_id
        aggregate.course_id = self.course_id
        aggregate.values = CohortValues(
            self.name, self.assignment_type, self.user_partition_id, self.group_id
        )


class CohortCreated(CohortEvent):
    """A course got a cohort. ``assignment_type`` is ``manual`` or ``random``."""

    TOPIC = "learners.CohortCreated"


class CohortChanged(CohortEvent):
    """A cohort is called otherwise, filled otherwise, or stands for another group."""

    TOPIC = "learners.CohortChanged"


class CohortingChanged(OpeningEvent):
    """A course uses cohorts, or no longer."""

    TOPIC = "learners.CohortingChanged"
    course_id: str
    is_cohorted: bool

    def apply(self, aggregate: "Cohorting") -> None:
        aggregate.is_cohorted = self.is_cohorted


register(CohortCreated, CohortChanged, CohortingChanged)


class CohortValues(NamedTuple):
    """What a cohort is."""

    name: str
    assignment_type: str = MANUAL
    user_partition_id: int | None = None
    group_id: int | None = None


class Cohort(EventSourced):
    """One cohort of a course."""

    Event = events.Event

    def __init__(self) -> None:
        self.cohort_id = 0
        self.course_id = ""
        self.values = CohortValues("")

    def create(self, cohort_id: int, course_id: str, values: CohortValues, *, at: datetime) -> None:
        """Come into being."""
        self._becomes(CohortCreated, cohort_id, course_id, values, at)

    def change(self, values: CohortValues, *, at: datetime) -> None:
        """Be this from now on."""
        if values != self.values:
            self._becomes(CohortChanged, self.cohort_id, self.course_id, values, at)

    def _becomes(
        self,
        event_class: type[CohortEvent],
        cohort_id: int,
        course_id: str,
        values: CohortValues,
        at: datetime,
    ) -> None:
        self.happened(
            event_class,
            at,
            cohort_id=cohort_id,
            course_id=course_id,
            name=values.name,
            assignment_type=values.assignment_type,
            user_partition_id=values.user_partition_id,
            group_id=values.group_id,
        )


class Cohorting(EventSourced):
    """Whether a course uses cohorts; it does not until it says so."""

    Event = events.Event

    def __init__(self) -> None:
        self.is_cohorted: bool | None = None

    def change(self, course_id: str, is_cohorted: bool, *, at: datetime) -> None:
        """Use cohorts from now on, or no longer."""
        if is_cohorted != bool(self.is_cohorted):
            self.happened(CohortingChanged, at, course_id=course_id, is_cohorted=is_cohorted)


CohortEvent.OPENS = Cohort
CohortingChanged.OPENS = Cohorting
