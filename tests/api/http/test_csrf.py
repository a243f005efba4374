"""Writes with cookies: only pages that could read an answer of ours may make them."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from api.http.auth import issue_token
from tests.api.http.browser import MFE, PAYLOAD, SIGNATURE, Browser, Town, whole_town
from tests.api.http.site import SECRET


@pytest.fixture(scope="module")
def here(new_database: Callable[[], str]) -> Iterator[Town]:
    with whole_town(new_database()) as found:
        found.register("ann", is_staff=True)
        found.register("eve", is_staff=True)
        yield found


@pytest.fixture
def browser(here: Town) -> Iterator[Browser]:
    here.clock.ahead = 0.0
    with here.browser() as opened:
        yield opened.signed_in("ann")
    here.clock.ahead = 0.0


def from_elsewhere(here: Town, username: str) -> Browser:
    """A browser with a token of another system, which has no session here."""
    client = httpx.Client(timeout=30)
    payload, _, signature = issue_token(SECRET, username=username, staff=True).rpartition(".")
    client.cookies.set(PAYLOAD, payload)
    client.cookies.set(SIGNATURE, signature)
    return Browser(here.site.url, client)


def test_a_token_is_for_one_session(here: Town, browser: Browser) -> None:
    token = browser.csrf()
    assert browser.write(csrf=token).status_code == 201
    assert browser.write(csrf=token).status_code == 201
    with here.browser() as eve:
        eve.signed_in("eve")
        assert eve.write(csrf=token).status_code == 403
        assert browser.write(csrf=eve.csrf()).status_code == 403
    browser.post("/logout")
    assert browser.signed_in("ann").write(csrf=token).status_code == 403


def test_without_a_session_a_token_is_for_one_person_and_one_browser(here: Town) -> None:
    ann, eve = from_elsewhere(here, "ann"), from_elsewhere(here, "eve")
    with ann.client, eve.client:
        token = ann.csrf()
        assert ann.write(csrf=token).status_code == 201
        assert eve.write(csrf=token).status_code == 403
        # Eve has her cookie planted in Ann's browser: the token is still Eve's.
        planted = eve.csrf()
        mark = eve.client.cookies["gradelog_csrf"]
        ann.client.cookies.clear()
        payload, _, signature = issue_token(SECRET, username="ann", staff=True).rpartition(".")
        for name, value in ((PAYLOAD, payload), (SIGNATURE, signature), ("gradelog_csrf", mark)):
            ann.client.cookies.set(name, value)
        assert ann.write(csrf=planted).status_code == 403


def test_a_token_without_its_cookie_is_worth_nothing(here: Town) -> None:
    ann = from_elsewhere(here, "ann")
    with ann.client:
        token = ann.csrf()
        ann.client.cookies.delete("gradelog_csrf")
        assert ann.write(csrf=token).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        lambda t: "f" + t,
        lambda t: t.replace(".", "", 1),
        lambda t: t.rpartition(".")[0],
        lambda t: t.rpartition(".")[0] + ".",
        lambda _: "..",
        lambda _: "\xe9.\xe9.\xe9",
        lambda _: "x" * 10_000,
    ],
)
def test_a_token_that_was_changed_is_refused(
    browser: Browser, change: Callable[[str], str]
) -> None:
    token = change(browser.csrf()).encode("latin-1")
    refused = browser.write(headers={"X-CSRFToken": token})
    assert refused.status_code == 403
    assert refused.json()["detail"].startswith("CSRF Failed: CSRF token")
    assert refused.headers["Access-Control-Allow-Origin"] == MFE


def test_a_token_grows_old(here: Town, browser: Browser) -> None:
    token = browser.csrf()
    here.clock.ahead = 31 * 86_400
    payload, _, signature = issue_token(
        SECRET, username="ann", staff=True, clock=here.clock
    ).rpartition(".")
    pairs = f"{PAYLOAD}={payload}; {SIGNATURE}={signature};"
    pairs += f" gradelog_session={browser.client.cookies['gradelog_session']}"
    refused = browser.write(csrf=token, headers={"Cookie": pairs})
    assert refused.json()["detail"] == "CSRF Failed: CSRF token expired."


@pytest.mark.parametrize("origin", ["https://evil.example", "http://mfe.example", "file://"])
def test_a_page_that_is_not_allowed_writes_nothing(browser: Browser, origin: str) -> None:
    refused = browser.write(csrf=browser.csrf(), headers={"Origin": origin})
    assert refused.status_code == 403
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_pages_of_ours_and_browsers_that_hide_the_page_write(browser: Browser) -> None:
    token = browser.csrf()
    for origin in (browser.url, MFE, "null"):
        assert browser.write(csrf=token, headers={"Origin": origin}).status_code == 201


def test_signing_in_wants_a_token_too(browser: Browser) -> None:
    browser.post("/logout")
    page = browser.get("/login").text
    assert "csrf_token" in page
    answer = browser.post("/login", data={"username": "ann", "password": "x"})
    assert answer.status_code == 403
    evil = {"Origin": "https://evil.example"}
    assert browser.post("/login", data={"username": "ann"}, headers=evil).status_code == 403


def test_reading_and_tokens_in_headers_need_none(here: Town, browser: Browser) -> None:
    body = {"student_id": "s", "course_id": "course-v1:A+B+C", "item_id": "i"}
    path = "/api/submissions/v1/score-resets/"
    header = {"Authorization": f"Bearer {issue_token(SECRET, username='x', staff=True)}"}
    origin = {"Origin": "https://evil.example"}
    assert browser.post(path, json=body, headers=header | origin).status_code not in (401, 403)
    assert browser.post(path, json=body).status_code == 403
    assert browser.get("/api/submissions/v1/history/", params=body).status_code not in (401, 403)


def test_an_endpoint_tells_it_in_its_own_shape(here: Town, browser: Browser) -> None:
    refused = browser.api("POST", "/shaped/", json=[])
    assert refused.status_code == 403
    assert refused.json() == {"developer_message": "CSRF Failed: CSRF token missing."}
