"""What the demonstration shows of itself when it has been carried out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.backend import Backend
from api.http.grades import bulk_update
from api.http.grades.content import read_content
from domain.grades.regrading import CourseVersion
from domain.submissions.application import answer_context, reason_context
from domain.submissions.fields import StudentItemKey
from infra.demo.course import COURSE, SHOWN
from projections.gradebook.queries import course_by_id
from projections.score_history import ScoreChange, score_changes_of_student_item
from projections.submissions import (
    Submission,
    submissions_by_uuids,
    submissions_of_item,
    top_submissions,
)

TOP: Final = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demonstration shows; answers and reasons are opened."""

    top: Sequence[tuple[str, int, str]]
    learner: StudentItemKey
    history: Sequence[ScoreChange]
    reasons: Sequence[str]
    submission: Submission


async def ask(backend: Backend, key: StudentItemKey) -> Shown:
    """The best of one item, and every score of one piece of work."""
    reads, vault = backend.reads, backend.vault
    best = (await reads.ask(top_submissions(COURSE, SHOWN.item_id, SHOWN.item_type, TOP))).value
    uuids = [one.submission_uuid for one in best if one.submission_uuid is not None]
    by_uuid = (await reads.ask(submissions_by_uuids(uuids))).value
    history = (await reads.ask(score_changes_of_student_item(key))).value
    (submission, *_) = (await reads.ask(submissions_of_item(key))).value
    found = [(by_uuid[uuid], uuid) for uuid in uuids]
    await vault.load(
        [
            *(submission.answer for submission, _ in found),
            *(a.reason for change in history for a in change.annotations if a.reason),
        ]
    )
    answers = [
        json.loads(vault.open(one.answer, answer_context(uuid)))["parts"][0]["text"]
        for one, uuid in found
    ]
    reasons = [
        " ".join(
            vault.open(a.reason, reason_context(change.score_id)) if a.reason else ""
            for a in change.annotations
        )
        for change in history
    ]
    top = [
        (one.student_item.student_id, entry.points_earned, text)
        for entry, (one, _), text in zip(best, found, answers, strict=True)
    ]
    return Shown(top, key, history, reasons, submission)


async def course_version(backend: Backend) -> CourseVersion:
    """The course as it stands, for those who decide about its grades."""
    row = (await backend.reads.ask(course_by_id(COURSE), latest=True)).value
    assert row is not None
    return bulk_update.course_version(read_content(row))
