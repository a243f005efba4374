"""The commands about people, on a real log."""

import asyncio
import itertools
import multiprocessing
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
import pytest

from domain import application
from domain.application import Done
from domain.events import Provenance
from domain.learners.application import Learners
from domain.learners.errors import (
    CohortNameTakenError,
    CohortNotFoundError,
    InvalidLearnerError,
    UserNotFoundError,
    UserTakenError,
)
from infra.log.postgres_log import PostgresLog
from infra.vault import Vault
from tests.facts import COURSE

T = TypeVar("T")

OTHER_COURSE = "course-v1:Demo+S2+2026"
Use = Callable[[Learners], Awaitable[T]]

PATIENCE = 60.0
"""Seconds that commands may take on a machine that is busy with other tests."""


def run(dsn: str, use: Use[T]) -> T:
    """Use the commands, with nothing remembered from before."""

    async def main() -> T:
        log, vault = PostgresLog(dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
        try:
            return await use(Learners(log, lambda: datetime.now(UTC), vault))
        finally:
            await log.close()
            await vault.close()

    return asyncio.run(main())


def stored(dsn: str) -> list[str]:
    """The kinds of all events, without their context."""
    with psycopg.connect(dsn) as db:
        rows = db.execute("SELECT type FROM gradelog.events ORDER BY position").fetchall()
    return [type_.removeprefix("learners.") for (type_,) in rows]


def texts(dsn: str) -> str:
    with psycopg.connect(dsn) as db:
        return "".join(row[0] for row in db.execute("SELECT data FROM gradelog.events"))


# --- users --------------------------------------------------------------------------------------


def test_the_same_user_again_appends_nothing(dsn: str) -> None:
    values: dict[str, Any] = {
        "email": "anna@example.org",
        "full_name": "Anna A",
        "anonymous_ids": ["b", "a"],
        "external_user_keys": {COURSE: "K1"},
        "is_staff": True,
    }

    async def register(learners: Learners) -> Done[Any]:
        return await learners.register_user("anna", **values)

    async def twice(learners: Learners) -> list[Done[Any]]:
        return [await register(learners), await register(learners)]

    first, second = run(dsn, twice)
    third = run(dsn, register)  # another process, which has nothing in memory
    assert (first.position, second.position, third.position) == (2, None, None)
    assert first.value.created
    assert not third.value.created
    assert first.value._replace(created=False) == third.value
    assert stored(dsn) == ["UserRegistered", "ProgramEnrollmentLinked"]
    assert "anna@example" not in texts(dsn)
    assert "Anna A" not in texts(dsn)


def test_what_is_not_given_stays(dsn: str) -> None:
    async def use(learners: Learners) -> Any:
        await learners.register_user("anna", email="a@b.org", full_name="A", anonymous_ids=["x"])
        await learners.register_user("anna", full_name="B")
        await learners.register_user("anna", anonymous_ids=["x", "y"])
        await learners.register_user("anna", is_active=False)
        done = await learners.register_user("anna", email="")
        opened = learners._vault.open(done.value.full_name, f"full_name:{done.value.user_id}")
        return done.value, opened

    user, name = run(dsn, use)
    assert (user.email, name, user.anonymous_ids, user.is_active) == (None, "B", ["x", "y"], False)
    assert stored(dsn)[1:] == [
        "UserProfileChanged",
        "AnonymousIdsChanged",
        "UserActivationChanged",
        "UserProfileChanged",
    ]


def test_numbers_that_are_taken_are_passed_over(dsn: str) -> None:
    async def use(learners: Learners) -> list[int]:
        for n in (1, 2, 3, *range(5, 30)):
            await learners.register_user(f"user-{n}", user_id=n)
        return [(await learners.register_user(name)).value.user_id for name in ("a", "b", "c")]

    four, *others = run(dsn, use)
    assert four == 4
    assert all(number >= 30 for number in others)
    assert len(set(others)) == 2


def test_what_belongs_to_somebody_else_is_refused(dsn: str) -> None:
    async def use(learners: Learners) -> None:
        await learners.register_user("anna", user_id=7, anonymous_ids=["x"])
        await learners.register_user("ben", user_id=8, anonymous_ids=["y"])
        refused: list[Any] = [
            ("anna", {"user_id": 9}),
            ("cleo", {"user_id": 7}),
            ("Anna", {}),
            ("ANNA", {"user_id": 7}),
            ("ben", {"anonymous_ids": ["y", "x"]}),
            ("cleo", {"anonymous_ids": ["x"]}),
        ]
        for name, values in refused:
            with pytest.raises(UserTakenError):
                await learners.register_user(name, **values)
        await learners.register_user("anna", anonymous_ids=[])
        await learners.register_user("ben", anonymous_ids=["x"])  # free again
        await learners.register_user("anna", anonymous_ids=["y"])

    run(dsn, use)
    assert len(stored(dsn)) == 5


def test_tasks_that_register_the_same_name_make_one_user(dsn: str) -> None:
    async def use(learners: Learners) -> list[Done[Any]]:
        return list(
            await asyncio.gather(
                *(learners.register_user("anna", email="a@b.org") for _ in range(20))
            )
        )

    done = run(dsn, use)
    assert len({one.value.user_id for one in done}) == 1
    assert [one.value.created for one in done].count(True) == 1
    assert stored(dsn) == ["UserRegistered"]


def test_of_those_who_want_the_same_anonymous_id_one_gets_it(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        return list(
            await asyncio.gather(
                *(learners.register_user(f"user-{n}", anonymous_ids=["x"]) for n in range(20)),
                return_exceptions=True,
            )
        )

    found = run(dsn, use)
    assert sum(isinstance(one, Done) for one in found) == 1
    assert sum(isinstance(one, UserTakenError) for one in found) == 19
    assert stored(dsn) == ["UserRegistered"]


def _register_all(dsn: str, names: list[str], numbered: bool, results: Any) -> None:
    async def use(learners: Learners) -> list[Any]:
        users = [
            {"username": name, "user_id": n if numbered else None, "anonymous_ids": [f"id-{name}"]}
            for n, name in enumerate(names, 1)
        ]
        return await learners.register_users(users)

    # Rivals who win again and again, or a machine that stands still, shall refuse nobody.
    application.DECIDING_SECONDS = PATIENCE
    results.put(
        [
            (one.value.user_id, one.value.created) if isinstance(one, Done) else repr(one)
            for one in run(dsn, use)
        ]
    )


@pytest.mark.parametrize("numbered", [True, False])
def test_processes_that_register_the_same_people_agree(dsn: str, numbered: bool) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    names = [f"user-{n}" for n in range(300)]
    workers = [
        context.Process(target=_register_all, args=(dsn, names, numbered, results), daemon=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    one, other = results.get(timeout=PATIENCE), results.get(timeout=PATIENCE)
    for worker in workers:
        worker.join(PATIENCE)
    assert [user_id for user_id, _ in one] == [user_id for user_id, _ in other]
    assert all(a != b for (_, a), (_, b) in zip(one, other, strict=True))
    assert stored(dsn) == ["UserRegistered"] * 300


def test_many_users_at_once_each_with_an_outcome(dsn: str) -> None:
    users = [{"username": f"user-{n}", "email": f"{n}@example.org"} for n in range(500)]
    users[7] = {"username": "a/b"}
    users[8] = {"username": "user-0", "full_name": "Again"}  # after the first of this name
    users[9] = {}

    async def use(learners: Learners) -> list[Any]:
        return await learners.register_users(users, provenance=Provenance(actor="import"))

    outcomes = run(dsn, use)
    assert [n for n, one in enumerate(outcomes) if not isinstance(one, Done)] == [7, 9]
    assert outcomes[8].value.user_id == outcomes[0].value.user_id
    assert len({one.value.user_id for one in outcomes if isinstance(one, Done)}) == 497
    assert all(one.position is None for one in run(dsn, use) if isinstance(one, Done))
    assert sorted(set(stored(dsn))) == ["UserProfileChanged", "UserRegistered"]
    assert len(stored(dsn)) == 498


# --- enrolments -----------------------------------------------------------------------------------


def test_an_enrolment_is_what_was_said_last(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        user = (await learners.register_user("anna")).value
        return [
            await learners.set_enrollment("anna", COURSE, enrolled_at="2026-01-01"),
            await learners.set_enrollment("Anna", COURSE, "audit", True),
            await learners.set_enrollment(user_id=user.user_id, course_id=COURSE, mode="verified"),
            await learners.set_enrollment("anna", COURSE, is_active=False),
            await learners.set_enrollment("anna", COURSE, is_active=False),
            await learners.set_enrollment("anna", COURSE, is_active=True),
            await learners.set_enrollment("anna", OTHER_COURSE, "masters", False),
        ]

    done = run(dsn, use)
    assert [one.position for one in done] == [2, None, 3, 4, None, 5, 7]
    assert len({one.value.enrollment_id for one in done[:6]}) == 1
    assert done[0].value.enrolled_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (done[5].value.mode, done[5].value.is_active) == ("verified", True)
    assert not done[6].value.is_active
    assert stored(dsn)[1:] == [
        "LearnerEnrolled",
        "EnrollmentModeChanged",
        "LearnerUnenrolled",
        "LearnerReenrolled",
        "LearnerEnrolled",
        "LearnerUnenrolled",
    ]


def test_nobody_unknown_is_enrolled(dsn: str) -> None:
    async def use(learners: Learners) -> None:
        await learners.register_user("anna", user_id=7)
        with pytest.raises(UserNotFoundError):
            await learners.set_enrollment("ben", COURSE)
        with pytest.raises(UserNotFoundError):
            await learners.set_enrollment(user_id=8, course_id=COURSE)
        with pytest.raises(InvalidLearnerError):
            await learners.set_enrollment("anna", COURSE, user_id=8)
        with pytest.raises(InvalidLearnerError):
            await learners.set_enrollment(course_id=COURSE)

    run(dsn, use)
    assert stored(dsn) == ["UserRegistered"]


@pytest.mark.parametrize("name", ["a\0b", "\ud83d", "", "x" * 151])
def test_nobody_has_a_name_that_nobody_can_have(dsn: str, name: str) -> None:
    async def use(learners: Learners) -> None:
        with pytest.raises(UserNotFoundError):
            await learners.find_user(name)
        with pytest.raises(UserNotFoundError):
            await learners.grant_role(name, "staff", course_id=COURSE)

    run(dsn, use)
    assert stored(dsn) == []


def test_tasks_that_enrol_the_same_learner_make_one_enrolment(dsn: str) -> None:
    async def use(learners: Learners) -> list[Done[Any]]:
        await learners.register_user("anna")
        return list(
            await asyncio.gather(*(learners.set_enrollment("anna", COURSE) for _ in range(20)))
        )

    assert len({one.value.enrollment_id for one in run(dsn, use)}) == 1
    assert stored(dsn) == ["UserRegistered", "LearnerEnrolled"]


def test_many_enrolments_at_once(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        await learners.register_users([{"username": f"user-{n}"} for n in range(200)])
        enrollments: list[dict[str, Any]] = [
            {"username": f"user-{n}", "course_id": course, "mode": "verified"}
            for n, course in itertools.product(range(200), (COURSE, OTHER_COURSE))
        ]
        enrollments.append({"username": "user-0", "course_id": COURSE, "is_active": False})
        enrollments.append({"username": "nobody", "course_id": COURSE})
        return await learners.set_enrollments(enrollments)

    *outcomes, left, unknown = run(dsn, use)
    assert len({one.value.enrollment_id for one in outcomes}) == 400
    assert not left.value.is_active
    assert isinstance(unknown, UserNotFoundError)
    assert len(stored(dsn)) == 601


# --- roles ----------------------------------------------------------------------------------------


def test_roles_are_granted_and_revoked_once(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        await learners.register_user("anna")
        with pytest.raises(InvalidLearnerError):
            await learners.grant_role("anna", "king", course_id=COURSE)
        with pytest.raises(UserNotFoundError):
            await learners.grant_role("ben", "staff", course_id=COURSE)
        return [
            (await one).position
            for one in (
                learners.grant_role("anna", "staff", course_id=COURSE),
                learners.grant_role("anna", "staff", course_id=COURSE, org="Demo"),
                learners.grant_role("anna", "staff", org="Demo"),
                learners.revoke_role("anna", "beta", course_id=COURSE),
                learners.revoke_role("anna", "staff", course_id=COURSE),
                learners.revoke_role("anna", "staff", course_id=COURSE),
            )
        ]

    assert run(dsn, use) == [2, None, 3, None, 4, None]


# --- cohorts --------------------------------------------------------------------------------------


def test_a_cohort_is_made_once_and_its_name_is_its_own(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        made = await learners.create_cohort(COURSE, "A")
        again = await learners.create_cohort(COURSE, " A ")
        elsewhere = await learners.create_cohort(OTHER_COURSE, "A")
        other = await learners.create_cohort(COURSE, "B", "random", 50, 1)
        with pytest.raises(CohortNameTakenError):
            await learners.create_cohort(COURSE, "A", "random")
        with pytest.raises(CohortNameTakenError):
            await learners.change_cohort(COURSE, other.value.cohort_id, name="A")
        with pytest.raises(CohortNotFoundError):
            await learners.change_cohort(OTHER_COURSE, other.value.cohort_id, name="C")
        with pytest.raises(CohortNotFoundError):
            await learners.change_cohort(COURSE, 99, name="C")
        with pytest.raises(InvalidLearnerError):
            await learners.create_cohort(COURSE, "C", group_id=3)
        renamed = await learners.change_cohort(COURSE, made.value.cohort_id, name="C")
        unlinked = await learners.change_cohort(COURSE, other.value.cohort_id, group=(None, None))
        free = await learners.create_cohort(COURSE, "A")
        return [made, again, elsewhere, other, renamed, unlinked, free]

    done = run(dsn, use)
    assert [one.position for one in done] == [1, None, 2, 3, 4, 5, 6]
    assert done[1].value.cohort_id == done[0].value.cohort_id
    assert done[5].value.values == ("B", "random", None, None)
    assert done[6].value.cohort_id not in {one.value.cohort_id for one in done[:4]}


def test_of_tasks_that_make_the_same_cohort_one_does(dsn: str) -> None:
    async def use(learners: Learners) -> list[Any]:
        return list(await asyncio.gather(*(learners.create_cohort(COURSE, "A") for _ in range(10))))

    assert len({one.value.cohort_id for one in run(dsn, use)}) == 1
    assert stored(dsn) == ["CohortCreated"]


def test_a_learner_moves_from_cohort_to_cohort(dsn: str) -> None:
    async def use(learners: Learners) -> Any:
        await learners.register_users([{"username": name} for name in ("anna", "ben", "cleo")])
        a = (await learners.create_cohort(COURSE, "A")).value.cohort_id
        b = (await learners.create_cohort(COURSE, "B")).value.cohort_id
        with pytest.raises(CohortNotFoundError):
            await learners.assign_to_cohort(OTHER_COURSE, a, ["anna"])
        first = await learners.assign_to_cohort(COURSE, a, ["anna", "ben"])
        second = await learners.assign_to_cohort(COURSE, b, ["ben", "cleo", "dora", "Cleo"])
        third = await learners.assign_to_cohort(COURSE, b, ["ben"])
        with pytest.raises(UserNotFoundError):
            await learners.remove_from_cohort(COURSE, b, "dora")
        return a, [
            first,
            second,
            third,
            await learners.remove_from_cohort(COURSE, b, "ben"),
            await learners.remove_from_cohort(COURSE, b, "ben"),
            await learners.remove_from_cohort(COURSE, b, "anna"),
        ]

    a, done = run(dsn, use)
    assert [one.username for one in done[0].value.added] == ["anna", "ben"]
    assert done[0].value[1:] == ([], [], [])
    assert [one.username for one in done[1].value.added] == ["cleo"]
    assert [one[1:] for one in done[1].value.changed] == [("ben", None, a, "A")]
    assert done[1].value[2:] == (["Cleo"], ["dora"])
    assert done[2].value == ([], [], ["ben"], [])
    assert [one.value for one in done[3:]] == [True, False, False]
    assert [one.position is None for one in done] == [False, False, True, False, True, True]
    assert stored(dsn).count("CohortMembershipChanged") == 5


def test_a_course_says_whether_it_uses_cohorts(dsn: str) -> None:
    async def use(learners: Learners) -> list[int | None]:
        with pytest.raises(InvalidLearnerError):
            await learners.set_cohorting(COURSE, "yes")
        return [
            (await learners.set_cohorting(COURSE, value)).position
            for value in (False, True, True, False)
        ]

    assert run(dsn, use) == [None, 1, None, 2]
