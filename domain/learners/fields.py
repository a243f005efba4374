"""Which values a user, an enrolment, a role and a cohort may have.

All bad values of a command are told at once, each with the name of its field.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar
from unicodedata import category

from domain.keys import InvalidKeyError, parse_course_key
from domain.learners.cohort import MANUAL, RANDOM
from domain.learners.errors import InvalidLearnerError
from domain.learners.user import ACTIVE, INACTIVE, Role

T = TypeVar("T")

DEFAULT_MODE: Final = "audit"
MAX_USERNAME: Final = 150
MAX_EMAIL: Final = 254
MAX_NAME: Final = 255
MAX_IDS: Final = 1000
MAX_ID: Final = 2**53 - 1
"""Numbers stay exact in every JSON reader."""
MAX_GROUP: Final = 2**31 - 1

ROLES: Final = frozenset(
    {
        "instructor",
        "staff",
        "limited_staff",
        "beta_testers",
        "ccx_coach",
        "data_researcher",
        "support",
        "finance_admin",
        "sales_admin",
        "course_creator",
        "org_course_creator",
        "library_user",
    }
)
_OTHER_NAMES: Final = {"beta": "beta_testers", "admin": "instructor"}

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_MODE: Final = re.compile(r"[\w\-]{1,100}")
_STATUSES: Final = (ACTIVE, INACTIVE)


class UserValues(NamedTuple):
    """What a user shall be, checked; None leaves it as it is."""

    username: str
    user_id: int | None
    email: str | None
    full_name: str | None
    anonymous_ids: tuple[str, ...] | None
    external_user_keys: tuple[tuple[str, str, str], ...]
    is_staff: bool | None
    is_active: bool | None


class EnrollmentValues(NamedTuple):
    """What an enrolment shall be, checked; None leaves it as it is."""

    username: str | None
    user_id: int | None
    course_id: str
    mode: str | None
    is_active: bool | None
    enrolled_at: datetime | None
    unenrolled_at: datetime | None


class BadValueError(ValueError):
    """What is wrong with a value, in words."""


@dataclass(slots=True)
class Form:
    """Collects what is wrong with the values of one command."""

    values: Mapping[str, Any]
    errors: dict[str, str]

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.errors = {}

    def optional(self, name: str, rule: Callable[[Any], T]) -> T | None:
        """The value as its rule wants it; None when there is none, or a bad one."""
        value = self.values.get(name)
        return None if value is None else self.required(name, rule)

    def required(self, name: str, rule: Callable[[Any], T]) -> T | None:
        """The same for a value that must be there."""
        try:
            return rule(self.values.get(name))
        except BadValueError as bad:
            self.errors[name] = str(bad)
            return None

    def refuse_if_bad(self) -> None:
        """Raise with all that was wrong.

        Raises:
            InvalidLearnerError: something was.
        """
        if self.errors:
            raise InvalidLearnerError(self.errors)


# --- values -----------------------------------------------------------------------------------


def username(value: Any) -> str:
    """How a user is known: 1 to 150 printable characters, none of them a slash."""
    found = _text(value, MAX_USERNAME)
    if "/" in found or found != found.strip():
        raise BadValueError("No slash, and no space at its ends.")
    return found


def is_username(value: str) -> bool:
    """Whether anybody can be called so."""
    try:
        username(value)
    except BadValueError:
        return False
    return True


def user_id(value: Any) -> int:
    """The number of a user."""
    return _number(value, 1, MAX_ID)


def email(value: Any) -> str:
    """An address; the empty text stands for none."""
    if value == "":
        return ""
    found = _text(value, MAX_EMAIL)
    if not _EMAIL.fullmatch(found):
        raise BadValueError("Not an email address.")
    return found


def full_name(value: Any) -> str:
    """A name; the empty text stands for none."""
    return "" if value == "" else _words(value, MAX_NAME)


def boolean(value: Any) -> bool:
    """True or false and nothing that looks like it."""
    if not isinstance(value, bool):
        raise BadValueError("Must be a valid boolean.")
    return value


def anonymous_ids(value: Any) -> tuple[str, ...]:
    """Under which ids a user's work is stored."""
    if not isinstance(value, list | tuple) or len(value) > MAX_IDS:
        raise BadValueError(f"A list of at most {MAX_IDS} texts.")
    return tuple(sorted({_text(one, MAX_NAME) for one in value}))


