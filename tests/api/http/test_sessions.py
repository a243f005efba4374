"""Signing in and out, as people do it and as the pages of front ends do it for them."""

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from api.http.auth import issue_token
from tests.api.http.browser import (
    MFE,
    PASSWORD,
    PAYLOAD,
    SIGNATURE,
    Browser,
    Town,
    hidden,
    town,
    whole_town,
)
from tests.api.http.site import API, SECRET

PAGE = f"{MFE}/gradebook/course-v1:A+B+C?tab=1"
ASK = f"{API}/courses/course-v1:A+B+C/students/x/scores/"


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture(scope="module")
def here(database: str) -> Iterator[Town]:
    with whole_town(database) as found:
        found.register("ann", is_staff=True, email="ann@example.org", full_name="Ann Onym")
        found.register("bob", email="bob@example.org", anonymous_ids=["a1", "a2"])
        found.register("nopassword", password=None)
        found.register("gone", is_active=False)
        yield found


@pytest.fixture
def browser(here: Town) -> Iterator[Browser]:
    here.clock.ahead = 0.0
    with here.browser() as opened:
        yield opened
    here.clock.ahead = 0.0


@pytest.fixture(autouse=True)
def _nobody_has_tried(here: Town) -> None:
    here.site.rows("WITH d AS (DELETE FROM gradelog.sign_in_attempts RETURNING 1) SELECT 1")


def flags(answer: httpx.Response, name: str) -> set[str]:
    """How an answer sets a cookie, without its value."""
    (found,) = [c for c in answer.headers.get_list("Set-Cookie") if c.startswith(name + "=")]
    return {part.strip() for part in found.split(";")[1:]}


# --- the whole way ----------------------------------------------------------------------------


def test_the_way_of_a_front_end(browser: Browser) -> None:
    assert browser.refresh().status_code == 401
    assert browser.api("GET", ASK).status_code == 401

    signed_in = browser.sign_in("ann", next_url=PAGE)
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, PAGE)
    assert browser.api("GET", ASK).status_code == 200
    assert browser.get(ASK, headers={"USE-JWT-COOKIE": "false"}).status_code == 200  # the session

    refreshed = browser.refresh()
    assert refreshed.status_code == 200
    assert refreshed.headers["Access-Control-Allow-Origin"] == MFE
    assert abs(refreshed.json()["response_epoch_seconds"] - browser.claims()["iat"]) < 2

    assert browser.write().status_code == 403
    assert browser.write(csrf="rubbish").status_code == 403
    token = browser.csrf()
    written = browser.write(csrf=token)
    assert written.status_code == 201, written.text
    assert int(written.headers["X-Log-Position"]) > 0

    left = browser.get("/logout", params={"redirect_url": PAGE})
    assert (left.status_code, left.headers["Location"]) == (303, PAGE)
    assert not browser.client.cookies.get(PAYLOAD)
    assert not browser.client.cookies.get("gradelog_session")
    assert browser.refresh().status_code == 401
    assert browser.write(csrf=token).status_code == 401


def test_what_the_token_says(here: Town, browser: Browser) -> None:
    claims = browser.signed_in("ann").claims()
    assert claims["preferred_username"] == "ann"
    assert (
        claims["user_id"]
        == here.site.rows(
            "SELECT (data::jsonb->>'user_id')::int FROM gradelog.events"
            " WHERE type = 'learners.UserRegistered' AND data::jsonb->>'username' = 'ann'"
        )[0][0]
    )
    assert claims["administrator"] is True
    assert claims["roles"] == []
    assert (claims["email"], claims["name"]) == ("ann@example.org", "Ann Onym")
    assert claims["exp"] - claims["iat"] == 900
    assert claims["version"].startswith("1.")
    assert "course_roles" not in claims


def test_the_token_of_a_learner_names_his_own_ids(browser: Browser) -> None:
    claims = browser.signed_in("bob").claims()
    assert claims["administrator"] is False
    assert claims["anonymous_ids"] == ["a1", "a2"]
    assert browser.api("GET", ASK).status_code in (403, 404)


