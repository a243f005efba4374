"""The rules about one learner's attempts at one item."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from domain.application import rebuild
from domain.events import fields_of
from domain.submissions.errors import SubmissionNotFoundError, SubmissionRequestError
from domain.submissions.fields import StudentItemKey
from domain.submissions.score_summary import Points, replaces_highest
from domain.submissions.student_item import (
    NewScore,
    NewSubmission,
    ScoreReset,
    ScoreSet,
    StudentItem,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from domain.submissions.team_submission import TeamSubmission

KEY = StudentItemKey("learner", "course", "item", "essay")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def at(hour: int) -> datetime:
    return NOW.replace(hour=hour)


def registered() -> StudentItem:
    return StudentItem.register(
        KEY, stream_id=student_item_stream(*KEY[:3]), student_item_id=1, at=NOW
    )


def handed_in(
    item: StudentItem, submitted_at: datetime = NOW, number: int | None = None
) -> SubmissionCreated:
    submission_id = item.version
    new = NewSubmission(uuid4(), submission_id, submitted_at, number, "sealed", 8)
    return item.create_submission(new, at=NOW)


def test_the_stream_is_the_same_for_everybody_and_knows_no_type() -> None:
    assert registered().id == student_item_stream("learner", "course", "item")
    assert student_item_stream("a", "b", "c") != student_item_stream("b", "a", "c")
    assert student_item_stream("ab", "", "c") != student_item_stream("a", "b", "c")


def test_attempts_count_up_by_the_time_they_were_submitted() -> None:
    item = registered()
    assert handed_in(item, at(10)).attempt_number == 1
    assert handed_in(item, at(11)).attempt_number == 2
    assert handed_in(item, at(9)).attempt_number == 3  # back-dated: does not advance
    assert handed_in(item, at(11)).attempt_number == 3  # the tie goes to the newest
    assert handed_in(item, at(12), number=7).attempt_number == 7
    assert handed_in(item, at(1)).attempt_number == 8


def test_what_is_submitted_now_is_not_earlier_than_what_was_before() -> None:
    item = registered()
    handed_in(item, at(23))  # a time of its own, in the future
    for hour, expected in ((10, 10), (9, 10), (11, 11)):
        new = NewSubmission(uuid4(), 1, None, None, "sealed", 8)
        event = item.create_submission(new, at=at(hour))
        assert event.submitted_at == event.timestamp == at(expected)


def test_a_cleared_item_counts_from_one_again() -> None:
    item = registered()
    first = handed_in(item)
    item.reset_score(score_id=1, clear_state=True, emit_signal=True, cause="clear_state", at=NOW)
    assert handed_in(item).attempt_number == 1
    with pytest.raises(SubmissionNotFoundError, match="No submission matching uuid as given"):
        item.refuse_unknown(first.submission_uuid, "as given")


def test_a_reset_that_clears_is_followed_by_each_deletion() -> None:
    item = registered()
    handed_in(item)
    handed_in(item)
    item.reset_score(score_id=1, clear_state=True, emit_signal=False, cause="clear_state", at=NOW)
    kinds = [type(event) for event in item.collect_events()]
    assert kinds == [
        StudentItemRegistered,
        *[SubmissionCreated] * 2,
        ScoreReset,
        *[SubmissionDeleted] * 2,
    ]


def test_a_score_belongs_to_an_active_submission() -> None:
    item = registered()
    submission = handed_in(item)
    score = item.set_score(submission.submission_uuid, NewScore(5, 20, 10), at=NOW)
    assert isinstance(score, ScoreSet)
    assert (score.points_earned, score.points_possible) == (20, 10)
    assert score.submission_id == submission.submission_id


def test_an_item_keeps_the_type_it_was_registered_with() -> None:
    item = registered()
    item.refuse_other_type("essay")
    with pytest.raises(SubmissionRequestError) as caught:
        item.refuse_other_type("quiz")
    assert caught.value.field_errors == {
        "non_field_errors": ["The fields course_id, student_id, item_id must make a unique set."]
    }


def test_the_other_team_of_a_learner_is_known_while_its_part_is_active() -> None:
    item = registered()
    ours, theirs = uuid4(), uuid4()

    def part_of(team: UUID) -> None:
        new = NewSubmission(uuid4(), 1, NOW, None, "sealed", 8, team)
        item.create_submission(new, at=NOW)

    handed_in(item)
    part_of(ours)
    assert item.other_team(ours) is None
    part_of(theirs)
    assert item.other_team(ours) == theirs
    item.reset_score(score_id=1, clear_state=True, emit_signal=True, cause="clear_state", at=NOW)
    assert item.other_team(ours) is None


def test_every_event_holds_all_its_fields() -> None:
    item = registered()
    submission = handed_in(item)
    item.set_score(submission.submission_uuid, NewScore(1, 2, 3), at=NOW)
    item.reset_score(score_id=2, clear_state=True, emit_signal=True, cause="clear_state", at=NOW)
    team = TeamSubmission.create(
        uuid4(),
        at=NOW,
        team_submission_id=1,
        course_id="course",
        item_id="item",
        item_type="essay",
        team_id="blue",
        submitted_by=None,
        attempt_number=1,
        submitted_at=NOW,
        answer="sealed",
        answer_size=8,
        member_submissions=[],
        skipped_members=[],
    )
    team.add_member("learner", submission.submission_uuid, at=NOW)
    team.set_score(1, 2, score_ids=[], at=NOW)
    team.reset_scores(clear_state=True, score_ids=[], at=NOW)
    events = [*item.collect_events(), *team.collect_events()]
    assert len({type(event) for event in events}) == 10
    for event in events:
        assert set(vars(event)) == {*fields_of(type(event)), "originator_id", "originator_version"}


def test_an_item_is_the_same_after_its_events_were_read_back() -> None:
    item = registered()
    handed_in(item, at(3))
    submission = handed_in(item, at(2))
    item.set_score(submission.submission_uuid, NewScore(1, 2, 3), at=NOW)
    assert rebuild(list(item.pending_events)).__dict__ | {"_pending_events": []} == (
        item.__dict__ | {"_pending_events": []}
    )


@pytest.mark.parametrize(
    ("highest", "new", "replaces"),
    [
        (None, Points(0, 0), True),
        (Points(9, 10), Points(0, 0, reset=True), True),
        (Points(5, 0), Points(1, 10), True),
        (Points(5, 10), Points(6, 10), True),
        (Points(5, 10), Points(50, 100), False),
        (Points(5, 10), Points(4, 10), False),
        (Points(5, 10), Points(9, 0), False),
        (Points(5, 0), Points(9, 0), False),
        (Points(1, 3), Points(33, 100), False),
    ],
)
def test_the_highest_score_is_the_best_ratio_since_the_last_reset(
    highest: Points | None, new: Points, replaces: bool
) -> None:
    assert replaces_highest(highest, new) is replaces
