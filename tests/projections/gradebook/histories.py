"""Random histories of a school: courses, people, scores and grades, as they can happen."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from domain.events import Event
from tests import facts
from tests.projections.histories import COURSES, ITEMS, STUDENTS, History
from tests.school import a_course, key

_START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_COMPONENTS = ("earned_all", "possible_all", "earned_graded", "possible_graded")


class SchoolHistory:
    """Goes on for as many events as wanted. The same seed tells the same history."""

    def __init__(self, seed: int, *, cohorts: bool = False) -> None:
        """Begin; with ``cohorts`` they come to be, too, and get other names."""
        self.chance = Random(seed)
        self._cohorts = cohorts
        self._submissions = History(seed)
        self._now = _START
        self._versions: dict[Any, int] = {}
        self._histories = 0
        self._registered: set[int] = set()
        self._enrolled: set[tuple[int, str]] = set()
        self._published: set[str] = set()

    def events(self, steps: int) -> list[Event]:
        made: list[Event] = []
        for _ in range(steps):
            self._now += timedelta(seconds=self.chance.choice((0, 1, 60)))
            step = self.chance.choices(
                (self._scores, self._course, self._user, self._learner, self._grades),
                (3, 1, 2, 3, 6),
            )[0]
            made += step()
        return made

    def _scores(self) -> list[Event]:
        return self._submissions.events(1)

    def _course(self) -> list[Event]:
        course_id = self.chance.choice(COURSES)
        if course_id not in self._published:
            self._published.add(course_id)
            return [self._made(facts.course_registered, course_id=course_id)]
        kind = self.chance.randrange(5 if self._cohorts else 4)
        if kind == 0:
            names = self.chance.sample(("hw1", "hw2", "exam"), self.chance.randint(1, 3))
            blocks = a_course(
                {name: ("Homework", {f"{name}-{item}": 5 for item in ITEMS}) for name in names},
                course_id,
            )
            return [
                self._made(
                    facts.course_outline_published,
                    course_id=course_id,
                    blocks=blocks,
                    version=f"v{self.chance.randrange(1000)}",
                )
            ]
        if kind == 1:
            policy_hash = f"policy {self.chance.randrange(1000)}"
            return [
                self._made(
                    facts.grading_policy_changed, course_id=course_id, policy_hash=policy_hash
                )
            ]
        if kind == 2:
            return [self._made(facts.cohorting_changed, course_id=course_id)]
        if kind == 4:
            number = COURSES.index(course_id) + 1
            name = f"Cohort {self.chance.randrange(100)}"
            place = {"course_id": course_id, "cohort_id": number, "name": name}
            return [self._made(facts.cohort_created, **place)]
        return [self._made(facts.course_flags_changed, course_id=course_id)]

    def _user(self) -> list[Event]:
        number = self.chance.randrange(1, 5)
        if number not in self._registered:
            self._registered.add(number)
            anonymous = self.chance.sample(STUDENTS, self.chance.randint(0, 1))
            return [
                self._made(
                    facts.user_registered,
                    number,
                    username=f"user{number}",
                    email=f"User{number}@example.org",
                    anonymous_ids=anonymous if number % 2 else [],
                )
            ]
        if self.chance.random() < 0.5:
            name = f"Name {self.chance.randrange(100)}"
            return [self._made(facts.user_profile_changed, number, full_name=name, email=None)]
        return [self._made(facts.global_staff_changed, number)]

    def _learner(self) -> list[Event]:
        number, course_id = self.chance.randrange(1, 5), self.chance.choice(COURSES)
        place = {"course_id": course_id}
        enrollment = {**place, "enrollment_id": number * 10 + COURSES.index(course_id)}
        if (number, course_id) not in self._enrolled:
            self._enrolled.add((number, course_id))
            return [self._made(facts.learner_enrolled, number, **enrollment)]
        factory, fields = self.chance.choice(
            (
                (facts.enrollment_mode_changed, enrollment),
                (facts.learner_unenrolled, enrollment),
                (facts.learner_reenrolled, enrollment),
                (facts.course_role_granted, {**place, "role": "staff", "org": "A"}),
                (facts.course_role_revoked, {**place, "role": "staff", "org": "A"}),
                (facts.course_role_granted, {**place, "role": "instructor", "org": "A"}),
                (facts.course_role_granted, {"course_id": None, "role": "staff", "org": "A"}),
                (facts.course_role_revoked, {"course_id": None, "role": "staff", "org": "A"}),
                (facts.program_enrollment_linked, place),
                (facts.cohort_membership_changed, place),
            )
        )
        if factory is facts.learner_unenrolled or factory is facts.learner_reenrolled:
            # In turn: nobody leaves twice.
            turn = self._versions.setdefault(("turn", number, course_id), 0)
            self._versions["turn", number, course_id] = turn + 1
            factory = facts.learner_reenrolled if turn % 2 else facts.learner_unenrolled
        return [self._made(factory, number, **fields)]

    def _grades(self) -> list[Event]:
        number, course_id = self.chance.randrange(1, 5), self.chance.choice(COURSES)
        usage_key = key("sequential", self.chance.choice(("hw1", "hw2", "exam")), course_id)
        place = {"course_id": course_id}
        kind = self.chance.randrange(8)
        if kind == 0:
            return [self._made(facts.learner_grades_cleared, number, **place)]
        if kind == 1:
            return [self._made(facts.course_passed_first_time, number, **place)]
        self._histories += 1
        override = {
            **place,
            "usage_key": usage_key,
            "history_id": self._histories,
            "override_id": number,
        }
        if kind == 2:
            return [self._made(facts.subsection_override_removed, number, **override)]
        points = {name: self.chance.choice((None, 0.0, 2.5, 10.0)) for name in _COMPONENTS}
        if kind == 3:
            return [self._made(facts.subsection_override_applied, number, **override, **points)]
        record = {name: points[name] or 0.0 for name in _COMPONENTS}
        found = {"usage_key": usage_key, **record, "first_attempted": None}
        percent = self.chance.randrange(101) / 100
        return [
            self._made(
                facts.grades_calculated, number, **place, subsections=[found], percent=percent
            )
        ]

    def _made(self, factory: Any, *arguments: Any, **fields: Any) -> Event:
        event: Event = factory(*arguments, timestamp=self._now, **fields)
        stream = event.originator_id
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        vars(event)["originator_version"] = version
        return event