def test_a_token_always_fits_into_a_cookie(here: Town, browser: Browser) -> None:
    ids = [secrets.token_hex(16) for _ in range(300)]
    here.register("busy", anonymous_ids=ids, full_name="\U0001d11e" * 250, is_staff=True)
    claims = browser.signed_in("busy").claims()
    assert "anonymous_ids" not in claims
    assert claims["preferred_username"] == "busy"
    assert len(browser.client.cookies[PAYLOAD]) < 4000
    assert browser.api("GET", ASK).status_code == 200


# --- cookies ----------------------------------------------------------------------------------


def test_cookies_are_flagged_as_front_ends_need_them(browser: Browser) -> None:
    answer = browser.sign_in("ann")
    assert flags(answer, "gradelog_session") == {
        "HttpOnly",
        "Max-Age=2592000",
        "Path=/",
        "SameSite=Lax",
    }
    assert flags(answer, PAYLOAD) == {"Max-Age=900", "Path=/", "SameSite=Lax"}
    assert flags(answer, SIGNATURE) == {"HttpOnly", "Max-Age=900", "Path=/", "SameSite=Lax"}


def test_over_https_cookies_are_secure_and_go_to_other_sites(database: str, here: Town) -> None:
    settings = {"public_url": "https://grades.example/", "cookie_domain": "example"}
    with town(database, **settings) as secure, secure.browser() as browser:
        page = browser.get("/login")
        assert flags(page, "__Host-gradelog_csrf") == {
            "HttpOnly",
            "Path=/",
            "SameSite=None",
            "Secure",
        }
        cookie = page.headers["Set-Cookie"].partition(";")[0]
        form = hidden(page.text) | {"username": "ann", "password": PASSWORD}
        answer = browser.post("/login", data=form, headers={"Cookie": cookie})
        assert answer.status_code == 303
        assert {"Secure", "SameSite=None"} <= flags(answer, "__Host-gradelog_session")
        assert not any(f.startswith("Domain") for f in flags(answer, "__Host-gradelog_session"))
        assert {"Secure", "SameSite=None", "Domain=example"} <= flags(answer, PAYLOAD)
        assert "HttpOnly" not in flags(answer, PAYLOAD)
        assert {"HttpOnly", "Secure", "Domain=example"} <= flags(answer, SIGNATURE)


def test_names_of_cookies_are_settings(database: str, here: Town) -> None:
    names = {"payload_cookie": "stage-payload", "signature_cookie": "stage-signature"}
    with town(database, **names) as stage, stage.browser() as browser:
        browser.signed_in("ann")
        assert {"stage-payload", "stage-signature"} <= set(browser.client.cookies)
        assert browser.api("GET", ASK).status_code == 200


def test_only_a_digest_of_the_secret_is_stored(here: Town, browser: Browser) -> None:
    secret = browser.signed_in("ann").client.cookies["gradelog_session"]
    digest = hashlib.sha256(secret.encode()).digest()
    assert here.site.rows(
        "SELECT username FROM gradelog.sessions WHERE secret_digest = %s", digest
    ) == [("ann",)]
    (stored,) = here.site.rows(
        "SELECT jsonb_agg(s)::text || (SELECT jsonb_agg(c)::text"
        " FROM gradelog.credentials c) FROM gradelog.sessions s"
    )
    assert secret not in stored[0]
    assert PASSWORD not in stored[0]


def test_the_secret_changes_with_each_sign_in(here: Town, browser: Browser) -> None:
    first = browser.signed_in("ann").client.cookies["gradelog_session"]
    browser.client.cookies.delete(PAYLOAD)
    form = hidden(_form_of(browser)) | {"username": "bob", "password": PASSWORD}
    assert browser.post("/login", data=form).status_code == 303
    assert browser.client.cookies["gradelog_session"] != first
    with here.browser() as thief:
        thief.client.cookies.set("gradelog_session", first)
        assert thief.refresh().status_code == 401


def _form_of(browser: Browser) -> str:
    """The form as a browser has it that is signed in: with a token for its session."""
    token = browser.csrf()
    return f"<input type=hidden name=csrf_token value='{token}'>"


