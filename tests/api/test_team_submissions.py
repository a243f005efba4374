"""The team interface in process, function by function."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from api import signals, submissions, team_submissions
from domain.submissions.errors import (
    DuplicateTeamSubmissionsError,
    TeamSubmissionInternalError,
    TeamSubmissionNotFoundError,
    TeamSubmissionRequestError,
)

COURSE, ITEM = "course-v1:Org+C+R", "project"

pytestmark = pytest.mark.usefixtures("gradelog")


def item(student: str) -> dict[str, str]:
    return {
        "student_id": student,
        "course_id": COURSE,
        "item_id": ITEM,
        "item_type": "openassessment",
    }


def hand_in(team: str = "blue", members: tuple[str, ...] = ("a", "b"), **more: Any) -> Any:
    return team_submissions.create_submission_for_team(
        COURSE, ITEM, team, 7, list(members), {"text": "together"}, **more
    )


def test_a_team_submission_has_its_keys_in_their_order() -> None:
    team = hand_in()
    assert list(team) == [
        *("team_submission_uuid", "attempt_number", "submitted_at", "course_id", "item_id"),
        *("team_id", "submitted_by", "created_at", "answer", "submission_uuids"),
    ]
    assert (team["attempt_number"], team["submitted_by"]) == (1, 7)
    assert team["answer"] == {"text": "together"}
    assert len(team["submission_uuids"]) == 2
    parts = [submissions.get_submission_and_student(uuid) for uuid in team["submission_uuids"]]
    assert {p["student_item"]["student_id"] for p in parts} == {"a", "b"}
    assert {p["team_submission_uuid"] for p in parts} == {team["team_submission_uuid"]}
    assert all(p["answer"] == {"text": "together"} for p in parts)


def test_a_team_submission_is_found_from_every_side() -> None:
    team = hand_in()
    uuid = team["team_submission_uuid"]
    find = team_submissions
    assert find.get_team_submission(uuid) == team
    assert find.get_team_submission(UUID(uuid)) == team
    part = team["submission_uuids"][0]
    assert find.get_team_submission_from_individual_submission(part) == team
    assert find.get_team_submission_for_team(COURSE, ITEM, "blue") == team
    assert find.get_team_submission_for_student(item("b")) == team
    assert find.get_all_team_submissions(COURSE, ITEM) == [team]
    assert sorted(find.get_team_submission_student_ids(uuid)) == ["a", "b"]
    assert find.get_team_ids_by_team_submission_uuid([uuid, str(uuid4())]) == {uuid: "blue"}
    assert find.get_team_ids_by_team_submission_uuid([]) == {}


def test_what_is_not_there_is_refused_with_its_text() -> None:
    find = team_submissions
    unknown = str(uuid4())
    with pytest.raises(TeamSubmissionNotFoundError) as caught:
        find.get_team_submission(unknown)
    assert str(caught.value) == f"No team submission matching uuid {unknown}"
    with pytest.raises(TeamSubmissionNotFoundError, match="matching uuid None"):
        find.get_team_submission(None)
    with pytest.raises(TeamSubmissionInternalError) as internal:
        find.get_team_submission("xyz")
    assert str(internal.value).startswith(
        "Attempt to get team submission for uuid xyz caused error: "
    )
    with pytest.raises(TeamSubmissionNotFoundError) as caught:
        find.get_team_submission_from_individual_submission(unknown)
    assert str(caught.value) == ""
    with pytest.raises(TeamSubmissionNotFoundError) as caught:
        find.get_team_submission_for_team(COURSE, ITEM, "blue")
    assert str(caught.value) == (
        f"No team submission matching course_id={COURSE} item_id={ITEM} team_id=blue"
    )
    with pytest.raises(TeamSubmissionNotFoundError) as caught:
        find.get_team_submission_for_student(item("a"))
    assert str(caught.value) == (
        f"No team submission matching (a, {COURSE}, openassessment, {ITEM})"
    )
    assert find.get_all_team_submissions(COURSE, ITEM) == []
    for value in (None, "", unknown):
        with pytest.raises(TeamSubmissionNotFoundError) as caught:
            find.get_team_submission_student_ids(value)
        assert str(caught.value) == ""


def test_bad_fields_of_the_team_are_told_together() -> None:
    with pytest.raises(TeamSubmissionRequestError) as caught:
        team_submissions.create_submission_for_team(
            "", None, "x" * 256, "nobody", ["a"], "x", attempt_number=-1
        )
    assert set(caught.value.field_errors) == {
        *("course_id", "item_id", "team_id", "submitted_by", "attempt_number")
    }
    assert caught.value.field_errors["submitted_by"] == [
        'Invalid pk "nobody" - object does not exist.'
    ]


def test_a_second_submission_of_a_team_is_refused() -> None:
    hand_in()
    with pytest.raises(DuplicateTeamSubmissionsError) as caught:
        hand_in()
    assert str(caught.value) == "Can only have one submission per team."


def test_teammates_who_handed_in_with_another_team_are_named_and_left_out() -> None:
    hand_in("red", ("a",))
    find = team_submissions.get_teammates_with_submissions_from_other_teams
    assert find(COURSE, ITEM, "blue", ["a", "b"]) == [{"student_id": "a", "team_id": "red"}]
    assert find(COURSE, ITEM, "red", ["a", "b"]) == []
    assert find(COURSE, ITEM, "blue", []) == []
    assert len(hand_in("blue", ("a", "b"))["submission_uuids"]) == 1


def test_every_member_is_scored_and_hears_of_it() -> None:
    heard: list[str] = []

    def listen(**fields: Any) -> None:
        heard.append(fields["anonymous_user_id"])

    team = hand_in()
    signals.score_set.connect(listen)
    signals.score_reset.connect(listen)
    try:
        team_submissions.set_score(team["team_submission_uuid"], 8, 10, "staff", "note", "fine")
        for student in ("a", "b"):
            score = submissions.get_score(item(student))
            assert (score["points_earned"], score["annotations"][0]["reason"]) == (8, "fine")
        team_submissions.reset_scores(team["team_submission_uuid"])
        assert submissions.get_score(item("a")) is None
        assert team_submissions.get_team_submission(team["team_submission_uuid"]) == team
    finally:
        signals.score_set.disconnect(listen)
        signals.score_reset.disconnect(listen)
    assert sorted(heard) == ["a", "a", "b", "b"]


def test_a_cleared_team_is_gone_and_may_hand_in_again() -> None:
    team = hand_in()
    uuid = team["team_submission_uuid"]
    team_submissions.reset_scores(uuid, clear_state=True)
    with pytest.raises(TeamSubmissionNotFoundError):
        team_submissions.get_team_submission(uuid)
    assert submissions.get_submissions(item("a")) == []
    assert team_submissions.get_all_team_submissions(COURSE, ITEM) == []
    again = hand_in()
    assert (again["attempt_number"], len(again["submission_uuids"])) == (1, 2)
    with pytest.raises(TeamSubmissionNotFoundError):
        team_submissions.reset_scores(uuid)


def test_a_team_without_members_left_can_still_be_read() -> None:
    team = hand_in()
    for student in ("a", "b"):
        submissions.reset_score(student, COURSE, ITEM, clear_state=True)
    found = team_submissions.get_team_submission(team["team_submission_uuid"])
    assert (found["submission_uuids"], found["answer"]) == ([], {"text": "together"})
    assert sorted(
        team_submissions.get_team_submission_student_ids(team["team_submission_uuid"])
    ) == ["a", "b"]


def test_a_submission_may_join_an_active_team_submission() -> None:
    class Team:
        uuid = hand_in()["team_submission_uuid"]

    joined = submissions.create_submission(item("c"), "me too", team_submission=Team)
    assert joined["team_submission_uuid"] == Team.uuid
    team = team_submissions.get_team_submission(Team.uuid)
    assert joined["uuid"] in team["submission_uuids"]
