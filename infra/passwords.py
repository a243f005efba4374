"""Passwords: the rules for them, and hashes that are slow on purpose.

A hash takes a core and 19 MiB for a moment. So they are made in threads of their own, few
at a time, and when too many wait the rest are turned away: signing in may become slow under
an attack, everything else may not.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from domain.errors import InvalidCommandError, UnavailableError

T = TypeVar("T")

SHORTEST: Final = 10
LONGEST: Final = 1000
AT_ONCE: Final = 2
MAY_WAIT: Final = 64

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_OF_NOBODY: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$Z3JhZGVsb2ctbm9ib2R5IQ"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""Compared with where there is no hash, so that nobody learns that from the time it takes."""


class PasswordError(InvalidCommandError):
    """Not a password that may be set."""


def check_password(password: str) -> str:
    """The password as it is hashed.

    Raises:
        PasswordError: too short or too long.
    """
    # The same text for the same password, whatever keyboard it was typed on.
    normal = unicodedata.normalize("NFKC", password)
    if not SHORTEST <= len(normal) <= LONGEST:
        raise PasswordError(f"a password has {SHORTEST} to {LONGEST} characters")
    return normal


def hash_password(password: str) -> str:
    """The hash to be stored.

    Raises:
        PasswordError: too short or too long.
    """
    return _HASHER.hash(check_password(password))


def matches(password: str, stored: str | None) -> bool:
    """Whether a hash was made of this password."""
    try:
        normal = check_password(password)
    except PasswordError:
        normal = ""  # nobody has it, and finding out takes as long
    try:
        return _HASHER.verify(stored or _OF_NOBODY, normal) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with less effort than is usual now."""
    return _HASHER.check_needs_rehash(stored)


class Hashing:
    """Does this work in threads of its own, for the tasks of one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gradelog passwords")
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do one piece of work when its turn comes.

        Raises:
            UnavailableError: too many wait already.
        """
        if self._under_way >= AT_ONCE + MAY_WAIT:
            raise UnavailableError("too many people sign in at the same time")
        self._under_way += 1
        # Counted until the thread has done it, even if nobody waits for it any more.
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: object) -> None:
        self._under_way -= 1