@pytest.mark.parametrize("half", [PAYLOAD, SIGNATURE])
def test_tampered_cookies_are_nobody(browser: Browser, half: str) -> None:
    browser.signed_in("ann")
    value = browser.client.cookies[half]
    middle = len(value) // 2
    other = "A" if value[middle] != "A" else "B"
    cookies = {name: browser.client.cookies[name] for name in (PAYLOAD, SIGNATURE)}
    cookies[half] = value[:middle] + other + value[middle + 1 :]
    pairs = "; ".join(f"{name}={text}" for name, text in cookies.items())
    assert browser.api("GET", ASK, headers={"Cookie": pairs}).status_code == 401


def test_half_a_token_and_rubbish_are_nobody(browser: Browser) -> None:
    browser.signed_in("ann")
    payload, signature = (browser.client.cookies[name] for name in (PAYLOAD, SIGNATURE))
    for pairs in (
        f"{PAYLOAD}={payload}",
        f"{SIGNATURE}={signature}",
        f"{PAYLOAD}=; {SIGNATURE}=",
        f"{PAYLOAD}={payload}; {SIGNATURE}=é",
        f"{PAYLOAD}=\xff; {SIGNATURE}=.",
    ):
        headers = {"Cookie": pairs.encode("utf-8"), "USE-JWT-COOKIE": "true"}
        request = httpx.Request("GET", browser.url + ASK, headers=headers)
        with httpx.Client() as other:
            assert other.send(request).status_code == 401


def test_cookies_of_a_token_are_ignored_unless_asked_for(here: Town, browser: Browser) -> None:
    browser.signed_in("ann")
    pairs = "; ".join(f"{n}={browser.client.cookies[n]}" for n in (PAYLOAD, SIGNATURE))
    with here.browser(Cookie=pairs) as other:
        assert other.get(ASK).status_code == 401
        assert other.get(ASK, headers={"USE-JWT-COOKIE": "false"}).status_code == 401
        assert other.get(ASK, headers={"USE-JWT-COOKIE": "True"}).status_code == 200


def test_a_token_in_the_header_comes_before_cookies(browser: Browser) -> None:
    browser.signed_in("ann")
    learner = {"Authorization": f"JWT {issue_token(SECRET, username='bob')}"}
    assert browser.api("GET", ASK, headers=learner).status_code in (403, 404)
    staff = {"Authorization": f"JWT {issue_token(SECRET, username='root', staff=True)}"}
    assert browser.write(headers=staff).status_code == 201


def test_cookies_that_another_system_signed_are_taken(here: Town, browser: Browser) -> None:
    payload, _, signature = issue_token(SECRET, username="lms", staff=True).rpartition(".")
    browser.client.cookies.set(PAYLOAD, payload)
    browser.client.cookies.set(SIGNATURE, signature)
    assert browser.api("GET", ASK).status_code == 200
    assert browser.write().status_code == 403
    assert browser.write(csrf=browser.csrf()).status_code == 201
    assert browser.refresh().status_code == 401


# --- time, and what ends a session ------------------------------------------------------------


def test_tokens_last_a_quarter_of_an_hour_and_are_renewed(here: Town, browser: Browser) -> None:
    browser.signed_in("ann")
    here.clock.ahead = 960
    assert browser.api("GET", ASK).status_code == 401
    assert browser.refresh().status_code == 200
    assert browser.api("GET", ASK).status_code == 200


def test_a_session_lasts_thirty_days(here: Town, browser: Browser) -> None:
    browser.signed_in("ann")
    here.clock.ahead = 30 * 86_400 - 60
    assert browser.refresh().status_code == 200
    here.clock.ahead = 30 * 86_400 + 60
    refused = browser.refresh()
    assert refused.status_code == 401
    assert "Max-Age=0" in flags(refused, "gradelog_session")
    assert "Max-Age=0" in flags(refused, PAYLOAD)


