"""Ids of streams, derived from what the streams are about.

The same as ``uuid.uuid5``, whose checks take twice as long as the digest: several are
derived for every score.
"""

import hashlib
from collections.abc import Callable
from uuid import UUID, SafeUUID

_VERSION_5 = 5 << 76
_VARIANT = 0x8000 << 48
_CLEARED = ~(0xF000 << 64) & ~(0xC000 << 48)


def deriving(namespace: UUID) -> Callable[[str], UUID]:
    """A function that derives an id of this namespace from a name."""
    start = hashlib.sha1(namespace.bytes, usedforsecurity=False)

    def derive(name: str) -> UUID:
        digest = start.copy()
        digest.update(name.encode())
        number = int.from_bytes(digest.digest()[:16])
        found = object.__new__(UUID)
        object.__setattr__(found, "int", number & _CLEARED | _VARIANT | _VERSION_5)
        object.__setattr__(found, "is_safe", SafeUUID.unknown)
        return found

    return derive
