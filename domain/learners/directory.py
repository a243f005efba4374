"""Who is who: users by name or number, as the claims tell it, and many commands at once."""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from collections.abc import (
    Set as AbstractSet,
)
from typing import Any, Final, Protocol, TypeVar

from domain.application import Application, Clock, Done, HeldClaim, IdWanted, Log, Outcome
from domain.errors import DomainError
from domain.learners import fields
from domain.learners.errors import InvalidLearnerError, UserNotFoundError
from domain.learners.user import user_id_claim, username_claim

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT: Final = 1000
"""How many commands of one list are on their way at a time."""

TOGETHER: Final = 100
"""How many commands of one list are carried out in one append."""

CHUNKS_IN_FLIGHT: Final = 5


class Vault(Protocol):
    """Encrypts what is personal with the person's key, and opens it again."""

    async def seal(self, subject: str, text: str, context: str) -> str:
        """Encrypt text for a subject; only the same context opens it again."""

    async def load(self, sealed: Iterable[str]) -> None:
        """Make the keys of these texts ready for ``open``."""

    def open(self, sealed: str, context: str) -> str:
        """Return the text.

        Raises:
            KeyDestroyedError: the person was erased.
        """


class Directory(Application):
    """Finds users, and carries out lists of commands."""

    def __init__(self, log: Log, clock: Clock, vault: Vault) -> None:
        super().__init__(log, clock)
        self._vault = vault

    async def find_users(self, usernames: Sequence[str]) -> dict[str, int]:
        """The numbers of those of these users who are registered."""
        found: dict[str, int] = {}
        # No claim is asked for that cannot even be stored.
        names = list(dict.fromkeys(filter(fields.is_username, usernames)))
        for start in range(0, len(names), IN_FLIGHT):
            some = names[start : start + IN_FLIGHT]
            held = await self._log.find_claims([username_claim(name) for name in some])
            for name in some:
                claim = held.get(username_claim(name))
                if claim is not None:
                    found[name] = number_of(claim)
        return found

    async def find_user(self, username: str | None, user_id: int | None = None) -> int:
        """The number of a user who is registered.

        Raises:
            UserNotFoundError: nobody is called so.
            InvalidLearnerError: name and number are those of two people.
        """
        (found,) = await self.resolve([(username, user_id)])
        if isinstance(found, DomainError):
            raise found
        return found

    async def resolve(
        self, people: Sequence[tuple[str | None, int | None]]
    ) -> list[int | DomainError]:
        """The numbers of users given by name, by number, or both; or why there is none."""
        names = await self.find_users([name for name, _ in people if name is not None])
        numbers = list(dict.fromkeys(n for name, n in people if name is None and n is not None))
        known = set()
        for start in range(0, len(numbers), IN_FLIGHT):
            keys = {user_id_claim(one): one for one in numbers[start : start + IN_FLIGHT]}
            known |= {keys[key] for key in await self._log.find_claims(list(keys))}
        return [_resolved(name, number, names, known) for name, number in people]

    async def _next_id(self, sequence: str) -> int:
        (taken,) = await self._log.take_ids(IdWanted(sequence))
        assert taken is not None
        return taken

    async def _carry_out_all(
        self,
        values: Sequence[T],
        about: Callable[[T], Hashable],
        command: Callable[[T], Awaitable[Done[R]]],
    ) -> list[Outcome[R]]:
        """Carry out one command for each value; those about the same in their order.

        A refusal stands as outcome in its place. Any other failure stops all.
        """
        outcomes: dict[int, Outcome[R]] = {}
        groups: dict[Hashable, list[int]] = {}
        for number, value in enumerate(values):
            groups.setdefault(about(value), []).append(number)
        waiting = iter(groups.values())

        async def work() -> None:
            for numbers in waiting:  # shared: each takes the next
                for number in numbers:
                    try:
                        outcomes[number] = await command(values[number])
                    except DomainError as refusal:
                        outcomes[number] = refusal

        await _all([work() for _ in range(min(IN_FLIGHT, len(groups)))])
        return [outcomes[number] for number in range(len(values))]

    @staticmethod
    async def _side_by_side(
        chunks: Sequence[T], carry_out: Callable[[T], Coroutine[Any, Any, None]]
    ) -> None:
        """Carry out chunks of a list, some at a time. A failure stops all."""
        waiting = iter(chunks)

        async def work() -> None:
            for chunk in waiting:  # shared: each takes the next
                await carry_out(chunk)

        await _all([work() for _ in range(min(CHUNKS_IN_FLIGHT, len(chunks)))])


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all; when one fails the others are stopped."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _resolved(
    username: str | None, user_id: int | None, names: Mapping[str, int], known: AbstractSet[int]
) -> int | DomainError:
    if username is None:
        assert user_id is not None
        if user_id in known:
            return user_id
        return UserNotFoundError(f"there is no user with the number {user_id}")
    found = names.get(username)
    if found is None:
        return UserNotFoundError(f"there is no user called {username}")
    if user_id not in (None, found):
        return InvalidLearnerError({"user_id": f"The number of {username} is another."})
    return found


def number_of(claim: HeldClaim) -> int:
    """The number of the user whom a claim on a username stands for."""
    assert claim.payload is not None
    return int(claim.payload)


def last_position(outcomes: Iterable[Outcome[R]]) -> int | None:
    """The position of the last event that a list of commands wrote."""
    return max(
        (one.position for one in outcomes if isinstance(one, Done) and one.position is not None),
        default=None,
    )
