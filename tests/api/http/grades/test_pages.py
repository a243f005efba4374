"""The pages about grades as a program sees them: rights, headers, refusals, forms."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote

import httpx
import pytest

from projections.gradebook import queries
from tests.api.http.browser import PASSWORD, Browser
from tests.api.http.grades.classroom import Caller, Classroom

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


def cell(room: Classroom, user_id: int, name: str = "hw2") -> str:
    return f"/gradebook/{room.course_id}/learners/{user_id}/{room.cell(name)}/"


def ask(caller: Caller, path: str, method: str = "GET", **more: object) -> httpx.Response:
    """Ask as a browser would, as of everything that was written and what follows from it."""
    applied = {"X-Min-Log-Position": str(caller.site.head())}
    return caller.site.client.request(
        method,
        caller.site.url + path,
        headers={**BROWSER, **caller.site.headers, **applied},
        **more,  # type: ignore[arg-type]
    )


def seen(page: str) -> str:
    (found,) = set(re.findall(r'name="seen" value="(\d+)"', page))
    return str(found)


@pytest.fixture
def ann(physics: Classroom) -> int:
    """A learner with half of the points of the second homework."""
    user_id = physics.learner("ann", email="ann@example.org", full_name="Ann <b>Other</b>")
    physics.score("ann", "p3", 5, 10)
    physics.school.learner(physics.name("ann"), physics.course_id)  # waits for the grading
    return user_id


@pytest.fixture
def window(physics: Classroom) -> Iterator[Callable[..., Browser]]:
    """Opens a browser of somebody who has signed in."""
    clients: list[httpx.Client] = []

    def open_window(name: str, **roles: str) -> Browser:
        school = physics.school
        user_id = physics.register(name)
        sessions = school.backend.sessions
        school.run(lambda: sessions.set_password(user_id, PASSWORD, at=datetime.now(UTC)))
        for role in roles.values():
            physics.role(name, role)
        client = httpx.Client(timeout=30, headers=BROWSER)
        clients.append(client)
        return Browser(physics.site.url, client).signed_in(physics.name(name))

    yield open_window
    for client in clients:
        client.close()


# --- who may see them -------------------------------------------------------------------------


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(physics: Classroom, ann: int) -> None:
    for path in ("/gradebook/", f"/gradebook/{physics.course_id}/", cell(physics, ann)):
        answer = ask(physics.nobody, path)
        assert answer.status_code == 302
        assert answer.headers["location"] == f"/login?next={quote(path, safe='')}"


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"staff": True}, 200),
        ({"course_roles": {"staff": True}}, 200),
        ({"course_roles": {"limited_staff": True}}, 200),
        ({"course_roles": {"instructor": True}}, 200),
        ({"course_roles": {"beta_testers": True}}, 403),
        ({"scopes": ["submissions:read", "submissions:write"]}, 403),
        ({}, 403),
    ],
)
def test_pages_are_for_the_team_of_the_course(
    physics: Classroom, ann: int, claims: dict[str, object], status: int
) -> None:
    if isinstance(roles := claims.get("course_roles"), dict):
        claims = {"course_roles": {role: [physics.course_id] for role in roles}}
    caller = physics.caller("somebody", **claims)
    for path in (f"/gradebook/{physics.course_id}/", cell(physics, ann)):
        assert ask(caller, path).status_code == status
    refused = ask(
        caller, cell(physics, ann), "POST", data={"points": "1", "reason": "r", "seen": "0"}
    )
    assert refused.status_code == (303 if status == 200 else 403)
    assert (physics.course_id in ask(caller, "/gradebook/?search=" + physics.org).text) == (
        status == 200
    )


def test_recorded_roles_count_also_those_of_the_organisation(
    physics: Classroom, window: Callable[..., Browser]
) -> None:
    of_course = window("tess", role="staff")
    of_nothing = window("nora")
    of_organisation = window("otto")
    physics.role("otto", "instructor", org=physics.org)
    physics.school.ask(queries.users_by_ids([0]))  # waits for the roles
    for browser, status in ((of_course, 200), (of_nothing, 403), (of_organisation, 200)):
        assert browser.get(f"/gradebook/{physics.course_id}/").status_code == status
        listed = physics.course_id in browser.get("/gradebook/").text
        assert listed == (status == 200)


# --- refusals ---------------------------------------------------------------------------------


def test_people_get_pages_and_programs_get_problems(physics: Classroom) -> None:
    path = "/gradebook/course-v1:No+Such+Course/"
    page = ask(physics.root, path)
    assert page.status_code == 404
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-request-id"] in page.text
    caller = physics.root.site
    problem = caller.client.get(caller.url + path, headers=caller.headers)
    assert problem.status_code == 404
    assert problem.headers["content-type"] == "application/problem+json"


def test_learners_and_assignments_that_are_not_there(physics: Classroom, ann: int) -> None:
    assert ask(physics.teacher, cell(physics, ann + 1000)).status_code == 404
    assert ask(physics.teacher, cell(physics, ann, "nothing")).status_code == 404
    stranger = physics.register("stranger")
    assert ask(physics.teacher, cell(physics, stranger)).status_code == 404


def test_a_gradebook_that_is_switched_off_is_not_shown(physics: Classroom) -> None:
    physics.publish(flags={"writable_gradebook": False})
    refused = ask(physics.teacher, f"/gradebook/{physics.course_id}/")
    assert refused.status_code == 403
    assert "switched off" in refused.text


# --- what a page may do -----------------------------------------------------------------------


def test_nothing_inside_a_page_is_ever_run(physics: Classroom, ann: int) -> None:
    for path in ("/gradebook/", f"/gradebook/{physics.course_id}/", cell(physics, ann)):
        answer = ask(physics.teacher, path)
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert answer.headers["cache-control"] == "private, no-store"
        assert "<b>Other" not in answer.text


def test_files_are_kept_until_they_are_others(physics: Classroom) -> None:
    page = ask(physics.teacher, "/gradebook/").text
    found = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert len(found) == 3
    for address in found:
        kept = physics.site.client.get(physics.site.url + address)
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        bare = physics.site.client.get(physics.site.url + address.partition("?")[0])
        assert bare.headers["cache-control"] == "no-cache"


def test_keys_of_old_courses_are_courses_too(physics: Classroom) -> None:
    missing = ask(physics.root, "/gradebook/Uni/Physics/2012/")
    assert missing.status_code == 404
    assert "no such course" in missing.text


# --- forms ------------------------------------------------------------------------------------


def test_a_form_needs_the_token_of_its_page(
    physics: Classroom, ann: int, window: Callable[..., Browser]
) -> None:
    browser = window("tess", role="staff")
    page = browser.get(cell(physics, ann)).text
    form = {"points": "9", "reason": "On paper.", "seen": seen(page)}
    before = physics.site.head()
    refused = browser.post(cell(physics, ann), data=form)
    assert refused.status_code == 403
    assert "Nothing was saved" in refused.text
    assert physics.site.head() == before
    token = unescape(re.findall(r'name="csrf_token" value="([^"]+)"', page)[0])
    saved = browser.post(cell(physics, ann), data=form | {"csrf_token": token})
    assert saved.status_code == 303
    assert re.fullmatch(re.escape(cell(physics, ann)) + r"\?saved=\d+", saved.headers["location"])
    ((kind, event, metadata),) = [
        one for one in physics.site.events(before) if one[0] == "grades.SubsectionOverrideApplied"
    ]
    assert kind
    assert (event["requested"], event["system"]) == ({"earned_graded": 9.0}, "GRADEBOOK")
    assert event["changed_by"] == metadata["actor"] == physics.name("tess")
    assert "On paper." not in str(event)


@pytest.mark.parametrize(
    ("points", "reason", "complaint"),
    [
        ("", "r", "Enter the points"),
        ("x", "r", "Enter a number"),
        ("inf", "r", "Enter a number"),
        ("-0.5", "r", "not negative"),
        ("5", " ", "Say why"),
        ("5", "r" * 301, "At most 300"),
        ("5", "a\0b", "no text"),
    ],
)
def test_a_bad_form_writes_nothing(
    physics: Classroom, ann: int, points: str, reason: str, complaint: str
) -> None:
    before = physics.site.head()
    form = {"points": points, "reason": reason, "seen": "0"}
    refused = ask(physics.teacher, cell(physics, ann), "POST", data=form)
    assert refused.status_code == 400
    assert complaint in refused.text
    assert physics.site.head() == before


def test_a_form_that_is_sent_twice_writes_once(physics: Classroom, ann: int) -> None:
    form = {"points": "9", "reason": "Once.", "seen": "0"}
    first, second = (ask(physics.teacher, cell(physics, ann), "POST", data=form) for _ in "12")
    assert (first.status_code, second.status_code) == (303, 409)
    assert second.text.count("Once.") == 2  # in the history, and still in the form


def test_a_page_as_old_as_its_filters_leads_back_to_them(physics: Classroom, ann: int) -> None:
    place = "?user_contains=ann&page_size=50"
    table = ask(physics.teacher, f"/gradebook/{physics.course_id}/{place}").text
    addresses = [unescape(one) for one in re.findall(r'href="([^"]+/learners/[^"]+)"', table)]
    assert addresses
    assert all(address.endswith(place) for address in addresses)
    saved = ask(
        physics.teacher, addresses[0], "POST", data={"points": "1", "reason": "r", "seen": "0"}
    )
    page = ask(physics.teacher, saved.headers["location"]).text
    assert f"/gradebook/{physics.course_id}/{place}#learner-{ann}" in unescape(page)
