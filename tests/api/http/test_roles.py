"""Roles in courses over HTTP."""

import pytest

from tests.api.http.people import COURSES, ENROLLMENT, a_course, a_user, ask, lms, types
from tests.api.http.site import Site


def test_a_role_is_given_once_and_taken_away_once(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    url = f"{COURSES}/{course_id}/roles/beta/{user}"
    head = site.head()
    for _ in range(2):
        given = ask(lms(site), "PUT", url + "/")
        assert given.status_code == 200
    assert given.json() == {
        "username": user,
        "role": "beta_testers",
        "org": "Demo",
        "course_id": course_id,
    }
    assert int(given.headers["X-Log-Position"]) > head
    roles = ask(site.as_(user), "GET", f"{ENROLLMENT}/roles/").json()["roles"]
    assert roles == [{"org": "Demo", "course_id": course_id, "role": "beta_testers"}]
    for _ in range(2):
        assert ask(lms(site), "DELETE", url).status_code == 204
    assert types(site, head) == ["CourseRoleGranted", "CourseRoleRevoked"]
    assert ask(site.as_(user), "GET", f"{ENROLLMENT}/roles/").json()["roles"] == []


def test_courses_of_the_older_form_have_roles(site: Site) -> None:
    user = a_user(site)
    for course in ("Org/C/R", "Org%2FC%2FR"):
        given = ask(lms(site), "PUT", f"{COURSES}/{course}/roles/staff/{user}/")
        assert given.json()["course_id"] == "Org/C/R"


def test_what_is_no_role_of_anybody_in_a_course(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    unknown = ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/king/{user}/")
    assert unknown.status_code == 400
    assert unknown.json()["errors"][0]["loc"] == ["path", "role"]
    missing = ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/staff/nobody-at-all/")
    assert missing.status_code == 404
    assert ask(lms(site), "PUT", f"{COURSES}/nonsense/roles/staff/{user}/").status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_who_may_give_roles(site: Site, method: str) -> None:
    user, course_id, other = a_user(site), a_course(site), a_course(site)
    instructor, staff = a_user(site), a_user(site)
    for name, role in ((instructor, "instructor"), (staff, "staff")):
        ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/{role}/{name}/")
    ask(lms(site), "GET", f"{ENROLLMENT}/roles/")
    url = f"{COURSES}/{course_id}/roles/staff/{user}/"
    for caller, status in [
        (site.nobody, 401),
        (site.as_(user), 403),
        (site.as_(staff), 403),
        (site.as_("x", course_roles={"staff": [course_id]}), 403),
        (site.as_("x", course_roles={"instructor": [other]}), 403),
        (site.as_("lms", scopes=["enrollments:write"]), 403),
        (site.as_(instructor), 200),
        (site.as_("x", course_roles={"instructor": [course_id]}), 200),
        (site.as_("lms", scopes=["users:write"]), 200),
        (site.as_("lms", scopes=["courses:write"]), 200),
        (site.as_("root", staff=True), 200),
    ]:
        expected = 204 if (status, method) == (200, "DELETE") else status
        assert ask(caller, method, url).status_code == expected
    elsewhere = f"{COURSES}/{other}/roles/staff/{user}/"
    assert ask(site.as_(instructor), method, elsewhere).status_code == 403
