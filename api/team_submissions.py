"""Team submissions, in process: the functions of the peer's ``team_api``.

Source: edx-submissions, ``submissions/team_api.py``. A team submission without active
members can still be read: its answer is kept with it.
"""

import json
from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from api.in_process import Installation, installation, provenance
from api.rendering import Result
from api.submissions import parsed_uuids, send_score_reset, send_score_set
from domain.errors import KeyDestroyedError, UnavailableError
from domain.submissions import fields
from domain.submissions.application import answer_context
from domain.submissions.errors import (
    SubmissionInternalError,
    SubmissionRequestError,
    TeamSubmissionInternalError,
    TeamSubmissionNotFoundError,
)
from projections import team_submissions as queries
from projections.read_model import Query
from projections.team_submissions import TeamSubmission

T = TypeVar("T")


def create_submission_for_team(
    course_id: Any,
    item_id: Any,
    team_id: Any,
    submitting_user_id: Any,
    team_member_ids: Iterable[Any],
    answer: Any,
    submitted_at: Any = None,
    attempt_number: Any = 1,
    item_type: Any = "openassessment",
) -> Result:
    """Hand in one answer for a team, and a submission for each member, all or nothing.

    Members with an active submission of another team for the item are left out.

    Raises:
        TeamSubmissionRequestError: bad fields of the team's record.
        DuplicateTeamSubmissionsError: the team has an active submission for the item.
        SubmissionRequestError: bad answer, member id or item type.
        TeamSubmissionInternalError: nothing was stored, and cannot be at the moment.
    """
    by = provenance()
    members = list(team_member_ids)
    here = installation()
    try:
        done = here.carry_out(
            lambda commands: commands.create_submission_for_team(
                course_id,
                item_id,
                team_id,
                submitting_user_id,
                members,
                answer,
                submitted_at,
                attempt_number,
                item_type,
                provenance=by,
            )
        )
    except UnavailableError as error:
        raise TeamSubmissionInternalError(
            f"An error occurred while creating a submission of team {team_id} for item {item_id}"
            f" in course {course_id}"
        ) from error
    event = done.value.event
    row = TeamSubmission(
        team_submission_uuid=event.team_submission_uuid,
        team_submission_id=event.team_submission_id,
        attempt_number=event.attempt_number,
        submitted_at=event.submitted_at,
        course_id=event.course_id,
        item_id=event.item_id,
        item_type=event.item_type,
        team_id=event.team_id,
        submitted_by=event.submitted_by,
        created_at=event.timestamp,
        answer=event.answer,
        submission_uuids=tuple(
            UUID(member["submission_uuid"]) for member in reversed(event.member_submissions)
        ),
    )
    return _rendered(row, json.loads(done.value.answer_text))


def get_team_submission(team_submission_uuid: Any) -> Result:
    """Return a team submission.

    Raises:
        TeamSubmissionNotFoundError: unknown, deleted or None.
        TeamSubmissionInternalError: text that is no UUID, or no answer at the moment.
    """
    not_found = f"No team submission matching uuid {team_submission_uuid}"
    if team_submission_uuid is None:
        raise TeamSubmissionNotFoundError(not_found)
    uuid = _team_uuid(team_submission_uuid)
    return _found(queries.team_submission_by_uuid(uuid), not_found)


def get_team_submission_from_individual_submission(individual_submission_uuid: Any) -> Result:
    """Return the team submission that a member's active submission is part of.

    Raises:
        TeamSubmissionNotFoundError: there is none.
        TeamSubmissionInternalError: text that is no UUID, or no answer at the moment.
    """
    if individual_submission_uuid is None:
        raise TeamSubmissionNotFoundError
    uuid = _team_uuid(individual_submission_uuid)
    return _found(queries.team_submission_of_submission(uuid), "")


def get_team_submission_for_team(course_id: str, item_id: str, team_id: str) -> Result:
    """Return the active submission of a team for an item.

    Raises:
        TeamSubmissionNotFoundError: there is none.
    """
    not_found = (
        f"No team submission matching course_id={course_id} item_id={item_id} team_id={team_id}"
    )
    if not fields.storable(course_id, item_id, team_id):
        raise TeamSubmissionNotFoundError(not_found)
    return _found(queries.team_submission_of_team(course_id, item_id, team_id), not_found)


def get_team_submission_for_student(student_item_dict: Any) -> Result:
    """Return the team submission in which a student has an active part.

    Raises:
        SubmissionRequestError: a bad student item.
        TeamSubmissionNotFoundError: there is none.
    """
    key = fields.student_item(student_item_dict)
    return _found(
        queries.team_submission_of_student_item(key),
        f"No team submission matching ({key.student_id}, {key.course_id}, {key.item_type},"
        f" {key.item_id})",
    )


def get_all_team_submissions(course_id: str, item_id: str) -> list[Result]:
    """Return the active team submissions of an item, the one submitted last first."""
    if not fields.storable(course_id, item_id):
        return []
    here = installation()
    rows = _asked(here, queries.team_submissions_of_item(course_id, item_id))
    here.load(row.answer for row in rows)
    return [_opened(here, row) for row in rows]