def external_user_keys(value: Any) -> tuple[tuple[str, str, str], ...]:
    """Keys of programmes by course, or a list of records with ``status``; course, key, status."""
    if isinstance(value, Mapping):
        entries: Sequence[Any] = [
            {"course_id": course, "external_user_key": key} for course, key in value.items()
        ]
    elif isinstance(value, list | tuple):
        entries = value
    else:
        raise BadValueError("Keys by course, or a list of course_id and external_user_key.")
    if len(entries) > MAX_IDS:
        raise BadValueError(f"At most {MAX_IDS} keys.")
    found: dict[str, tuple[str, str, str]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise BadValueError("Not a course_id with an external_user_key.")
        status = entry.get("status") or ACTIVE
        if status not in _STATUSES:
            raise BadValueError("The status is active or inactive.")
        key = entry.get("external_user_key")
        course = course_id(entry.get("course_id"))
        found[course] = (course, "" if key == "" else _text(key, MAX_NAME), status)
    return tuple(found.values())


def course_id(value: Any) -> str:
    """The key of a course, as it is written; a branch is no part of it."""
    if not isinstance(value, str):
        raise BadValueError("The key of a course is needed.")
    try:
        return str(parse_course_key(value).without_branch)
    except InvalidKeyError as bad:
        raise BadValueError(f"{bad}.") from None


def mode(value: Any) -> str:
    """The slug of a track."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise BadValueError("Not the slug of a course mode.")
    return value


def moment(value: Any) -> datetime:
    """An aware datetime in UTC, or ISO text; without an offset it is UTC."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise BadValueError("Not a moment in ISO 8601.") from None


def assignment_type(value: Any) -> str:
    """How a cohort is filled."""
    if value not in (MANUAL, RANDOM):
        raise BadValueError("'manual' or 'random'.")
    return MANUAL if value == MANUAL else RANDOM


def group_number(value: Any) -> int:
    """The number of a partition, or of a group in it."""
    return _number(value, 0, MAX_GROUP)


def cohort_name(value: Any) -> str:
    """What a cohort is called."""
    found = _words(value, MAX_NAME).strip()
    if not found:
        raise BadValueError("A name is needed.")
    return found


def role(name: Any, course: Any, org: Any) -> Role:
    """A role in a course, in all courses of an organisation, or without either.

    Raises:
        InvalidLearnerError: unknown, or for an organisation that is not the course's.
    """
    form = Form({"role": name, "course_id": course, "org": org})
    found = form.required("role", role_name)
    key = form.optional("course_id", course_id)
    of_org = form.optional("org", organisation)
    if key is not None:
        org_of_course = parse_course_key(key).org
        if of_org not in (None, org_of_course):
            form.errors["org"] = "The course is of another organisation."
        of_org = org_of_course
    form.refuse_if_bad()
    assert found is not None
    return Role(of_org or "", key, found)


def role_name(value: Any) -> str:
    """The stored name of a role."""
    found = _OTHER_NAMES.get(value, value) if isinstance(value, str) else None
    if found not in ROLES:
        raise BadValueError(f"One of {', '.join(sorted(ROLES))}.")
    assert found is not None
    return found


def organisation(value: Any) -> str:
    """The name of an organisation; the empty text stands for none."""
    return "" if value == "" else _text(value, MAX_NAME)


# --- records ----------------------------------------------------------------------------------


def user(values: Mapping[str, Any]) -> UserValues:
    """What is asked for a user.

    Raises:
        InvalidLearnerError: bad values, all of them.
    """
    form = Form(values)
    name = form.required("username", username)
    found = UserValues(
        name or "",
        form.optional("user_id", user_id),
        form.optional("email", email),
        form.optional("full_name", full_name),
        form.optional("anonymous_ids", anonymous_ids),
        form.optional("external_user_keys", external_user_keys) or (),
        form.optional("is_staff", boolean),
        form.optional("is_active", boolean),
    )
    form.refuse_if_bad()
    return found


def enrollment(values: Mapping[str, Any]) -> EnrollmentValues:
    """What is asked for an enrolment; whose it is, is told by username or number.

    Raises:
        InvalidLearnerError: bad values, all of them.
    """
    form = Form(values)
    number = form.optional("user_id", user_id)
    name = form.optional("username", username)
    if values.get("user_id") is None and values.get("username") is None:
        form.errors["username"] = "Who, by username or user_id."
    found = EnrollmentValues(
        name,
        number,
        form.required("course_id", course_id) or "",
        form.optional("mode", mode),
        form.optional("is_active", boolean),
        form.optional("enrolled_at", moment),
        form.optional("unenrolled_at", moment),
    )
    form.refuse_if_bad()
    return found


def _words(value: Any, limit: int) -> str:
    """Text as people write it, with any kind of space."""
    if not isinstance(value, str):
        raise BadValueError("Not a valid string.")
    if not value:
        raise BadValueError("This field may not be blank.")
    if len(value) > limit:
        raise BadValueError(f"Ensure this field has no more than {limit} characters.")
    if not value.isprintable() and any(category(one) in ("Cc", "Cs") for one in value):
        raise BadValueError("No control characters, no surrogates.")
    return value


def _text(value: Any, limit: int) -> str:
    """Text that is compared, so that nothing invisible may stand in it."""
    found = _words(value, limit)
    if not found.isprintable():
        raise BadValueError("Only printable characters.")
    return found


def _number(value: Any, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise BadValueError(f"A number from {lowest} to {highest}.")
    return value
