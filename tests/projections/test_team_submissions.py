"""What teams handed in, and the part of each member."""

from projections import team_submissions as queries
from projections.team_submissions import OtherTeam, TeamSubmission
from tests import facts
from tests.facts import COURSE, ITEM, TYPE, at, key, team_uuid, uuid
from tests.projections.support import Projected


def a_team(projected: Projected, n: int = 1, *, members: int = 2, team_id: str = "team-1") -> None:
    """A team hands in; the submissions of its members are numbered 10 n + 1 and so on."""
    projected.fold(
        *(
            facts.submission_created(
                10 * n + member,
                item=10 * n + member,
                student_id=f"{team_id}-{member}",
                submitted_at=at(n),
                team_submission_uuid=team_uuid(n),
            )
            for member in range(1, members + 1)
        ),
        facts.team_submission_created(n, team_id=team_id),
    )


def test_a_team_submission_is_found_by_all_its_names(projected: Projected) -> None:
    a_team(projected)
    found = projected.ask(queries.team_submission_by_uuid(team_uuid(1)))
    assert found == TeamSubmission(
        team_submission_uuid=team_uuid(1),
        team_submission_id=1,
        attempt_number=1,
        submitted_at=at(1),
        course_id=COURSE,
        item_id=ITEM,
        item_type=TYPE,
        team_id="team-1",
        submitted_by=None,
        created_at=facts.NOON,
        answer="1:sealed team answer 1",
        submission_uuids=(uuid(12), uuid(11)),
    )
    assert projected.ask(queries.team_submission_of_submission(uuid(12))) == found
    assert projected.ask(queries.team_submission_of_team(COURSE, ITEM, "team-1")) == found
    assert projected.ask(queries.team_submission_of_student_item(key("team-1-2"))) == found
    assert projected.ask(queries.team_submissions_of_item(COURSE, ITEM)) == [found]
    assert projected.ask(queries.team_ids_by_team_submission_uuid([team_uuid(1), uuid(1)])) == {
        team_uuid(1): "team-1"
    }


def test_what_does_not_exist_is_not_found(projected: Projected) -> None:
    projected.fold(facts.submission_created())
    assert projected.ask(queries.team_submission_by_uuid(team_uuid(1))) is None
    assert projected.ask(queries.team_submission_of_submission(uuid(1))) is None
    assert projected.ask(queries.team_submission_of_team(COURSE, ITEM, "team-1")) is None
    assert projected.ask(queries.team_submission_of_student_item(key())) is None
    assert projected.ask(queries.student_ids_of_team_submission(team_uuid(1))) is None
    assert projected.ask(queries.team_submissions_of_item(COURSE, ITEM)) == []
    assert projected.ask(queries.team_ids_by_team_submission_uuid([])) == {}


def test_a_team_without_members_has_its_answer_all_the_same(projected: Projected) -> None:
    a_team(projected, members=0)
    found = projected.ask(queries.team_submission_by_uuid(team_uuid(1)))
    assert found is not None
    assert found.submission_uuids == ()
    assert projected.ask(queries.student_ids_of_team_submission(team_uuid(1))) == []


def test_a_member_who_is_cleared_leaves_the_submission_and_stays_a_member(
    projected: Projected,
) -> None:
    a_team(projected)
    projected.fold(facts.submission_deleted(11, item=11, student_id="team-1-1"))
    found = projected.ask(queries.team_submission_by_uuid(team_uuid(1)))
    assert found is not None
    assert found.submission_uuids == (uuid(12),)
    assert projected.ask(queries.team_submission_of_submission(uuid(11))) is None
    assert projected.ask(queries.team_submission_of_student_item(key("team-1-1"))) is None
    members = projected.ask(queries.student_ids_of_team_submission(team_uuid(1)))
    assert members == ["team-1-1", "team-1-2"]


def test_a_deleted_team_submission_is_gone_and_the_team_may_hand_in_again(
    projected: Projected,
) -> None:
    a_team(projected, 1)
    projected.fold(
        facts.team_scores_reset(1, clear_state=True),
        facts.submission_deleted(11, item=11),
        facts.submission_deleted(12, item=12),
        facts.team_submission_deleted(1),
    )
    assert projected.ask(queries.team_submission_by_uuid(team_uuid(1))) is None
    assert projected.ask(queries.team_submission_of_team(COURSE, ITEM, "team-1")) is None
    assert projected.ask(queries.student_ids_of_team_submission(team_uuid(1))) is None
    assert projected.ask(queries.team_ids_by_team_submission_uuid([team_uuid(1)])) == {}
    a_team(projected, 2)
    again = projected.ask(queries.team_submission_of_team(COURSE, ITEM, "team-1"))
    assert again is not None
    assert again.team_submission_uuid == team_uuid(2)


def test_a_team_submission_deleted_in_the_batch_that_created_it_was_never_there(
    projected: Projected,
) -> None:
    projected.fold(facts.team_submission_created(1), facts.team_submission_deleted(1))
    assert projected.ask(queries.team_submission_by_uuid(team_uuid(1))) is None


def test_team_submissions_of_an_item_come_newest_first(projected: Projected) -> None:
    for n in (1, 2, 3):
        a_team(projected, n, team_id=f"team-{n}")
    found = projected.ask(queries.team_submissions_of_item(COURSE, ITEM))
    assert [one.team_submission_id for one in found] == [3, 2, 1]


def test_teammates_with_another_team_are_named_with_it(projected: Projected) -> None:
    a_team(projected, 1, team_id="red")
    a_team(projected, 2, team_id="blue")
    projected.fold(facts.submission_created(99, item=99, student_id="alone"))
    members = ["red-1", "blue-1", "blue-2", "alone", "nobody"]
    found = projected.ask(
        queries.teammates_with_submissions_from_other_teams(COURSE, ITEM, "red", members)
    )
    assert found == [OtherTeam("blue-1", "blue"), OtherTeam("blue-2", "blue")]
    projected.fold(facts.submission_deleted(21, item=21, student_id="blue-1"))
    found = projected.ask(
        queries.teammates_with_submissions_from_other_teams(COURSE, ITEM, "red", members)
    )
    assert found == [OtherTeam("blue-2", "blue")]
