"""What the in-process interface stands on, and how a program hands it over.

The functions of ``api.submissions`` and ``api.team_submissions`` are plain functions, as
callers of the peer expect them. They work on the one installation that the program has
opened (``infra.in_process.in_process``), and write down on whose behalf the program acts
(``acting_as``).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from domain.application import Done
from domain.events import Provenance
from domain.submissions.application import Submissions
from projections.read_model import Query, StreamQuery

T = TypeVar("T")


class Installation(Protocol):
    """An opened installation, for callers that are threads."""

    def carry_out(self, command: Callable[[Submissions], Awaitable[Done[T]]]) -> Done[T]:
        """Carry out a command; return when it is stored durably.

        Raises:
            DomainError: refused.
            UnavailableError: nothing was stored.
            OutcomeUnknownError: it may or may not be stored.
        """

    def ask(self, query: Query[T], *, latest: bool) -> T:
        """Answer a question.

        Args:
            query: the question.
            latest: wait for all that was acknowledged to anybody. Otherwise what this
                process wrote is waited for, unless that takes too long.

        Raises:
            UnavailableError: no answer in time.
        """

    def stream(
        self, query: StreamQuery[T], *, latest: bool
    ) -> AbstractContextManager[Iterator[Sequence[T]]]:
        """Answer a large question in chunks, all of one snapshot."""

    def load(self, sealed: Iterable[str]) -> None:
        """Make the keys of these texts ready for ``open``."""

    def open(self, sealed: str, context: str) -> str:
        """The text, whose key was loaded before.

        Raises:
            KeyDestroyedError: the learner was erased.
        """


class NotOpenError(RuntimeError):
    """The program has not opened an installation."""


_installation: Installation | None = None
_IN_PROCESS = Provenance(via="in process")
_provenance: ContextVar[Provenance] = ContextVar("gradelog_provenance")


def installation() -> Installation:
    """The installation that the program has opened.

    Raises:
        NotOpenError: it has not.
    """
    if _installation is None:
        raise NotOpenError("open gradelog first: with infra.in_process.in_process(): …")
    return _installation


def use(opened: Installation | None) -> None:
    """Let the functions of this process work on an installation, or on none any more."""
    global _installation  # noqa: PLW0603 - the peer's functions have no place for it
    _installation = opened


def provenance() -> Provenance:
    """On whose behalf the calling thread acts."""
    return _provenance.get(_IN_PROCESS)


@contextmanager
def acting_as(actor: str, **details: Any) -> Iterator[None]:
    """Write down an actor, and other fields of Provenance, with all that happens inside."""
    token = _provenance.set(Provenance(actor=actor, **{"via": "in process", **details}))
    try:
        yield
    finally:
        _provenance.reset(token)
