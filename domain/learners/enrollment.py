"""One person in one course: since when, on which track, and whether still.

The stream id is derived from user and course, so two first-time callers meet on one stream
and make one enrolment. Its number rises with each enrolment: pages of the gradebook go by it.
"""

from datetime import datetime
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

_NAMESPACE = UUID("5a1a6f5e-0c6b-5a0e-8f8b-3c8f5f5f2d21")


def enrollment_stream(user_id: int, course_id: str) -> UUID:
    """The stream of a user's enrolment in a course."""
    return uuid5(_NAMESPACE, f"{user_id}\0{course_id}")


class EnrollmentEvent(OpeningEvent):
    """What happens to an enrolment names whose it is and where."""

    TOPIC = "learners.EnrollmentEvent"
    enrollment_id: int
    user_id: int
    course_id: str


class LearnerEnrolled(EnrollmentEvent):
    """A person is in a course now. ``mode`` is the track, for example ``audit``."""

    TOPIC = "learners.LearnerEnrolled"
    mode: str
    enrolled_at: datetime

    def apply(self, aggregate: "Enrollment") -> None:
        aggregate.enrollment_id = self.enrollment_id
        aggregate.user_id = self.user_id
        aggregate.course_id = self.course_id
        aggregate.mode = self.mode
        aggregate.is_active = True
        aggregate.enrolled_at = self.enrolled_at


class EnrollmentModeChanged(EnrollmentEvent):
    """A person changed the track."""

    TOPIC = "learners.EnrollmentModeChanged"
    mode: str

    def apply(self, aggregate: "Enrollment") -> None:
        aggregate.mode = self.mode


class LearnerUnenrolled(EnrollmentEvent):
    """A person left a course; the enrolment and its number stay."""

    TOPIC = "learners.LearnerUnenrolled"
    unenrolled_at: datetime

    def apply(self, aggregate: "Enrollment") -> None:
        aggregate.is_active = False


class LearnerReenrolled(EnrollmentEvent):
    """A person came back, on this track."""

    TOPIC = "learners.LearnerReenrolled"
    mode: str

    def apply(self, aggregate: "Enrollment") -> None:
        aggregate.mode = self.mode
        aggregate.is_active = True


register(LearnerEnrolled, EnrollmentModeChanged, LearnerUnenrolled, LearnerReenrolled)


class Enrollment(EventSourced):
    """One person in one course."""

    Event = events.Event

    def __init__(self) -> None:
        self.enrollment_id = 0
        self.user_id = 0
        self.course_id = ""
        self.mode = ""
        self.is_active = False
        self.enrolled_at: datetime | None = None

    def enroll(
        self,
        enrollment_id: int,
        user_id: int,
        course_id: str,
        mode: str,
        *,
        enrolled_at: datetime | None,
        at: datetime,
    ) -> None:
        """Come into a course for the first time."""
        self.happened(
            LearnerEnrolled,
            at,
            enrollment_id=enrollment_id,
            user_id=user_id,
            course_id=course_id,
            mode=mode,
            enrolled_at=enrolled_at or at,
        )

    def reenroll(self, mode: str, *, at: datetime) -> None:
        """Come back."""
        if not self.is_active:
            self.happened(LearnerReenrolled, at, **self._key(), mode=mode)

    def change_mode(self, mode: str, *, at: datetime) -> None:
        """Change the track; those who left have one too."""
        if mode != self.mode:
            self.happened(EnrollmentModeChanged, at, **self._key(), mode=mode)

    def unenroll(self, unenrolled_at: datetime | None, *, at: datetime) -> None:
        """Leave."""
        if self.is_active:
            self.happened(LearnerUnenrolled, at, **self._key(), unenrolled_at=unenrolled_at or at)

    def _key(self) -> dict[str, int | str]:
        return {
            "enrollment_id": self.enrollment_id,
            "user_id": self.user_id,
            "course_id": self.course_id,
        }


EnrollmentEvent.OPENS = Enrollment
