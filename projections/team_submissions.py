"""What teams handed in, and the part of each member. Source: ``submissions.team_api``.

The answer stays sealed, with a key of the team submission's own.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, LiteralString
from uuid import UUID

from psycopg import Connection

from domain.events import Event, Recorded
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import (
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from domain.submissions.team_submission import TeamSubmissionCreated, TeamSubmissionDeleted
from projections.bulk import copy_rows, execute, item_key
from projections.read_model import Query, ReadModel, Row


@dataclass(frozen=True, slots=True)
class TeamSubmission:
    """A team submission that is not deleted.

    ``answer`` is sealed; it opens with ``answer_context(team_submission_uuid)``.
    ``submission_uuids`` are those of the members' active submissions, the newest first.
    """

    team_submission_uuid: UUID
    team_submission_id: int
    attempt_number: int
    submitted_at: datetime
    course_id: str
    item_id: str
    item_type: str
    team_id: str
    submitted_by: int | None
    created_at: datetime
    answer: str
    submission_uuids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class OtherTeam:
    """A student's active submission with another team."""

    student_id: str
    team_id: str


class TeamSubmissions(ReadModel):
    """Team submissions and their members' submissions."""

    name: ClassVar[str] = "team_submissions"
    version: ClassVar[int] = 1
    folds: ClassVar[frozenset[type[Event]]] = frozenset(
        {TeamSubmissionCreated, TeamSubmissionDeleted, SubmissionCreated, SubmissionDeleted}
    )
    tables: ClassVar[LiteralString] = """
    CREATE TABLE team_submissions (
        team_submission_uuid uuid        PRIMARY KEY,
        team_submission_id   bigint      NOT NULL,
        attempt_number       integer     NOT NULL,
        submitted_at         timestamptz NOT NULL,
        item_key             uuid        NOT NULL,
        course_id            text        COLLATE "C" NOT NULL,
        item_id              text        COLLATE "C" NOT NULL,
        item_type            text        COLLATE "C" NOT NULL,
        team_id              text        COLLATE "C" NOT NULL,
        submitted_by         bigint,
        created_at           timestamptz NOT NULL,
        deleted              boolean     NOT NULL,
        answer               text        COLLATE "C" NOT NULL
    );
    ALTER TABLE team_submissions ALTER COLUMN answer SET STORAGE EXTERNAL;
    CREATE INDEX team_submissions_of_item
        ON team_submissions (item_key, submitted_at DESC, team_submission_id DESC)
        WHERE NOT deleted;
    CREATE INDEX team_submissions_of_team ON team_submissions (item_key, team_id)
        WHERE NOT deleted;

    -- Kept when they are deleted: who was a member is still asked then.
    CREATE TABLE member_submissions (
        submission_uuid      uuid        PRIMARY KEY,
        submission_id        bigint      NOT NULL,
        team_submission_uuid uuid        NOT NULL,
        student_item_stream  uuid        NOT NULL,
        student_id           text        COLLATE "C" NOT NULL,
        item_type            text        COLLATE "C" NOT NULL,
        submitted_at         timestamptz NOT NULL,
        active               boolean     NOT NULL
    );
    CREATE INDEX member_submissions_of_team ON member_submissions (team_submission_uuid);
    CREATE INDEX member_submissions_of_student_item ON member_submissions (student_item_stream)
        WHERE active;
    """

    def fold(self, db: Connection[Row], events: Iterable[Recorded]) -> None:
        """Gather what the batch adds and deletes, then write each table once."""
        teams: list[Row] = []
        members: list[Row] = []
        deleted_teams: list[UUID] = []
        deleted: list[UUID] = []
        for recorded in events:
            event = recorded.event
            match event:
                case SubmissionCreated():
                    if event.team_submission_uuid is not None:
                        members.append(
                            (
                                event.submission_uuid,
                                event.submission_id,
                                event.team_submission_uuid,
                                event.originator_id,
                                event.student_id,
                                event.item_type,
                                event.submitted_at,
                                True,
                            )
                        )
                case SubmissionDeleted():
                    deleted.append(event.submission_uuid)
                case TeamSubmissionCreated():
                    teams.append(
                        (
                            event.team_submission_uuid,
                            event.team_submission_id,
                            event.attempt_number,
                            event.submitted_at,
                            item_key(event.course_id, event.item_id),
                            event.course_id,
                            event.item_id,
                            event.item_type,
                            event.team_id,
                            event.submitted_by,
                            event.timestamp,
                            False,
                            event.answer,
                        )
                    )
                case TeamSubmissionDeleted():
                    deleted_teams.append(event.team_submission_uuid)
        copy_rows(db, _COPY_TEAMS, _TEAM_TYPES, teams)
        copy_rows(db, _COPY_MEMBERS, _MEMBER_TYPES, members)
        if deleted_teams:
            execute(db, _DELETE_TEAMS, deleted_teams)
        if deleted:
            execute(db, _DELETE_MEMBERS, deleted)


