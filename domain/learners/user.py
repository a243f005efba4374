"""One person: how they are known, what they may do, and to which cohorts they belong.

The stream id is derived from the number of the user, which never changes, nor does the
username. That a username, a number or an anonymous id belongs to one person only spans
streams: those are claims. Email and full name are sealed with the person's own key.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced, OpeningEvent
from domain.events import register

_NAMESPACE = UUID("0d3c5f0e-52a6-5c6d-9c35-6e6c2c1f7b10")

ACTIVE = "active"
INACTIVE = "inactive"


def user_stream(user_id: int) -> UUID:
    """The stream of a user."""
    return uuid5(_NAMESPACE, f"user\0{user_id}")


def user_subject(user_id: int) -> str:
    """Whose key seals what is personal about a user."""
    return f"user:{user_id}"


def email_context(user_id: int) -> str:
    """What binds a sealed email address to its user."""
    return f"email:{user_id}"


def full_name_context(user_id: int) -> str:
    """What binds a sealed name to its user."""
    return f"full_name:{user_id}"


def username_claim(username: str) -> str:
    """The key that a username holds; names that differ in case only are the same."""
    return f"username:{username.casefold()}"


def user_id_claim(user_id: int) -> str:
    """The key that the number of a user holds."""
    return f"user-id:{user_id}"


def anonymous_id_claim(anonymous_id: str) -> str:
    """The key that an anonymous id holds for the one user it stands for."""
    return f"anonymous-id:{anonymous_id}"


class Role(NamedTuple):
    """What a user is in a course, in all courses of an organisation, or, without either, here."""

    org: str
    course_id: str | None
    role: str


class UserEvent(OpeningEvent):
    """What happens to a user names the user."""

    TOPIC = "learners.UserEvent"
    user_id: int


class UserRegistered(UserEvent):
    """A person became known. ``email`` and ``full_name`` are sealed."""

    TOPIC = "learners.UserRegistered"
    username: str
    email: str | None
    full_name: str | None
    is_active: bool
    is_staff: bool
    anonymous_ids: list[str]

    def apply(self, aggregate: "User") -> None:
        aggregate.user_id = self.user_id
        aggregate.username = self.username
        aggregate.email = self.email
        aggregate.full_name = self.full_name
        aggregate.is_active = self.is_active
        aggregate.is_staff = self.is_staff
        aggregate.anonymous_ids = self.anonymous_ids


class UserProfileChanged(UserEvent):
    """Email or name are others now; both stand here, sealed."""

    TOPIC = "learners.UserProfileChanged"
    email: str | None
    full_name: str | None

    def apply(self, aggregate: "User") -> None:
        aggregate.email = self.email
        aggregate.full_name = self.full_name


class UserActivationChanged(UserEvent):
    """An account was activated, or closed."""

    TOPIC = "learners.UserActivationChanged"
    is_active: bool

    def apply(self, aggregate: "User") -> None:
        aggregate.is_active = self.is_active


class GlobalStaffChanged(UserEvent):
    """A user may do everything here, or no longer."""

    TOPIC = "learners.GlobalStaffChanged"
    is_staff: bool

    def apply(self, aggregate: "User") -> None:
        aggregate.is_staff = self.is_staff


class AnonymousIdsChanged(UserEvent):
    """Under which ids a user's work is stored: all of them, sorted."""

    TOPIC = "learners.AnonymousIdsChanged"
    anonymous_ids: list[str]

    def apply(self, aggregate: "User") -> None:
        aggregate.anonymous_ids = self.anonymous_ids


class CourseRoleGranted(UserEvent):
    """A user got a role in a course; in all of an organisation without ``course_id``."""

    TOPIC = "learners.CourseRoleGranted"
    org: str
    course_id: str | None
    role: str

    def apply(self, aggregate: "User") -> None:
        aggregate.roles.add(Role(self.org, self.course_id, self.role))


class CourseRoleRevoked(UserEvent):
    """A user has a role no longer."""

    TOPIC = "learners.CourseRoleRevoked"
    org: str
    course_id: str | None
    role: str

    def apply(self, aggregate: "User") -> None:
        aggregate.roles.discard(Role(self.org, self.course_id, self.role))


class ProgramEnrollmentLinked(UserEvent):
    """A user is known in a course under the key of a programme's own records.

    One for a user and course; the last one counts. ``status`` is ``active`` or ``inactive``.
    """

    TOPIC = "learners.ProgramEnrollmentLinked"
    course_id: str
    external_user_key: str
    status: str

    def apply(self, aggregate: "User") -> None:
        aggregate.programs[self.course_id] = (self.external_user_key, self.status)


