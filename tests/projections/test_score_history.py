"""Every score and reset, and what counted at any position of the log."""

from domain.events import Provenance
from projections import score_history as queries
from projections.score_history import ScoreChange, TopScore
from projections.submissions import Annotation
from tests import facts
from tests.facts import COURSE, ITEM, TYPE, at, key, uuid
from tests.projections.support import Projected


def test_a_score_is_kept_with_who_when_and_why(projected: Projected) -> None:
    position = projected.fold(
        facts.student_item_registered(),
        facts.submission_created(),
        facts.score_set(4, points_earned=8, timestamp=at(3), annotation=facts.annotation()),
        provenance=Provenance(actor="grader", on_behalf_of="prof", via="http", request_id="r"),
    )
    (change,) = projected.ask(queries.score_changes_of_student_item(key()))
    assert change == ScoreChange(
        position=position,
        recorded_at=facts.NOON,
        score_id=4,
        student_item_id=1,
        student_item=key(),
        submission_uuid=uuid(1),
        submission_id=1,
        points_earned=8,
        points_possible=10,
        reset=False,
        clear_state=False,
        created_at=at(3),
        annotations=(Annotation("staff", "1:sealed", "staff_defined"),),
        actor="grader",
        on_behalf_of="prof",
        via="http",
    )


def test_a_reset_is_kept_as_no_points_of_no_submission(projected: Projected) -> None:
    projected.fold(facts.score_set(1), facts.score_reset(2, clear_state=True))
    _, reset = projected.ask(queries.score_changes_of_student_item(key()))
    assert (reset.points_earned, reset.points_possible, reset.submission_uuid) == (0, 0, None)
    assert reset.reset
    assert reset.clear_state


def test_changes_of_an_item_are_those_of_all_students_in_the_order_of_the_log(
    projected: Projected,
) -> None:
    projected.fold(
        facts.score_set(1, n=2, item=2),
        facts.score_set(2),
        facts.score_set(3, item_id="other"),
        facts.score_reset(4, item=2),
    )
    found = projected.ask(queries.score_changes_of_item(COURSE, ITEM))
    assert [change.score_id for change in found] == [1, 2, 4]
    assert projected.stream(queries.all_score_changes_of_item(COURSE, ITEM)) == found
    page = projected.ask(
        queries.score_changes_of_item(COURSE, ITEM, after=found[0].position, limit=1)
    )
    assert page == found[1:2]


def test_the_past_stays_as_it_was(projected: Projected) -> None:
    first = projected.fold(facts.score_set(1, points_earned=8))
    second = projected.fold(facts.score_set(2, points_earned=6))
    third = projected.fold(facts.score_reset(3, clear_state=True))
    projected.fold(facts.submission_deleted())

    def top(position: int) -> list[TopScore]:
        return projected.ask(queries.top_submissions_as_of(COURSE, ITEM, TYPE, 10, position))

    def points(position: int) -> dict[str, int]:
        scores = projected.ask(queries.scores_of_student_as_of(COURSE, "anna", position))
        return {item: score.points_earned for item, score in scores.items()}

    assert top(first) == [TopScore(1, key(), 8, uuid(1))]
    assert top(second) == [TopScore(1, key(), 6, uuid(1))]
    assert top(third) == top(third + 1) == top(0) == []
    assert (points(0), points(first), points(second)) == ({}, {ITEM: 8}, {ITEM: 6})
    assert points(third) == points(third + 1) == {}


def test_the_top_of_the_past_is_sorted_as_the_top_of_today(projected: Projected) -> None:
    position = projected.fold(
        facts.score_set(1, n=3, item=3, points_earned=6),
        facts.score_set(2, n=1, item=1, points_earned=6),
        facts.score_set(3, n=2, item=2, points_earned=7),
        facts.score_set(4, n=4, item=4, points_earned=0),
        facts.score_set(5, n=5, item=5, points_earned=9, item_type="sga"),
    )
    top = projected.ask(queries.top_submissions_as_of(COURSE, ITEM, TYPE, 2, position))
    assert [one.student_item.student_id for one in top] == ["ben", "anna"]