def test_a_revoked_session_makes_no_tokens(here: Town, browser: Browser) -> None:
    user_id = here.register("carol")
    browser.signed_in("carol")
    assert browser.refresh().status_code == 200
    assert here.sessions(lambda s: s.revoke(user_id)) == 1
    assert browser.get("/notes/A/").status_code == 302
    assert browser.refresh().status_code == 401


def test_a_new_password_ends_all_sessions(here: Town, browser: Browser) -> None:
    user_id = here.register("dave")
    browser.signed_in("dave")
    here.sessions(lambda s: s.set_password(user_id, "another password", at=here.clock.now()))
    assert browser.refresh().status_code == 401
    with here.browser() as other:
        assert other.sign_in("dave").status_code == 403
        other.signed_in("dave", "another password")


def test_who_is_deactivated_is_signed_in_no_longer(here: Town, browser: Browser) -> None:
    here.register("erin")
    browser.signed_in("erin")
    here.register("erin", password=None, is_active=False)
    assert browser.refresh().status_code == 401
    here.register("erin", password=None, is_active=True)


def test_nobody_has_sessions_without_number(here: Town) -> None:
    user_id = here.register("frank")

    async def begin(sessions: Any) -> list[Any]:
        at = here.clock.now()
        for number in range(55):
            then = at + timedelta(seconds=number)
            digest = hashlib.sha256(f"frank {number}".encode()).digest()
            await sessions.begin(user_id, "frank", digest, at=then, until=at + timedelta(days=1))
        return list(await sessions.of_user(user_id, at=at))

    kept = here.sessions(begin)
    assert len(kept) == 50
    assert kept[-1].created_at - kept[0].created_at == timedelta(seconds=49)


def test_going_to_sign_out_ends_the_session_and_loading_an_image_does_not(
    browser: Browser,
) -> None:
    browser.signed_in("ann")
    image = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"}
    assert browser.get("/logout", headers=image).status_code == 403
    assert browser.refresh().status_code == 200
    left = browser.post("/logout")
    assert (left.status_code, "signed out" in left.text) == (200, True)
    assert browser.refresh().status_code == 401


def test_after_signing_out_nobody_is_sent_anywhere(browser: Browser) -> None:
    browser.signed_in("ann")
    left = browser.get("/logout", params={"next": "https://evil.example/"})
    assert left.status_code == 200
    assert browser.refresh().status_code == 401


# --- who comes in -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ann", "wrong password"),
        ("ann", ""),
        ("ann", PASSWORD.upper()),
        ("ann", "x" * 5000),
        ("nobody", PASSWORD),
        ("nopassword", PASSWORD),
        ("gone", PASSWORD),
        ("", PASSWORD),
        ("x" * 5000, PASSWORD),
    ],
)
def test_all_that_is_wrong_is_answered_alike(
    browser: Browser, username: str, password: str
) -> None:
    answer = browser.sign_in(username, password)
    assert answer.status_code == 403
    assert "The user name or the password is wrong." in answer.text
    assert "gradelog_session" not in browser.client.cookies
    assert PAYLOAD not in browser.client.cookies


def test_the_form_is_bound_to_the_browser(here: Town, browser: Browser) -> None:
    with here.browser() as other:
        form = hidden(other.get("/login").text)
    browser.get("/login")
    answer = browser.post("/login", data=form | {"username": "ann", "password": PASSWORD})
    assert answer.status_code == 403
    assert "open for too long" in answer.text
    form = hidden(answer.text) | {"username": "ann", "password": PASSWORD}
    assert browser.post("/login", data=form).status_code == 303


def test_what_was_typed_is_shown_as_text(browser: Browser) -> None:
    answer = browser.sign_in("<script>'\"&", "wrong password")
    assert "<script>" not in answer.text
    assert "value='&lt;script&gt;&#x27;&quot;&amp;'" in answer.text


def test_a_page_has_no_scripts_and_only_its_own_style(browser: Browser) -> None:
    page = browser.get("/login", params={"next": PAGE})
    policy = page.headers["Content-Security-Policy"]
    nonce = page.text.partition("<style nonce='")[2].partition("'")[0]
    assert len(nonce) > 15
    assert f"style-src 'nonce-{nonce}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert f"form-action 'self' {MFE}" in policy
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text
    assert nonce not in browser.get("/login").text


