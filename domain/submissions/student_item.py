"""One learner's attempts at one item, with their scores and resets.

The stream id is derived from course, student and item, so two first-time callers meet on
one stream and share the item. State holds what a rule needs and no more: the attempts that
are still active. Scores are facts for the read models; no rule reads one back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from domain import events
from domain.aggregate import EventSourced
from domain.events import CreatedEvent, Event, register
from domain.streams import deriving
from domain.submissions import fields
from domain.submissions.errors import SubmissionNotFoundError, SubmissionRequestError
from domain.submissions.fields import NOT_UNIQUE, StudentItemKey

E = TypeVar("E", bound="StudentItemEvent")

_derived = deriving(UUID("6f0a1d0e-0c52-5a3e-9a6b-2f6c1f8a4d11"))


def student_item_stream(student_id: str, course_id: str, item_id: str) -> UUID:
    """The stream of a student item; ``item_type`` is no part of its identity."""
    return _derived(f"{course_id}\0{student_id}\0{item_id}")


class StudentItemRegistered(CreatedEvent):
    """Somebody handed in something for this item for the first time."""

    TOPIC = "submissions.StudentItemRegistered"
    student_item_id: int
    student_id: str
    course_id: str
    item_id: str
    item_type: str


class StudentItemEvent(Event):
    """What happens to a student item names whose work at what it is about."""

    TOPIC = "submissions.StudentItemEvent"
    student_item_id: int
    student_id: str
    course_id: str
    item_id: str
    item_type: str


class SubmissionCreated(StudentItemEvent):
    """A learner handed in an answer.

    ``answer`` is the JSON text of the answer, encrypted with the learner's key;
    ``answer_size`` its length in characters before that.
    """

    TOPIC = "submissions.SubmissionCreated"
    submission_uuid: UUID
    submission_id: int
    attempt_number: int
    submitted_at: datetime
    answer: str
    answer_size: int
    team_submission_uuid: UUID | None

    def apply(self, aggregate: "StudentItem") -> None:
        aggregate.attempts[self.submission_uuid] = Attempt(
            self.submission_id,
            self.attempt_number,
            self.submitted_at,
            self.originator_version,
            self.team_submission_uuid,
        )
        if self.submitted_at == self.timestamp:
            aggregate.last_submitted_now = self.timestamp


class ScoreSet(StudentItemEvent):
    """Somebody decided what a submission is worth.

    ``annotation`` holds ``creator``, ``annotation_type`` and ``reason``, the reason
    encrypted with the learner's key unless it is empty. ``team_submission_uuid`` is set
    when the whole team was scored at once.
    """

    TOPIC = "submissions.ScoreSet"
    score_id: int
    submission_uuid: UUID
    submission_id: int
    points_earned: int
    points_possible: int
    annotation: dict[str, str] | None
    team_submission_uuid: UUID | None


class ScoreReset(StudentItemEvent):
    """The score of a student item counts no longer; history keeps what it was.

    ``emit_signal`` is False when a new score follows at once and only that one is news.
    """

    TOPIC = "submissions.ScoreReset"
    score_id: int
    clear_state: bool
    emit_signal: bool


class SubmissionDeleted(StudentItemEvent):
    """A submission is gone for everybody, its scores stay in history.

    ``cause`` is ``clear_state`` or ``team_clear_state``.
    """

    TOPIC = "submissions.SubmissionDeleted"
    submission_uuid: UUID
    submission_id: int
    cause: str

    def apply(self, aggregate: "StudentItem") -> None:
        aggregate.attempts.pop(self.submission_uuid, None)


register(StudentItemRegistered, SubmissionCreated, ScoreSet, ScoreReset, SubmissionDeleted)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An active submission, as far as the rules need it."""

    submission_id: int
    attempt_number: int
    submitted_at: datetime
    order: int
    team_submission_uuid: UUID | None


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """What a submission holds, checked, its answer sealed.

    Without ``submitted_at`` it is submitted at the moment of the decision, without
    ``attempt_number`` it gets the next one.
    """

    submission_uuid: UUID
    submission_id: int
    submitted_at: datetime | None
    attempt_number: int | None
    answer: str
    answer_size: int
    team_submission_uuid: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewScore:
    """What a score holds, checked, the reason of its annotation sealed."""

    score_id: int
    points_earned: int
    points_possible: int
    annotation: dict[str, str] | None = None
    team_submission_uuid: UUID | None = None


