"""All answers against the rules of the interface, told once more in the plainest way.

Random histories find what nobody thought of; the plain rules here read no row and know no
batch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection

from domain.events import Event
from domain.submissions.student_item import (
    ScoreReset,
    ScoreSet,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
)
from projections import score_history as past
from projections import submissions as queries
from tests.projections.histories import COURSES, ITEMS, STUDENTS, TYPES, History
from tests.projections.support import Projected


@dataclass
class Plain:
    """What happened so far."""

    items: list[StudentItemRegistered] = field(default_factory=list)
    submissions: list[SubmissionCreated] = field(default_factory=list)
    scores: list[ScoreSet | ScoreReset] = field(default_factory=list)

    def happened(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case StudentItemRegistered():
                    self.items.append(event)
                case SubmissionCreated():
                    self.submissions.append(event)
                case ScoreSet() | ScoreReset():
                    self.scores.append(event)
                case SubmissionDeleted():
                    gone = event.submission_uuid
                    self.submissions = [
                        one for one in self.submissions if one.submission_uuid != gone
                    ]

    def latest_score(self, item: int) -> ScoreSet | None:
        scores = [score for score in self.scores if score.student_item_id == item]
        latest = scores[-1] if scores else None
        return latest if isinstance(latest, ScoreSet) else None

    def visible_score(self, item: int) -> ScoreSet | None:
        latest = self.latest_score(item)
        return latest if latest and latest.points_possible else None

    def score_of_submission(self, submission: UUID) -> ScoreSet | None:
        own = [
            score
            for score in self.scores
            if isinstance(score, ScoreSet) and score.submission_uuid == submission
        ]
        return own[-1] if own and own[-1].points_possible else None

    def newest_first(self, **wanted: str) -> list[SubmissionCreated]:
        found = [
            one
            for one in self.submissions
            if all(getattr(one, name) == value for name, value in wanted.items())
        ]
        return sorted(found, key=lambda one: (one.submitted_at, one.submission_id), reverse=True)

    def top(self, course: str, item: str) -> list[tuple[int, int]]:
        scores = [
            (item_event.student_item_id, score.points_earned)
            for item_event in self.items
            if (item_event.course_id, item_event.item_id) == (course, item)
            and (score := self.latest_score(item_event.student_item_id))
            and score.points_earned > 0
        ]
        return sorted(scores, key=lambda one: (-one[1], one[0]))[:2]


def score_id(score: queries.Score | ScoreSet | None) -> int | None:
    return score.score_id if score else None


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_follows_the_rules_at_every_moment(db: Connection[Any], seed: int) -> None:
    history, plain, projected = History(seed), Plain(), Projected(db)
    was: dict[int, Any] = {}
    for _ in range(25):
        events = history.events(history.chance.randint(1, 8))
        if not events:
            continue
        position = projected.fold(*events)
        plain.happened(events)
        check(projected, plain)
        was[position] = tops_and_scores(projected)
    for position, told in was.items():
        assert tops_and_scores_as_of(projected, position) == told


def check(projected: Projected, plain: Plain) -> None:
    ask = projected.ask
    for course in COURSES:
        for item in ITEMS:
            kind = TYPES[item]
            top = ask(queries.top_submissions(course, item, kind, 2))
            assert [(one.student_item_id, one.points_earned) for one in top] == plain.top(
                course, item
            )
            everybody = projected.stream(queries.all_latest_submissions(course, item, kind))
            expected = [
                mine[0].submission_id
                for student in sorted(STUDENTS)
                if (mine := plain.newest_first(course_id=course, item_id=item, student_id=student))
            ]
            assert [one.submission_id for one in everybody] == expected
            information = projected.stream(queries.all_course_information(course, kind))
            shown = [(one.submission.submission_id, score_id(one.score)) for one in information]
            wanted = []
            for one in plain.newest_first(course_id=course, item_type=kind):
                score = plain.visible_score(one.student_item_id)
                own = score and score.submission_uuid == one.submission_uuid
                wanted.append((one.submission_id, score_id(score) if own else None))
            assert shown == wanted
    for registered in plain.items:
        key = queries.StudentItemKey(
            registered.student_id, registered.course_id, registered.item_id, registered.item_type
        )
        number = registered.student_item_id
        assert score_id(ask(queries.score_of_item(key))) == score_id(plain.visible_score(number))
        mine = plain.newest_first(**key.as_dict())
        found = ask(queries.submissions_of_item(key))
        assert [one.submission_id for one in found] == [one.submission_id for one in mine]
        for one in mine:
            own_score = ask(queries.latest_score_of_submission(one.submission_uuid))
            assert score_id(own_score) == score_id(plain.score_of_submission(one.submission_uuid))


def tops_and_scores(projected: Projected) -> list[Any]:
    return [
        *(
            [
                (one.student_item_id, one.points_earned)
                for one in projected.ask(queries.top_submissions(course, item, TYPES[item], 3))
            ]
            for course in COURSES
            for item in ITEMS
        ),
        *(
            projected.ask(queries.scores_of_student(course, student))
            for course in COURSES
            for student in STUDENTS
        ),
    ]


def tops_and_scores_as_of(projected: Projected, position: int) -> list[Any]:
    return [
        *(
            [
                (one.student_item_id, one.points_earned)
                for one in projected.ask(
                    past.top_submissions_as_of(course, item, TYPES[item], 3, position)
                )
            ]
            for course in COURSES
            for item in ITEMS
        ),
        *(
            projected.ask(past.scores_of_student_as_of(course, student, position))
            for course in COURSES
            for student in STUDENTS
        ),
    ]
