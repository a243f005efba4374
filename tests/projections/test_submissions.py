"""What was handed in, and which score counts."""

import pytest

from domain.events import Event
from domain.submissions.student_item import ScoreReset, ScoreSet
from projections import submissions as queries
from projections.submissions import Annotation
from tests import facts
from tests.facts import COURSE, ITEM, TYPE, at, key, uuid
from tests.projections.support import Projected


def handed_in(n: int = 1, *, item: int = 1, **fields: object) -> list[Event]:
    """A first submission of a student."""
    return [
        facts.student_item_registered(item),
        facts.submission_created(n, item=item, **fields),
    ]


def scored(earned: int, possible: int = 10, *, n: int = 1, item: int = 1) -> list[Event]:
    return [
        *handed_in(n, item=item),
        facts.score_set(n, n=n, item=item, points_earned=earned, points_possible=possible),
    ]


# --- submissions ----------------------------------------------------------------------------


def test_a_submission_is_found_with_whose_work_at_what_it_is(projected: Projected) -> None:
    projected.fold(*handed_in(7, submitted_at=at(1), attempt_number=3))
    found = projected.ask(queries.submission_by_uuid(uuid(7)))
    assert found == queries.Submission(
        submission_uuid=uuid(7),
        submission_id=7,
        student_item_id=1,
        student_item=key("anna"),
        attempt_number=3,
        submitted_at=at(1),
        created_at=facts.NOON,
        answer="1:sealed answer 7",
        team_submission_uuid=None,
    )
    assert projected.ask(queries.submissions_by_uuids([uuid(7), uuid(8)])) == {uuid(7): found}


def test_an_unknown_submission_is_not_found(projected: Projected) -> None:
    assert projected.ask(queries.submission_by_uuid(uuid(1))) is None
    assert projected.ask(queries.submissions_by_uuids([])) == {}


def test_a_deleted_submission_is_gone_everywhere(projected: Projected) -> None:
    projected.fold(*scored(5), facts.score_reset(2, clear_state=True))
    projected.fold(facts.submission_deleted())
    assert projected.ask(queries.submission_by_uuid(uuid(1))) is None
    assert projected.ask(queries.submissions_of_item(key())) == []
    assert projected.ask(queries.latest_score_of_submission(uuid(1))) is None
    assert projected.ask(queries.student_ids_by_submission_uuid(COURSE, [uuid(1)])) == {}
    assert projected.ask(queries.submission_uuids_of_item(COURSE, ITEM)) == []
    assert projected.stream(queries.all_latest_submissions(COURSE, ITEM, TYPE)) == []
    assert projected.stream(queries.all_course_information(COURSE, TYPE)) == []


def test_a_submission_deleted_in_the_batch_that_created_it_was_never_there(
    projected: Projected,
) -> None:
    projected.fold(*scored(5), facts.score_reset(2, clear_state=True), facts.submission_deleted())
    assert projected.ask(queries.submission_by_uuid(uuid(1))) is None
    assert projected.ask(queries.score_of_item(key())) is None


def test_submissions_of_an_item_are_the_newest_first_and_later_ids_before_earlier(
    projected: Projected,
) -> None:
    projected.fold(
        facts.student_item_registered(),
        facts.submission_created(1, submitted_at=at(5)),
        facts.submission_created(2, submitted_at=at(9)),
        facts.submission_created(3, submitted_at=at(5)),
    )
    found = projected.ask(queries.submissions_of_item(key()))
    assert [submission.submission_id for submission in found] == [2, 3, 1]
    (newest,) = projected.ask(queries.submissions_of_item(key(), 1))
    assert newest.submission_id == 2


@pytest.mark.parametrize(
    "other",
    [
        {"student_id": "Anna"},
        {"course_id": COURSE.lower()},
        {"item_id": ITEM + " "},
        {"item_type": "OpenAssessment"},
    ],
)
def test_ids_are_compared_exactly(projected: Projected, other: dict[str, str]) -> None:
    projected.fold(*scored(5))
    wanted = key(**other)
    assert projected.ask(queries.submissions_of_item(wanted)) == []
    assert projected.ask(queries.score_of_item(wanted)) is None


