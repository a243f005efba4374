"""Users over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.http.people import SCOPES, USERS, a_name, a_user, ask, lms, types
from tests.api.http.site import Site

COURSE = "course-v1:Demo+S1+2026"


def test_a_user_is_registered_and_read(site: Site) -> None:
    name = a_name()
    values = {
        "email": f"{name}@example.org",
        "full_name": "Anna Ä",
        "anonymous_ids": [f"z-{name}", f"a-{name}"],
        "external_user_keys": {COURSE: "K-1"},
        "is_staff": True,
    }
    head = site.head()
    made = ask(lms(site), "PUT", f"{USERS}/{name}/", values)
    assert made.status_code == 201
    assert types(site, head) == ["UserRegistered", "ProgramEnrollmentLinked"]
    assert int(made.headers["X-Log-Position"]) > head
    document = made.json()
    assert document | {"user_id": 0, "registered_at": ""} == {
        "user_id": 0,
        "username": name,
        "email": values["email"],
        "full_name": "Anna Ä",
        "is_active": True,
        "is_staff": True,
        "anonymous_ids": [f"a-{name}", f"z-{name}"],
        "external_user_keys": [
            {"course_id": COURSE, "external_user_key": "K-1", "status": "active"}
        ],
        "roles": [],
        "registered_at": "",
    }
    read = ask(lms(site), "GET", f"{USERS}/{name}", late=True)
    assert read.json() == document
    again = ask(
        lms(site), "GET", f"{USERS}/{name}/", headers={"If-None-Match": read.headers["ETag"]}
    )
    assert again.status_code == 304


def test_the_same_again_writes_nothing_and_a_change_what_changed(site: Site) -> None:
    name = a_user(site, email="a@b.org", full_name="A")
    head = site.head()
    same = ask(lms(site), "PUT", f"{USERS}/{name}/", {"email": "a@b.org", "full_name": None})
    assert (same.status_code, types(site, head)) == (200, [])
    assert int(same.headers["X-Log-Position"]) >= head
    changed = ask(
        lms(site), "PUT", f"{USERS}/{name}", {"full_name": "B", "is_active": False, "email": ""}
    )
    assert changed.json()["full_name"] == "B"
    assert changed.json()["email"] is None
    assert types(site, head) == ["UserProfileChanged", "UserActivationChanged"]
    (fields, metadata), *_ = [
        found[1:] for found in site.events(head) if found[0].startswith("learners.")
    ]
    assert fields["full_name"] != "B"
    assert metadata["actor"] == "lms"


def test_what_is_somebody_elses_is_refused(site: Site) -> None:
    name = a_user(site, anonymous_ids=[a_name("id")])
    known = ask(lms(site), "GET", f"{USERS}/{name}/").json()
    head = site.head()
    for url, values in [
        (a_name(), {"user_id": known["user_id"]}),
        (a_name(), {"anonymous_ids": known["anonymous_ids"]}),
        (name, {"user_id": known["user_id"] + 100_000}),
        (name.upper(), {}),
    ]:
        refused = ask(lms(site), "PUT", f"{USERS}/{url}/", values)
        assert refused.status_code == 409
        assert refused.json()["type"].endswith("UserTakenError")
    assert types(site, head) == []


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ({"email": "x", "is_staff": 1}, [["body", "email"], ["body", "is_staff"]]),
        ({"user_id": "7"}, [["body", "user_id"]]),
        ({"anonymous_ids": "x"}, [["body", "anonymous_ids"]]),
        ({"external_user_keys": {"x": "y"}}, [["body", "external_user_keys"]]),
        ({"nickname": "x"}, [["body", "nickname"]]),
        ([], [["body"]]),
    ],
)
def test_bad_values_are_told_with_their_places(site: Site, values: Any, places: Any) -> None:
    refused = ask(lms(site), "PUT", f"{USERS}/{a_name()}/", values)
    assert refused.status_code == 400
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert [entry["loc"] for entry in refused.json()["errors"]] == places


@pytest.mark.parametrize("name", ["x" * 151, "%00", "%0A", "%FF", "a%2Fb"])
def test_nobody_can_be_called_so(site: Site, name: str) -> None:
    refused = ask(lms(site), "PUT", f"{USERS}/{name}/", {})
    assert refused.status_code in (400, 404)
    assert ask(lms(site), "GET", f"{USERS}/{name}/").status_code in (400, 404)


def test_who_may_register_and_read(site: Site) -> None:
    name, other = a_user(site), a_user(site)
    chief = a_user(site, is_staff=True)
    url = f"{USERS}/{name}/"
    staff = {"course_roles": {"instructor": [COURSE]}}
    for caller, write, read in [
        (site.nobody, 401, 401),
        (site.as_("stranger"), 403, 403),
        (site.as_(other, **staff), 403, 403),
        (site.as_("lms", scopes=["enrollments:write"]), 403, 403),
        (site.as_(name), 403, 200),
        (site.as_("lms", scopes=["users:write"]), 200, 200),
        (site.as_("root", staff=True), 200, 200),
    ]:
        assert ask(caller, "PUT", url, {}).status_code == write
        assert ask(caller, "GET", url).status_code == read
    ask(lms(site), "GET", url)  # the read model knows the chief by now
    assert ask(site.as_(chief), "PUT", url, {}).status_code == 200


def test_nobody_unknown_is_shown(site: Site) -> None:
    missing = ask(lms(site), "GET", f"{USERS}/{a_name()}/")
    assert missing.status_code == 404
    assert missing.json()["type"].endswith("UserNotFoundError")


def test_many_who_register_the_same_user_at_once_agree(site: Site) -> None:
    name = a_name()
    head = site.head()

    def register(_: int) -> Any:
        return ask(lms(site), "PUT", f"{USERS}/{name}/", {"email": "a@b.org"})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(register, range(16)))
    assert sorted(one.status_code for one in answers) == [200] * 15 + [201]
    assert len({one.json()["user_id"] for one in answers}) == 1
    assert types(site, head) == ["UserRegistered"]


def test_a_service_says_for_whom_it_acts(site: Site) -> None:
    name, head = a_name(), site.head()
    service = site.as_("lms", scopes=SCOPES)
    ask(service, "PUT", f"{USERS}/{name}/", {}, headers={"X-On-Behalf-Of": "registrar"})
    (metadata,) = [found[2] for found in site.events(head) if found[0] == "learners.UserRegistered"]
    assert (metadata["actor"], metadata["on_behalf_of"]) == ("lms", "registrar")
