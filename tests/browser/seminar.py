"""A course as it may be in the middle of a term, for looking at: the same every time."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.http.config import HttpConfig
from domain.grades.application import GRADEBOOK, OverrideRequest
from domain.grades.structure import Viewer
from projections.gradebook import queries
from tests.api.http.site import SECRET, Site
from tests.school import School, a_course, key

COURSE_ID = "course-v1:Uni+Electronics+2026"
TITLE = "Introduction to Electronics"
TEACHER, ASSISTANT, STRANGER = "instructor-1", "assistant-1", "visitor-1"
PASSWORD = "correct horse battery staple"
CONFIG = HttpConfig(jwt_secret=SECRET)

ASSIGNMENTS: Mapping[str, tuple[str, str, Mapping[str, float]]] = {
    "ohm": ("Ohm's law", "Homework", {"ohm-1": 5, "ohm-2": 5}),
    "dividers": ("Voltage dividers", "Homework", {"div-1": 4, "div-2": 8}),
    "lab1": ("Measuring resistance", "Lab", {"lab1-report": 20}),
    "capacitors": ("Capacitors", "Homework", {"cap-1": 6, "cap-2": 4}),
    "diodes": ("Diodes", "Homework", {"dio-1": 5, "dio-2": 5}),
    "lab2": ("RC circuits", "Lab", {"lab2-report": 20}),
    "midterm": ("Midterm", "Exam", {"mid-1": 20, "mid-2": 20}),
    "amplifiers": ("Amplifiers", "Homework", {"amp-1": 10}),
    "lab3": ("An amplifier", "Lab", {"lab3-report": 20}),
}
POLICY: Mapping[str, Any] = {
    "graders": [
        {"type": "Homework", "short_label": "HW", "min_count": 5, "drop_count": 1, "weight": 0.3},
        {"type": "Lab", "short_label": "Lab", "min_count": 3, "drop_count": 0, "weight": 0.3},
        {"type": "Exam", "short_label": "Exam", "min_count": 1, "drop_count": 0, "weight": 0.4},
    ],
    "cutoffs": {"A": 0.85, "B": 0.7, "C": 0.55},
}
LEARNERS = 62


@dataclass(frozen=True)
class Seminar:
    """The course, and where it is served."""

    school: School
    site: Site

    def address(self, *parts: str) -> str:
        return "/".join([f"{self.site.url}/gradebook", *parts, ""])

    @property
    def table(self) -> str:
        return self.address(COURSE_ID)

    def cell(self, username: str, name: str) -> str:
        user_id = self.school.learner(username, COURSE_ID).user_id
        return self.address(COURSE_ID, "learners", str(user_id), key("sequential", name, COURSE_ID))

    def override(self, username: str, name: str, points: float, reason: str) -> None:
        request = OverrideRequest(
            self.school.learner(username, COURSE_ID).user_id,
            key("sequential", name, COURSE_ID),
            {"earned_graded": points},
            reason,
            Viewer({}),
        )
        course = self.school.version(COURSE_ID)
        grades = self.school.backend.grades
        self.school.run(
            lambda: grades.override(
                course, [request], system=GRADEBOOK, changed_by=ASSISTANT, changed_by_id=2
            )
        )

    def freeze(self, end: str | None) -> None:
        """Let the course have ended; None: it goes on."""
        publish(self.school, end=end, flags={"freeze_after_end": end is not None})
        self.school.ask(queries.course_by_id(COURSE_ID))


def publish(school: School, **more: Any) -> None:
    blocks = a_course(
        {name: (kind, problems) for name, (_, kind, problems) in ASSIGNMENTS.items()}, COURSE_ID
    )
    titles = {
        key("sequential", name, COURSE_ID): title for name, (title, *_) in ASSIGNMENTS.items()
    }
    for block in blocks:
        block["display_name"] = titles.get(block["usage_key"], block["display_name"])
    modes = [{"slug": "audit", "name": "Audit"}, {"slug": "verified", "name": "Verified"}]
    school.run(
        lambda: school.backend.courses.publish(
            COURSE_ID,
            display_name=TITLE,
            blocks=blocks,
            grading_policy=POLICY,
            **{"modes": modes, **more},
        )
    )


def fill(school: School) -> None:
    """Write everything that the seminar consists of."""
    chance = random.Random(26)
    publish(school)
    learners = school.backend.learners
    sessions = school.backend.sessions
    people = {
        TEACHER: school.register(TEACHER, full_name="Instructor 1"),
        ASSISTANT: school.register(ASSISTANT, full_name="Assistant 1"),
        STRANGER: school.register(STRANGER, full_name="Visitor 1"),
    }
    for username in (TEACHER, ASSISTANT):
        school.run(lambda u=username: learners.grant_role(u, "staff", course_id=COURSE_ID))
    school.enroll(ASSISTANT, COURSE_ID)
    for user_id in (people[TEACHER], people[STRANGER]):
        school.run(lambda u=user_id: sessions.set_password(u, PASSWORD, at=datetime.now(UTC)))
    names: list[str] = []
    for number in range(LEARNERS):
        username = f"learner{number + 1:03d}"
        names.append(username)
        full_name = f"Learner {number + 1:03d}"
        school.register(username, full_name=full_name, email=f"{username}@students.example")
        school.enroll(username, COURSE_ID, "verified" if number % 3 else "audit")
    for cohort, members in (("Monday", names[0::2]), ("Thursday", names[1::2])):
        done = school.run(lambda c=cohort: learners.create_cohort(COURSE_ID, c))
        cohort_id = done.value.cohort_id
        school.run(lambda i=cohort_id, m=members: learners.assign_to_cohort(COURSE_ID, i, m))
    school.run(lambda: _hand_in(school, names, chance))


async def _hand_in(school: School, names: list[str], chance: random.Random) -> None:
    """Answers and scores of the first two thirds of the term."""
    submissions = school.backend.submissions
    wanted = []
    for username in names:
        talent = chance.betavariate(5, 2)
        for _title, kind, problems in list(ASSIGNMENTS.values())[:-1]:
            if chance.random() < 0.12 and kind != "Exam":
                continue  # not handed in
            for problem, points in problems.items():
                share = min(1.0, max(0.0, chance.gauss(talent, 0.15)))
                wanted.append((username, problem, round(share * points), int(points)))

    async def score(username: str, problem: str, earned: int, possible: int) -> None:
        item = {
            "student_id": username,
            "course_id": COURSE_ID,
            "item_id": key("problem", problem, COURSE_ID),
            "item_type": "problem",
        }
        created = await submissions.create_submission(item, "42")
        await submissions.set_score(created.value.event.submission_uuid, earned, possible)

    await asyncio.gather(*(score(*one) for one in wanted))
