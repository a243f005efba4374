"""The enrolment interface."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.http.people import COURSES, ENROLLMENT, a_course, a_user, ask, enrol, lms, types
from tests.api.http.site import Site

AUDIT = {
    "slug": "audit",
    "name": "Audit",
    "min_price": 0,
    "suggested_prices": "",
    "currency": "usd",
    "expiration_datetime": None,
    "description": None,
    "sku": None,
    "bulk_sku": None,
}


def test_an_enrolment_is_answered_as_open_edx_does(site: Site) -> None:
    user, course_id = a_user(site), a_course(site, start="2026-01-01T00:00:00Z")
    head = site.head()
    made = enrol(site, user, course_id, mode="audit", is_active=True)
    assert made.status_code == 200
    assert types(site, head) == ["LearnerEnrolled"]
    assert int(made.headers["X-Log-Position"]) > head
    answer = made.json()
    created = datetime.fromisoformat(answer.pop("created"))
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert answer == {
        "mode": "audit",
        "is_active": True,
        "user": user,
        "course_details": {
            "course_id": course_id,
            "course_name": "Drawing",
            "enrollment_start": None,
            "enrollment_end": None,
            "course_start": "2026-01-01T00:00:00.000000Z",
            "course_end": None,
            "invite_only": False,
            "course_modes": [AUDIT],
            "pacing_type": "Instructor Paced",
        },
    }
    # Whoever asks at once sees it, without saying from which position on.
    url = f"{ENROLLMENT}/enrollment/{user},{course_id}"
    assert ask(lms(site), "GET", url, late=False).json() == made.json()


def test_an_enrolment_changes_ends_and_begins_again(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    head = site.head()
    steps: list[tuple[dict[str, Any], tuple[str, bool]]] = [
        ({}, ("audit", True)),
        ({"mode": "audit"}, ("audit", True)),
        ({"mode": "verified"}, ("verified", True)),
        ({"is_active": False}, ("verified", False)),
        ({"is_active": False, "mode": "verified"}, ("verified", False)),
        ({"is_active": True}, ("verified", True)),
    ]
    for values, after in steps:
        answer = enrol(site, user, course_id, **values).json()
        assert (answer["mode"], answer["is_active"]) == after
    assert types(site, head) == [
        "LearnerEnrolled",
        "EnrollmentModeChanged",
        "LearnerUnenrolled",
        "LearnerReenrolled",
    ]


def test_an_idempotency_key_stands_for_one_request(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    body = {"user": user, "course_details": {"course_id": course_id}}

    def send(**values: Any) -> httpx.Response:
        headers = {"Idempotency-Key": course_id}
        url = f"{ENROLLMENT}/enrollment/"
        return ask(lms(site), "POST", url, {**body, **values}, headers=headers)

    first = send()
    assert (first.status_code, first.headers.get("Idempotent-Replayed")) == (200, None)
    enrol(site, user, course_id, is_active=False)
    again = send()
    assert (again.status_code, again.headers.get("Idempotent-Replayed")) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["X-Log-Position"] == first.headers["X-Log-Position"]
    other = send(mode="honor")
    assert other.status_code == 422
    assert list(other.json()) == ["detail"]
    url = f"{ENROLLMENT}/enrollment/{user},{course_id}"
    assert ask(lms(site), "GET", url).json()["is_active"] is False


def test_what_is_wrong_with_an_enrolment_is_told_in_a_message(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    tracked = a_course(site, modes=[{"slug": "masters", "name": "Masters"}])
    unknown = "course-v1:Demo+Nobody+2026"
    head = site.head()
    for arguments, values, status, message in [
        ((user, unknown), {}, 400, f"No course '{unknown}' found for enrollment"),
        ((user, "nonsense"), {}, 400, "No course 'nonsense' found for enrollment"),
        ((user, 7), {}, 400, "No course '7' found for enrollment"),
        ((user, None), {}, 400, "Course ID must be specified to create a new enrollment."),
        ((user, course_id), {"is_active": "x"}, 400, "'x' is an invalid enrollment"),
        ((user, tracked), {"mode": "audit"}, 400, "The [audit] course mode is expired"),
        ((user, course_id), {"mode": 7}, 400, "mode: "),
        ((user, tracked), {"mode": ["x"]}, 400, "mode: "),
        ((["x"], course_id), {}, 400, "username: "),
        (("nobody-at-all", course_id), {}, 406, "There is no user called nobody-at-all."),
    ]:
        refused = enrol(site, *arguments, **values)
        assert refused.status_code == status
        assert refused.json()["message"].startswith(message)
    for body in (b"", b"[]", b"{", b'{"user": "x", "course_details": []}'):
        assert ask(lms(site), "POST", f"{ENROLLMENT}/enrollment", body).status_code == 400
    assert types(site, head) == []
    assert enrol(site, user, tracked, mode="masters").json()["mode"] == "masters"


def test_who_may_enrol(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    body = {"user": user, "course_details": {"course_id": course_id}}
    for caller, status in [
        (site.nobody, 401),
        (site.as_(user), 403),
        (site.as_("x", course_roles={"instructor": [course_id]}), 403),
        (site.as_("lms", scopes=["users:write"]), 403),
        (site.as_("lms", scopes=["enrollments:write"]), 200),
        (site.as_("root", staff=True), 200),
    ]:
        answer = ask(caller, "POST", f"{ENROLLMENT}/enrollment/", body)
        assert answer.status_code == status
        assert (status == 200) == ("detail" not in answer.json())


def test_who_may_read_enrolments(site: Site) -> None:
    user, course_id, other = a_user(site), a_course(site), a_course(site)
    enrol(site, user, course_id)
    enrol(site, user, other, is_active=False)
    third = a_course(site)
    enrol(site, user, third)
    staff = a_user(site)
    ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/limited_staff/{staff}/")
    one = f"{ENROLLMENT}/enrollment/{user},{course_id}"
    for caller, status, seen in [
        (site.as_("stranger"), 404, []),
        (site.as_(staff), 200, [course_id]),
        (site.as_("x", course_roles={"staff": [course_id]}), 200, [course_id]),
        (site.as_(user), 200, [course_id, third]),
        (lms(site), 200, [course_id, third]),
        (site.as_("root", staff=True), 200, [course_id, third]),
    ]:
        assert ask(caller, "GET", one).status_code == status
        listed = ask(caller, "GET", f"{ENROLLMENT}/enrollment?user={user}").json()
        assert [entry["course_details"]["course_id"] for entry in listed] == seen
    own = ask(site.as_(user), "GET", f"{ENROLLMENT}/enrollment").json()
    assert [entry["user"] for entry in own] == [user, user]
    assert ask(site.as_(user), "GET", f"{ENROLLMENT}/enrollment/{course_id}").status_code == 200
    left = ask(site.as_(user), "GET", f"{ENROLLMENT}/enrollment/{user},{other}/").json()
    assert left["is_active"] is False
    never = ask(lms(site), "GET", f"{ENROLLMENT}/enrollment/nobody,{course_id}/")
    assert (never.status_code, never.json()) == (200, None)
    assert ask(lms(site), "GET", f"{ENROLLMENT}/enrollment/x,y").status_code == 400
    assert ask(lms(site), "GET", f"{ENROLLMENT}/enrollment?user=%00").status_code == 400


def test_the_tracks_of_a_course(site: Site) -> None:
    modes = [
        {"slug": "audit", "name": "Audit", "expired_at": None},
        {"slug": "masters", "name": "Master's", "expired_at": "2020-01-01T00:00:00Z"},
    ]
    course_id = a_course(site, modes=modes, self_paced=True)
    for escaped in (course_id, course_id.replace("+", "%2B").replace(":", "%3A")):
        url = f"{ENROLLMENT}/course/{escaped}"
        whole = ask(site.as_("anybody"), "GET", f"{url}?include_expired=1").json()
        assert [(m["slug"], m["name"]) for m in whole["course_modes"]] == [
            ("audit", "Audit"),
            ("masters", "Master's"),
        ]
        assert whole["course_modes"][1]["expiration_datetime"] == "2020-01-01T00:00:00.000000Z"
        assert whole["pacing_type"] == "Self Paced"
        today = ask(site.as_("anybody"), "GET", f"{url}/").json()
        assert [mode["slug"] for mode in today["course_modes"]] == ["audit"]
    bare = ask(site.as_("anybody"), "GET", f"{ENROLLMENT}/course/{a_course(site)}").json()
    assert bare["course_modes"] == [AUDIT]
    for unknown in ("nonsense", "course-v1:Demo+Nobody+2026", "%FF"):
        refused = ask(site.as_("anybody"), "GET", f"{ENROLLMENT}/course/{unknown}")
        assert refused.status_code == 400
        assert refused.json()["message"].startswith("No course found for course ID")


@pytest.mark.parametrize("name", ["courseId", "course_id"])
def test_the_roles_of_the_caller_by_record_and_by_token(site: Site, name: str) -> None:
    user, course_id, other = a_user(site, is_staff=True), a_course(site), a_course(site)
    for course, role in ((course_id, "staff"), (other, "instructor")):
        ask(lms(site), "PUT", f"{COURSES}/{course}/roles/{role}/{user}/")
    caller = site.as_(user, course_roles={"limited_staff": [course_id], "staff": [course_id]})
    everywhere = ask(caller, "GET", f"{ENROLLMENT}/roles/").json()
    assert everywhere["is_staff"] is True
    assert len(everywhere["roles"]) == 3
    here = ask(caller, "GET", f"{ENROLLMENT}/roles/", params={name: course_id}).json()
    assert here["roles"] == [
        {"org": "Demo", "course_id": course_id, "role": role} for role in ("limited_staff", "staff")
    ]
    stranger = ask(site.as_("stranger"), "GET", f"{ENROLLMENT}/roles/?{name}=x").json()
    assert stranger == {"roles": [], "is_staff": False}
    assert ask(site.as_("root", staff=True), "GET", f"{ENROLLMENT}/roles").json()["is_staff"]
    refused = ask(site.nobody, "GET", f"{ENROLLMENT}/roles/")
    assert refused.json() == {"detail": "Authentication credentials were not provided."}


def test_who_left_has_no_rights_by_record(site: Site) -> None:
    user, course_id = a_user(site), a_course(site)
    ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/staff/{user}/")
    ask(lms(site), "PUT", f"/api/users/v1/users/{user}/", {"is_active": False})
    assert ask(site.as_(user), "GET", f"{ENROLLMENT}/roles/").json()["roles"] == []


@pytest.mark.parametrize(
    "path", ["enrollment/{user},{course}", "enrollment?user={user}", "course/{course}", "roles/"]
)
def test_an_answer_at_hand_is_not_sent_again(site: Site, path: str) -> None:
    user, course_id = a_user(site), a_course(site)
    enrol(site, user, course_id)
    url = f"{ENROLLMENT}/{path.format(user=user, course=course_id)}"
    first = ask(lms(site), "GET", url)
    assert int(first.headers["X-Log-Position"]) > 0
    tag = {"If-None-Match": first.headers["ETag"]}
    again = ask(lms(site), "GET", url, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
