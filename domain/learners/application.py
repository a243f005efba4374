"""The commands about people: who they are, where they learn, what they may do.

Each command says what shall be so; what is so already appends nothing. Whether a name, a
number or an anonymous id is free is told by the claims, never by a read model: a decision
that is taken again looks them up again, and the log refuses a claim that was taken
meanwhile. ``register_users`` and ``set_enrollments`` carry out many commands side by side,
so that their questions and their events travel together.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from domain.application import Claim, Command, Done, HeldClaim, IdWanted, Outcome, Work
from domain.errors import ConflictError, DomainError, KeyDestroyedError
from domain.events import NOBODY, Provenance
from domain.learners import fields
from domain.learners.cohorting import Cohorts
from domain.learners.directory import IN_FLIGHT, number_of
from domain.learners.enrollment import Enrollment, enrollment_stream
from domain.learners.errors import UserTakenError
from domain.learners.fields import EnrollmentValues, UserValues
from domain.learners.user import (
    Role,
    User,
    UserChanges,
    anonymous_id_claim,
    email_context,
    full_name_context,
    user_id_claim,
    user_stream,
    user_subject,
    username_claim,
)

R = TypeVar("R")

USER_IDS: Final = "user_ids"
ENROLLMENT_IDS: Final = "enrollment_ids"

TRIES: Final = 20
"""How often a user is looked up again whom others register at the same time."""


class UserState(NamedTuple):
    """A user as they are after a command; email and name are sealed."""

    user_id: int
    username: str
    email: str | None
    full_name: str | None
    is_active: bool
    is_staff: bool
    anonymous_ids: list[str]
    programs: dict[str, tuple[str, str]]
    """Key and status by course."""
    roles: list[Role]
    registered_at: datetime
    created: bool


class EnrollmentState(NamedTuple):
    """An enrolment as it is after a command."""

    enrollment_id: int
    user_id: int
    course_id: str
    mode: str
    is_active: bool
    enrolled_at: datetime


class Learners(Cohorts):
    """Users, enrolments, roles and cohorts."""

    # --- users ------------------------------------------------------------------------------

    async def register_user(
        self,
        username: object,
        *,
        user_id: object = None,
        email: object = None,
        full_name: object = None,
        anonymous_ids: object = None,
        external_user_keys: object = None,
        is_staff: object = None,
        is_active: object = None,
        provenance: Provenance = NOBODY,
    ) -> Done[UserState]:
        """Register a user, or change what is given of one who is registered.

        Args:
            username: 1 to 150 printable characters without a slash; never changes.
            user_id: number of the user, which never changes; the next free one when None.
            email: address; the empty text takes it away.
            full_name: name; the empty text takes it away.
            anonymous_ids: all ids under which the user's work is stored.
            external_user_keys: keys of programmes by course, or a list of objects with
                ``course_id``, ``external_user_key`` and ``status``; others stay.
            is_staff: whether the user may do everything.
            is_active: whether the account is open.
            provenance: who registers, through what.

        Raises:
            InvalidLearnerError: bad values, all of them.
            UserTakenError: the number or an anonymous id is somebody else's, or the user
                has another number.
        """
        values = fields.user(
            {
                "username": username,
                "user_id": user_id,
                "email": email,
                "full_name": full_name,
                "anonymous_ids": anonymous_ids,
                "external_user_keys": external_user_keys,
                "is_staff": is_staff,
                "is_active": is_active,
            }
        )
        return await self._register(values, provenance)

    async def register_users(
        self, users: Iterable[Mapping[str, Any]], *, provenance: Provenance = NOBODY
    ) -> list[Outcome[UserState]]:
        """Register many users, given by the arguments of ``register_user``.

        Returns one outcome for each, in their order; a refusal does not touch the others.
        """

        async def register(values: Mapping[str, Any]) -> Done[UserState]:
            return await self._register(fields.user(values), provenance)

        return await self._carry_out_all(
            list(users), lambda values: str(values.get("username")).casefold(), register
        )

    async def _register(self, values: UserValues, provenance: Provenance) -> Done[UserState]:
        for _ in range(TRIES):
            held = await self._log.find_claims(_claims_of(values))
            user_id = await self._number_for(values, held)
            try:
                return await self._execute(
                    (user_stream(user_id),),
                    self._registration(values, user_id, held),
                    provenance=provenance,
                )
            except _LookAgainError:
                continue
        raise ConflictError(f"others register {values.username} at the same time")

    def _registration(
        self, values: UserValues, user_id: int, seen: Mapping[str, HeldClaim]
    ) -> Command[UserState]:
        stream_id = user_stream(user_id)
        known: Mapping[str, HeldClaim] | None = seen

        async def decide(work: Work) -> UserState:
            nonlocal known
            held = await self._log.find_claims(_claims_of(values)) if known is None else known
            known = None
            user = work.find(User, stream_id)
            _refuse_taken(values, user_id, stream_id, held, user)
            changes = await self._sealed(values, user_id, user)
            now = self._clock()
            before = set() if user is None else set(user.anonymous_ids)
            if created := user is None:
                user = work.add(User.register(user_id, values.username, changes, at=now))
                work.claims += [
                    Claim(username_claim(values.username), stream_id, str(user_id).encode()),
                    Claim(user_id_claim(user_id), stream_id),
                ]
            else:
                user.change(changes, at=now)
            after = set(user.anonymous_ids)
            work.claims += [
                Claim(anonymous_id_claim(one), stream_id) for one in sorted(after - before)
            ]
            work.releases += [anonymous_id_claim(one) for one in sorted(before - after)]
            return user_state(user, created=created)

        return Command(decide)

    async def _number_for(self, values: UserValues, held: Mapping[str, HeldClaim]) -> int:
        """The number of the user: the one they have, the one asked for, or the next free one."""
        registered = held.get(username_claim(values.username))
        if registered is not None:
            number = number_of(registered)
            if values.user_id not in (None, number):
                raise UserTakenError(
                    f"the number of {values.username} is {number} and never changes"
                )
            return number
        if values.user_id is not None:
            if user_id_claim(values.user_id) in held:
                raise UserTakenError(f"the number {values.user_id} is that of another user")
            return values.user_id
        return await self._next_user_id()

    async def _next_user_id(self) -> int:
        """A number that nobody has; the next ones may have been asked for by number before."""
        count = 1
        while True:
            taken = await self._log.take_ids(*[IdWanted(USER_IDS)] * count)
            numbers = [one for one in taken if one is not None]
            held = await self._log.find_claims([user_id_claim(one) for one in numbers])
            for number in numbers:
                if user_id_claim(number) not in held:
                    return number
            count = min(count * 10, IN_FLIGHT)

    async def _sealed(self, values: UserValues, user_id: int, user: User | None) -> UserChanges:
        """What is to change, sealed; texts that are the same as those of the user are left out."""
        return UserChanges(
            email=await self._sealed_text(
                values.email, user.email if user else None, user_id, email_context(user_id)
            ),
            full_name=await self._sealed_text(
                values.full_name,
                user.full_name if user else None,
                user_id,
                full_name_context(user_id),
            ),
            anonymous_ids=values.anonymous_ids,
            external_user_keys=values.external_user_keys,
            is_staff=values.is_staff,
            is_active=values.is_active,
        )

    async def _sealed_text(
        self, text: str | None, before: str | None, user_id: int, context: str
    ) -> str | None:
        if not text:
            return text
        if before is not None:
            await self._vault.load([before])
            try:
                if self._vault.open(before, context) == text:
                    return None
            except KeyDestroyedError:
                pass  # an erased user who is registered again
        return await self._vault.seal(user_subject(user_id), text, context)

    # --- enrolments -------------------------------------------------------------------------

    async def set_enrollment(
        self,
        username: object = None,
        course_id: object = None,
        mode: object = None,
        is_active: object = None,
        *,
        user_id: object = None,
        enrolled_at: object = None,
        unenrolled_at: object = None,
        provenance: Provenance = NOBODY,
    ) -> Done[EnrollmentState]:
        """Enrol a user in a course, change the track, or end the enrolment.

        Args:
            username: whom; or by ``user_id``.
            course_id: key of the course, which need not be registered yet.
            mode: the track; None leaves it, ``audit`` for a new enrolment.
            is_active: False ends the enrolment; None leaves it, True for a new one.
            user_id: number of the user.
            enrolled_at: since when, for a new enrolment; now when None.
            unenrolled_at: until when, for one that ends; now when None.
            provenance: who enrols, through what.

        Raises:
            InvalidLearnerError: bad values, all of them.
            UserNotFoundError: nobody is called so.
        """
        values = fields.enrollment(
            {
                "username": username,
                "user_id": user_id,
                "course_id": course_id,
                "mode": mode,
                "is_active": is_active,
                "enrolled_at": enrolled_at,
                "unenrolled_at": unenrolled_at,
            }
        )
        return await self._enroll(values, provenance)

    async def set_enrollments(
        self, enrollments: Iterable[Mapping[str, Any]], *, provenance: Provenance = NOBODY
    ) -> list[Outcome[EnrollmentState]]:
        """Set many enrolments, given by the arguments of ``set_enrollment``.

        Returns one outcome for each, in their order; a refusal does not touch the others.
        """

        async def enroll(values: Mapping[str, Any]) -> Done[EnrollmentState]:
            return await self._enroll(fields.enrollment(values), provenance)

        return await self._carry_out_all(list(enrollments), _whose, enroll)

    async def _enroll(
        self, values: EnrollmentValues, provenance: Provenance
    ) -> Done[EnrollmentState]:
        user_id = await self.find_user(values.username, values.user_id)
        stream_id = enrollment_stream(user_id, values.course_id)

        async def decide(work: Work) -> EnrollmentState:
            now = self._clock()
            enrollment = work.find(Enrollment, stream_id)
            if enrollment is None:
                enrollment = work.add(Enrollment.empty(stream_id, now))
                enrollment.enroll(
                    await work.take_id(ENROLLMENT_IDS),
                    user_id,
                    values.course_id,
                    values.mode or fields.DEFAULT_MODE,
                    enrolled_at=values.enrolled_at,
                    at=now,
                )
            elif values.is_active and not enrollment.is_active:
                enrollment.reenroll(values.mode or enrollment.mode, at=now)
            elif values.mode is not None:
                enrollment.change_mode(values.mode, at=now)
            if values.is_active is False:
                enrollment.unenroll(values.unenrolled_at, at=now)
            return _enrollment_state(enrollment)

        ids = (IdWanted(ENROLLMENT_IDS, stream_id),)
        return await self._execute((stream_id,), Command(decide, ids=ids), provenance=provenance)

    # --- roles ------------------------------------------------------------------------------

    async def grant_role(
        self,
        username: str,
        role: object,
        *,
        course_id: object = None,
        org: object = None,
        provenance: Provenance = NOBODY,
    ) -> Done[Role]:
        """Give a user a role in a course, in an organisation, or, without either, everywhere.

        Raises:
            InvalidLearnerError: no such role, bad key.
            UserNotFoundError: nobody is called so.
        """
        wanted = fields.role(role, course_id, org)
        return await self._of_user(
            username, lambda user: user.grant(wanted, at=self._clock()), wanted, provenance
        )

    async def revoke_role(
        self,
        username: str,
        role: object,
        *,
        course_id: object = None,
        org: object = None,
        provenance: Provenance = NOBODY,
    ) -> Done[Role]:
        """Take a role away; see ``grant_role``."""
        wanted = fields.role(role, course_id, org)
        return await self._of_user(
            username, lambda user: user.revoke(wanted, at=self._clock()), wanted, provenance
        )

    async def _of_user(
        self, username: str, change: Callable[[User], None], result: R, provenance: Provenance
    ) -> Done[R]:
        stream_id = user_stream(await self.find_user(username))

        async def decide(work: Work) -> R:
            user = work.find(User, stream_id)
            assert user is not None
            change(user)
            return result

        return await self._execute((stream_id,), Command(decide), provenance=provenance)


class _LookAgainError(DomainError):
    """Somebody else took the name or the number meanwhile: who it is must be looked up again."""


def _claims_of(values: UserValues) -> list[str]:
    keys = [username_claim(values.username)]
    if values.user_id is not None:
        keys.append(user_id_claim(values.user_id))
    return keys + [anonymous_id_claim(one) for one in values.anonymous_ids or ()]


def _refuse_taken(
    values: UserValues,
    user_id: int,
    stream_id: UUID,
    held: Mapping[str, HeldClaim],
    user: User | None,
) -> None:
    """Refuse what stands for somebody else.

    Raises:
        UserTakenError: the name in another spelling, the number, an anonymous id.
        _LookAgainError: somebody else was quicker with a name or number that was free.
    """
    registered = held.get(username_claim(values.username))
    if registered is not None and registered.stream_id != stream_id:
        raise _LookAgainError
    if user is not None and user.username != values.username:
        if registered is not None:
            raise UserTakenError(f"{values.username} is too much like {user.username}")
        if values.user_id is None:
            raise _LookAgainError
        raise UserTakenError(f"the number {user_id} is that of another user")
    for one in values.anonymous_ids or ():
        claim = held.get(anonymous_id_claim(one))
        if claim is not None and claim.stream_id != stream_id:
            raise UserTakenError(f"the anonymous id {one} is that of another user")


def _whose(values: Mapping[str, Any]) -> tuple[str, str]:
    """What enrolments of a list are carried out in order: those of one user in one course."""
    who = values.get("username") or values.get("user_id")
    return str(who).casefold(), str(values.get("course_id"))


def user_state(user: User, *, created: bool = False) -> UserState:
    """A user as told to whoever asks."""
    return UserState(
        user.user_id,
        user.username,
        user.email,
        user.full_name,
        user.is_active,
        user.is_staff,
        user.anonymous_ids,
        dict(user.programs),
        sorted(user.roles, key=lambda role: (role.org, role.course_id or "", role.role)),
        user.created_on,
        created,
    )


def _enrollment_state(enrollment: Enrollment) -> EnrollmentState:
    assert enrollment.enrolled_at is not None
    return EnrollmentState(
        enrollment.enrollment_id,
        enrollment.user_id,
        enrollment.course_id,
        enrollment.mode,
        enrollment.is_active,
        enrollment.enrolled_at,
    )