def test_ids_of_the_largest_size_in_any_script_are_kept(projected: Projected) -> None:
    longest = {
        "student_id": "🜁" * 255,
        "course_id": "🜂" * 255,
        "item_id": "🜃" * 255,
        "item_type": "🜄" * 100,
    }
    projected.fold(
        facts.student_item_registered(**longest),
        facts.submission_created(**longest, team_submission_uuid=facts.team_uuid(1)),
        facts.score_set(**longest),
    )
    assert projected.ask(queries.score_of_item(key(**longest))) is not None
    assert len(projected.ask(queries.submissions_of_item(key(**longest)))) == 1


def test_the_latest_submission_of_each_student_comes_in_code_point_order(
    projected: Projected,
) -> None:
    students = ["Zoe", "anna", "Ähre", "_", "ben"]
    for item, student_id in enumerate(students, 1):
        projected.fold(
            facts.student_item_registered(item, student_id=student_id),
            facts.submission_created(10 + item, item=item, student_id=student_id),
            facts.submission_created(
                20 + item, item=item, student_id=student_id, submitted_at=at(-1)
            ),
        )
    found = projected.stream(queries.all_latest_submissions(COURSE, ITEM, TYPE))
    assert [one.student_item.student_id for one in found] == sorted(students)
    assert {one.submission_id for one in found} == {11, 12, 13, 14, 15}
    page = projected.ask(
        queries.latest_submission_of_each_student(COURSE, ITEM, TYPE, after="Zoe", limit=2)
    )
    assert [one.student_item.student_id for one in page] == ["_", "anna"]
    whole = projected.ask(queries.latest_submission_of_each_student(COURSE, ITEM, TYPE))
    assert whole == found


def test_student_ids_are_those_of_the_course_asked_for(projected: Projected) -> None:
    projected.fold(
        *handed_in(1),
        facts.student_item_registered(2, course_id="other"),
        facts.submission_created(2, item=2, course_id="other"),
    )
    asked = [uuid(1), uuid(1), uuid(2), uuid(3)]
    found = projected.ask(queries.student_ids_by_submission_uuid(COURSE, asked))
    assert found == {uuid(1): "anna"}


def test_uuids_of_an_item_are_those_of_all_its_types(projected: Projected) -> None:
    projected.fold(
        *handed_in(1),
        facts.student_item_registered(2, item_type="sga"),
        facts.submission_created(2, item=2, item_type="sga"),
    )
    assert projected.ask(queries.submission_uuids_of_item(COURSE, ITEM)) == [uuid(1), uuid(2)]


# --- which score counts ---------------------------------------------------------------------


def summary(projected: Projected) -> tuple[int, int]:
    """Ids of the highest and of the latest score of the first student item."""
    (row,) = projected.db.execute(
        "SELECT highest_score_id, latest_score_id FROM submissions_v1.score_summaries"
    ).fetchall()
    return row


def a_score(score_id: int, earned: int, possible: int) -> ScoreSet:
    return facts.score_set(score_id, points_earned=earned, points_possible=possible)


def a_reset(score_id: int) -> ScoreReset:
    return facts.score_reset(score_id)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize(
    ("scores", "highest", "latest"),
    [
        ([a_score(1, 0, 10)], 1, 1),
        ([a_score(1, 0, 0)], 1, 1),
        ([a_reset(1)], 1, 1),
        ([a_score(1, 9, 10), a_reset(2)], 2, 2),
        ([a_score(1, 9, 10), a_reset(2), a_score(3, 0, 10)], 3, 3),
        ([a_score(1, 3, 0), a_score(2, 0, 10)], 2, 2),
        ([a_score(1, 1, 10), a_score(2, 2, 10)], 2, 2),
        ([a_score(1, 5, 10), a_score(2, 6, 20)], 1, 2),
        ([a_score(1, 5, 10), a_score(2, 50, 100)], 1, 2),
        ([a_score(1, 5, 10), a_score(2, 4, 10)], 1, 2),
        ([a_score(1, 5, 10), a_score(2, 9, 0)], 1, 2),
        ([a_score(1, 5, 10), a_score(2, 4, 10), a_score(3, 6, 10)], 3, 3),
        ([a_score(1, 5, 10), a_score(2, 9, 0), a_score(3, 4, 10)], 1, 3),
        ([a_score(1, 12, 10), a_score(2, 10, 10)], 1, 2),
    ],
)
def test_a_reset_starts_afresh_and_only_a_better_ratio_is_higher(
    projected: Projected, scores: list[Event], highest: int, latest: int, *, together: bool
) -> None:
    projected.fold(*handed_in())
    fold = projected.fold if together else projected.fold_one_by_one
    fold(*scores)
    assert summary(projected) == (highest, latest)


