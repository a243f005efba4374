"""The cohort interface."""

from typing import Any

import httpx
import pytest

from tests.api.http.people import COHORTS, COURSES, a_course, a_name, a_user, ask, enrol, lms, types
from tests.api.http.site import Site


def a_cohort(site: Site, course_id: str, name: str = "A", **values: Any) -> int:
    body = {"name": name, "assignment_type": "manual", **values}
    made = ask(lms(site), "POST", f"{COHORTS}/courses/{course_id}/cohorts/", body)
    assert made.status_code == 200, made.text
    number = made.json()["id"]
    assert isinstance(number, int)
    return number


def upload(site: Site, course_id: str, content: bytes, name: str = "members.csv") -> httpx.Response:
    files = {"uploaded-file": (name, content, "text/csv")}
    return ask(site, "POST", f"{COHORTS}/courses/{course_id}/users", files=files)


def refused(answer: httpx.Response, status: int, code: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["developer_message"]
    assert answer.json().get("error_code") == code


def test_a_course_says_whether_it_uses_cohorts(site: Site) -> None:
    url = f"{COHORTS}/settings/{a_course(site)}"
    assert ask(lms(site), "GET", url).json() == {"is_cohorted": False}
    head = site.head()
    for _ in range(2):
        put = ask(lms(site), "PUT", url, {"is_cohorted": True})
        assert put.json() == {"is_cohorted": True}
    assert types(site, head) == ["CohortingChanged"]
    assert ask(lms(site), "GET", url, late=False).json() == {"is_cohorted": True}
    refused(ask(lms(site), "PUT", url, {}), 400, "missing-fields")
    refused(ask(lms(site), "PUT", url, {"is_cohorted": "yes"}), 400, "invalid-values")
    refused(ask(lms(site), "PUT", url, b"[]"), 400, "invalid-body")
    refused(ask(lms(site), "PUT", url, b"{"), 400)


def test_cohorts_are_made_listed_and_read(site: Site) -> None:
    course_id = a_course(site)
    url = f"{COHORTS}/courses/{course_id}/cohorts"
    first = a_cohort(site, course_id, "A")
    second = a_cohort(
        site, course_id, "B", assignment_type="random", user_partition_id=5, group_id=1
    )
    listed = ask(lms(site), "GET", url + "/", late=False).json()
    assert listed == [
        {
            "id": first,
            "name": "A",
            "user_count": 0,
            "assignment_type": "manual",
            "user_partition_id": None,
            "group_id": None,
        },
        {
            "id": second,
            "name": "B",
            "user_count": 0,
            "assignment_type": "random",
            "user_partition_id": 5,
            "group_id": 1,
        },
    ]
    assert ask(lms(site), "GET", f"{url}/{second}").json() == listed[1]
    page = ask(lms(site), "GET", f"{url}/?page_size=1").json()
    assert (page["count"], page["num_pages"], page["results"]) == (2, 2, listed[:1])
    following = ask(lms(site), "GET", page["next"].removeprefix(site.url)).json()
    assert (following["results"], following["next"]) == (listed[1:], None)
    assert ask(lms(site), "GET", f"{url}/?page_size=100").json()["results"] == listed
    refused(ask(lms(site), "GET", f"{url}/?page=9"), 404)


def test_a_cohort_is_made_once(site: Site) -> None:
    course_id = a_course(site)
    head = site.head()
    assert a_cohort(site, course_id) == a_cohort(site, course_id)
    assert types(site, head) == ["CohortCreated"]
    url = f"{COHORTS}/courses/{course_id}/cohorts/"
    for body, code in [
        ({"name": "A", "assignment_type": "random"}, "cohort-name-exists"),
        ({"assignment_type": "random"}, "missing-cohort-name"),
        ({"name": "C"}, "missing-assignment-type"),
        ({"name": "C", "assignment_type": "x"}, "invalid-values"),
        ({"name": 7, "assignment_type": "manual"}, "invalid-values"),
        ({"name": "C", "assignment_type": "manual", "group_id": 1}, "invalid-values"),
        ({"name": "C", "assignment_type": ["manual"]}, "invalid-values"),
    ]:
        refused(ask(lms(site), "POST", url, body), 400, code)


def test_a_cohort_changes_as_far_as_it_is_told(site: Site) -> None:
    course_id = a_course(site)
    a_cohort(site, course_id, "taken")
    number = a_cohort(site, course_id, "A", assignment_type="random")
    url = f"{COHORTS}/courses/{course_id}/cohorts/{number}"
    steps: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
        ({"name": "B"}, ("B", "random", None, None)),
        ({"group_id": 3, "user_partition_id": 50}, ("B", "random", 50, 3)),
        ({"name": "B"}, ("B", "random", 50, 3)),
        ({"group_id": None}, ("B", "random", None, None)),
    ]
    for body, after in steps:
        changed = ask(lms(site), "PATCH", url + "/", body)
        assert (changed.status_code, changed.content) == (204, b"")
        found = ask(lms(site), "GET", url, late=False).json()
        assert (
            found["name"],
            found["assignment_type"],
            found["user_partition_id"],
            found["group_id"],
        ) == after
    for body, code in [
        ({}, "missing-fields"),
        ({"name": "taken"}, "cohort-name-exists"),
        ({"group_id": 3}, "missing-user-partition-id"),
        ({"assignment_type": "manual"}, "last-random-cohort"),
        ({"assignment_type": "x"}, "invalid-values"),
    ]:
        refused(ask(lms(site), "PATCH", url, body), 400, code)
    a_cohort(site, course_id, "another", assignment_type="random")
    assert ask(lms(site), "PATCH", url, {"assignment_type": "manual"}).status_code == 204


