"""The first question of each request about a course: what it is, who asks, and what he may.

Which refusal wins is contract: a key that is none before a course that nobody published, that
before a feature that is off, and that before rights.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from api.http.auth import UnauthenticatedError
from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.parameters import course_in_path, course_key
from api.http.grades.permissions import is_course_author
from api.http.reading import ask
from domain.keys import CourseKey
from projections.gradebook import queries
from projections.gradebook.rows import CallerRights, CourseHead

FREEZE_AFTER: Final = timedelta(days=30)
"""Between the end of a course and the moment when its grades freeze."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A course and what is recorded of the caller, as of one position of the log."""

    course: CourseHead | None
    rights: CallerRights | None
    position: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A course that the caller may see."""

    key: CourseKey
    course: CourseHead
    rights: CallerRights | None
    position: int


async def standing(call: Call, course_id: str, *, graded: bool = False) -> Standing:
    """Look up a course and the caller; ``graded``: when what must be seen is graded, too."""
    query = queries.course_context(course_id, call.caller.username)
    found = await ask(call, replace(query, graded=graded))
    return Standing(found.value.course, found.value.caller, found.position)


def refuse_closed_account(call: Call, rights: CallerRights | None) -> None:
    """Refuse accounts that are not active where the peer takes them with JWT alone.

    Sessions of such accounts are no sessions anyway, so this is about the scheme ``Bearer``.

    Raises:
        UnauthenticatedError: it is one.
    """
    scheme = call.raw.get(b"authorization", b"").partition(b" ")[0].lower()
    if scheme == b"bearer" and rights is not None and not rights.is_active:
        raise UnauthenticatedError("the account is not active")


async def open_gradebook(call: Call) -> Opened:
    """The course in the path, whose gradebook the caller may write to.

    Raises:
        ApiError: in this order: no key, no course, no such feature, no rights.
    """
    key = course_key(course_in_path(call))
    if key is None:
        raise errors.invalid_course_key()
    # Graded, because tags of pages are made of the position of the course's last change.
    found = await standing(call, str(key), graded=True)
    if found.course is None:
        raise errors.course_does_not_exist(str(key))
    if not found.course.writable_gradebook:
        raise errors.feature_not_enabled()
    if not is_course_author(call.caller, found.rights, key):
        raise errors.not_an_author()
    return Opened(key, found.course, found.rights, found.position)


def is_frozen(course: CourseHead, now: datetime) -> bool:
    """Whether the course ended too long ago for its grades to change."""
    return course.freeze_after_end and course.end is not None and now > course.end + FREEZE_AFTER