_TEAM_TYPES: Final = (
    *("uuid", "int8", "int4", "timestamptz", "uuid", "text", "text", "text", "text", "int8"),
    *("timestamptz", "bool", "text"),
)
_COPY_TEAMS: Final = """
COPY team_submissions (
    team_submission_uuid, team_submission_id, attempt_number, submitted_at, item_key, course_id,
    item_id, item_type, team_id, submitted_by, created_at, deleted, answer)
FROM STDIN (FORMAT binary)
"""
_MEMBER_TYPES: Final = ("uuid", "int8", "uuid", "uuid", "text", "text", "timestamptz", "bool")
_COPY_MEMBERS: Final = """
COPY member_submissions (
    submission_uuid, submission_id, team_submission_uuid, student_item_stream, student_id,
    item_type, submitted_at, active)
FROM STDIN (FORMAT binary)
"""
_DELETE_TEAMS: Final = """
UPDATE team_submissions SET deleted = true WHERE team_submission_uuid = ANY (%b::uuid[])
"""
_DELETE_MEMBERS: Final = """
UPDATE member_submissions SET active = false WHERE submission_uuid = ANY (%b::uuid[])
"""

# --- queries --------------------------------------------------------------------------------

_TEAM: Final = """
SELECT t.team_submission_uuid, t.team_submission_id, t.attempt_number, t.submitted_at,
    t.course_id, t.item_id, t.item_type, t.team_id, t.submitted_by, t.created_at, t.answer,
    ARRAY(SELECT m.submission_uuid FROM member_submissions m
          WHERE m.team_submission_uuid = t.team_submission_uuid AND m.active
          ORDER BY m.submitted_at DESC, m.submission_id DESC)
FROM team_submissions t
"""
_BY_UUID: Final = f"{_TEAM} WHERE t.team_submission_uuid = %b AND NOT t.deleted"
_BY_SUBMISSION: Final = f"""
{_TEAM} WHERE NOT t.deleted AND t.team_submission_uuid = (
    SELECT m.team_submission_uuid FROM member_submissions m
    WHERE m.submission_uuid = %b AND m.active)
"""
_OF_TEAM: Final = f"""
{_TEAM} WHERE t.item_key = %b AND t.team_id = %b AND NOT t.deleted
ORDER BY t.team_submission_id DESC LIMIT 1
"""
_OF_STUDENT_ITEM: Final = f"""
{_TEAM} JOIN member_submissions s ON s.team_submission_uuid = t.team_submission_uuid
WHERE s.student_item_stream = %b AND s.item_type = %b AND s.active AND NOT t.deleted
ORDER BY s.submitted_at DESC, s.submission_id DESC LIMIT 1
"""
_OF_ITEM: Final = f"""
{_TEAM} WHERE t.item_key = %b AND NOT t.deleted
ORDER BY t.submitted_at DESC, t.team_submission_id DESC
"""
_STUDENT_IDS: Final = """
SELECT m.student_id FROM team_submissions t
LEFT JOIN member_submissions m ON m.team_submission_uuid = t.team_submission_uuid
WHERE t.team_submission_uuid = %b AND NOT t.deleted
ORDER BY m.submission_id
"""
_TEAM_IDS: Final = """
SELECT team_submission_uuid, team_id FROM team_submissions
WHERE team_submission_uuid = ANY (%b::uuid[]) AND NOT deleted
"""
_OTHER_TEAMS: Final = """
SELECT m.student_id, t.team_id
FROM member_submissions m
JOIN team_submissions t ON t.team_submission_uuid = m.team_submission_uuid
WHERE m.student_item_stream = ANY (%b::uuid[]) AND m.active AND NOT t.deleted
    AND t.team_id <> %b
ORDER BY m.submission_id
"""


