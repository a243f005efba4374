"""A student item as it stood: the fold of its events up to some moment."""

from domain.submissions.history import StudentItemPast, student_item_past
from tests import facts

TYPE = facts.TYPE


def test_before_everything_there_is_nothing() -> None:
    past = student_item_past([])
    assert past == StudentItemPast()
    assert past.newest_submissions(TYPE, None) == []
    assert past.score(TYPE) is None
    assert past.score_of(facts.uuid(1)) is None


def test_submissions_come_by_their_own_time_then_by_id_newest_first() -> None:
    events = [
        facts.student_item_registered(),
        facts.submission_created(1, submitted_at=facts.at(5)),
        facts.submission_created(2, submitted_at=facts.at(1)),
        facts.submission_created(3, submitted_at=facts.at(5)),
    ]
    past = student_item_past(events)
    assert [s.submission_id for s in past.newest_submissions(TYPE, None)] == [3, 1, 2]
    assert [s.submission_id for s in past.newest_submissions(TYPE, 2)] == [3, 1]


def test_an_item_is_known_by_its_own_type_only() -> None:
    past = student_item_past(
        [facts.student_item_registered(), facts.submission_created(1), facts.score_set(1)]
    )
    assert past.newest_submissions("another type", None) == []
    assert past.score("another type") is None


def test_the_score_that_was_written_last_counts() -> None:
    second = facts.score_set(2, n=1, points_earned=2)
    past = student_item_past(
        [
            facts.student_item_registered(),
            facts.submission_created(1),
            facts.submission_created(2),
            facts.score_set(1, n=2),
            second,
        ]
    )
    assert past.score(TYPE) == second
    assert past.score_of(facts.uuid(1)) == second
    assert past.score_of(facts.uuid(2)) == facts.score_set(1, n=2)


def test_a_score_out_of_nothing_is_hidden() -> None:
    past = student_item_past(
        [
            facts.student_item_registered(),
            facts.submission_created(1),
            facts.score_set(1),
            facts.score_set(2, points_possible=0),
        ]
    )
    assert past.score(TYPE) is None
    assert past.score_of(facts.uuid(1)) is None


def test_a_reset_hides_the_score_of_the_item_not_of_the_submission() -> None:
    past = student_item_past(
        [
            facts.student_item_registered(),
            facts.submission_created(1),
            facts.score_set(1),
            facts.score_reset(2),
        ]
    )
    assert past.score(TYPE) is None
    assert past.score_of(facts.uuid(1)) == facts.score_set(1)


def test_a_deleted_submission_is_gone_with_its_score() -> None:
    past = student_item_past(
        [
            facts.student_item_registered(),
            facts.submission_created(1),
            facts.submission_created(2),
            facts.score_set(1),
            facts.submission_deleted(1),
        ]
    )
    assert [s.submission_id for s in past.newest_submissions(TYPE, None)] == [2]
    assert past.score_of(facts.uuid(1)) is None
