"""Who may read and write grades: what the token says, or what is recorded of the caller.

Both count: an LMS that issues tokens with ``administrator`` or ``course_roles`` need not tell us
its roles, and one that reports its roles need not put them into tokens. A token with filters
never allows more than its filters leave.

Source: Open edX LMS, ``student.auth.has_course_author_access`` and ``GradesReadPermission``.
"""

from typing import Final

from api.http.auth import Caller
from domain.keys import CourseKey
from projections.gradebook.rows import CallerRights

GRADES_READ: Final = "grades:read"

TEAM_ROLES: Final = frozenset({"instructor", "staff", "limited_staff"})
"""Roles on a course that let their holders see and change its grades."""

ORGANISATION_ROLES: Final = frozenset({"instructor", "staff"})
"""The same for all courses of an organisation; there is no limited staff of one."""

ORGANISATION_STAFF: Final = ORGANISATION_ROLES | {"limited_staff"}


def is_global_staff(caller: Caller, rights: CallerRights | None) -> bool:
    """Whether the caller may do everything, everywhere."""
    return not _is_restricted(caller) and (
        caller.is_global_staff or (rights is not None and rights.is_staff)
    )


def is_course_author(caller: Caller, rights: CallerRights | None, course: CourseKey) -> bool:
    """Whether the caller is of the team that runs a course."""
    return _has_role(caller, rights, course, ORGANISATION_ROLES)


def has_staff_access(caller: Caller, rights: CallerRights | None, course: CourseKey) -> bool:
    """Whether the caller sees a course as its staff do."""
    return _has_role(caller, rights, course, ORGANISATION_STAFF)


def may_read_grades(
    caller: Caller, rights: CallerRights | None, course: CourseKey | None, username: str
) -> bool:
    """Whether the caller may read course grades: staff everybody's, a learner the own one.

    Args:
        caller: who asks.
        rights: what is recorded of the caller.
        course: None where the text was no key; filters by organisation then leave nothing.
        username: whose grade; empty for everybody's.
    """
    own = bool(username) and username.lower() == caller.username.lower()
    if _is_restricted(caller):
        return (
            GRADES_READ in caller.scopes
            and caller.content_orgs is not None
            and course is not None
            and course.org in caller.content_orgs
            and {user.lower() for user in caller.users} == {username.lower()}
        )
    return own or is_global_staff(caller, rights)


def _has_role(
    caller: Caller,
    rights: CallerRights | None,
    course: CourseKey,
    of_organisation: frozenset[str],
) -> bool:
    if caller.only_own or not _reaches(caller, course):
        return False
    if caller.is_global_staff or (rights is not None and rights.is_staff):
        return True
    if rights is not None and not rights.is_active:
        return False
    course_id = str(course.without_branch)
    if any(course_id in caller.course_roles.get(role, ()) for role in TEAM_ROLES):
        return True
    return rights is not None and any(
        (on == course_id and role in TEAM_ROLES)
        or (on is None and org == course.org and role in of_organisation)
        for org, on, role in rights.roles
    )


def _is_restricted(caller: Caller) -> bool:
    """Whether the token is of an application that may see only a part of what its user may."""
    return caller.only_own or caller.content_orgs is not None


def _reaches(caller: Caller, course: CourseKey) -> bool:
    return caller.content_orgs is None or course.org in caller.content_orgs
