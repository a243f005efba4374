"""The shapes of bodies and results, as they are described to callers.

Results are written by ``api.rendering`` and values are checked by the domain; tests hold
both to these descriptions.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

MAX_INTEGER = 2_147_483_647
_NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"

Text255 = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": 255, "pattern": _NOT_BLANK})
]
Text100 = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": 100, "pattern": _NOT_BLANK})
]
Note = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": 255, "pattern": r"^[^\u0000]*$"})
]
Points = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Answer = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "description": "Any JSON value but null, at most 102400 characters of JSON text with"
            " all non-ASCII escaped. In results null when the learner was erased."
        }
    ),
]
GivenAnswer = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "not": {"type": "null"},
            "description": "At most 102400 characters of JSON text with all non-ASCII escaped.",
        }
    ),
]
Moment = Annotated[
    datetime,
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "ISO 8601 in UTC with six fractional digits and Z.",
        }
    ),
]


class Closed(BaseModel):
    """Other members than these are refused, and never sent."""

    model_config = ConfigDict(extra="forbid")


# --- bodies -----------------------------------------------------------------------------------


class StudentItem(Closed):
    """Whose work at what. Course, student and item identify it."""

    student_id: Text255
    course_id: Text255
    item_id: Text255
    item_type: Text100


class NewSubmission(Closed):
    """An answer to be handed in."""

    student_item: StudentItem
    answer: GivenAnswer
    submitted_at: datetime | None = Field(None, description="Now when left out.")
    attempt_number: Points | None = Field(
        None, description="One more than the last attempt when left out."
    )
    team_submission_uuid: UUID | None = Field(None, description="An active team submission.")


class NewScore(Closed):
    """What a submission is worth, and why."""

    points_earned: Points
    points_possible: Points = Field(description="0 hides the score.")
    annotation_creator: Note | None = Field(
        None, description="Who gives the reason; without it there is no annotation."
    )
    annotation_type: Note | None = Field(None, description="Needed with a creator.")
    annotation_reason: str | None = None


class NewReset(Closed):
    """The student item whose score shall count no longer."""

    student_id: Text255
    course_id: Text255
    item_id: Text255
    clear_state: bool = Field(default=False, description="Also delete its submissions.")


class SubmissionUuids(Closed):
    """Submissions to be looked up."""

    submission_uuids: list[UUID]


class CommandLine(BaseModel):
    """One line: a command with its members, as in the requests that carry it alone."""

    id: str | int | None = Field(None, description="Given back in the result.")
    command: Literal["create_submission", "set_score", "reset_score"]
    idempotency_key: str | None = None
    submission_uuid: UUID | None = Field(None, description="The submission that is scored.")


# --- results ----------------------------------------------------------------------------------


class Submission(Closed):
    """What somebody handed in."""

    uuid: UUID
    student_item: int
    attempt_number: int
    submitted_at: Moment
    created_at: Moment
    answer: Answer
    team_submission_uuid: UUID | None


class SubmissionWithStudent(Submission):
    """A submission with its student item."""

    student_item: StudentItem  # type: ignore[assignment]  # the peer's two shapes


class SubmissionWithStudentId(Submission):
    """A submission with the id of its student."""

    student_id: str


class Annotation(Closed):
    """Why a score is what it is."""

    creator: str
    reason: str | None = Field(description="Null when the learner was erased.")
    annotation_type: str


class UnannotatedScore(Closed):
    """What a submission is worth."""

    student_item: int
    submission: int | None
    points_earned: int
    points_possible: int
    created_at: Moment
    submission_uuid: UUID | None


class Score(UnannotatedScore):
    """What a submission is worth, and why."""

    annotations: list[Annotation]


class NoScore(Closed):
    """The submission has no score that counts."""


class SubmissionInformation(Closed):
    """A submission of a course with its score."""

    student_item: StudentItem
    submission: Submission
    score: Score | NoScore


class TopEntry(Closed):
    """One of the best scored answers."""

    score: int
    content: Answer


class HistoryEntry(Closed):
    """One event: what happened, when, by whom, and through what."""

    position: int
    event_id: UUID
    type: str
    recorded_at: Moment
    actor: str | None
    on_behalf_of: str | None
    request_id: str | None
    trace: str | None
    cause: str | None
    via: str | None
    fields: dict[str, Any]


class SubmissionPage(Closed):
    """A part of a list."""

    next: str | None = Field(description="Address of the page after this one.")
    previous: None = Field(description="Pages go forward only.")
    results: list[SubmissionWithStudentId]


class InformationPage(Closed):
    """A part of a list."""

    next: str | None = Field(description="Address of the page after this one.")
    previous: None = Field(description="Pages go forward only.")
    results: list[SubmissionInformation]


class ErrorEntry(BaseModel):
    """What is wrong with one part of a request."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="Ends in the name of the error.")
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[ErrorEntry] | None = None
    msg: str | None = None
    field_errors: dict[str, list[str]] | None = None


class CommandResult(BaseModel):
    """What became of one line."""

    id: str | int | None
    status: int
    position: int | None = Field(None, description="Of the command's last event.")
    replayed: Literal[True] | None = Field(None, description="It was carried out before.")
    result: Submission | Score | None = None
    error: Problem | None = None


# --- operations -------------------------------------------------------------------------------


class Alive(Closed):
    """The process answers."""

    status: Literal["ok"]


class ReadModelState(Closed):
    """Where a read model stands."""

    state: str
    version: int
    position: int
    lag: int
    error: str | None


class FeedState(Closed):
    """How the feeding of a read model from Kafka goes; requests can be answered all the same."""

    members: int
    partitions_unread: int | None
    messages_left: int | None
    silent_seconds: float | None
    trouble: str | None


class RelayState(Closed):
    """How far the log is published to Kafka; requests can be answered all the same."""

    position: int
    lag: int
    holder: str | None
    error: str | None


class WebhooksState(Closed):
    """How many webhooks there are in each state, and how far the last of the active ones is."""

    active: int
    paused: int
    disabled: int
    failing: int
    lag: int


class InboundState(Closed):
    """What became of the messages of the inbound topics, and how many are parked now."""

    carried_out: int
    repeated: int
    rejected: int
    parked: int


class Readiness(Closed):
    """Whether requests can be answered. What follows the read models is there if there is any."""

    status: Literal["ok", "unavailable"]
    head: int | None
    read_models: dict[str, ReadModelState]
    feed: dict[str, FeedState] | None = None
    relay: RelayState | None = None
    event_bus: RelayState | None = None
    webhooks: WebhooksState | None = None
    inbound: InboundState | None = None
