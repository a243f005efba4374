"""A term at a school: what happens there touches every table of every read model."""

from random import Random

from domain.submissions.fields import StudentItemKey
from tests.school import POLICY, SMALL, School, a_course, key, wait_until

PHYSICS = "course-v1:Uni+Physics+2026"
CHEMISTRY = "course-v1:Uni+Chemistry+2026"
HISTORY = "course-v1:Arts+History+2026"
COURSES = (PHYSICS, CHEMISTRY, HISTORY)
SUBSECTIONS = {
    "hw1": ("Homework", {"p1": 5.0, "p2": 1.0}),
    "hw2": ("Homework", {"p3": 10.0}),
    "exam": ("Exam", {"q1": 10.0}),
}
POINTS = {"p1": 5, "p2": 1, "p3": 10, "q1": 10}


def begin(school: School, learners: int = 8) -> None:
    """Courses are published, learners come."""
    for course_id in COURSES:
        school.publish(a_course(SUBSECTIONS, course_id), course_id=course_id)
    for number in range(learners):
        name = f"learner{number}"
        school.register(
            name,
            email=f"{name}@example.org",
            full_name=f"Learner {number}",
            anonymous_ids=[f"anonymous-{number}"] if number % 3 == 0 else [],
        )
        for course_id in COURSES[: number % 3 + 1]:
            school.enroll(name, course_id, "verified" if number % 2 else "audit")


def go_on(school: School, seed: int, steps: int, learners: int = 8) -> None:
    """Anything that happens at a school, in any order."""
    chance = Random(seed)
    people = school.backend.learners
    for step in range(steps):
        name, course_id = f"learner{chance.randrange(learners)}", chance.choice(COURSES)
        match chance.randrange(9):
            case 0:
                school.run(
                    lambda name=name, step=step: people.register_user(
                        name, full_name=f"Renamed {seed} {step}"
                    )
                )
            case 1:
                school.enroll(name, course_id, chance.choice(["audit", "verified"]))
            case 2:
                role = chance.choice(["staff", "instructor", "beta_testers"])
                school.run(
                    lambda name=name, role=role, course_id=course_id: people.grant_role(
                        name, role, course_id=course_id
                    )
                )
            case 3:
                school.run(lambda name=name: people.grant_role(name, "staff", org="Uni"))
            case _:
                problem = chance.choice(list(POINTS))
                possible = POINTS[problem]
                student = name if chance.random() < 0.7 else f"anonymous-{name[-1]}"
                earned = chance.randint(0, possible)
                school.score(student, problem, earned, possible, course_id=course_id)


def finish(school: School) -> None:
    """What needs the rest: cohorts, overrides, teams, resets, a new outline and policy."""
    people, submissions = school.backend.learners, school.backend.submissions
    done = school.run(lambda: people.create_cohort(PHYSICS, "Red"))
    cohort_id = done.value.cohort_id
    school.run(lambda: people.assign_to_cohort(PHYSICS, cohort_id, ["learner0", "learner1"]))
    wait_until(school.graded)
    user_id = school.learner("learner0", PHYSICS).user_id
    school.override(user_id, "hw1", "late", earned_all=3.0, earned_graded=3.0)
    for team, member in (("red", "learner2"), ("blue", "learner5")):
        school.run(
            lambda team=team, member=member: submissions.create_submission_for_team(
                HISTORY, key("problem", "essay", HISTORY), team, user_id, [member], "together"
            )
        )
    school.score("learner0", "p1", 5, 5, course_id=PHYSICS)
    school.reset("learner0", "p1", PHYSICS)
    school.publish(SMALL, course_id=PHYSICS)
    policy = {**POLICY, "cutoffs": {"Pass": 0.4}}
    school.publish(a_course(SUBSECTIONS, HISTORY), course_id=HISTORY, policy=policy)
    school.run(lambda: people.register_user("late", email="late@example.org", is_staff=True))
    item = StudentItemKey("nobody", CHEMISTRY, key("problem", "p1", CHEMISTRY), "problem")
    school.run(lambda: submissions.create_submission(item._asdict(), "unscored"))
    wait_until(school.graded)