def test_users_come_into_cohorts_and_leave_them(site: Site) -> None:
    course_id = a_course(site)
    anna, ben = a_user(site, email="Anna.A@example.org"), a_user(site)
    enrol(site, anna, course_id)
    first, second = a_cohort(site, course_id, "A"), a_cohort(site, course_id, "B")
    url = f"{COHORTS}/courses/{course_id}/cohorts"
    added = ask(lms(site), "POST", f"{url}/{first}/users/", {"users": [anna, ben, "no one", ""]})
    assert added.json() == {
        "success": True,
        "added": [
            {"email": "Anna.A@example.org", "username": anna},
            {"email": None, "username": ben},
        ],
        "changed": [],
        "present": [],
        "unknown": ["no one"],
        "preassigned": [],
        "invalid": [],
    }
    assert ask(lms(site), "GET", f"{url}/{first}", late=False).json()["user_count"] == 1
    changed = ask(
        lms(site), "POST", f"{url}/{second}/users", {"users": [anna, "a@b", "a@@b", 7, "x@y z"]}
    ).json()
    assert changed["changed"] == [
        {"email": "Anna.A@example.org", "username": anna, "previous_cohort": "A"}
    ]
    assert (changed["unknown"], changed["invalid"]) == (["a@b"], ["a@@b", "x@y z", "7"])
    assert ask(lms(site), "POST", f"{url}/{second}/users", {"users": anna}).json()["present"]
    by_address = {"users": ["anna.a@Example.org", "anna.a@example.org", anna]}
    again = ask(lms(site), "POST", f"{url}/{second}/users", by_address).json()
    assert (again["present"], again["unknown"]) == ([anna], [])
    one = ask(lms(site), "POST", f"{url}/{second}/users/{ben}/").json()
    assert one["changed"][0]["previous_cohort"] == "A"
    page = ask(lms(site), "GET", f"{url}/{second}/users/?page_size=1").json()
    rest = ask(lms(site), "GET", page["next"].removeprefix(site.url)).json()
    assert [entry["username"] for entry in page["results"] + rest["results"]] == sorted([anna, ben])
    assert rest["next"] is None
    assert {"email": "Anna.A@example.org", "name": None, "username": anna} in (
        page["results"] + rest["results"]
    )
    gone = ask(lms(site), "DELETE", f"{url}/{second}/users/{ben}")
    assert (gone.status_code, gone.content) == (204, b"")
    again_gone = ask(lms(site), "DELETE", f"{url}/{second}/users/{ben}/")
    refused(again_gone, 400, "user-not-in-cohort")
    nobody = ask(lms(site), "DELETE", f"{url}/{second}/users/nobody-at-all/")
    refused(nobody, 404, "user-not-found")
    for body in ({}, {"users": []}):
        refused(ask(lms(site), "POST", f"{url}/{second}/users/", body), 400, "missing-users")
    refused(
        ask(lms(site), "POST", f"{url}/{second}/users/", {"users": {"a": 1}}), 400, "invalid-users"
    )
    refused(ask(lms(site), "GET", f"{url}/{second}/users/?cursor=x"), 404)


