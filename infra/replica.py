"""What stands for the log in a server whose database is fed from Kafka: a clear refusal.

Such a server answers reads. A command, the past and the events themselves need the log, and
that is elsewhere: whoever asks is told so, not that there is nothing.
"""

# ruff: noqa: ARG002 - the signatures are those of who has a log

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NoReturn
from uuid import UUID

from api.backend import Recalculation
from api.event_pages import Page, Selection
from api.webhooks import NewWebhook, WithSecret
from domain.application import Appended, Claim, Done, HeldClaim, Idempotency, IdWanted
from domain.errors import ReadOnlyServerError
from domain.events import Event, Provenance, Recorded
from infra.grading import PostgresGradingStatus
from infra.sessions import PostgresSessions
from infra.vault import Vault
from infra.webhooks.store import PostgresWebhooks


class NoLog:
    """``domain.application.Log`` and ``api.backend.EventReader`` where there is none."""

    async def close(self) -> None:
        """Nothing is open."""

    async def read_streams(self, stream_ids: Collection[UUID]) -> Mapping[UUID, list[Event]]:
        """Refuse: what a command would decide on is not here."""
        _refuse()

    async def find_claims(self, keys: Collection[str]) -> Mapping[str, HeldClaim]:
        """Refuse."""
        _refuse()

    async def take_ids(self, *wanted: IdWanted) -> Sequence[int | None]:
        """Refuse."""
        _refuse()

    async def append(
        self,
        events: Sequence[Event],
        *,
        provenance: Provenance,
        claims: Sequence[Claim] = (),
        releases: Sequence[str] = (),
    ) -> Appended:
        """Refuse."""
        _refuse()

    async def read_recorded_stream(self, stream_id: UUID, *, until: int = 0) -> list[Recorded]:
        """Refuse: history is read from the log."""
        _refuse()

    async def position_at(self, moment: datetime) -> int:
        """Refuse."""
        _refuse()

    async def head(self) -> int:
        """Refuse: nobody here knows."""
        _refuse()


class NoPages:
    """``api.event_pages.EventPages`` where there is no log."""

    async def close(self) -> None:
        """Nothing is open."""

    async def page(self, selection: Selection, *, after: int, limit: int) -> Page:
        """Refuse."""
        _refuse()

    async def tail(self) -> AsyncGenerator[Page, None]:
        """Refuse, when the first page is asked for."""
        _refuse()
        yield  # what makes it a generator


class OpeningVault(Vault):
    """Opens only: a command is refused, and shall not leave a key behind."""

    async def seal(self, subject: str, text: str, context: str) -> str:
        """Refuse."""
        _refuse()


class SealedVault(OpeningVault):
    """Opens nothing: nobody has said where the keys are."""

    async def load(self, sealed: Iterable[str]) -> None:
        """Load nothing; each text counts as one whose key was destroyed."""


class NoWebhooks(PostgresWebhooks):
    """Webhooks where there is nothing to deliver: there never are any."""

    async def create(
        self, new: NewWebhook, *, by: str, idempotency: Idempotency[WithSecret] | None = None
    ) -> Done[WithSecret]:
        """Refuse."""
        _refuse()


class NoPasswords(PostgresSessions):
    """Sessions where nobody has a password: it is nobody's fault, so nobody is told it is wrong."""

    async def has_password(self, user_id: int | None, password: str, *, at: datetime) -> bool:
        """Refuse."""
        _refuse()


class CopiedGrading(PostgresGradingStatus):
    """How far grades are as far as marks tell; who is graded anew stands beside the log."""

    async def recalculation(self, course_id: str) -> Recalculation | None:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise ReadOnlyServerError(
        "this server only reads, from a copy that is fed from Kafka; commands, signing in, history"
        " and events are the business of the servers that have the log"
    )
