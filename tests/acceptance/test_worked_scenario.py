"""The worked scenario of the submissions interface, step by step, in process.

Source: edx-submissions, run and written down step by step.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from api import signals, submissions
from domain.submissions.errors import SubmissionNotFoundError
from infra.in_process import Gradelog

COURSE = "course-v1:Demo+S1+2026"
ITEM = "block-v1:Demo+S1+2026+type@openassessment+block@essay"
TYPE = "openassessment"


def item(student: str) -> dict[str, str]:
    return {"student_id": student, "course_id": COURSE, "item_id": ITEM, "item_type": TYPE}


def answer(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def at(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour, tzinfo=UTC)


def create(student: str, text: str, hour: int | None = None) -> dict[str, Any]:
    submitted_at = None if hour is None else at(hour)
    return submissions.create_submission(item(student), answer(text), submitted_at=submitted_at)


def points(score: dict[str, Any] | None) -> tuple[int, int] | None:
    return None if score is None else (score["points_earned"], score["points_possible"])


def score_of(student: str) -> tuple[int, int] | None:
    return points(submissions.get_score(item(student)))


def top(n: int = 10) -> list[tuple[int, str]]:
    found = submissions.get_top_submissions(COURSE, ITEM, TYPE, n, use_cache=False)
    return [(entry["score"], entry["content"]["parts"][0]["text"]) for entry in found]


def info() -> list[tuple[str, int, Any]]:
    found = submissions.get_all_course_submission_information(COURSE, TYPE, read_replica=False)
    return [
        (student_item["student_id"], submission["attempt_number"], points(score or None))
        for student_item, submission, score in found
    ]


def attempts(student: str, limit: int | None = None) -> list[int]:
    return [s["attempt_number"] for s in submissions.get_submissions(item(student), limit)]


def summary(dsn: str) -> Any:
    """Highest and latest of A; nothing of the interface reads the highest, audits do."""
    score_of("A")  # waits until all that was written is visible
    with psycopg.connect(dsn) as db:
        row = db.execute(
            """
            SELECT highest_points_earned, highest_points_possible, latest_points_earned,
                latest_points_possible
            FROM submissions_v1.score_summaries
            JOIN submissions_v1.student_items USING (student_item_id) WHERE student_id = 'A'
            """
        ).fetchone()
    return row[:2], row[2:]


@pytest.fixture
def sent() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    heard: list[tuple[str, dict[str, Any]]] = []

    def on_set(**fields: Any) -> None:
        heard.append(("score_set", fields))

    def on_reset(**fields: Any) -> None:
        heard.append(("score_reset", fields))

    signals.score_set.connect(on_set)
    signals.score_reset.connect(on_reset)
    yield heard
    signals.score_set.disconnect(on_set)
    signals.score_reset.disconnect(on_reset)


def test_the_worked_scenario(
    dsn: str, gradelog: Gradelog, sent: list[tuple[str, dict[str, Any]]]
) -> None:
    # 1, 2
    a1 = create("A", "first", 10)
    assert (a1["attempt_number"], a1["student_item"]) == (1, 1)
    a2 = create("A", "second", 11)
    assert (a2["attempt_number"], a2["student_item"]) == (2, 1)

    # 3
    assert attempts("A") == [2, 1]
    assert attempts("A", 1) == [2]
    assert score_of("A") is None
    assert top() == []
    assert info() == [("A", 2, None), ("A", 1, None)]

    # 4
    submissions.set_score(a1["uuid"], 8, 10)
    assert score_of("A") == (8, 10)
    assert summary(dsn) == ((8, 10), (8, 10))
    assert top() == [(8, "first")]
    assert info() == [("A", 2, None), ("A", 1, (8, 10))]

    # 5
    submissions.set_score(a2["uuid"], 6, 10)
    assert score_of("A") == (6, 10)
    assert summary(dsn) == ((8, 10), (6, 10))
    assert top() == [(6, "second")]
    assert info() == [("A", 2, (6, 10)), ("A", 1, None)]
    assert points(submissions.get_latest_score_for_submission(a1["uuid"])) == (8, 10)

    # 6
    b = create("B", "other", 12)
    submissions.set_score(b["uuid"], 6, 12)
    assert top() == [(6, "second"), (6, "other")]
    assert top(1) == [(6, "second")]

    # 7
    sent.clear()
    submissions.reset_score("A", COURSE, ITEM, emit_signal=False)
    assert sent == []
    assert score_of("A") is None
    assert summary(dsn) == ((0, 0), (0, 0))
    assert top() == [(6, "other")]
    assert points(submissions.get_latest_score_for_submission(a2["uuid"])) == (6, 10)

    # 8
    submissions.set_score(a2["uuid"], 9, 10, "staff-anon", "staff_defined", "regraded")
    assert [name for name, _ in sent] == ["score_set"]
    score = submissions.get_score(item("A"))
    assert points(score) == (9, 10)
    assert score["annotations"] == [
        {"creator": "staff-anon", "reason": "regraded", "annotation_type": "staff_defined"}
    ]
    assert sent[0][1] == {
        "sender": None,
        "points_possible": 10,
        "points_earned": 9,
        "anonymous_user_id": "A",
        "course_id": COURSE,
        "item_id": ITEM,
        "created_at": score["created_at"],
    }
    assert summary(dsn)[0] == (9, 10)
    assert top() == [(9, "second"), (6, "other")]
    assert "annotations" not in submissions.get_scores(COURSE, "A")[ITEM]

    # 9
    c = create("C", "third learner", 13)
    submissions.set_score(c["uuid"], 0, 10)
    assert score_of("C") == (0, 10)
    assert points(submissions.get_scores(COURSE, "C")[ITEM]) == (0, 10)
    assert top() == [(9, "second"), (6, "other")]

    # 10
    sent.clear()
    submissions.reset_score("A", COURSE, ITEM)
    assert [name for name, _ in sent] == ["score_reset"]
    assert score_of("A") is None
    assert submissions.get_scores(COURSE, "A") == {}
    assert top() == [(6, "other")]
    assert [row for row in info() if row[0] == "A"] == [("A", 2, None), ("A", 1, None)]
    assert len(attempts("A")) == 2
    latest = submissions.get_latest_score_for_submission(a2["uuid"])
    assert points(latest) == (9, 10)
    assert latest["annotations"][0]["reason"] == "regraded"

    # 11, 12
    a3 = create("A", "third", 14)
    assert a3["attempt_number"] == 3
    submissions.set_score(a3["uuid"], 5, 10)
    assert score_of("A") == (5, 10)
    assert summary(dsn)[0] == (5, 10)
    assert top() == [(6, "other"), (5, "third")]

    # 13
    submissions.reset_score("A", COURSE, ITEM, clear_state=True)
    with pytest.raises(SubmissionNotFoundError):
        submissions.get_submission(a3["uuid"])
    assert attempts("A") == []
    assert score_of("A") is None
    assert submissions.get_latest_score_for_submission(a3["uuid"]) is None
    with pytest.raises(SubmissionNotFoundError, match=f"No submission matching uuid {a3['uuid']}"):
        submissions.set_score(a3["uuid"], 1, 10)
    assert [row[0] for row in info()] == ["C", "B"]
    everybody = submissions.get_all_submissions(COURSE, ITEM, TYPE, read_replica=False)
    assert [row["student_id"] for row in everybody] == ["B", "C"]
    students = submissions.get_student_ids_by_submission_uuid(
        COURSE, [a3["uuid"], b["uuid"]], read_replica=False
    )
    assert students == {b["uuid"]: "B"}
    assert top() == [(6, "other")]

    # 14
    fresh = create("A", "fresh")
    assert (fresh["attempt_number"], fresh["student_item"]) == (1, 1)

    # 15
    submissions.set_score(fresh["uuid"], 10, 10)
    assert score_of("A") == (10, 10)
    assert summary(dsn)[0] == (10, 10)
    assert top() == [(10, "fresh"), (6, "other")]
    history = gradelog.history("A", COURSE, ITEM)
    scores = [e for e in history if e.type in {"submissions.ScoreSet", "submissions.ScoreReset"}]
    assert len(scores) == 8
    assert sum(e.type == "submissions.ScoreReset" for e in scores) == 3
    assert sum(e.type == "submissions.SubmissionCreated" for e in history) == 4
    assert sum(e.type == "submissions.SubmissionDeleted" for e in history) == 3