def get_team_submission_student_ids(team_submission_uuid: Any) -> list[str]:
    """Return the students of a team submission, also those whose own part is deleted.

    Raises:
        TeamSubmissionNotFoundError: unknown, deleted or None.
    """
    if not team_submission_uuid:
        raise TeamSubmissionNotFoundError
    query = queries.student_ids_of_team_submission(_team_uuid(team_submission_uuid))
    found = _asked(installation(), query)
    if found is None:
        raise TeamSubmissionNotFoundError
    return found


def get_team_ids_by_team_submission_uuid(
    team_submission_uuids: Iterable[Any],
) -> dict[str, str]:
    """Return the team of each team submission; leave out what is not there."""
    wanted = parsed_uuids(team_submission_uuids)
    if not wanted:
        return {}
    found = _asked(installation(), queries.team_ids_by_team_submission_uuid(wanted))
    return {str(uuid): team_id for uuid, team_id in found.items()}


def get_teammates_with_submissions_from_other_teams(
    course_id: str, item_id: str, team_id: str, team_member_ids: Iterable[Any]
) -> list[dict[str, str]]:
    """Return those of the members who have handed in with another team, and which."""
    members = [str(member) for member in team_member_ids]
    if not members or not fields.storable(course_id, item_id, team_id, *members):
        return []
    query = queries.teammates_with_submissions_from_other_teams(
        course_id, item_id, team_id, members
    )
    return [
        {"student_id": row.student_id, "team_id": row.team_id}
        for row in _asked(installation(), query)
    ]


def set_score(
    team_submission_uuid: Any,
    points_earned: Any,
    points_possible: Any,
    annotation_creator: Any = None,
    annotation_type: Any = None,
    annotation_reason: Any = None,
) -> None:
    """Score every active submission of a team, all or nothing; send ``score_set`` for each.

    Raises:
        TeamSubmissionNotFoundError: unknown or deleted.
        SubmissionInternalError: bad points; the only argument is the field errors.
        TeamSubmissionInternalError: nothing was stored, and cannot be at the moment.
    """
    by = provenance()
    try:
        done = installation().carry_out(
            lambda commands: commands.set_team_score(
                team_submission_uuid,
                points_earned,
                points_possible,
                annotation_creator,
                annotation_type,
                annotation_reason,
                provenance=by,
            )
        )
    except UnavailableError as error:
        raise TeamSubmissionInternalError(
            f"An error occurred while scoring team submission {team_submission_uuid}"
        ) from error
    for event in done.value:
        send_score_set(event)


def reset_scores(team_submission_uuid: Any, clear_state: bool = False) -> None:
    """Reset the scores of all members, all or nothing; send ``score_reset`` for each.

    ``clear_state`` also deletes the members' submissions and the team's.

    Raises:
        TeamSubmissionNotFoundError: unknown or deleted.
        TeamSubmissionInternalError: nothing was stored, and cannot be at the moment.
    """
    by = provenance()
    try:
        done = installation().carry_out(
            lambda commands: commands.reset_team_scores(
                team_submission_uuid, clear_state, provenance=by
            )
        )
    except (UnavailableError, SubmissionInternalError) as error:
        raise TeamSubmissionInternalError(
            f"Error occurred while reseting scores for team submission {team_submission_uuid}"
        ) from error
    for event in done.value:
        send_score_reset(event)


def _team_uuid(given: Any) -> UUID:
    try:
        return fields.submission_uuid(given)
    except (ValueError, SubmissionRequestError) as error:
        raise TeamSubmissionInternalError(
            f"Attempt to get team submission for uuid {given} caused error: {error}"
        ) from None


def _asked(here: Installation, query: Query[T]) -> T:
    try:
        return here.ask(query, latest=True)
    except UnavailableError as error:
        raise TeamSubmissionInternalError(
            f"Attempt to get team submission caused error: {error}"
        ) from error


def _found(query: Query[TeamSubmission | None], not_found: str) -> Result:
    here = installation()
    row = _asked(here, query)
    if row is None:
        raise TeamSubmissionNotFoundError(*[not_found] if not_found else [])
    here.load([row.answer])
    return _opened(here, row)


def _opened(here: Installation, row: TeamSubmission) -> Result:
    try:
        answer = json.loads(here.open(row.answer, answer_context(row.team_submission_uuid)))
    except KeyDestroyedError:
        answer = None
    return _rendered(row, answer)


def _rendered(row: TeamSubmission, answer: Any) -> Result:
    return {
        "team_submission_uuid": str(row.team_submission_uuid),
        "attempt_number": row.attempt_number,
        "submitted_at": row.submitted_at,
        "course_id": row.course_id,
        "item_id": row.item_id,
        "team_id": row.team_id,
        "submitted_by": row.submitted_by,
        "created_at": row.created_at,
        "answer": answer,
        "submission_uuids": [str(uuid) for uuid in row.submission_uuids],
    }