def test_the_latest_score_is_the_one_written_last_whatever_attempt_it_is_for(
    projected: Projected,
) -> None:
    projected.fold(*handed_in(1), facts.submission_created(2, submitted_at=at(60)))
    projected.fold(facts.score_set(1, n=2, points_earned=9, timestamp=at(90)))
    projected.fold(facts.score_set(2, n=1, points_earned=3, timestamp=at(80)))
    found = projected.ask(queries.score_of_item(key()))
    assert found == queries.Score(1 + 1, 1, uuid(1), 1, 3, 10, at(80), ())


def test_a_score_out_of_nothing_is_hidden_except_from_the_top(projected: Projected) -> None:
    projected.fold(*scored(3, possible=0))
    assert projected.ask(queries.score_of_item(key())) is None
    assert projected.ask(queries.scores_of_student(COURSE, "anna")) == {}
    assert projected.ask(queries.latest_score_of_submission(uuid(1))) is None
    ((_, score),) = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert score is None
    (top,) = projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10))
    assert top.points_earned == 3


def test_no_points_are_a_score_but_not_at_the_top(projected: Projected) -> None:
    projected.fold(*scored(0))
    found = projected.ask(queries.score_of_item(key()))
    assert found is not None
    assert (found.points_earned, found.points_possible) == (0, 10)
    assert list(projected.ask(queries.scores_of_student(COURSE, "anna"))) == [ITEM]
    assert projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10)) == []


def test_after_a_reset_only_the_submission_itself_remembers_its_score(
    projected: Projected,
) -> None:
    projected.fold(*scored(6))
    projected.fold(facts.score_reset(2))
    assert projected.ask(queries.score_of_item(key())) is None
    assert projected.ask(queries.scores_of_student(COURSE, "anna")) == {}
    assert projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10)) == []
    ((_, score),) = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert score is None
    own = projected.ask(queries.latest_score_of_submission(uuid(1)))
    assert own is not None
    assert own.points_earned == 6
    assert projected.ask(queries.latest_scores_of_submissions([uuid(1)])) == {uuid(1): own}


def test_a_score_after_a_reset_is_visible_again(projected: Projected) -> None:
    projected.fold(*scored(6), facts.score_reset(2))
    projected.fold(facts.score_set(3, points_earned=9, annotation=facts.annotation()))
    found = projected.ask(queries.score_of_item(key()))
    assert found is not None
    assert found.points_earned == 9
    assert found.annotations == (Annotation("staff", "1:sealed", "staff_defined"),)
    ((_, score),) = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert score == found


def test_scores_of_a_student_are_those_of_all_item_types_of_one_course(
    projected: Projected,
) -> None:
    projected.fold(*scored(5))
    projected.fold(
        facts.student_item_registered(2, student_id="anna", item_id="upload", item_type="sga"),
        facts.submission_created(2, item=2, student_id="anna", item_id="upload", item_type="sga"),
        facts.score_set(
            2, n=2, item=2, student_id="anna", item_id="upload", item_type="sga", points_earned=7
        ),
        facts.student_item_registered(3, student_id="anna", course_id="other"),
        facts.submission_created(3, item=3, student_id="anna", course_id="other"),
        facts.score_set(3, n=3, item=3, student_id="anna", course_id="other"),
    )
    found = projected.ask(queries.scores_of_student(COURSE, "anna"))
    assert {item: score.points_earned for item, score in found.items()} == {ITEM: 5, "upload": 7}


