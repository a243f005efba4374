"""Each type of message does what the command over HTTP does."""

from collections.abc import Iterator

import pytest

from tests.consumers.inbound.support import GRADER, Desk
from tests.school import COURSE, School, key, school, wait_until

pytestmark = pytest.mark.kafka

ITEM = {
    "student_id": "ada",
    "course_id": COURSE,
    "item_id": key("problem", "p1"),
    "item_type": "problem",
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def opened(desk: Desk) -> Iterator[School]:
    with school(desk.dsn, projector=False) as made:
        yield made


@pytest.fixture
def graded(desk: Desk) -> Iterator[School]:
    with school(desk.dsn) as made:
        yield made


def hand_in(opened: School, item: dict[str, str] = ITEM) -> str:
    done = opened.run(lambda: opened.backend.submissions.create_submission(item, "42"))
    return str(done.value.event.submission_uuid)


def test_a_score_is_set_for_the_submission_that_is_named(desk: Desk, opened: School) -> None:
    submission = hand_in(opened)
    hand_in(opened)
    message = desk.post.scores(
        "ScoreReported",
        {
            "submission_uuid": submission,
            "points_earned": 3,
            "points_possible": 5,
            "annotation": {
                "creator": "lab",
                "annotation_type": "machine",
                "reason": "two cases fail",
            },
            "scored_by": "person-7",
        },
        trace=TRACE,
    )
    desk.carried_out()
    (score,) = desk.events("submissions.ScoreSet")
    assert score["submission_uuid"] == submission
    assert (score["points_earned"], score["points_possible"]) == (3, 5)
    assert score["annotation"]["creator"] == "lab"
    assert "two cases" not in str(score["annotation"])  # sealed
    ((metadata,),) = desk.rows(
        "SELECT metadata::jsonb FROM gradelog.events WHERE type = 'submissions.ScoreSet'"
    )
    assert metadata == {
        "actor": GRADER,
        "on_behalf_of": "person-7",
        "trace": TRACE,
        "cause": message,
        "via": "inbound.scores",
    }


def test_a_score_of_an_item_is_for_its_latest_submission(desk: Desk, opened: School) -> None:
    hand_in(opened)
    latest = hand_in(opened)
    score = {"student_item": ITEM, "points_earned": 1, "points_possible": 5}
    desk.post.scores("ScoreReported", score, structured=True)
    desk.carried_out()
    (event,) = desk.events("submissions.ScoreSet")
    assert event["submission_uuid"] == latest


def test_a_score_for_nothing_is_parked_unless_it_asks_for_a_submission(desk: Desk) -> None:
    score = {"student_item": ITEM, "points_earned": 1, "points_possible": 5}
    desk.post.scores("ScoreReported", score)
    desk.post.scores("ScoreReported", {**score, "create_submission": True})
    desk.carried_out()
    (created,) = desk.events("submissions.SubmissionCreated")
    (event,) = desk.events("submissions.ScoreSet")
    assert event["submission_uuid"] == created["submission_uuid"]
    assert desk.parked() == [("SubmissionNotFoundError", "nothing was handed in for this item")]


def test_people_come_and_go(desk: Desk) -> None:
    desk.post.roster(
        "UserChanged",
        {"username": "ada", "email": "ada@example.org", "anonymous_ids": ["a1"], "is_staff": False},
    )
    desk.post.roster(
        "EnrollmentChanged", {"username": "ada", "course_id": COURSE, "mode": "verified"}
    )
    role = {"username": "ada", "course_id": COURSE, "role": "staff"}
    desk.post.roster("CourseRoleGranted", role)
    desk.post.roster("CourseRoleRevoked", role)
    desk.post.roster(
        "EnrollmentChanged", {"username": "ada", "course_id": COURSE, "is_active": False}
    )
    desk.carried_out()
    assert desk.parked() == []
    rows = desk.rows("SELECT type, data FROM gradelog.events ORDER BY position")
    assert [type_ for type_, _ in rows] == [
        "learners.UserRegistered",
        "learners.LearnerEnrolled",
        "learners.CourseRoleGranted",
        "learners.CourseRoleRevoked",
        "learners.LearnerUnenrolled",
    ]
    assert "ada@example.org" not in str(rows)


def test_a_problem_state_is_kept_and_sealed(desk: Desk, opened: School) -> None:
    user_id = opened.register("ada")
    state = {"input": "a secret answer"}
    desk.post.scores(
        "ProblemStateSaved",
        {
            "user_id": user_id,
            "course_id": COURSE,
            "usage_key": key("problem", "p1"),
            "state": state,
            "grade": 1,
            "max_grade": 2.5,
        },
    )
    desk.carried_out()
    (saved,) = desk.events("grades.ProblemStateSaved")
    assert (saved["user_id"], saved["grade"], saved["max_grade"]) == (user_id, 1.0, 2.5)
    assert "secret" not in saved["state"]


def test_a_problem_is_one_of_its_course(desk: Desk, opened: School) -> None:
    user_id = opened.register("ada")
    problem = {"user_id": user_id, "usage_key": key("problem", "p1"), "grade": 1, "max_grade": 1}
    desk.post.scores("ProblemStateSaved", {**problem, "course_id": "course-v1:Other+Course+1"})
    desk.carried_out()
    assert desk.parked() == [("invalid", "the usage_key is one of another course")]


def test_a_rejected_exam_counts_nothing_until_it_is_verified(desk: Desk, graded: School) -> None:
    graded.publish(flags={"rejected_exam_overrides_grade": True})
    graded.register("ada")
    graded.enroll("ada")
    graded.score("ada", "q1", 8, 10)
    wait_until(graded.graded)
    before = graded.percents()
    exam = {"username": "ada", "course_id": COURSE, "usage_key": key("sequential", "exam")}
    desk.post.scores("ExamAttemptRejected", exam)
    desk.carried_out()
    (override,) = desk.events("grades.SubsectionOverrideApplied")
    assert (override["earned_all"], override["earned_graded"]) == (0.0, 0.0)
    assert (override["possible_all"], override["possible_graded"]) == (10.0, 10.0)
    assert (override["system"], override["changed_by"]) == ("PROCTORING", None)
    assert graded.percents()["ada"] == 0
    desk.post.scores("ExamAttemptVerified", exam)
    desk.carried_out()
    assert len(desk.events("grades.SubsectionOverrideRemoved")) == 1
    assert graded.percents() == before


def test_an_exam_is_only_verified_where_the_course_has_it_so(desk: Desk, graded: School) -> None:
    graded.publish()
    graded.register("ada")
    graded.enroll("ada")
    exam = {"username": "ada", "course_id": COURSE, "usage_key": key("sequential", "exam")}
    desk.post.scores("ExamAttemptRejected", exam)
    verified = desk.post.scores("ExamAttemptVerified", exam)
    desk.carried_out()
    graded.publish(flags={"rejected_exam_overrides_grade": True})
    desk.post.scores("ExamAttemptVerified", exam, id=verified)
    desk.carried_out()
    assert desk.events("grades.SubsectionOverrideRemoved") == []
    assert desk.figures() == (2, 1, 0)
    assert desk.parked() == []
