"""What tests of people have in common: requests to any address, and somebody to be."""

import json
from typing import Any
from uuid import uuid4

import httpx

from tests.api.http.site import Site

USERS = "/api/users/v1/users"
COURSES = "/api/courses/v1/courses"
ENROLLMENT = "/api/enrollment/v1"
COHORTS = "/api/cohorts/v1"
SCOPES = ["users:write", "enrollments:write", "courses:write"]


def ask(
    site: Site, method: str, url: str, body: Any = None, *, late: bool = True, **more: Any
) -> httpx.Response:
    """Send a request; one that reads sees all that the log has, unless told otherwise."""
    headers = {**site.headers, **more.pop("headers", {})}
    if method == "GET" and late:
        headers["X-Min-Log-Position"] = str(site.head())
    if body is not None:
        more["content"] = body if isinstance(body, bytes) else json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    return site.client.request(method, site.url + url, headers=headers, **more)


def lms(site: Site) -> Site:
    """A service that may write everything about people and courses."""
    return site.as_("lms", scopes=SCOPES)


def a_name(prefix: str = "anna") -> str:
    """A user name that nobody has."""
    return f"{prefix}-{uuid4().hex[:8]}"


def a_user(site: Site, **values: Any) -> str:
    """Somebody who is registered."""
    name = a_name()
    response = ask(lms(site), "PUT", f"{USERS}/{name}/", values)
    assert response.status_code == 201, response.text
    return name


def a_course(site: Site, **values: Any) -> str:
    """A course that is published."""
    course_id = f"course-v1:Demo+{uuid4().hex[:8]}+2026"
    body = {"display_name": "Drawing", "outline": [], **values}
    response = ask(lms(site), "PUT", f"{COURSES}/{course_id}/", body)
    assert response.status_code == 201, response.text
    return course_id


def enrol(site: Site, user: Any, course_id: Any, **values: Any) -> httpx.Response:
    body = {"user": user, "course_details": {"course_id": course_id}, **values}
    return ask(lms(site), "POST", f"{ENROLLMENT}/enrollment", body)


def types(site: Site, after: int) -> list[str]:
    """The kinds of events about people that were written after a position."""
    found = (type_ for type_, _, _ in site.events(after))
    return [type_.removeprefix("learners.") for type_ in found if type_.startswith("learners.")]
