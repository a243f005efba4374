"""What the interfaces need in order to keep webhooks: where events are delivered over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.application import Done, Idempotency
from domain.errors import ConflictError, DomainError, NotFoundError

ACTIVE = "active"
PAUSED = "paused"
DISABLED = "disabled"


class WebhookNotFoundError(NotFoundError):
    """There is no such webhook."""


class WebhookTargetError(DomainError):
    """Nothing is delivered to this address.

    Attributes:
        kind: a code for what is wrong with it.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class TooManyWebhooksError(ConflictError):
    """There is room for no more webhooks."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are delivered, and how far.

    Attributes:
        webhook_id: its id.
        url: where to.
        types: of which types; of all when empty.
        course_id: of which course; of all, and of none, when None.
        description: what its owner calls it.
        state: ``active``; ``paused`` by somebody; ``disabled`` because the target failed.
        reason: why it is disabled.
        position: everything up to here is delivered or was not asked for.
        failures: attempts that failed since the last that did not.
        failing_since: when the first of them was.
        retry_at: when it is tried again; None while nothing has failed, or nothing is sent to it.
        last_success_at: when something was delivered last.
        last_error: why the last attempt failed that did.
        old_secret_until: until when requests are signed with the secret before, too.
        created_at: when it was made.
        created_by: by whom.
        updated_at: when it was changed last.
        updated_by: by whom.
    """

    webhook_id: UUID
    url: str
    types: Sequence[str]
    course_id: str | None
    description: str
    state: str
    reason: str | None
    position: int
    failures: int
    failing_since: datetime | None
    retry_at: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    old_secret_until: datetime | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a target, and what became of it.

    Attributes:
        number: 1, 2, 3, … of its webhook.
        at: when it was over.
        message_id: what it was sent under; the same each time it is sent again.
        kind: ``events``, or ``ping``.
        after: the events sent come after this position; None for a ping.
        until: and not after this one.
        events: how many they were.
        delivered: whether the target has taken them.
        status: of its answer; None when there was none.
        seconds: how long it took.
        error: why it does not count as delivered.
    """

    number: int
    at: datetime
    message_id: str
    kind: str
    after: int | None
    until: int | None
    events: int
    delivered: bool
    status: int | None
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What somebody wants to have delivered. ``after``: from there on; the head when None."""

    url: str
    types: Sequence[str] = ()
    course_id: str | None = None
    description: str = ""
    after: int | None = None


@dataclass(frozen=True, slots=True)
class WithSecret:
    """A webhook and its new secret: as its owner gets it, and as it may be kept."""

    webhook: Webhook
    secret: str
    kept: str


@dataclass(frozen=True, slots=True)
class WebhookFigures:
    """How all webhooks are.

    Attributes:
        states: how many there are in each state.
        failing: how many active ones are being tried again.
        lags: how many events of the log each active one has not passed yet.
        failures: attempts of each that failed since the last that did not.
    """

    states: dict[str, int] = field(default_factory=dict)
    failing: int = 0
    lags: dict[UUID, int] = field(default_factory=dict)
    failures: dict[UUID, int] = field(default_factory=dict)


class Webhooks(Protocol):
    """Keeps webhooks. Whatever is asked raises UnavailableError when the database is away."""

    async def create(
        self, new: NewWebhook, *, by: str, idempotency: Idempotency[WithSecret] | None = None
    ) -> Done[WithSecret]:
        """Make a webhook; its position is where the log ends, or as it was asked for.

        Raises:
            WebhookTargetError: nothing is delivered there.
            TooManyWebhooksError: there is room for no more.
            InvalidFieldsError: the log does not reach that position.
            IdempotencyKeyReusedError: the key was used for something else.
        """

    async def get(self, webhook_id: UUID) -> Webhook:
        """One webhook.

        Raises:
            WebhookNotFoundError: there is none; so for all that follows.
        """

    async def page(self, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Webhook]:
        """Webhooks in the order in which they were made."""

    async def change(self, webhook_id: UUID, changes: dict[str, Any], *, by: str) -> Webhook:
        """Change ``url``, ``types``, ``description`` or ``state``.

        ``active`` makes a disabled one go on where it was, at once.

        Raises:
            WebhookTargetError: nothing is delivered to the new address.
        """

    async def remove(self, webhook_id: UUID, *, by: str) -> None:
        """Forget a webhook and its attempts."""

    async def rotate(
        self, webhook_id: UUID, *, by: str, idempotency: Idempotency[WithSecret] | None = None
    ) -> Done[WithSecret]:
        """Make a new secret; the one before signs beside it for a day."""

    async def test(
        self, webhook_id: UUID, *, by: str, idempotency: Idempotency[Attempt] | None = None
    ) -> Done[Attempt]:
        """Send a ping now, also to one that is not active."""

    async def attempts(
        self, webhook_id: UUID, *, before: int | None, limit: int
    ) -> Sequence[Attempt]:
        """The attempts that are still known, the newest first."""

    def reopened(self, kept: str) -> str:
        """The secret behind ``WithSecret.kept``, as its owner gets it."""

    async def figures(self) -> WebhookFigures:
        """How all webhooks are."""