# --- information about a course -------------------------------------------------------------


def test_course_information_shows_the_score_with_the_submission_it_counts_for(
    projected: Projected,
) -> None:
    projected.fold(*scored(8))
    projected.fold(facts.submission_created(2, submitted_at=at(60)))
    shown = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert [score and score.points_earned for _, score in shown] == [None, 8]
    projected.fold(facts.score_set(2, n=2, points_earned=6))
    shown = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert [score and score.points_earned for _, score in shown] == [6, None]
    projected.fold(facts.score_set(3, n=1, points_earned=7))
    shown = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert [score and score.points_earned for _, score in shown] == [None, 7]


def test_course_information_comes_newest_first_in_pages_that_leave_out_nothing(
    projected: Projected,
) -> None:
    for item in range(1, 8):
        projected.fold(*handed_in(item, item=item, submitted_at=at(item // 3)))
    projected.fold(facts.student_item_registered(9, item_type="sga"))
    projected.fold(facts.submission_created(9, item=9, item_type="sga"))
    whole = projected.stream(queries.all_course_information(COURSE, TYPE))
    assert [one.submission.submission_id for one in whole] == [7, 6, 5, 4, 3, 2, 1]
    pages = []
    after = None
    while page := projected.ask(queries.course_information(COURSE, TYPE, limit=2, after=after)):
        pages += page
        last = page[-1].submission
        after = (last.submitted_at, last.submission_id)
    assert pages == whole


# --- the top --------------------------------------------------------------------------------


def test_the_top_is_sorted_by_points_and_ties_by_student_item(projected: Projected) -> None:
    projected.fold(*scored(6, 100, n=3, item=3), *scored(6, n=1, item=1), *scored(7, n=2, item=2))
    top = projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10))
    assert [(one.student_item_id, one.points_earned) for one in top] == [(2, 7), (1, 6), (3, 6)]
    assert top[0].answer == "1:sealed answer 2"
    assert len(projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 1))) == 1


def test_the_top_is_one_of_an_item_and_its_type(projected: Projected) -> None:
    projected.fold(*scored(5))
    assert projected.ask(queries.top_submissions(COURSE, ITEM, "sga", 10)) == []
    assert projected.ask(queries.top_submissions(COURSE, "other", TYPE, 10)) == []


def test_the_top_takes_the_latest_score_not_the_highest(projected: Projected) -> None:
    projected.fold(*scored(9))
    projected.fold(facts.score_set(2, points_earned=2))
    (top,) = projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10))
    assert top.points_earned == 2


def test_an_item_without_its_submission_has_no_answer_at_the_top(projected: Projected) -> None:
    projected.fold(*scored(5))
    projected.fold(facts.submission_deleted())
    (top,) = projected.ask(queries.top_submissions(COURSE, ITEM, TYPE, 10))
    assert top == queries.TopSubmission(1, 5, None, None)


def test_the_top_of_a_large_item_is_read_from_the_index(projected: Projected) -> None:
    events = [event for n in range(1, 3001) for event in scored(1 + n % 100, 100, n=n, item=n)]
    projected.fold(*events)
    query = queries.top_submissions(COURSE, ITEM, TYPE, 10)
    with projected.db.transaction():
        projected.db.execute("SET LOCAL search_path = submissions_v1")
        projected.db.execute("ANALYZE score_summaries")
        projected.db.execute("ANALYZE submissions")
        projected.db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        numbered = query.statement.replace("%b", "${}").format(1, 2, 3)
        projected.db.execute(f"PREPARE top AS {numbered}")
        plan = projected.db.execute(
            "EXPLAIN EXECUTE top(%s, %s, %s)".replace("%s", "{}").format(
                *(f"'{argument}'" for argument in query.arguments)
            )
        ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "score_summaries_top" in text
    assert "Sort" not in text.split("Limit")[-1]
