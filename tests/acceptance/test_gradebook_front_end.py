"""The calls that the gradebook front end of Open edX makes, in its order and its words.

Written down from `@edx/frontend-app-gradebook` 1.4.31 in a browser, signing in included. Its
pages come from another origin and follow addresses in answers as they are.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import jwt
import pytest

from tests.api.http.browser import MFE, PASSWORD, Browser, Town, town
from tests.school import COURSE, SMALL, School, key, school

TEACHER = "prof"
LEARNERS = 30
PAGE = f"{MFE}/{COURSE}"
GRADES = "/api/grades/v1"
CELL = key("sequential", "hw2")


@pytest.fixture
def semester(dsn: str) -> Iterator[tuple[School, Town]]:
    """A course with thirty learners, two cohorts, the masters track, and files of grades."""
    with school(dsn) as opened, town(dsn) as served:
        opened.publish(
            SMALL,
            modes=[{"slug": "audit", "name": "Audit"}, {"slug": "masters", "name": "Masters"}],
            flags={"bulk_management": True},
        )
        learners, sessions = opened.backend.learners, opened.backend.sessions
        names = [f"learner{number:02}" for number in range(LEARNERS)]
        for name in names:
            opened.register(name, email=f"{name}@example.org", full_name=name.title())
            opened.enroll(name, mode="masters")
        for cohort, members in (("Red", names[::2]), ("Blue", names[1::2])):
            done = opened.run(lambda name=cohort: learners.create_cohort(COURSE, name))
            cohort_id = done.value.cohort_id
            opened.run(lambda i=cohort_id, m=members: learners.assign_to_cohort(COURSE, i, m))
        opened.score("learner00", "p3", 4, 10)
        number = opened.register(TEACHER, email="prof@example.org", full_name="The Teacher")
        opened.run(lambda: learners.grant_role(TEACHER, "staff", course_id=COURSE))
        opened.run(lambda: sessions.set_password(number, PASSWORD, at=datetime.now(UTC)))
        opened.learner("learner00")  # everything is graded
        yield opened, served


def allowed(answer: httpx.Response, status: int = 200) -> httpx.Response:
    """An answer that a page of the front end may read."""
    assert answer.status_code == status, answer.text
    assert answer.headers["access-control-allow-origin"] == MFE
    assert answer.headers["access-control-allow-credentials"] == "true"
    return answer


def preflight(browser: Browser, method: str, path: str, headers: str) -> None:
    asked = {
        "Origin": MFE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    answer = browser.client.request("OPTIONS", browser.url + path, headers=asked)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == MFE
    assert method in answer.headers["access-control-allow-methods"]
    permitted = answer.headers["access-control-allow-headers"].lower()
    assert all(name in permitted for name in headers.split(","))


def followed(browser: Browser, address: str) -> httpx.Response:
    """Follow an address of an answer as it is."""
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}" == browser.url
    return allowed(browser.api("GET", f"{parts.path}?{parts.query}"))


def test_the_front_end_shows_and_changes_grades(semester: tuple[School, Town]) -> None:
    opened, served = semester
    with served.browser() as browser:
        # Nobody is signed in: the page asks, and sends the reader to sign in.
        allowed(browser.refresh(), 401)
        wrong = browser.sign_in(TEACHER, "not " + PASSWORD, next_url=PAGE)
        assert wrong.status_code == 403
        came = browser.sign_in(TEACHER, next_url=PAGE)
        assert (came.status_code, came.headers["location"]) == (303, PAGE)

        # It reads who that is from the readable half of the token.
        payload = browser.client.cookies["edx-jwt-cookie-header-payload"] + "."
        claims = jwt.decode(payload, options={"verify_signature": False})
        assert claims["preferred_username"] == TEACHER
        assert claims["administrator"] is False
        assert claims["email"] == "prof@example.org"

        # What it loads first.
        preflight(browser, "GET", f"{GRADES}/gradebook/{COURSE}/", "use-jwt-cookie")
        roles = allowed(browser.api("GET", f"/api/enrollment/v1/roles/?courseId={quote(COURSE)}"))
        assert roles.json()["is_staff"] is False
        assert {"course_id": COURSE, "role": "staff"}.items() <= roles.json()["roles"][0].items()
        tracks = allowed(
            browser.api("GET", f"/api/enrollment/v1/course/{COURSE}?include_expired=1")
        )
        modes = [(mode["slug"], mode["name"]) for mode in tracks.json()["course_modes"]]
        assert modes == [("audit", "Audit"), ("masters", "Masters")]
        cohorts = allowed(browser.api("GET", f"/courses/{COURSE}/cohorts/")).json()["cohorts"]
        assert [cohort["name"] for cohort in cohorts] == ["Red", "Blue"]
        newer = allowed(browser.api("GET", f"/api/cohorts/v1/courses/{COURSE}/cohorts/")).json()
        assert newer == cohorts
        info = allowed(
            browser.api("GET", f"{GRADES}/gradebook/{COURSE}/grading-info?graded_only=true")
        ).json()
        assert list(info["assignment_types"]) == ["Homework", "Exam"]
        assert (info["grades_frozen"], info["can_see_bulk_management"]) == (False, True)

        # The table, a page forward and one back.
        table = f"{GRADES}/gradebook/{COURSE}/?excluded_course_roles=all&page_size=25"
        first = allowed(browser.api("GET", table)).json()
        assert len(first["results"]) == 25
        assert (first["total_users_count"], first["filtered_users_count"]) == (30, 30)
        assert first["previous"] is None
        second = followed(browser, first["next"]).json()
        assert len(second["results"]) == 5
        assert parse_qs(urlsplit(second["previous"]).query)["page_size"] == ["25"]
        assert followed(browser, second["previous"]).json()["results"] == first["results"]

        # Filters: by name, by cohort, by what was earned.
        found = allowed(browser.api("GET", f"{table}&user_contains=learner00")).json()
        (learner,) = found["results"]
        assert found["filtered_users_count"] == 1
        assert [entry["label"] for entry in learner["section_breakdown"]] == [
            "HW 01", "HW 02", "Ex 01",
        ]  # fmt: skip
        assert allowed(browser.api("GET", f"{table}&user_contains=no-such")).json()["results"] == []
        of_cohort = allowed(browser.api("GET", f"{table}&cohort_id={cohorts[0]['id']}")).json()
        assert of_cohort["filtered_users_count"] == 15
        between = "assignment_grade_min=30&assignment_grade_max=50"
        ranged = browser.api("GET", f"{table}&assignment={quote(CELL)}&{between}")
        assert [entry["username"] for entry in allowed(ranged).json()["results"]] == ["learner00"]

        # A cell: its history, an edit, and the same again at once.
        asked = f"{GRADES}/subsection/{CELL}/?history_record_limit=5&user_id={learner['user_id']}"
        cell = allowed(browser.api("GET", asked)).json()
        assert cell["success"] is True
        assert cell["original_grade"]["earned_graded"] == 4
        assert (cell["override"], cell["history"]) == (None, [])
        bulk = f"{GRADES}/gradebook/{COURSE}/bulk-update"
        preflight(browser, "POST", bulk, "content-type,use-jwt-cookie,x-csrftoken")
        grade = {"comment": "Handed in on paper.", "earned_graded_override": "9"}
        edit = [{"grade": grade, "usage_id": CELL, "user_id": learner["user_id"]}]
        assert browser.api("POST", bulk, json=edit).status_code == 403  # not without a token
        saved = browser.api("POST", bulk, csrf=browser.csrf(), json=edit)
        assert allowed(saved, 202).json() == [
            {"user_id": learner["user_id"], "usage_id": CELL, "success": True, "reason": None}
        ]
        (changed,) = allowed(browser.api("GET", f"{table}&user_contains=learner00")).json()[
            "results"
        ]
        entry = changed["section_breakdown"][1]
        assert (entry["score_earned"], entry["score_possible"], entry["percent"]) == (9, 10, 0.9)
        assert changed["percent"] == 0.18
        cell = allowed(browser.api("GET", asked)).json()
        assert cell["override"]["earned_graded_override"] == 9
        (change,) = cell["history"]
        assert change["history_user"] == TEACHER
        assert change["override_reason"] == "Handed in on paper."
        assert change["earned_graded_override"] == 9

        # Files: the browser goes there itself, so cookies are all that comes along.
        path = f"/api/bulk_grades/course/{COURSE}/"
        export = browser.get(f"{path}?excludedCourseRoles=all")
        assert export.status_code == 200
        assert "attachment" in export.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(export.text, newline="")))
        assert len(rows) == LEARNERS
        assert rows[0]["previous_override-hw2"] == "9.0"
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"new_override-hw2": "8" if row is rows[0] else ""})
        files = {"csv": ("upload.csv", out.getvalue().encode(), "text/csv")}
        upload = browser.api("POST", path, csrf=browser.csrf(), files=files)
        assert allowed(upload).json()["error_messages"] == []
        (listed,) = allowed(browser.api("GET", f"{path}history/")).json()
        assert listed["original_filename"] == "upload.csv"
        assert listed["data"]["saved_rows"] == 1
        results = browser.get(f"{path}?error_id={listed['id']}")
        assert results.status_code == 200
        assert "graded-results" in results.headers["content-disposition"]
        assert opened.learner("learner00").overrides is not None
        final = allowed(browser.api("GET", asked)).json()["history"]
        assert [one["earned_graded_override"] for one in final] == [9, 8]

        # The token's cookies expire: the page fetches new ones from the session. Then it ends.
        for name in ("edx-jwt-cookie-header-payload", "edx-jwt-cookie-signature"):
            browser.client.cookies.delete(name)
        allowed(browser.api("GET", table), 401)
        refreshed = allowed(browser.refresh())
        assert refreshed.json()["success"] is True
        assert allowed(browser.api("GET", table)).json()["results"]
        assert browser.get("/logout").status_code == 200
        allowed(browser.refresh(), 401)
        allowed(browser.api("GET", table), 401)
