"""The shapes of webhooks over HTTP, as they are described to callers."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema

from api.http.schemas import Closed, Moment

LONGEST_URL: Final = 2000
MOST_TYPES: Final = 200
LONGEST_DESCRIPTION: Final = 255
MAX_POSITION: Final = 2**63 - 1

Url = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": LONGEST_URL,
            "description": "Where to deliver: https, without a password, on port 80, 443 or one"
            " from 1024 on, and on the public internet unless the operator allows more.",
        }
    ),
]
Types = Annotated[
    list[str],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MOST_TYPES,
            "uniqueItems": True,
            "description": "Stored names of event types; all of them when empty.",
        }
    ),
]
Description = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "maxLength": LONGEST_DESCRIPTION, "pattern": r"^[^\u0000]*$"}
    ),
]
CourseId = Annotated[
    str | None,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 255},
                {"type": "null"},
            ],
            "description": "Only events of this course; events of no course are left out then.",
        }
    ),
]


class GivenWebhook(Closed):
    """What shall be delivered, and where to."""

    url: Url
    types: Types = Field(default_factory=list)
    course_id: CourseId = None
    description: Description = ""
    after: int | None = Field(
        None,
        ge=0,
        le=MAX_POSITION,
        description="Begin with the event after this position; where the log ends if left out.",
    )


class WebhookChanges(Closed):
    """What shall be otherwise; what is left out stays."""

    url: Url = ""
    types: Types = Field(default_factory=list)
    description: Description = ""
    state: Literal["active", "paused"] = Field(
        "active", description="active goes on where it was, also after it was disabled."
    )


class Webhook(Closed):
    """Where events are delivered, and how far."""

    id: UUID
    url: str
    types: list[str]
    course_id: str | None
    description: str
    state: Literal["active", "paused", "disabled"]
    reason: str | None = Field(description="Why it is disabled.")
    position: int = Field(description="Up to here all is delivered, or was not asked for.")
    lag: int = Field(description="Events of the log after that.")
    failures: int = Field(description="Attempts that failed since the last that did not.")
    failing_since: Moment | None
    retry_at: Moment | None = Field(description="When it is tried again.")
    last_success_at: Moment | None
    last_error: str | None = Field(description="Of the last attempt that failed.")
    old_secret_until: Moment | None = Field(
        description="Until then requests are signed with the secret before, too."
    )
    created_at: Moment
    created_by: str
    updated_at: Moment
    updated_by: str


class WebhookWithSecret(Webhook):
    """A webhook and its secret, which is not shown again."""

    secret: str = Field(pattern="^whsec_[A-Za-z0-9+/]+=*$")


class WebhookPage(Closed):
    """A part of the list, in the order in which they were made."""

    next: str | None = Field(description="Address of the page after this one.")
    previous: None = Field(description="Pages go forward only.")
    results: list[Webhook]


class Delivery(Closed):
    """One request to a target, and what became of it."""

    number: int
    at: Moment
    message_id: str = Field(description="webhook-id; the same when it is sent again.")
    kind: Literal["events", "ping"]
    after: int | None = Field(description="The events stand after this position of the log,")
    until: int | None = Field(description="and not after this one.")
    events: int
    delivered: bool
    status: int | None = Field(description="Of the target's answer; null when none came.")
    seconds: float
    error: str | None


class DeliveryPage(Closed):
    """A part of the last hundred attempts, the newest first."""

    next: str | None = Field(description="Address of the page after this one.")
    previous: None = Field(description="Pages go forward only.")
    results: list[Delivery]