def test_a_file_puts_users_into_cohorts(site: Site) -> None:
    course_id = a_course(site)
    anna, ben = a_user(site), a_user(site, email="Ben@file.example.org")
    first, second = a_cohort(site, course_id, "A"), a_cohort(site, course_id, "B, too")
    text = (
        "\ufeffusername,email,cohort\r\n"
        f"{anna},,A\r\n"
        f'wrong,ben@file.example.org,"B, too"\r\n'
        f"{anna},,nowhere\r\n"
        f"{anna},,A\r\n"
        ",x@y.org,A\r\n"
        "nobody-at-all,,A\r\n"
        "short\r\n"
    )
    head = site.head()
    done = upload(lms(site), course_id, text.encode())
    assert (done.status_code, done.content) == (204, b"")
    assert types(site, head) == ["CohortMembershipChanged"] * 2
    url = f"{COHORTS}/courses/{course_id}/cohorts"
    for number, name in ((first, anna), (second, ben)):
        members = ask(lms(site), "GET", f"{url}/{number}/users/", late=False).json()["results"]
        assert [entry["username"] for entry in members] == [name]
    assert upload(lms(site), course_id, text.encode()).status_code == 204
    assert len(types(site, head)) == 2


def test_files_that_cannot_be_used(site: Site) -> None:
    course_id = a_course(site)
    head = site.head()
    for content, name, text in [
        (b"username\nx\n", "a.csv", "The file must contain a 'cohort' column"),
        (b"cohort\nx\n", "a.csv", "The file must contain a 'username' column, an 'email' column"),
        (b"", "a.csv", "The file must contain a 'cohort' column"),
        (b"cohort,username\n", "a.txt", "The file must end with the extension '.csv'."),
        (b"cohort,username\n\xff,a\n", "a.csv", "The file must be in UTF-8."),
        (b"cohort,username\n" + b"x" * 2_000_000, "a.csv", "The file must be at most"),
    ]:
        answer = upload(lms(site), course_id, content, name)
        refused(answer, 400, "failed-validation")
        assert answer.json()["developer_message"].startswith(text)
    url = f"{COHORTS}/courses/{course_id}/users/"
    missing = ask(lms(site), "POST", url, files={"other": ("a.csv", b"x")})
    refused(missing, 400, "failed-validation")
    broken = {"Content-Type": "multipart/form-data"}
    refused(ask(lms(site), "POST", url, b"x", headers=broken), 400, "failed-validation")
    refused(ask(lms(site), "POST", url, {}), 415)
    assert upload(lms(site), course_id, b"x" * 2_100_000).status_code == 413
    assert types(site, head) == []