def test_many_sign_in_at_the_same_time(here: Town) -> None:
    def come(_: int) -> int:
        with here.browser() as browser:
            browser.signed_in("ann")
            return browser.write(csrf=browser.csrf()).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(come, range(24))) == [201] * 24


def test_sign_ins_of_staff_are_logged_by_number(
    here: Town, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), capture_logs() as captured:
        browser.sign_in("ann", "wrong password")
        browser.signed_in("ann")
        browser.post("/logout")
        browser.signed_in("bob")
    # Another test may have set up logging, and then it goes the other way.
    told = [str(entry) for entry in captured] + [str(vars(record)) for record in caplog.records]
    (refused,) = [text for text in told if "staff did not sign in" in text]
    (signed_in,) = [text for text in told if "staff signed in" in text]
    assert "user_id" in refused
    assert "session_id" in signed_in
    assert not re.search(rf"\bann\b|\bbob\b|{PASSWORD}", refused + signed_in)


# --- where to, afterwards ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "https://evil.example/",
        "http://mfe.example/",
        "https://mfe.example:444/",
        "https://mfe.example@evil.example/",
        "https://mfe.example.evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "https:evil.example",
        "https:///evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://[::1",
        " https://mfe.example/",
        "relative",
    ],
)
def test_nobody_is_sent_to_strangers(browser: Browser, bad: str) -> None:
    page = browser.get("/login", params={"next": bad})
    assert page.status_code == 400
    assert "GRADELOG_ALLOWED_ORIGINS" in page.text
    form = hidden(browser.get("/login").text)
    form |= {"username": "ann", "password": PASSWORD, "next": bad}
    answer = browser.post("/login", data=form)
    assert answer.status_code == 400
    assert "gradelog_session" not in browser.client.cookies


@pytest.mark.parametrize("good", [PAGE, MFE, "/gradebook/course-v1:A+B+C/?page=2", "/"])
def test_people_go_on_to_where_they_came_from(browser: Browser, good: str) -> None:
    answer = browser.sign_in("bob", next_url=good)
    assert (answer.status_code, answer.headers["Location"]) == (303, good)
    again = browser.get("/login", params={"next": good})
    assert (again.status_code, again.headers["Location"]) == (302, good)


def test_without_a_place_to_go_people_see_who_they_are(browser: Browser) -> None:
    answer = browser.sign_in("bob")
    assert answer.headers["Location"] == "/login"
    assert "signed in as <strong>bob</strong>" in browser.get("/login").text


# --- too many attempts ------------------------------------------------------------------------


