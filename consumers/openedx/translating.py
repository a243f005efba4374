"""What an event of the log means to Open edX: which signals it is, with what in them."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from consumers.openedx.signals import (
    EXTERNAL_SCORE,
    GRADE_SUMMARY,
    ORA_SUBMISSION,
    PASSING_STATUS,
    Signal,
)
from domain.events import Event, Recorded
from domain.grades.learner_grades import GradesCalculated
from domain.submissions.student_item import ScoreSet, SubmissionCreated

TYPES: Final[frozenset[type[Event]]] = frozenset({GradesCalculated, SubmissionCreated, ScoreSet})
"""The events that mean anything."""

OPEN_RESPONSE: Final = "openassessment"
"""The item type of the submissions that Open edX calls ORA."""

REPORTED: Final = "inbound.scores"
"""How a score came in that a grader outside has reported."""

NOTHING_SAID: Final = "<div></div>"
"""A grader's message without words. It must be XML: the LMS refuses a score with an empty one."""

LONGEST_NUMBER: Final = 18
"""Digits of a whole number that Avro surely holds."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user as signals show one."""

    username: str = ""
    email: str = ""
    full_name: str = ""
    is_active: bool = False


NOBODY_KNOWN: Final = Person()


@dataclass(frozen=True, slots=True)
class Facts:
    """What signals need beside the events.

    Attributes:
        people: users by number.
        passed: of streams of grades, the version and the time of the first pass.
        answers: texts of answers by submission; those that may not be told are missing.
    """

    people: Mapping[int, Person] = field(default_factory=dict)
    passed: Mapping[UUID, tuple[int, datetime]] = field(default_factory=dict)
    answers: Mapping[UUID, str] = field(default_factory=dict)


def signals_of(
    recorded: Recorded, facts: Facts, wanted: AbstractSet[str], *, pii: bool
) -> list[Signal]:
    """The signals of an event, of those types that are wanted.

    ``pii``: names, addresses and answers are told; else empty texts stand there.
    """
    event = recorded.event
    found: Sequence[Signal] = ()
    if isinstance(event, GradesCalculated):
        found = [*_summary(event, recorded, facts), _status(event, facts, pii=pii)]
    elif isinstance(event, SubmissionCreated):
        if event.item_type == OPEN_RESPONSE:
            found = [_submission(event, facts, pii=pii)]
    elif isinstance(event, ScoreSet) and recorded.provenance.via == REPORTED:
        found = [_score(event, recorded)]
    return [signal for signal in found if signal.type in wanted]


def _summary(event: GradesCalculated, recorded: Recorded, facts: Facts) -> list[Signal]:
    """The summary of a learner's course grade.

    The schema has no way to say that somebody has never passed, and the library that sends
    it in Open edX fails then. So there is no summary before the first pass.
    """
    version, passed_at = facts.passed.get(event.originator_id, (None, None))
    # The first pass is recorded right after the grades that brought it.
    if version is None or passed_at is None or version > event.originator_version + 1:
        return []
    return [
        Signal(
            GRADE_SUMMARY,
            {
                "grade": {
                    "user_id": event.user_id,
                    "course": _course(event.course_id),
                    "course_edited_timestamp": _time(
                        event.course_edited_at or recorded.recorded_at
                    ),
                    "course_version": event.course_version,
                    "grading_policy_hash": event.policy_hash,
                    "percent_grade": event.percent,
                    "letter_grade": event.letter or "",
                    "passed_timestamp": _time(passed_at),
                }
            },
        )
    ]


def _status(event: GradesCalculated, facts: Facts, *, pii: bool) -> Signal:
    person = facts.people.get(event.user_id, NOBODY_KNOWN)
    return Signal(
        PASSING_STATUS,
        {
            "course_passing_status": {
                "is_passing": event.passed,
                "course": _course(event.course_id),
                "user": {
                    "id": event.user_id,
                    "is_active": person.is_active,
                    "pii": {
                        "username": person.username if pii else "",
                        "email": person.email if pii else "",
                        "name": person.full_name if pii else "",
                    },
                },
            }
        },
    )


def _submission(event: SubmissionCreated, facts: Facts, *, pii: bool) -> Signal:
    text = facts.answers.get(event.submission_uuid) if pii else None
    return Signal(
        ORA_SUBMISSION,
        {
            "submission": {
                "uuid": str(event.submission_uuid),
                "anonymous_user_id": event.student_id,
                "location": event.item_id,
                "attempt_number": event.attempt_number,
                "created_at": _time(event.timestamp),
                "submitted_at": _time(event.submitted_at),
                "answer": answer_of(text),
            }
        },
    )


def answer_of(text: str | None) -> dict[str, list[Any]]:
    """The parts and files of an answer; what does not look like one is left out.

    An answer is any JSON that a learner sends: whatever it is, this must not fail on it.

    Source: edx-ora2, what it stores as answer and sends with this signal.
    """
    answer = _parsed(text)
    return {
        "parts": [
            {_text(name): _text(value) for name, value in part.items()}
            for part in _list(answer, "parts")
            if isinstance(part, dict)
        ],
        "file_keys": [_text(value) for value in _list(answer, "file_keys")],
        "file_descriptions": [_text(value) for value in _list(answer, "files_descriptions")],
        "file_names": [_text(value) for value in _list(answer, "files_names")],
        # The lists stand side by side, so none may lack what another has.
        "file_sizes": [_size(value) for value in _list(answer, "files_sizes")],
        "file_urls": [],
    }


def _score(event: ScoreSet, recorded: Recorded) -> Signal:
    """The score that a grader outside has reported.

    There is no queue: who reported stands for its name, the id of the report for the key.

    Source: Open edX LMS, what its grades and its problems do with this signal.
    """
    result = {
        "correct": event.points_earned >= event.points_possible,
        "score": event.points_earned,
        "msg": NOTHING_SAID,
    }
    return Signal(
        EXTERNAL_SCORE,
        {
            "score": {
                "points_possible": event.points_possible,
                "points_earned": event.points_earned,
                "course_id": event.course_id,
                "score_msg": json.dumps(result),
                "submission_id": event.submission_id,
                "user_id": event.student_id,
                "module_id": event.item_id,
                "queue_key": recorded.provenance.cause or "",
                "queue_name": recorded.provenance.actor or "",
            }
        },
    )


def _course(course_id: str) -> dict[str, Any]:
    # Open edX sends no more of a course with these signals either.
    return {"course_key": course_id, "display_name": "", "start": None, "end": None}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _parsed(text: str | None) -> Mapping[str, Any]:
    """What an answer says. It was taken as JSON in the wide sense of Python, so it is read so."""
    if text is None:
        return {}
    try:
        found = json.loads(text, parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(digits: str) -> int | str:
    """A number; one that no Avro holds stays as it is written."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def _list(answer: Mapping[str, Any], name: str) -> list[Any]:
    found = answer.get(name)
    return found if isinstance(found, list) else []


def _text(value: Any) -> str:
    """As text that can be told: what learners send may hold halves of characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()


def _size(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