def test_who_may_do_what_with_cohorts(site: Site) -> None:
    course_id, other = a_course(site), a_course(site)
    number = a_cohort(site, course_id)
    staff, chief = a_user(site), a_user(site, is_staff=True)
    ask(lms(site), "PUT", f"{COURSES}/{course_id}/roles/staff/{staff}/")
    ask(lms(site), "GET", f"{COHORTS}/settings/{course_id}")
    body = b"cohort,username\n"
    for caller, status, uploads in [
        (site.nobody, 401, 401),
        (site.as_("stranger"), 403, 403),
        (site.as_("x", course_roles={"staff": [other]}), 403, 403),
        (site.as_("x", scopes=["users:write"]), 403, 403),
        (site.as_("x", course_roles={"staff": [course_id]}), 200, 403),
        (site.as_(staff), 200, 403),
        (site.as_("x", scopes=["courses:write"]), 200, 403),
        (site.as_("x", scopes=["enrollments:write"]), 200, 204),
        (site.as_(chief), 200, 204),
        (site.as_("root", staff=True), 200, 204),
    ]:
        cohort = f"{COHORTS}/courses/{course_id}/cohorts/{number}"
        settings = f"{COHORTS}/settings/{course_id}"
        new = {"name": "A", "assignment_type": "manual"}
        for method, url, given in [
            ("GET", settings, None),
            ("PUT", settings, {"is_cohorted": False}),
            ("GET", f"{COHORTS}/courses/{course_id}/cohorts/", None),
            ("POST", f"{COHORTS}/courses/{course_id}/cohorts/", new),
            ("GET", cohort, None),
            ("GET", cohort + "/users/", None),
            ("POST", cohort + "/users/", {"users": ["nobody-at-all"]}),
            ("POST", cohort + "/users/nobody-at-all", None),
        ]:
            answer = ask(caller, method, url, given)
            assert answer.status_code == status, (method, url)
            if status != 200:
                refused(answer, status)
        assert upload(caller, course_id, body).status_code == uploads
        expected = 204 if status == 200 else status
        assert ask(caller, "PATCH", cohort, {"name": "A"}).status_code == expected


@pytest.mark.parametrize("course", ["nonsense", "course-v1:Demo+Nobody+2026", "%FF", "%00"])
def test_a_course_that_is_not_there_has_no_cohorts(site: Site, course: str) -> None:
    for method, path in [
        ("GET", f"settings/{course}"),
        ("GET", f"courses/{course}/cohorts/"),
        ("POST", f"courses/{course}/cohorts/1/users/{a_name()}"),
    ]:
        answer = ask(lms(site), method, f"{COHORTS}/{path}")
        assert answer.status_code == 404
        assert answer.json()["error_code"] in ("invalid-course-key", "course-not-found")


@pytest.mark.parametrize("number", ["0", "x", "-1", "9" * 30, "1.5", "٣"])
def test_a_cohort_that_is_not_there(site: Site, number: str) -> None:
    course_id = a_course(site)
    elsewhere = a_cohort(site, a_course(site))
    for cohort in (number, elsewhere):
        url = f"{COHORTS}/courses/{course_id}/cohorts/{cohort}"
        refused(ask(lms(site), "GET", url), 404, "cohort-not-found")
        refused(ask(lms(site), "PATCH", url, {"name": "B"}), 404, "cohort-not-found")
        refused(ask(lms(site), "GET", url + "/users/"), 404, "cohort-not-found")
        refused(ask(lms(site), "POST", url + "/users/x/"), 404, "cohort-not-found")
        refused(ask(lms(site), "DELETE", url + "/users/x/"), 404, "cohort-not-found")


@pytest.mark.parametrize(
    "path",
    [
        "settings/{course}",
        "courses/{course}/cohorts/",
        "courses/{course}/cohorts/{cohort}",
        "courses/{course}/cohorts/{cohort}/users/",
    ],
)
def test_an_answer_at_hand_is_not_sent_again(site: Site, path: str) -> None:
    course_id = a_course(site)
    cohort = a_cohort(site, course_id)
    url = f"{COHORTS}/{path.format(course=course_id, cohort=cohort)}"
    first = ask(lms(site), "GET", url)
    assert int(first.headers["X-Log-Position"]) > 0
    tag = {"If-None-Match": first.headers["ETag"]}
    again = ask(lms(site), "GET", url, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
