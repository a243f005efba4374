"""The family of refusals.

What a caller may be told about a command that was not carried out. Everything else
that is raised is a defect and is logged whole. ``api/http/errors.py`` maps the family
to HTTP statuses; no class here knows about HTTP.
"""

from collections.abc import Sequence
from typing import NamedTuple


class DomainError(Exception):
    """A command was refused; nothing was written."""


class NotFoundError(DomainError):
    """What the command speaks of does not exist, or no longer does."""


class InvalidCommandError(DomainError):
    """The command can never be carried out as it stands."""


class Fault(NamedTuple):
    """What is wrong with one part of a command: where, in words, as a code."""

    loc: tuple[str | int, ...]
    msg: str
    kind: str


class InvalidFieldsError(InvalidCommandError):
    """Parts of the command are wrong, each of which is named."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, f.loc))}: {f.msg}" for f in faults[:3]))
        self.faults = list(faults)


class ForbiddenError(DomainError):
    """The caller may not do this."""


class ConflictError(DomainError):
    """The command lost against others that were carried out meanwhile; it may be sent again."""


class IdempotencyKeyReusedError(InvalidCommandError):
    """The idempotency key was used before, by the same caller, with another request."""


class UnavailableError(Exception):
    """The log or a read model cannot answer now. Nothing was written; try again later."""


class ReadOnlyServerError(UnavailableError):
    """This server has no log: it answers reads from a copy. Others carry out commands."""


class OutcomeUnknownError(Exception):
    """The connection broke while a write was on its way: it may or may not be stored.

    Never sent again blindly: the same command with the same idempotency key settles it.
    """


class KeyDestroyedError(Exception):
    """What a learner wrote cannot be read any more: the learner was erased."""
