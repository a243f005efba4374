"""The commands about cohorts: of which a course has some, and a learner is in one at most."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.application import Claim, Command, Done, Work, rebuild
from domain.errors import DomainError
from domain.events import NOBODY, Provenance
from domain.learners import fields
from domain.learners.cohort import (
    MANUAL,
    Cohort,
    Cohorting,
    CohortValues,
    cohort_name_claim,
    cohort_stream,
    cohorting_stream,
)
from domain.learners.directory import Directory, last_position
from domain.learners.errors import CohortNameTakenError, CohortNotFoundError
from domain.learners.fields import Form
from domain.learners.user import User, user_stream

COHORT_IDS: Final = "cohort_ids"


class CohortState(NamedTuple):
    """A cohort as it is after a command. ``created`` tells whether it is new."""

    cohort_id: int
    course_id: str
    values: CohortValues
    created: bool = False


class Member(NamedTuple):
    """A user who came into a cohort; the address is sealed."""

    user_id: int
    username: str
    email: str | None
    previous_cohort_id: int | None = None
    previous_cohort: str | None = None


class Assigned(NamedTuple):
    """What became of users who shall be in a cohort.

    Those who were in it already, and those whom nobody knows, by the names they were given by.
    """

    added: list[Member]
    changed: list[Member]
    present: list[str]
    unknown: list[str]


class Cohorts(Directory):
    """The cohorts of courses and who is in them."""

    async def set_cohorting(
        self, course_id: object, is_cohorted: object, *, provenance: Provenance = NOBODY
    ) -> Done[bool]:
        """Say whether a course uses cohorts.

        Raises:
            InvalidLearnerError: no key of a course, no boolean.
        """
        form = Form({"course_id": course_id, "is_cohorted": is_cohorted})
        course = form.required("course_id", fields.course_id) or ""
        wanted = form.required("is_cohorted", fields.boolean) is True
        form.refuse_if_bad()
        stream_id = cohorting_stream(course)

        async def decide(work: Work) -> bool:
            now = self._clock()
            cohorting = work.find(Cohorting, stream_id)
            if cohorting is None:
                cohorting = work.add(Cohorting.empty(stream_id, now))
            cohorting.change(course, wanted, at=now)
            return wanted

        return await self._execute((stream_id,), Command(decide), provenance=provenance)

    async def create_cohort(
        self,
        course_id: object,
        name: object,
        assignment_type: object = MANUAL,
        user_partition_id: object = None,
        group_id: object = None,
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[CohortState]:
        """Give a course a cohort; one that is the same already is the answer.

        Raises:
            InvalidLearnerError: bad values, all of them.
            CohortNameTakenError: the course has another one of this name.
        """
        form = Form({"course_id": course_id, **_given(name, assignment_type)})
        course = form.required("course_id", fields.course_id) or ""
        title = form.required("name", fields.cohort_name) or ""
        kind = form.required("assignment_type", fields.assignment_type) or ""
        partition, group = _group(form, (user_partition_id, group_id))
        form.refuse_if_bad()
        values = CohortValues(title, kind, partition, group)
        claim = cohort_name_claim(course, title)
        while True:
            held = (await self._log.find_claims([claim])).get(claim)
            if held is not None and held.stream_id is not None:
                found = await self._cohort(held.stream_id)
                if found is not None and found.values == values:
                    return Done(CohortState(found.cohort_id, course, values), None)
                raise CohortNameTakenError(f"{course} has another cohort called {title}")
            try:
                return await self._create(course, values, claim, provenance)
            except _NameTakenMeanwhileError:
                continue

    async def _create(
        self, course_id: str, values: CohortValues, claim: str, provenance: Provenance
    ) -> Done[CohortState]:
        cohort_id = await self._next_id(COHORT_IDS)
        stream_id = cohort_stream(cohort_id)

        async def decide(work: Work) -> CohortState:
            if await self._log.find_claims([claim]):
                raise _NameTakenMeanwhileError
            now = self._clock()
            cohort = work.add(Cohort.empty(stream_id, now))
            cohort.create(cohort_id, course_id, values, at=now)
            work.claims.append(Claim(claim, stream_id))
            return CohortState(cohort_id, course_id, values, created=True)

        return await self._execute((stream_id,), Command(decide), provenance=provenance)

    async def change_cohort(
        self,
        course_id: object,
        cohort_id: int,
        *,
        name: object = None,
        assignment_type: object = None,
        group: tuple[object, object] | None = None,
        provenance: Provenance = NOBODY,
    ) -> Done[CohortState]:
        """Change what is given of a cohort.

        Args:
            course_id: whose cohort it is.
            cohort_id: its number.
            name: what to call it.
            assignment_type: ``manual`` or ``random``.
            group: partition and group that it stands for; two Nones for no group.
            provenance: who changes it, through what.

        Raises:
            InvalidLearnerError: bad values, all of them.
            CohortNotFoundError: the course has no such cohort.
            CohortNameTakenError: the course has another one of this name.
        """
        form = Form({"course_id": course_id, **_given(name, assignment_type)})
        course = form.required("course_id", fields.course_id) or ""
        title = form.optional("name", fields.cohort_name)
        kind = form.optional("assignment_type", fields.assignment_type)
        place = None if group is None else _group(form, group)
        form.refuse_if_bad()
        stream_id = cohort_stream(cohort_id)

        async def decide(work: Work) -> CohortState:
            cohort = _of_course(work.find(Cohort, stream_id), course, cohort_id)
            before = cohort.values
            partition, number = (
                (before.user_partition_id, before.group_id) if place is None else place
            )
            values = CohortValues(
                title or before.name, kind or before.assignment_type, partition, number
            )
            if values.name != before.name:
                claim = cohort_name_claim(course, values.name)
                if await self._log.find_claims([claim]):
                    raise CohortNameTakenError(f"{course} has another cohort called {values.name}")
                work.claims.append(Claim(claim, stream_id))
                work.releases.append(cohort_name_claim(course, before.name))
            cohort.change(values, at=self._clock())
            return CohortState(cohort_id, course, values)

        return await self._execute((stream_id,), Command(decide), provenance=provenance)

    async def assign_to_cohort(
        self,
        course_id: object,
        cohort_id: int,
        users: Sequence[str],
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[Assigned]:
        """Put users into a cohort, out of the one of the same course that they were in.

        Raises:
            InvalidLearnerError: no key of a course.
            CohortNotFoundError: the course has no such cohort.
        """
        course = self._checked_course(course_id)
        _of_course(await self._cohort(cohort_stream(cohort_id)), course, cohort_id)
        numbers = await self.find_users(users)
        known = [name for name in users if name in numbers]
        outcomes = await self._carry_out_all(
            known,
            lambda name: numbers[name],
            lambda name: self._move(numbers[name], course, cohort_id, provenance),
        )
        assigned = Assigned([], [], [], [name for name in users if name not in numbers])
        moved: list[Member] = []
        for name, outcome in zip(known, outcomes, strict=True):
            if isinstance(outcome, DomainError):
                raise outcome
            if outcome.position is None:
                assigned.present.append(name)
            elif outcome.value.previous_cohort_id is None:
                assigned.added.append(outcome.value)
            else:
                moved.append(outcome.value)
        names = await self._names({one.previous_cohort_id for one in moved})
        assigned.changed.extend(
            one._replace(previous_cohort=names[one.previous_cohort_id]) for one in moved
        )
        return Done(assigned, last_position(outcomes))

    async def remove_from_cohort(
        self,
        course_id: object,
        cohort_id: int,
        username: str,
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[bool]:
        """Take a user out of a cohort; the result tells whether the user was in it.

        Raises:
            InvalidLearnerError: no key of a course.
            CohortNotFoundError: the course has no such cohort.
            UserNotFoundError: nobody is called so.
        """
        course = self._checked_course(course_id)
        _of_course(await self._cohort(cohort_stream(cohort_id)), course, cohort_id)
        stream_id = user_stream(await self.find_user(username))

        async def decide(work: Work) -> bool:
            user = work.find(User, stream_id)
            assert user is not None
            if user.cohorts.get(course) != cohort_id:
                return False
            user.move_to_cohort(course, None, at=self._clock())
            return True

        return await self._execute((stream_id,), Command(decide), provenance=provenance)

    async def _move(
        self, user_id: int, course_id: str, cohort_id: int, provenance: Provenance
    ) -> Done[Member]:
        """Put one user into a cohort."""
        stream_id = user_stream(user_id)

        async def decide(work: Work) -> Member:
            user = work.find(User, stream_id)
            assert user is not None
            previous = user.move_to_cohort(course_id, cohort_id, at=self._clock())
            return Member(user_id, user.username, user.email, previous)

        return await self._execute((stream_id,), Command(decide), provenance=provenance)

    async def _cohort(self, stream_id: UUID) -> Cohort | None:
        events = (await self._log.read_streams([stream_id])).get(stream_id)
        if events is None:
            return None
        cohort = rebuild(events)
        assert isinstance(cohort, Cohort)
        return cohort

    async def _names(self, cohort_ids: set[int | None]) -> dict[int | None, str]:
        found: dict[int | None, str] = {}
        for cohort_id in cohort_ids:
            assert cohort_id is not None
            cohort = await self._cohort(cohort_stream(cohort_id))
            found[cohort_id] = "" if cohort is None else cohort.values.name
        return found

    @staticmethod
    def _checked_course(course_id: object) -> str:
        form = Form({"course_id": course_id})
        course = form.required("course_id", fields.course_id)
        form.refuse_if_bad()
        assert course is not None
        return course


class _NameTakenMeanwhileError(DomainError):
    """Somebody else made a cohort of this name: it has to be looked at again."""


def _of_course(cohort: Cohort | None, course_id: str, cohort_id: int) -> Cohort:
    if cohort is None or cohort.course_id != course_id:
        raise CohortNotFoundError(f"{course_id} has no cohort {cohort_id}")
    return cohort


def _given(name: object, assignment_type: object) -> dict[str, Any]:
    return {"name": name, "assignment_type": assignment_type}


def _group(form: Form, given: tuple[object, object]) -> tuple[int | None, int | None]:
    """Partition and group, which go together."""
    found = Form({"user_partition_id": given[0], "group_id": given[1]})
    partition = found.optional("user_partition_id", fields.group_number)
    group = found.optional("group_id", fields.group_number)
    if not found.errors and (partition is None) != (group is None):
        missing = "user_partition_id" if partition is None else "group_id"
        found.errors[missing] = "A group is named by user_partition_id and group_id together."
    form.errors.update(found.errors)
    return partition, group