def test_one_name_is_tried_ten_times(here: Town, browser: Browser) -> None:
    here.register("grace")
    for _ in range(10):
        assert browser.sign_in("grace", "wrong password").status_code == 403
    refused = browser.sign_in("Grace", PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 301
    assert browser.sign_in("grace").status_code == 429
    assert browser.sign_in("bob").status_code == 303
    here.clock.ahead = 301
    assert browser.post("/logout").status_code == 200
    assert browser.sign_in("grace").status_code == 303


def test_success_begins_the_count_anew(browser: Browser) -> None:
    for _ in range(2):
        for _ in range(9):
            assert browser.sign_in("bob", "wrong password").status_code == 403
        browser.signed_in("bob")
        browser.post("/logout")


def test_one_address_tries_only_so_many_names(database: str, here: Town) -> None:
    with town(database, attempts_per_address=5) as strict, strict.browser() as browser:
        for _ in range(8):  # those who come in do not count
            browser.signed_in("bob")
            browser.post("/logout")
        for number in range(5):
            assert browser.sign_in(f"guess-{number}", "wrong password").status_code == 403
        assert browser.sign_in("guess-6", "wrong password").status_code == 429
        assert browser.sign_in("bob").status_code == 429
    # The name was not counted, so whoever guesses names fills no table.
    assert here.site.rows("SELECT count(*) FROM gradelog.sign_in_attempts") == [(6,)]


def test_no_name_and_no_address_is_kept_of_attempts(here: Town, browser: Browser) -> None:
    browser.sign_in("bob", "wrong password")
    (kept,) = here.site.rows("SELECT jsonb_agg(a)::text FROM gradelog.sign_in_attempts a")
    assert "bob" not in kept[0]
    assert "127.0.0.1" not in kept[0]


# --- development ------------------------------------------------------------------------------


def test_in_development_people_choose_whom_to_be(database: str, here: Town) -> None:
    with town(database, development=True) as open_town, open_town.browser() as browser:
        page = browser.get("/login", params={"next": PAGE})
        assert page.text.index("value='ann'") < page.text.index("value='bob'")
        assert "Ann Onym (staff)" in page.text
        answer = browser.post("/login", data=hidden(page.text) | {"as": "nopassword"})
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
        assert browser.claims()["preferred_username"] == "nopassword"
        browser.post("/logout")
        form = hidden(browser.get("/login").text)
        assert browser.post("/login", data=form | {"as": "nobody"}).status_code == 403
        assert browser.post("/login", data=form | {"as": "gone"}).status_code == 403
        assert browser.post("/login", data={"as": "ann"}).status_code == 403


def test_other_names_of_this_machine_show_nobody(database: str, here: Town) -> None:
    with (
        town(database, development=True) as open_town,
        open_town.browser(Host="rebound.example") as browser,
    ):
        page = browser.get("/login")
        assert "value='ann'" not in page.text
        assert "localhost" in page.text
        answer = browser.post("/login", data=hidden(page.text) | {"as": "ann"})
        assert answer.status_code == 403
    settings = {"development": True, "development_anywhere": True}
    with (
        town(database, **settings) as open_town,
        open_town.browser(Host="staging.example") as browser,
    ):
        assert "value='ann'" in browser.get("/login").text


def test_nobody_chooses_by_default(browser: Browser) -> None:
    page = browser.get("/login")
    assert "value='ann'" not in page.text
    answer = browser.post("/login", data=hidden(page.text) | {"as": "ann"})
    assert answer.status_code == 403
    assert "gradelog_session" not in browser.client.cookies


# --- elsewhere --------------------------------------------------------------------------------


def test_where_another_system_lets_people_in(database: str, here: Town) -> None:
    settings = {
        "login_url": "https://lms.example/login?a=b",
        "logout_url": "https://lms.example/logout",
        "refresh_url": "https://lms.example/login_refresh",
    }
    with town(database, **settings) as other, other.browser() as browser:
        page = browser.get("/login", params={"next": PAGE})
        assert page.status_code == 302
        assert page.headers["Location"].startswith("https://lms.example/login?a=b&next=https%3A")
        assert browser.post("/login", data={"username": "ann"}).status_code == 404
        assert browser.refresh().status_code == 404
        sent = browser.get("/notes/A/?b=c")
        query = parse_qs(urlsplit(sent.headers["Location"]).query)
        assert query["next"] == [f"{other.site.url}/notes/A/?b=c"]

        payload, _, signature = issue_token(SECRET, username="lms-user").rpartition(".")
        browser.client.cookies.set(PAYLOAD, payload)
        browser.client.cookies.set(SIGNATURE, signature)
        assert "lms-user" in browser.get("/notes/A/").text
        assert browser.post("/notes/A/", data={"text": "x"}).status_code == 403
        settings_of_pages = browser.get("/api/mfe_config/v1").json()
        assert settings_of_pages["LOGOUT_URL"] == "https://lms.example/logout"


def test_without_a_secret_nobody_signs_in_here(database: str, here: Town) -> None:
    with town(database, jwt_secret=None) as other, other.browser() as browser:
        assert browser.get("/login").status_code == 404
        assert browser.refresh().status_code == 404


# --- pages of our own -------------------------------------------------------------------------


def test_a_page_sends_strangers_to_sign_in_and_back(browser: Browser) -> None:
    sent = browser.get("/notes/course-v1:A+B+C/?page=2&q=a%20b")
    assert sent.status_code == 302
    where = sent.headers["Location"]
    assert where == "/login?next=%2Fnotes%2Fcourse-v1%3AA%2BB%2BC%2F%3Fpage%3D2%26q%3Da%2520b"
    form = hidden(browser.get(where).text) | {"username": "bob", "password": PASSWORD}
    back = browser.post("/login", data=form).headers["Location"]
    assert back == "/notes/course-v1:A+B+C/?page=2&q=a%20b"
    assert "bob" in browser.get(back).text


def test_a_page_is_written_with_the_token_in_its_form(browser: Browser) -> None:
    assert browser.post("/notes/A/", data={"text": "x"}).status_code == 401
    browser.signed_in("bob")
    token = browser.csrf()
    assert browser.post("/notes/A/", data={"text": "x"}).status_code == 403
    assert browser.post("/notes/A/", data={"text": "x", "csrf_token": "y"}).status_code == 403
    written = browser.post("/notes/A/", data={"text": "déjà vu", "csrf_token": token})
    assert (written.status_code, "bob déjà vu" in written.text) == (200, True)
    headers = {"X-CSRFToken": token}
    assert browser.post("/notes/A/", data={"text": "x"}, headers=headers).status_code == 200


def test_a_page_does_not_redirect_who_sends_a_bad_token(browser: Browser) -> None:
    answer = browser.get("/notes/A/", headers={"Authorization": "JWT x"})
    assert answer.status_code == 401


# --- accounts and settings --------------------------------------------------------------------


def test_the_account_of_oneself(browser: Browser) -> None:
    browser.signed_in("bob")
    account = browser.api("GET", "/api/user/v1/accounts/bob").json()
    assert account["username"] == "bob"
    assert account["email"] == "bob@example.org"
    assert account["name"] == ""
    assert account["is_active"] is True
    assert account["language_proficiencies"] == []
    assert account["date_joined"].endswith("Z")
    assert account["profile_image"] == {
        "has_image": False,
        "image_url_full": None,
        "image_url_large": None,
        "image_url_medium": None,
        "image_url_small": None,
    }


def test_others_see_only_that_there_is_an_account(browser: Browser) -> None:
    browser.signed_in("bob")
    account = browser.api("GET", "/api/user/v1/accounts/ann").json()
    assert set(account) == {"username", "profile_image", "account_privacy"}
    assert browser.api("GET", "/api/user/v1/accounts/nobody").status_code == 404
    browser.post("/logout")
    assert browser.get("/api/user/v1/accounts/bob").status_code == 401
    browser.signed_in("ann")
    assert browser.api("GET", "/api/user/v1/accounts/bob").json()["email"] == "bob@example.org"


def test_the_settings_of_front_ends(database: str, here: Town) -> None:
    settings = {
        "public_url": "https://grades.example",
        "site_name": "Grades",
        "mfe_config": {"SUPPORT_URL": "https://help.example", "SITE_NAME": "Ours"},
        "mfe_overrides": {"gradebook": {"SUPPORT_URL": None}},
    }
    with town(database, **settings) as other:
        ask = other.site.client
        found = ask.get(f"{other.site.url}/api/mfe_config/v1").json()
        assert found["LMS_BASE_URL"] == "https://grades.example"
        assert found["LOGIN_URL"] == "https://grades.example/login"
        assert found["LOGOUT_URL"] == "https://grades.example/logout"
        assert found["REFRESH_ACCESS_TOKEN_ENDPOINT"] == "https://grades.example/login_refresh"
        assert found["CSRF_TOKEN_API_PATH"] == "/csrf/api/v1/token"
        assert found["ACCESS_TOKEN_COOKIE_NAME"] == PAYLOAD
        assert (found["SITE_NAME"], found["SUPPORT_URL"]) == ("Ours", "https://help.example")
        one = ask.get(f"{other.site.url}/api/mfe_config/v1/", params={"mfe": "gradebook"}).json()
        assert one["SUPPORT_URL"] is None
        assert SECRET not in json.dumps(found)
