"""What a team handed in together: one answer, one submission for each member.

Source: edx-submissions, ``submissions.team_api``. The answer is kept here too, so that a
team submission can be read when none of its members has a submission left.
"""

from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID, uuid5

from domain import events
from domain.aggregate import EventSourced
from domain.events import CreatedEvent, Event, register

_NAMESPACE = UUID("2b1f9c44-7d0e-5b0a-8a55-9d0a3a6f2c71")


def active_team_claim(course_id: str, item_id: str, team_id: str) -> str:
    """The key that the one active submission of a team for an item holds."""
    # Three long names together are more than an index takes; none of them holds a NUL.
    return "team-submission:" + str(uuid5(_NAMESPACE, f"{course_id}\0{item_id}\0{team_id}"))


class TeamSubmissionCreated(CreatedEvent):
    """A team handed in an answer.

    ``answer`` is sealed as in SubmissionCreated, with a key of the team submission's own.
    ``member_submissions`` holds ``student_id`` and ``submission_uuid`` of each submission
    made, ``skipped_members`` ``student_id`` and ``team_id`` of those who had handed in with
    another team.
    """

    TOPIC = "submissions.TeamSubmissionCreated"
    team_submission_uuid: UUID
    team_submission_id: int
    course_id: str
    item_id: str
    item_type: str
    team_id: str
    submitted_by: int | None
    attempt_number: int
    submitted_at: datetime
    answer: str
    answer_size: int
    member_submissions: list[dict[str, str]]
    skipped_members: list[dict[str, str]]


class TeamMemberAdded(Event):
    """A learner's own submission became part of a team submission."""

    TOPIC = "submissions.TeamMemberAdded"
    team_submission_uuid: UUID
    course_id: str
    item_id: str
    student_id: str
    submission_uuid: UUID

    def apply(self, aggregate: "TeamSubmission") -> None:
        aggregate.members.append((self.student_id, self.submission_uuid))


class TeamScoreSet(Event):
    """A team submission was scored; each member's score is an event of its own."""

    TOPIC = "submissions.TeamScoreSet"
    team_submission_uuid: UUID
    course_id: str
    item_id: str
    points_earned: int
    points_possible: int
    score_ids: list[int]


class TeamScoresReset(Event):
    """The scores of all members were reset; each reset is an event of its own."""

    TOPIC = "submissions.TeamScoresReset"
    team_submission_uuid: UUID
    course_id: str
    item_id: str
    clear_state: bool
    score_ids: list[int]


class TeamSubmissionDeleted(Event):
    """A team submission is gone for everybody, and the team may hand in again."""

    TOPIC = "submissions.TeamSubmissionDeleted"
    team_submission_uuid: UUID
    course_id: str
    item_id: str

    def apply(self, aggregate: "TeamSubmission") -> None:
        aggregate.deleted = True


register(
    TeamSubmissionCreated, TeamMemberAdded, TeamScoreSet, TeamScoresReset, TeamSubmissionDeleted
)


class TeamSubmission(EventSourced):
    """One answer of one team. The stream id is the public uuid."""

    TOPIC: ClassVar[str] = "submissions.TeamSubmission"
    Event = events.Event
    Created = TeamSubmissionCreated

    def __init__(
        self,
        team_submission_id: int,
        course_id: str,
        item_id: str,
        item_type: str,
        team_id: str,
        member_submissions: list[dict[str, str]],
    ) -> None:
        self.team_submission_id = team_submission_id
        self.course_id = course_id
        self.item_id = item_id
        self.item_type = item_type
        self.team_id = team_id
        self.members = [(m["student_id"], UUID(m["submission_uuid"])) for m in member_submissions]
        self.deleted = False

    @classmethod
    def create(cls, team_submission_uuid: UUID, *, at: datetime, **fields: Any) -> Self:
        """Hand in an answer as a team; the fields are those of TeamSubmissionCreated."""
        return cls.begin(
            TeamSubmissionCreated,
            team_submission_uuid,
            at,
            team_submission_uuid=team_submission_uuid,
            **fields,
        )

    def add_member(self, student_id: str, submission_uuid: UUID, *, at: datetime) -> None:
        """Take in a submission that a learner makes with this team."""
        self._happened(TeamMemberAdded, at, student_id=student_id, submission_uuid=submission_uuid)

    def set_score(
        self, points_earned: int, points_possible: int, *, score_ids: list[int], at: datetime
    ) -> None:
        """Record that all members were scored at once."""
        self._happened(
            TeamScoreSet,
            at,
            points_earned=points_earned,
            points_possible=points_possible,
            score_ids=score_ids,
        )

    def reset_scores(self, *, clear_state: bool, score_ids: list[int], at: datetime) -> None:
        """Record that all members' scores were reset; with ``clear_state`` delete."""
        self._happened(TeamScoresReset, at, clear_state=clear_state, score_ids=score_ids)
        if clear_state:
            self._happened(TeamSubmissionDeleted, at)

    def _happened(self, event_class: type[events.Event], at: datetime, **fields: Any) -> None:
        self.happened(
            event_class,
            at,
            team_submission_uuid=self.id,
            course_id=self.course_id,
            item_id=self.item_id,
            **fields,
        )
