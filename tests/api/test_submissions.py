"""The in-process interface: results, orders, errors and texts, function by function."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api import submissions
from api.in_process import NotOpenError, acting_as
from domain.submissions.errors import (
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
)
from infra.in_process import Gradelog

COURSE = "course-v1:Org+C+R"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("gradelog")


def item(student: str = "a", name: str = "item", item_type: str = "essay") -> dict[str, str]:
    return {
        "student_id": student,
        "course_id": COURSE,
        "item_id": name,
        "item_type": item_type,
    }


def create(
    student: str = "a", answer: Any = "x", name: str = "item", **more: Any
) -> dict[str, Any]:
    return submissions.create_submission(item(student, name), answer, **more)


def scored(student: str, earned: int, possible: int = 10, name: str = "item") -> dict[str, Any]:
    created = create(student, f"by {student}", name)
    submissions.set_score(created["uuid"], earned, possible)
    return created


# --- shapes -----------------------------------------------------------------------------------


def test_results_have_their_keys_in_their_order() -> None:
    created = create()
    keys = "uuid student_item attempt_number submitted_at created_at answer team_submission_uuid"
    assert list(created) == keys.split()
    assert submissions.get_submission(created["uuid"]) == created
    with_student = submissions.get_submission_and_student(created["uuid"])
    assert list(with_student) == keys.split()
    assert with_student["student_item"] == item()
    assert list(with_student["student_item"]) == ["student_id", "course_id", "item_id", "item_type"]
    (everybody,) = submissions.get_all_submissions(COURSE, "item", "essay", read_replica=False)
    assert list(everybody) == [*keys.split(), "student_id"]
    submissions.set_score(created["uuid"], 1, 2, "staff", "note", "because")
    score = submissions.get_score(item())
    assert list(score) == [
        *("student_item", "submission", "points_earned", "points_possible"),
        *("created_at", "submission_uuid", "annotations"),
    ]
    assert list(score["annotations"][0]) == ["creator", "reason", "annotation_type"]
    assert list(submissions.get_scores(COURSE, "a")["item"]) == list(score)[:-1]
    assert score["submission_uuid"] == created["uuid"]
    assert isinstance(score["created_at"], datetime)
    assert score["created_at"].tzinfo is not None


def test_an_answer_comes_back_as_json_would_give_it() -> None:
    answer = {"b": (1, 2), 3: "é\0\ud800", "big": 2**70}
    expected = {"b": [1, 2], "3": "é\0\ud800", "big": 2**70}
    created = create(answer=answer)
    assert created["answer"] == expected
    assert submissions.get_submission(created["uuid"])["answer"] == expected
    assert list(created["answer"]) == ["b", "3", "big"]


def test_times_come_back_in_utc() -> None:
    created = create(submitted_at="2026-03-01T14:00:00+02:00")
    assert created["submitted_at"] == NOON
    assert created["submitted_at"].utcoffset() == timedelta(0)
    now = create(submitted_at="")
    assert now["submitted_at"] == now["created_at"]


# --- identifiers ------------------------------------------------------------------------------


def test_a_uuid_may_have_any_form_and_comes_back_in_one() -> None:
    uuid = UUID(create()["uuid"])
    for form in (str(uuid), uuid, uuid.hex, str(uuid).upper(), f"{{{uuid}}}", uuid.urn):
        assert submissions.get_submission(form)["uuid"] == str(uuid)
        assert submissions.get_student_ids_by_submission_uuid(
            COURSE, [form, str(uuid)], read_replica=False
        ) == {str(uuid): "a"}


def test_what_is_no_uuid_is_refused_with_its_text() -> None:
    for call in (submissions.get_submission, submissions.get_submission_and_student):
        with pytest.raises(SubmissionInternalError) as internal:
            call("not-a-uuid")
        assert str(internal.value) == (
            "Could not get submission due to error: ['“not-a-uuid” is not a valid UUID.']"
        )
        for value in (None, 7, {}):
            with pytest.raises(SubmissionRequestError) as request:
                call(value)
            assert request.value.msg == f"submission_uuid ({value!r}) must be serializable"
        unknown = uuid4()
        with pytest.raises(SubmissionNotFoundError, match=f"No submission matching uuid {unknown}"):
            call(unknown)
    with pytest.raises(SubmissionRequestError):
        submissions.get_latest_score_for_submission("not-a-uuid")
    with pytest.raises(SubmissionRequestError):
        submissions.get_student_ids_by_submission_uuid(COURSE, ["not-a-uuid"])
    assert submissions.get_latest_score_for_submission(uuid4()) is None


# --- submissions ------------------------------------------------------------------------------


def test_submissions_come_newest_first_and_ties_by_the_newest_insert() -> None:
    for hour, answer in ((1, "b"), (3, "d"), (1, "c"), (0, "a")):
        create(answer=answer, submitted_at=NOON + timedelta(hours=hour))
    found = submissions.get_submissions(item())
    assert [s["answer"] for s in found] == ["d", "c", "b", "a"]
    assert [s["answer"] for s in submissions.get_submissions(item(), 2)] == ["d", "c"]
    assert len(submissions.get_submissions(item(), 0)) == 4
    assert submissions.get_submissions(item("nobody")) == []
    assert submissions.get_submissions(item(item_type="quiz")) == []


@pytest.mark.parametrize("limit", [-1, "many", 1.5, True])
def test_a_bad_limit_is_refused(limit: Any) -> None:
    with pytest.raises(SubmissionRequestError) as caught:
        submissions.get_submissions(item(), limit)
    assert list(caught.value.field_errors) == ["limit"]


def test_reading_registers_nothing(dsn: str) -> None:
    submissions.get_submissions(item())
    submissions.get_score(item())
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT count(*) FROM gradelog.events").fetchone() == (0,)


def test_of_each_student_the_submission_submitted_last_is_listed_by_student_id() -> None:
    create("b", "b late", submitted_at=NOON)
    create("b", "b early", submitted_at=NOON - timedelta(hours=1))
    create("a", "a")
    create("Z", "Z")
    create("c", "elsewhere", name="other")
    found = submissions.get_all_submissions(COURSE, "item", "essay", read_replica=False)
    assert [(s["student_id"], s["answer"]) for s in found] == [
        ("Z", "Z"),
        ("a", "a"),
        ("b", "b late"),
    ]
    assert list(submissions.get_all_submissions("no", "such", "thing")) == []


def test_course_information_shows_a_score_at_most_once_an_item() -> None:
    first = create("a", "first", submitted_at=NOON)
    second = create("a", "second", submitted_at=NOON + timedelta(hours=1))
    submissions.set_score(second["uuid"], 0, 0)  # hidden
    scored("b", 5)

    def information() -> list[tuple[str, Any, Any]]:
        rows = submissions.get_all_course_submission_information(COURSE, "essay", False)
        return [(i["student_id"], s["answer"], c.get("points_earned")) for i, s, c in rows]

    assert information() == [("b", "by b", 5), ("a", "second", None), ("a", "first", None)]
    submissions.set_score(first["uuid"], 3, 10)
    assert information() == [("b", "by b", 5), ("a", "second", None), ("a", "first", 3)]
    (row, *_) = submissions.get_all_course_submission_information(COURSE, "essay", False)
    assert row[2]["annotations"] == []


def test_the_stream_of_a_course_can_be_left_early() -> None:
    for n in range(10):
        create(f"s{n}")
    rows = submissions.get_all_submissions(COURSE, "item", "essay", read_replica=False)
    assert next(rows)["student_id"] == "s0"
    rows.close()
    assert len(list(submissions.get_all_submissions(COURSE, "item", "essay"))) == 10


def test_students_of_other_courses_and_deleted_submissions_are_left_out() -> None:
    kept, deleted = create("a"), create("b")
    submissions.reset_score("b", COURSE, "item", clear_state=True)
    wanted = {kept["uuid"], deleted["uuid"], str(uuid4())}
    find = submissions.get_student_ids_by_submission_uuid
    assert find(COURSE, wanted, False) == {kept["uuid"]: "a"}
    assert find("other", wanted, False) == {}
    assert find(COURSE, [], False) == {}


# --- scores -----------------------------------------------------------------------------------


def test_a_score_out_of_nothing_is_hidden_everywhere_but_in_the_top() -> None:
    created = scored("a", 3, 0)
    assert submissions.get_score(item()) is None
    assert submissions.get_scores(COURSE, "a") == {}
    assert submissions.get_latest_score_for_submission(created["uuid"]) is None
    top = submissions.get_top_submissions(COURSE, "item", "essay", 10, use_cache=False)
    assert top == [{"score": 3, "content": "by a"}]


def test_the_top_goes_by_raw_points_and_ties_by_who_came_first() -> None:
    for student, earned, possible in (("a", 5, 5), ("b", 9, 100), ("c", 5, 10), ("d", 0, 10)):
        scored(student, earned, possible)

    def top(n: int) -> list[tuple[int, str]]:
        found = submissions.get_top_submissions(COURSE, "item", "essay", n, use_cache=False)
        return [(entry["score"], entry["content"]) for entry in found]

    assert top(100) == [(9, "by b"), (5, "by a"), (5, "by c")]
    assert top(2) == [(9, "by b"), (5, "by a")]
    assert submissions.get_top_submissions(COURSE, "none", "essay", 3) == []
    assert submissions.get_top_submissions(COURSE, "item", "quiz", 3) == []


@pytest.mark.parametrize("number", [0, 101, "3", None])
def test_a_bad_number_of_top_scores_is_refused(number: Any) -> None:
    with pytest.raises(SubmissionRequestError) as caught:
        submissions.get_top_submissions(COURSE, "item", "essay", number)
    assert caught.value.msg == "Number of top scores must be a number between 1 and 100."


def test_scores_of_a_student_are_given_by_item_of_all_types() -> None:
    scored("a", 5, name="one")
    quiz = submissions.create_submission(item("a", "two", "quiz"), "x")
    submissions.set_score(quiz["uuid"], 1, 4)
    scored("b", 9, name="one")
    found = submissions.get_scores(COURSE, "a")
    assert {name: s["points_earned"] for name, s in found.items()} == {"one": 5, "two": 1}
    assert submissions.get_scores(COURSE, "nobody") == {}
    assert submissions.get_scores("no\0such", "a") == {}


def test_a_score_is_found_by_all_its_keys_exactly() -> None:
    scored("a", 5)
    assert submissions.get_score(item())["points_earned"] == 5
    assert submissions.get_score(item(item_type="quiz")) is None
    assert submissions.get_score({**item(), "student_id": None}) is None
    assert submissions.get_score({**item(), "student_id": "no\0such\ud800"}) is None
    with pytest.raises(SubmissionRequestError) as caught:
        submissions.get_score({"student_id": "a", "more": 1})
    assert set(caught.value.field_errors) == {"course_id", "item_id", "item_type", "more"}


def test_setting_a_score_answers_with_nothing_and_every_call_counts(gradelog: Gradelog) -> None:
    created = create()
    assert submissions.set_score(created["uuid"], 5, 10) is None
    assert submissions.set_score(created["uuid"], 5, 10) is None
    kinds = [recorded.type for recorded in gradelog.history("a", COURSE, "item")]
    assert kinds.count("submissions.ScoreSet") == 2


def test_a_reset_counts_each_time_but_not_for_an_unknown_item(gradelog: Gradelog) -> None:
    create()
    for _ in range(2):
        submissions.reset_score("a", COURSE, "item")
    submissions.reset_score("nobody", COURSE, "item")
    kinds = [recorded.type for recorded in gradelog.history("a", COURSE, "item")]
    assert kinds.count("submissions.ScoreReset") == 2
    assert gradelog.history("nobody", COURSE, "item") == []


def test_a_later_score_makes_a_reset_item_count_again() -> None:
    created = scored("a", 5)
    submissions.reset_score("a", COURSE, "item")
    assert submissions.get_score(item()) is None
    submissions.set_score(created["uuid"], 6, 10)
    assert submissions.get_score(item())["points_earned"] == 6


# --- who, and where ---------------------------------------------------------------------------


def test_who_did_it_is_written_down(gradelog: Gradelog) -> None:
    created = create()
    with acting_as("dr-smith", request_id="r1"):
        submissions.set_score(created["uuid"], 1, 2)
    submissions.set_score(created["uuid"], 2, 2)
    *_, first, second = gradelog.history("a", COURSE, "item")
    assert (first.provenance.actor, first.provenance.request_id) == ("dr-smith", "r1")
    assert (second.provenance.actor, second.provenance.via) == (None, "in process")
    assert first.recorded_at <= second.recorded_at


def test_reads_that_may_be_stale_show_the_own_writes_all_the_same() -> None:
    for n in range(20):
        created = create(f"s{n}")
        found = submissions.get_submission(created["uuid"], read_replica=True)
        assert found["uuid"] == created["uuid"]


def test_ids_are_compared_exactly() -> None:
    create("Learner")
    create("learner")
    assert len(submissions.get_submissions(item("Learner"))) == 1
    assert submissions.get_submissions(item(" Learner ")) != []


def test_without_an_installation_the_functions_say_what_is_missing(gradelog: Gradelog) -> None:
    from api import in_process

    in_process.use(None)
    try:
        with pytest.raises(NotOpenError, match="open gradelog first"):
            submissions.get_scores(COURSE, "a")
    finally:
        in_process.use(gradelog)
