"""What was known of a student item at some moment: a fold of its events up to there.

Read models tell how things stand now. A question about the past is answered from the
stream of the one student item it is about, which is short.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from domain.events import Event
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import (
    ScoreReset,
    ScoreSet,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
)


@dataclass(slots=True)
class StudentItemPast:
    """A student item as it stood.

    Attributes:
        key: whose work at what; None while nothing had happened.
        submissions: the active ones, in the order in which they were handed in.
        latest: the score that counted; None before the first and after a reset.
        latest_of: the last score of each submission; a reset does not touch it.
    """

    key: StudentItemKey | None = None
    submissions: dict[UUID, SubmissionCreated] = field(default_factory=dict)
    latest: ScoreSet | None = None
    latest_of: dict[UUID, ScoreSet] = field(default_factory=dict)

    def newest_submissions(self, item_type: str, limit: int | None) -> list[SubmissionCreated]:
        """The active submissions, the one submitted last by its own time first."""
        if self.key is None or self.key.item_type != item_type:
            return []
        newest_first = sorted(
            self.submissions.values(),
            key=lambda s: (s.submitted_at, s.submission_id),
            reverse=True,
        )
        return newest_first[:limit]

    def score(self, item_type: str) -> ScoreSet | None:
        """The score that counted, unless it was hidden."""
        if self.key is None or self.key.item_type != item_type:
            return None
        return _shown(self.latest)

    def score_of(self, submission_uuid: UUID) -> ScoreSet | None:
        """The last score of an active submission, unless it was hidden."""
        if submission_uuid not in self.submissions:
            return None
        return _shown(self.latest_of.get(submission_uuid))


def student_item_past(events: Iterable[Event]) -> StudentItemPast:
    """Fold the events of one student item, oldest first."""
    past = StudentItemPast()
    for event in events:
        match event:
            case StudentItemRegistered():
                past.key = StudentItemKey(
                    event.student_id, event.course_id, event.item_id, event.item_type
                )
            case SubmissionCreated():
                past.submissions[event.submission_uuid] = event
            case ScoreSet():
                past.latest = past.latest_of[event.submission_uuid] = event
            case ScoreReset():
                past.latest = None
            case SubmissionDeleted():
                past.submissions.pop(event.submission_uuid, None)
    return past


def _shown(score: ScoreSet | None) -> ScoreSet | None:
    return None if score is None or score.points_possible == 0 else score