def team_submission_by_uuid(team_submission_uuid: UUID) -> Query[TeamSubmission | None]:
    """One team submission; None when it is unknown or deleted."""
    return Query(TeamSubmissions, _BY_UUID, (team_submission_uuid,), _first)


def team_submission_of_submission(submission_uuid: UUID) -> Query[TeamSubmission | None]:
    """The team submission in which a member's active submission has its part."""
    return Query(TeamSubmissions, _BY_SUBMISSION, (submission_uuid,), _first)


def team_submission_of_team(
    course_id: str, item_id: str, team_id: str
) -> Query[TeamSubmission | None]:
    """The one active submission of a team for an item."""
    return Query(TeamSubmissions, _OF_TEAM, (item_key(course_id, item_id), team_id), _first)


def team_submission_of_student_item(key: StudentItemKey) -> Query[TeamSubmission | None]:
    """The team submission in which a student has an active part; the newest of several."""
    stream = student_item_stream(key.student_id, key.course_id, key.item_id)
    return Query(TeamSubmissions, _OF_STUDENT_ITEM, (stream, key.item_type), _first)


def team_submissions_of_item(course_id: str, item_id: str) -> Query[list[TeamSubmission]]:
    """The active team submissions of an item, the newest first."""
    return Query(TeamSubmissions, _OF_ITEM, (item_key(course_id, item_id),), _all)


def student_ids_of_team_submission(team_submission_uuid: UUID) -> Query[list[str] | None]:
    """Its members, also those whose submission is deleted; None without such a team submission."""
    return Query(TeamSubmissions, _STUDENT_IDS, (team_submission_uuid,), _members)


def team_ids_by_team_submission_uuid(
    team_submission_uuids: Iterable[UUID],
) -> Query[dict[UUID, str]]:
    """Team id by team submission uuid; unknown and deleted ones are left out."""
    return Query(TeamSubmissions, _TEAM_IDS, (list(team_submission_uuids),), _team_ids)


def teammates_with_submissions_from_other_teams(
    course_id: str, item_id: str, team_id: str, team_member_ids: Iterable[str]
) -> Query[list[OtherTeam]]:
    """Of these students, who has an active submission with another team, one for each."""
    streams = [student_item_stream(member, course_id, item_id) for member in team_member_ids]
    return Query(TeamSubmissions, _OTHER_TEAMS, (streams, team_id), _other_teams)


def _team_submission(row: Row) -> TeamSubmission:
    *values, submission_uuids = row
    return TeamSubmission(*values, *[tuple(submission_uuids)])


def _first(rows: list[Row]) -> TeamSubmission | None:
    return _team_submission(rows[0]) if rows else None


def _all(rows: list[Row]) -> list[TeamSubmission]:
    return [_team_submission(row) for row in rows]


def _members(rows: list[Row]) -> list[str] | None:
    return [row[0] for row in rows if row[0] is not None] if rows else None


def _team_ids(rows: list[Row]) -> dict[UUID, str]:
    return {row[0]: row[1] for row in rows}


def _other_teams(rows: list[Row]) -> list[OtherTeam]:
    return [OtherTeam(*row) for row in rows]