class StudentItem(EventSourced):
    """One learner's work at one item."""

    TOPIC: ClassVar[str] = "submissions.StudentItem"
    Event = events.Event
    Created = StudentItemRegistered

    student_item_id: int
    key: StudentItemKey
    attempts: dict[UUID, Attempt]
    last_submitted_now: datetime | None

    def __init__(
        self, student_item_id: int, student_id: str, course_id: str, item_id: str, item_type: str
    ) -> None:
        self.student_item_id = student_item_id
        self.key = StudentItemKey(student_id, course_id, item_id, item_type)
        self.attempts = {}
        self.last_submitted_now = None

    @classmethod
    def register(
        cls, key: StudentItemKey, *, stream_id: UUID, student_item_id: int, at: datetime
    ) -> Self:
        """Take up a student item that nobody has seen before, on the stream of its key."""
        return cls.begin(
            StudentItemRegistered,
            stream_id,
            at,
            student_item_id=student_item_id,
            student_id=key.student_id,
            course_id=key.course_id,
            item_id=key.item_id,
            item_type=key.item_type,
        )

    def refuse_other_type(self, item_type: str) -> None:
        """Hold every caller to the type that the item was registered with.

        Raises:
            SubmissionRequestError: the same course, student and item, but another type.
        """
        if item_type != self.key.item_type:
            raise SubmissionRequestError(field_errors={"non_field_errors": [NOT_UNIQUE]})

    def next_attempt_number(self) -> int:
        """1 more than the attempt that was submitted last, by its own time; 1 without any."""
        last = self.latest_attempt()
        return 1 if last is None else self.attempts[last].attempt_number + 1

    def latest_attempt(self) -> UUID | None:
        """The active submission that was submitted last, by its own time."""
        if not self.attempts:
            return None
        return max(self.attempts.items(), key=lambda a: (a[1].submitted_at, a[1].order))[0]

    def other_team(self, team_submission_uuid: UUID) -> UUID | None:
        """The submission of another team in which this learner has an active part."""
        for attempt in self.attempts.values():
            if attempt.team_submission_uuid not in (None, team_submission_uuid):
                return attempt.team_submission_uuid
        return None

    def create_submission(self, new: NewSubmission, *, at: datetime) -> SubmissionCreated:
        """Hand in an answer."""
        submitted_at, number = new.submitted_at, new.attempt_number
        if submitted_at is None:
            # Attempts are numbered by the time they were submitted. Clocks of two machines
            # differ; what is submitted now is not earlier than what was submitted before.
            at = submitted_at = max(at, self.last_submitted_now or at)
        if number is None:
            number = fields.checked_attempt_number(self.next_attempt_number())
        return self._happened(
            SubmissionCreated,
            at,
            submission_uuid=new.submission_uuid,
            submission_id=new.submission_id,
            attempt_number=number,
            submitted_at=submitted_at,
            answer=new.answer,
            answer_size=new.answer_size,
            team_submission_uuid=new.team_submission_uuid,
        )

    def refuse_unknown(self, submission_uuid: UUID, given: object) -> Attempt:
        """The active submission of this uuid.

        Raises:
            SubmissionNotFoundError: never created, or deleted; names the uuid as given.
        """
        attempt = self.attempts.get(submission_uuid)
        if attempt is None:
            raise SubmissionNotFoundError(f"No submission matching uuid {given}")
        return attempt

    def set_score(self, submission_uuid: UUID, new: NewScore, *, at: datetime) -> ScoreSet:
        """Say what an active submission is worth; more than possible is extra credit."""
        attempt = self.attempts[submission_uuid]
        return self._happened(
            ScoreSet,
            at,
            score_id=new.score_id,
            submission_uuid=submission_uuid,
            submission_id=attempt.submission_id,
            points_earned=new.points_earned,
            points_possible=new.points_possible,
            annotation=new.annotation,
            team_submission_uuid=new.team_submission_uuid,
        )

    def reset_score(
        self, *, score_id: int, clear_state: bool, emit_signal: bool, cause: str, at: datetime
    ) -> ScoreReset:
        """Let the score count no longer; with ``clear_state`` delete all active submissions."""
        reset = self._happened(
            ScoreReset, at, score_id=score_id, clear_state=clear_state, emit_signal=emit_signal
        )
        if clear_state:
            for submission_uuid, attempt in list(self.attempts.items()):
                self._happened(
                    SubmissionDeleted,
                    at,
                    submission_uuid=submission_uuid,
                    submission_id=attempt.submission_id,
                    cause=cause,
                )
        return reset

    def _happened(self, event_class: type[E], at: datetime, **fields: Any) -> E:
        student_id, course_id, item_id, item_type = self.key
        return self.happened(
            event_class,
            at,
            student_item_id=self.student_item_id,
            student_id=student_id,
            course_id=course_id,
            item_id=item_id,
            item_type=item_type,
            **fields,
        )
