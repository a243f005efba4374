"""A course with people in it, and callers who look at its grades over HTTP."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.api.http.site import Site
from tests.school import POLICY, School, a_course, key

GRADES = "/api/grades/v1"
_NUMBERS = itertools.count(1)

SUBSECTIONS: Mapping[str, tuple[str | None, Mapping[str, float]]] = {
    "hw1": ("Homework", {"p1": 5, "p2": 1}),
    "hw2": ("Homework", {"p3": 10}),
    "exam": ("Exam", {"q1": 10}),
    "reading": (None, {"r1": 1}),
}


@dataclass
class Classroom:
    """One course; names of users are its own, so that tests don't meet."""

    school: School
    site: Site
    mark: str = field(default_factory=lambda: f"c{next(_NUMBERS)}")

    @property
    def course_id(self) -> str:
        return f"course-v1:Uni{self.mark}+Physics+2026"

    @property
    def org(self) -> str:
        return f"Uni{self.mark}"

    def key(self, kind: str, name: str) -> str:
        return key(kind, name, self.course_id)

    def cell(self, name: str) -> str:
        """The usage key of a subsection."""
        return self.key("sequential", name)

    # --- what there is ----------------------------------------------------------------------

    def blocks(self, **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The outline, with some blocks changed by name."""
        return [
            {**block, **changes.get(block["usage_key"].rpartition("@")[2], {})}
            for block in a_course(SUBSECTIONS, self.course_id)
        ]

    def publish(self, blocks: Any = None, **more: Any) -> None:
        policy = more.pop("policy", POLICY)
        self.school.publish(
            self.blocks() if blocks is None else blocks,
            course_id=self.course_id,
            policy=policy,
            **more,
        )

    def name(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def register(self, name: str, **more: Any) -> int:
        return self.school.register(self.name(name), **more)

    def learner(self, name: str, mode: str = "audit", **more: Any) -> int:
        """Register and enrol somebody; return the number."""
        user_id = self.register(name, **more)
        self.school.enroll(self.name(name), self.course_id, mode)
        return user_id

    def leave(self, name: str) -> None:
        self.school.enroll(self.name(name), self.course_id, None, is_active=False)  # type: ignore[arg-type]

    def role(self, name: str, role: str, **place: Any) -> None:
        place = place or {"course_id": self.course_id}
        self.school.run(
            lambda: self.school.backend.learners.grant_role(self.name(name), role, **place)
        )

    def cohort(self, cohort: str, *names: str, **more: Any) -> int:
        """Make a cohort of these learners; return its number."""
        learners = self.school.backend.learners
        done = self.school.run(lambda: learners.create_cohort(self.course_id, cohort, **more))
        cohort_id: int = done.value.cohort_id
        if names:
            users = [self.name(name) for name in names]
            self.school.run(lambda: learners.assign_to_cohort(self.course_id, cohort_id, users))
        return cohort_id

    def score(self, name: str, problem: str, earned: int, possible: int) -> None:
        self.school.score(self.name(name), problem, earned, possible, course_id=self.course_id)

    # --- who calls --------------------------------------------------------------------------

    @property
    def root(self) -> "Caller":
        """Global staff by the token."""
        return self.caller("root", staff=True)

    @property
    def teacher(self) -> "Caller":
        """Staff of this course by the token."""
        return self.caller("prof", course_roles={"staff": [self.course_id]})

    def caller(self, name: str, **claims: Any) -> "Caller":
        return Caller(self, self.site.as_(self.name(name), **claims))

    @property
    def nobody(self) -> "Caller":
        return Caller(self, self.site.nobody)


@dataclass
class Caller:
    """Somebody who asks about the grades of a course."""

    room: Classroom
    site: Site

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.site.headers, **more.pop("headers", {})}
        return self.site.client.request(
            method, self.site.url + GRADES + path, headers=headers, **more
        )

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """Ask, as of everything that was written and what follows from it."""
        headers = {"X-Min-Log-Position": str(self.site.head())}
        return self.send("GET", path, params=parameters or None, headers=headers)

    def gradebook(self, **parameters: Any) -> httpx.Response:
        return self.get(f"/gradebook/{self.room.course_id}/", **parameters)

    def names(self, **parameters: Any) -> list[str]:
        """Who is on a page of the gradebook, without the mark of the course."""
        response = self.gradebook(**parameters)
        assert response.status_code == 200, response.text
        return [entry["username"].rpartition("-")[0] for entry in response.json()["results"]]

    def bulk(self, *items: Any, **more: Any) -> httpx.Response:
        raw = {"Content-Type": "application/json", **more.pop("headers", {})}
        body = more.pop("content", None)
        return self.send(
            "POST",
            f"/gradebook/{self.room.course_id}/bulk-update",
            content=json.dumps(list(items)) if body is None else body,
            headers=raw,
            **more,
        )


def an_override(user_id: Any, usage_id: Any, **grade: Any) -> dict[str, Any]:
    """One item of a bulk update."""
    return {"user_id": user_id, "usage_id": usage_id, "grade": grade}


def problem(response: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, code and message of a refusal, which has the shape that clients know."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) <= {"developer_message", "error_code", "field_errors"}
    return response.status_code, body.get("error_code"), body.get("developer_message")
