"""Which signals an event is, and what stands in them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from defusedxml.ElementTree import fromstring

from consumers.openedx.encoding import decode, encode, open_frame
from consumers.openedx.registry import Registry
from consumers.openedx.signals import (
    EXTERNAL_SCORE,
    GRADE_SUMMARY,
    KEY_FIELDS,
    ORA_SUBMISSION,
    PASSING_STATUS,
    Signal,
    value_of,
)
from consumers.openedx.translating import Facts, Person, answer_of, signals_of
from domain.events import NOBODY, Event, Provenance, Recorded, made
from domain.grades.learner_grades import (
    CoursePassedFirstTime,
    GradesCalculated,
    learner_grades_stream,
)
from domain.submissions.fields import answer_text
from domain.submissions.student_item import ScoreSet, SubmissionCreated
from tests.consumers.openedx.registry_server import SchemaRegistry

COURSE = "course-v1:Uni+Physics+2026"
AT = datetime(2026, 3, 1, 12, 30, 0, 250000, tzinfo=UTC)
PASSED_AT = datetime(2026, 2, 1, tzinfo=UTC)
DECIDED_AT = datetime(2026, 3, 1, 12, 30, 0, 240000, tzinfo=UTC)
STREAM = learner_grades_stream(7, COURSE)
SUBMISSION = UUID("6b1e1f3a-0f2d-4d53-9a52-1c3a6f1f2b11")
LEARNER = Person("ada", "ada@example.org", "Ada L.", is_active=True)
FACTS = Facts(people={7: LEARNER}, passed={STREAM: (4, PASSED_AT)})
EVERY = frozenset(KEY_FIELDS)


def recorded(event: Event, provenance: Provenance = NOBODY) -> Recorded:
    id_ = UUID("0b8a3b7e-6f0a-4f57-b1ce-000000000001")
    return Recorded(9, event, type(event).TOPIC, id_, AT, provenance)


def grades(version: int = 5, **more: Any) -> Recorded:
    values = {
        "originator_id": STREAM,
        "originator_version": version,
        "timestamp": AT,
        "user_id": 7,
        "course_id": COURSE,
        "subsections": [],
        "percent": 0.75,
        "letter": "B",
        "passed": True,
        "policy_hash": "hash",
        "course_version": "v3",
        "course_edited_at": datetime(2026, 1, 5, 6, tzinfo=UTC),
        "forced": False,
    }
    return recorded(made(GradesCalculated, {**values, **more}))


def item(**more: Any) -> dict[str, Any]:
    return {
        "originator_id": UUID(int=1),
        "originator_version": 2,
        "timestamp": DECIDED_AT,
        "student_item_id": 3,
        "student_id": "anonymous-7",
        "course_id": COURSE,
        "item_id": "block-v1:Uni+Physics+2026+type@openassessment+block@essay",
        "item_type": "openassessment",
        "submission_uuid": SUBMISSION,
        "submission_id": 11,
        "team_submission_uuid": None,
        **more,
    }


def submission(**more: Any) -> Recorded:
    values = {"attempt_number": 2, "submitted_at": PASSED_AT, "answer": "sealed", "answer_size": 9}
    return recorded(made(SubmissionCreated, item(**{**values, **more})))


def score(provenance: Provenance) -> Recorded:
    values = item(score_id=5, points_earned=3, points_possible=4, annotation=None)
    return recorded(made(ScoreSet, values), provenance)


def by_type(signals: list[Signal]) -> dict[str, Any]:
    return {signal.type: signal.record for signal in signals}


def test_grades_are_a_summary_and_a_status() -> None:
    found = by_type(signals_of(grades(), FACTS, EVERY, pii=True))
    course = {"course_key": COURSE, "display_name": "", "start": None, "end": None}
    assert found == {
        GRADE_SUMMARY: {
            "grade": {
                "user_id": 7,
                "course": course,
                "course_edited_timestamp": "2026-01-05T06:00:00+00:00",
                "course_version": "v3",
                "grading_policy_hash": "hash",
                "percent_grade": 0.75,
                "letter_grade": "B",
                "passed_timestamp": "2026-02-01T00:00:00+00:00",
            }
        },
        PASSING_STATUS: {
            "course_passing_status": {
                "is_passing": True,
                "course": course,
                "user": {
                    "id": 7,
                    "is_active": True,
                    "pii": {"username": "ada", "email": "ada@example.org", "name": "Ada L."},
                },
            }
        },
    }


def test_without_leave_nobody_is_named() -> None:
    found = by_type(signals_of(grades(), FACTS, EVERY, pii=False))
    user = found[PASSING_STATUS]["course_passing_status"]["user"]
    assert user == {
        "id": 7,
        "is_active": True,
        "pii": {"username": "", "email": "", "name": ""},
    }
    facts = replace(FACTS, answers={SUBMISSION: '{"parts": [{"text": "secret"}]}'})
    (told,) = signals_of(submission(), facts, EVERY, pii=False)
    assert "secret" not in json.dumps(told.record)


def test_somebody_unknown_is_nobody_who_is_active() -> None:
    found = by_type(signals_of(grades(), Facts(), EVERY, pii=True))
    assert found[PASSING_STATUS]["course_passing_status"]["user"] == {
        "id": 7,
        "is_active": False,
        "pii": {"username": "", "email": "", "name": ""},
    }


@pytest.mark.parametrize(
    ("version", "summary"),
    [(2, False), (3, True), (4, True), (9, True)],  # the pass itself has version 4
)
def test_a_summary_needs_a_first_pass(version: int, summary: bool) -> None:
    found = by_type(signals_of(grades(version), FACTS, EVERY, pii=False))
    assert (GRADE_SUMMARY in found) is summary
    assert PASSING_STATUS in found


def test_a_grade_without_letter_and_without_time_of_edit() -> None:
    event = grades(letter=None, passed=False, percent=0.0, course_edited_at=None)
    found = by_type(signals_of(event, FACTS, EVERY, pii=False))
    assert found[GRADE_SUMMARY]["grade"]["letter_grade"] == ""
    assert found[GRADE_SUMMARY]["grade"]["course_edited_timestamp"] == AT.isoformat()
    assert found[PASSING_STATUS]["course_passing_status"]["is_passing"] is False


def test_an_open_response_is_a_submission_with_its_answer() -> None:
    text = json.dumps(
        {
            "parts": [{"text": "One"}, {"text": "Two"}],
            "file_keys": ["k"],
            "files_descriptions": ["d"],
            "files_names": ["n.pdf"],
            "files_sizes": [12],
        }
    )
    facts = replace(FACTS, answers={SUBMISSION: text})
    (found,) = signals_of(submission(), facts, EVERY, pii=True)
    assert found == Signal(
        ORA_SUBMISSION,
        {
            "submission": {
                "uuid": str(SUBMISSION),
                "anonymous_user_id": "anonymous-7",
                "location": "block-v1:Uni+Physics+2026+type@openassessment+block@essay",
                "attempt_number": 2,
                "created_at": DECIDED_AT.isoformat(),
                "submitted_at": PASSED_AT.isoformat(),
                "answer": {
                    "parts": [{"text": "One"}, {"text": "Two"}],
                    "file_keys": ["k"],
                    "file_descriptions": ["d"],
                    "file_names": ["n.pdf"],
                    "file_sizes": [12],
                    "file_urls": [],
                },
            }
        },
    )
    assert found.key == "block-v1:Uni+Physics+2026+type@openassessment+block@essay"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"files_sizes": [2**64 - 1, 2**63, -(2**63) - 1, 7]}, [0, 0, 0, 7]),
        ({"files_sizes": [None, 1.5, True, "9", 10**50]}, [0, 0, 0, 0, 0]),
    ],
)
def test_sizes_that_are_none_leave_the_others_in_their_places(answer: Any, told: Any) -> None:
    assert answer_of(answer_text(answer))["file_sizes"] == told


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("half a character: \ud83d", id="half a character"),
        pytest.param({"\udc00": "x"}, id="half a character as name"),
        pytest.param("\0", id="nothing"),
        pytest.param(json.loads("[" * 400 + "]" * 400), id="deep"),
        pytest.param(10**4000, id="long"),
        pytest.param(2**64 - 1, id="more than Avro holds"),
        pytest.param(1e308, id="large"),
    ],
)
def test_whatever_a_learner_sends_can_be_written(
    registry_server: SchemaRegistry, value: Any
) -> None:
    text = answer_text(
        {
            "parts": [{"text": value}, {"text": "the rest"}],
            "file_keys": [value],
            "files_descriptions": [value],
            "files_names": [value],
            "files_sizes": [value],
        }
    )
    event = submission()
    facts = replace(FACTS, answers={SUBMISSION: text})
    (signal,) = signals_of(event, facts, EVERY, pii=True)
    with Registry(registry_server.url, timeout=60.0) as registry:
        made = encode(signal, event, topic="t", registry=registry, source="/x", host="h")
    schema = value_of(ORA_SUBMISSION).schema
    read = decode(open_frame(made.value).body, schema, schema)
    assert read["submission"]["answer"]["parts"][1] == {"text": "the rest"}


@pytest.mark.parametrize(
    "text", [None, "", "42", '"text"', "[]", '{"parts": 3}', '{"parts": ["x", null]}', "{"]
)
def test_an_answer_of_another_shape_has_no_parts(text: str | None) -> None:
    assert set(answer_of(text)) == {
        *("parts", "file_keys", "file_descriptions", "file_names", "file_sizes", "file_urls")
    }
    assert not any(answer_of(text).values())


def test_values_that_are_no_text_are_told_as_json() -> None:
    found = answer_of(
        '{"parts": [{"text": null, "n": 1}], "file_keys": [7], "files_sizes": [true]}'
    )
    assert found["parts"] == [{"text": "null", "n": "1"}]
    assert found["file_keys"] == ["7"]
    assert found["file_sizes"] == [0]
    assert answer_of('{"parts": [{"\\udc00": "x"}]}')["parts"] == [{"?": "x"}]


def test_other_items_are_no_open_response() -> None:
    assert signals_of(submission(item_type="problem"), FACTS, EVERY, pii=True) == []


def test_a_score_that_came_in_from_a_grader_is_told() -> None:
    via = Provenance(actor="/graders/lab", cause="m-1", via="inbound.scores")
    (found,) = signals_of(score(via), FACTS, EVERY, pii=False)
    told = found.record["score"]
    result = json.loads(told.pop("score_msg"))
    # The LMS takes a message for a broken one unless it is XML, which the empty text is not.
    assert fromstring(result.pop("msg")).text is None
    assert result == {"correct": False, "score": 3}
    assert found.type == EXTERNAL_SCORE
    assert told == {
        "points_possible": 4,
        "points_earned": 3,
        "course_id": COURSE,
        "submission_id": 11,
        "user_id": "anonymous-7",
        "module_id": "block-v1:Uni+Physics+2026+type@openassessment+block@essay",
        "queue_key": "m-1",
        "queue_name": "/graders/lab",
    }


def test_more_points_than_there_are_is_correct() -> None:
    via = Provenance(actor="/graders/lab", cause="m-1", via="inbound.scores")
    event = score(via)
    more = replace(event, event=made(ScoreSet, {**vars(event.event), "points_earned": 5}))
    (found,) = signals_of(more, FACTS, EVERY, pii=False)
    assert json.loads(found.record["score"]["score_msg"])["correct"] is True


@pytest.mark.parametrize("via", ["http", "inbound.roster", None])
def test_other_scores_are_not(via: str | None) -> None:
    assert signals_of(score(Provenance(actor="prof", via=via)), FACTS, EVERY, pii=True) == []


def test_only_what_is_wanted_is_told() -> None:
    assert signals_of(grades(), FACTS, frozenset(), pii=True) == []
    (found,) = signals_of(grades(), FACTS, frozenset({PASSING_STATUS}), pii=True)
    assert found.type == PASSING_STATUS


def test_other_events_mean_nothing() -> None:
    event = made(
        CoursePassedFirstTime,
        {
            "originator_id": STREAM,
            "originator_version": 4,
            "timestamp": AT,
            "user_id": 7,
            "course_id": COURSE,
        },
    )
    assert signals_of(recorded(event), FACTS, EVERY, pii=True) == []
