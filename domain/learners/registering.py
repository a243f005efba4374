"""The commands about users: who they are, and which roles they have.

Whether a name, a number or an anonymous id is free is told by the claims, never by a read
model: a decision that is taken again looks them up again, and the log refuses a claim that
was taken meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from domain.application import (
    Claim,
    Command,
    Done,
    HeldClaim,
    Idempotency,
    IdWanted,
    Outcome,
    Work,
)
from domain.errors import ConflictError, DomainError, KeyDestroyedError
from domain.events import NOBODY, Provenance
from domain.learners import fields
from domain.learners.directory import IN_FLIGHT, TOGETHER, Directory, number_of
from domain.learners.errors import UserTakenError
from domain.learners.fields import UserValues
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


class Users(Directory):
    """Users and their roles."""

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
        idempotency: Idempotency[UserState] | None = None,
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
            idempotency: what makes a repeat harmless.

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
        return await self._register(values, provenance, idempotency)

    async def register_users(
        self, users: Iterable[Mapping[str, Any]], *, provenance: Provenance = NOBODY
    ) -> list[Outcome[UserState]]:
        """Register many users, given by the arguments of ``register_user``.

        Returns one outcome for each, in their order; a refusal does not touch the others.
        """
        outcomes: dict[int, Outcome[UserState]] = {}
        first: dict[str, tuple[int, UserValues]] = {}
        others: list[tuple[int, UserValues]] = []
        for number, given in enumerate(users):
            try:
                values = fields.user(given)
            except DomainError as refusal:
                outcomes[number] = refusal
                continue
            entry = (number, values)
            if first.setdefault(username_claim(values.username), entry) is not entry:
                others.append(entry)  # after the first about the same user
        waiting = list(first.values())
        chunks = [waiting[n : n + TOGETHER] for n in range(0, len(waiting), TOGETHER)]

        async def together(chunk: Sequence[tuple[int, UserValues]]) -> None:
            outcomes.update(await self._register_new(chunk, provenance))

        await self._side_by_side(chunks, together)
        rest = [entry for entry in waiting if entry[0] not in outcomes] + others
        alone = await self._carry_out_all(
            rest,
            lambda entry: username_claim(entry[1].username),
            lambda entry: self._register(entry[1], provenance),
        )
        outcomes.update(zip((number for number, _ in rest), alone, strict=True))
        return [outcomes[number] for number in sorted(outcomes)]

    async def _register_new(
        self, chunk: Sequence[tuple[int, UserValues]], provenance: Provenance
    ) -> dict[int, Outcome[UserState]]:
        """Register in one append those who are new beyond doubt; the others are left out."""
        held = await self._log.find_claims([key for _, v in chunk for key in _claims_of(v)])
        seen = set(held)
        new: list[tuple[int, UserValues]] = []
        for number, values in chunk:
            keys = _claims_of(values)
            if seen.isdisjoint(keys):
                new.append((number, values))
                seen.update(keys)
        wanted = sum(values.user_id is None for _, values in new)
        free = iter(await self._free_numbers(wanted))
        user_ids = [next(free) if v.user_id is None else v.user_id for _, v in new]
        changes = await asyncio.gather(
            *(
                self._sealed(values, user_id, None)
                for (_, values), user_id in zip(new, user_ids, strict=True)
            )
        )
        commands = [
            self._first_registration(values.username, user_id, change)
            for (_, values), user_id, change in zip(new, user_ids, changes, strict=True)
        ]
        if not commands:
            return {}
        try:
            done = await self._execute_all(
                [user_stream(one) for one in user_ids], commands, provenance=provenance
            )
        except ConflictError:
            return {}
        return {
            number: outcome
            for (number, _), outcome in zip(new, done, strict=True)
            if not isinstance(outcome, DomainError)
        }

    def _first_registration(
        self, username: str, user_id: int, changes: UserChanges
    ) -> Command[UserState]:
        """Register somebody of whom nothing is known, if nobody else does so meanwhile."""
        stream_id = user_stream(user_id)
        tried = False

        async def decide(work: Work) -> UserState:
            nonlocal tried
            if tried or work.find(User, stream_id) is not None:
                raise _LookAgainError
            tried = True
            return self._add(work, user_id, username, changes)

        return Command(decide)

    def _add(self, work: Work, user_id: int, username: str, changes: UserChanges) -> UserState:
        user = work.add(User.register(user_id, username, changes, at=self._clock()))
        work.claims += [
            Claim(username_claim(username), user.id, str(user_id).encode()),
            Claim(user_id_claim(user_id), user.id),
            *(Claim(anonymous_id_claim(one), user.id) for one in user.anonymous_ids),
        ]
        return user_state(user, created=True)

    async def _register(
        self,
        values: UserValues,
        provenance: Provenance,
        idempotency: Idempotency[UserState] | None = None,
    ) -> Done[UserState]:
        for _ in range(TRIES):
            held = await self._log.find_claims(_claims_of(values))
            user_id = await self._number_for(values, held)
            try:
                return await self._execute(
                    (user_stream(user_id),),
                    replace(self._registration(values, user_id, held), idempotency=idempotency),
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
            if user is None:
                return self._add(work, user_id, values.username, changes)
            before = set(user.anonymous_ids)
            user.change(changes, at=self._clock())
            after = set(user.anonymous_ids)
            work.claims += [
                Claim(anonymous_id_claim(one), stream_id) for one in sorted(after - before)
            ]
            work.releases += [anonymous_id_claim(one) for one in sorted(before - after)]
            return user_state(user)

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
        return (await self._free_numbers(1))[0]

    async def _free_numbers(self, count: int) -> list[int]:
        """Numbers that nobody has; the next ones may have been asked for by number before."""
        found: list[int] = []
        step = count
        while len(found) < count:
            taken = await self._log.take_ids(*[IdWanted(USER_IDS)] * step)
            numbers = [one for one in taken if one is not None]
            held = await self._log.find_claims([user_id_claim(one) for one in numbers])
            found += [one for one in numbers if user_id_claim(one) not in held]
            step = min(step * 10, IN_FLIGHT)
        return found[:count]

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

    # --- roles ------------------------------------------------------------------------------

    async def grant_role(
        self,
        username: str,
        role: object,
        *,
        course_id: object = None,
        org: object = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[Role] | None = None,
    ) -> Done[Role]:
        """Give a user a role in a course, in an organisation, or, without either, everywhere.

        Raises:
            InvalidLearnerError: no such role, bad key.
            UserNotFoundError: nobody is called so.
        """
        wanted = fields.role(role, course_id, org)
        return await self._of_user(
            username,
            lambda user: user.grant(wanted, at=self._clock()),
            wanted,
            provenance,
            idempotency,
        )

    async def revoke_role(
        self,
        username: str,
        role: object,
        *,
        course_id: object = None,
        org: object = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[Role] | None = None,
    ) -> Done[Role]:
        """Take a role away; see ``grant_role``."""
        wanted = fields.role(role, course_id, org)
        return await self._of_user(
            username,
            lambda user: user.revoke(wanted, at=self._clock()),
            wanted,
            provenance,
            idempotency,
        )

    async def _of_user(
        self,
        username: str,
        change: Callable[[User], None],
        result: R,
        provenance: Provenance,
        idempotency: Idempotency[R] | None,
    ) -> Done[R]:
        stream_id = user_stream(await self.find_user(username))

        async def decide(work: Work) -> R:
            user = work.find(User, stream_id)
            assert user is not None
            change(user)
            return result

        command = Command(decide, idempotency)
        return await self._execute((stream_id,), command, provenance=provenance)


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
