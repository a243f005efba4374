"""Who is who: users by name or number, as the claims tell it, and many commands at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from domain.application import Application, Clock, Done, HeldClaim, IdWanted, Log, Outcome
from domain.errors import DomainError
from domain.learners.errors import InvalidLearnerError, UserNotFoundError
from domain.learners.user import user_id_claim, username_claim

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT: Final = 1000
"""How many commands of one list are on their way at a time."""


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


class Known(NamedTuple):
    """A user as the claims know them."""

    username: str
    user_id: int


class Directory(Application):
    """Finds users, and carries out lists of commands."""

    def __init__(self, log: Log, clock: Clock, vault: Vault) -> None:
        super().__init__(log, clock)
        self._vault = vault

    async def find_users(self, usernames: Sequence[str]) -> dict[str, int]:
        """The numbers of those of these users who are registered."""
        found: dict[str, int] = {}
        names = list(dict.fromkeys(usernames))
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
        if username is None:
            assert user_id is not None
            if not await self._log.find_claims([user_id_claim(user_id)]):
                raise UserNotFoundError(f"there is no user with the number {user_id}")
            return user_id
        claim = (await self._log.find_claims([username_claim(username)])).get(
            username_claim(username)
        )
        if claim is None:
            raise UserNotFoundError(f"there is no user called {username}")
        found = number_of(claim)
        if user_id not in (None, found):
            raise InvalidLearnerError({"user_id": f"The number of {username} is another."})
        return found

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

        tasks = [asyncio.ensure_future(work()) for _ in range(min(IN_FLIGHT, len(groups)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [outcomes[number] for number in range(len(values))]


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
