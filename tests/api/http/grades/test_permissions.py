"""Who may do what: by the token, by what is recorded, and by neither."""

from dataclasses import replace

import pytest

from api.http.auth import Caller
from api.http.grades.permissions import (
    has_staff_access,
    is_course_author,
    is_global_staff,
    may_read_grades,
)
from domain.keys import parse_course_key
from projections.gradebook.rows import CallerRights, Role

COURSE = parse_course_key("course-v1:Uni+Physics+2026")
ID = str(COURSE)
OTHER = "course-v1:Uni+Chemistry+2026"
ANN = Caller("ann")
NOBODY_KNOWN = None


def recorded(*roles: Role, active: bool = True, staff: bool = False) -> CallerRights:
    return CallerRights(1, "ann", active, staff, list(roles))


@pytest.mark.parametrize(
    ("role", "is_author", "has_access"),
    [
        (("Uni", ID, "instructor"), True, True),
        (("Uni", ID, "staff"), True, True),
        (("Uni", ID, "limited_staff"), True, True),
        (("Uni", None, "instructor"), True, True),
        (("Uni", None, "staff"), True, True),
        (("Uni", None, "limited_staff"), False, True),
        (("Uni", ID, "beta_testers"), False, False),
        (("Uni", ID, "data_researcher"), False, False),
        (("Uni", ID, "support"), False, False),
        (("Uni", OTHER, "staff"), False, False),
        (("Other", None, "staff"), False, False),
        (("", None, "staff"), False, False),
    ],
)
def test_recorded_roles(role: Role, *, is_author: bool, has_access: bool) -> None:
    rights = recorded(role)
    assert is_course_author(ANN, rights, COURSE) is is_author
    assert has_staff_access(ANN, rights, COURSE) is has_access
    inactive = recorded(role, active=False)
    assert not is_course_author(ANN, inactive, COURSE)
    assert not has_staff_access(ANN, inactive, COURSE)
    assert not is_global_staff(ANN, rights)


@pytest.mark.parametrize("role", ["staff", "instructor", "limited_staff"])
def test_roles_in_the_token(role: str) -> None:
    caller = replace(ANN, course_roles={role: frozenset({ID})})
    assert is_course_author(caller, NOBODY_KNOWN, COURSE)
    assert has_staff_access(caller, NOBODY_KNOWN, COURSE)
    branch = parse_course_key(f"{ID}+branch@draft")
    assert is_course_author(caller, NOBODY_KNOWN, branch)
    assert not is_course_author(caller, recorded(active=False), COURSE)
    assert not is_course_author(caller, NOBODY_KNOWN, parse_course_key(OTHER))


def test_roles_in_the_token_that_give_nothing() -> None:
    caller = replace(ANN, course_roles={"beta_testers": frozenset({ID})})
    assert not is_course_author(caller, NOBODY_KNOWN, COURSE)


@pytest.mark.parametrize("rights", [recorded(staff=True), recorded(staff=True, active=False)])
def test_recorded_global_staff(rights: CallerRights) -> None:
    assert is_global_staff(ANN, rights)
    assert is_course_author(ANN, rights, COURSE)
    assert has_staff_access(ANN, rights, COURSE)
    assert may_read_grades(ANN, rights, COURSE, "")
    assert may_read_grades(ANN, rights, None, "ben")


def test_filters_of_a_token_leave_less() -> None:
    staff = replace(ANN, is_global_staff=True)
    assert is_global_staff(staff, NOBODY_KNOWN)
    own = replace(staff, only_own=True)
    assert not is_global_staff(own, NOBODY_KNOWN)
    assert not is_course_author(own, NOBODY_KNOWN, COURSE)
    here = replace(staff, content_orgs=frozenset({"Uni"}))
    assert not is_global_staff(here, NOBODY_KNOWN)
    assert is_course_author(here, NOBODY_KNOWN, COURSE)
    elsewhere = replace(staff, content_orgs=frozenset({"Other"}))
    assert not is_course_author(elsewhere, recorded(("Uni", ID, "staff")), COURSE)


def test_a_learner_reads_the_own_grade_only() -> None:
    assert may_read_grades(ANN, NOBODY_KNOWN, COURSE, "ANN")
    assert not may_read_grades(ANN, NOBODY_KNOWN, COURSE, "ben")
    assert not may_read_grades(ANN, NOBODY_KNOWN, COURSE, "")
    team = recorded(("Uni", ID, "instructor"))
    assert not may_read_grades(ANN, team, COURSE, "")