class CohortMembershipChanged(UserEvent):
    """A user came into a cohort of a course, or left it for none."""

    TOPIC = "learners.CohortMembershipChanged"
    course_id: str
    cohort_id: int | None
    previous_cohort_id: int | None

    def apply(self, aggregate: "User") -> None:
        if self.cohort_id is None:
            aggregate.cohorts.pop(self.course_id, None)
        else:
            aggregate.cohorts[self.course_id] = self.cohort_id


register(
    UserRegistered,
    UserProfileChanged,
    UserActivationChanged,
    GlobalStaffChanged,
    AnonymousIdsChanged,
    CourseRoleGranted,
    CourseRoleRevoked,
    ProgramEnrollmentLinked,
    CohortMembershipChanged,
)


@dataclass(frozen=True, slots=True)
class UserChanges:
    """What a user shall be; None leaves it as it is.

    Email and name are sealed; empty text takes them away.
    """

    email: str | None = None
    full_name: str | None = None
    anonymous_ids: tuple[str, ...] | None = None
    external_user_keys: tuple[tuple[str, str, str], ...] = ()
    """Course, key, status."""
    is_staff: bool | None = None
    is_active: bool | None = None


class User(EventSourced):
    """One person."""

    Event = events.Event

    def __init__(self) -> None:
        self.user_id = 0
        self.username = ""
        self.email: str | None = None
        self.full_name: str | None = None
        self.is_active = True
        self.is_staff = False
        self.anonymous_ids: list[str] = []
        self.roles: set[Role] = set()
        self.programs: dict[str, tuple[str, str]] = {}
        self.cohorts: dict[str, int] = {}

    @classmethod
    def register(cls, user_id: int, username: str, changes: UserChanges, *, at: datetime) -> Self:
        """Take up a person who was not known before."""
        user = cls.empty(user_stream(user_id), at)
        user.happened(
            UserRegistered,
            at,
            user_id=user_id,
            username=username,
            email=changes.email or None,
            full_name=changes.full_name or None,
            is_active=changes.is_active is not False,
            is_staff=changes.is_staff is True,
            anonymous_ids=sorted(changes.anonymous_ids or ()),
        )
        user.link_programs(changes, at=at)
        return user

    def change(self, changes: UserChanges, *, at: datetime) -> None:
        """Become what is asked for; what is so already is no event."""
        email = self.email if changes.email is None else changes.email or None
        full_name = self.full_name if changes.full_name is None else changes.full_name or None
        if (email, full_name) != (self.email, self.full_name):
            self.happened(
                UserProfileChanged, at, user_id=self.user_id, email=email, full_name=full_name
            )
        if changes.anonymous_ids is not None:
            anonymous_ids = sorted(changes.anonymous_ids)
            if anonymous_ids != self.anonymous_ids:
                self.happened(
                    AnonymousIdsChanged, at, user_id=self.user_id, anonymous_ids=anonymous_ids
                )
        if changes.is_active not in (None, self.is_active):
            self.happened(
                UserActivationChanged, at, user_id=self.user_id, is_active=changes.is_active
            )
        if changes.is_staff not in (None, self.is_staff):
            self.happened(GlobalStaffChanged, at, user_id=self.user_id, is_staff=changes.is_staff)
        self.link_programs(changes, at=at)

    def link_programs(self, changes: UserChanges, *, at: datetime) -> None:
        """Be known under the keys of programmes."""
        for course_id, external_user_key, status in changes.external_user_keys:
            if self.programs.get(course_id) != (external_user_key, status):
                self.happened(
                    ProgramEnrollmentLinked,
                    at,
                    user_id=self.user_id,
                    course_id=course_id,
                    external_user_key=external_user_key,
                    status=status,
                )

    def grant(self, role: Role, *, at: datetime) -> None:
        """Get a role."""
        if role not in self.roles:
            self.happened(CourseRoleGranted, at, user_id=self.user_id, **role._asdict())

    def revoke(self, role: Role, *, at: datetime) -> None:
        """Have a role no longer."""
        if role in self.roles:
            self.happened(CourseRoleRevoked, at, user_id=self.user_id, **role._asdict())

    def move_to_cohort(self, course_id: str, cohort_id: int | None, *, at: datetime) -> int | None:
        """Belong to this cohort of a course and to no other; return the one before."""
        previous = self.cohorts.get(course_id)
        if previous != cohort_id:
            self.happened(
                CohortMembershipChanged,
                at,
                user_id=self.user_id,
                course_id=course_id,
                cohort_id=cohort_id,
                previous_cohort_id=previous,
            )
        return previous


UserEvent.OPENS = User
