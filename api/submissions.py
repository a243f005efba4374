"""The submissions interface, in process: the functions of its peer under the same names.

Every function takes and returns what edx-submissions' ``submissions.api`` does; the error
classes and their texts are in ``domain.submissions.errors``. Two keyword arguments keep
their names and mean this here: ``read_replica=False`` waits until everything that was
acknowledged to anybody is visible, ``True`` accepts an older state (but still shows the
process what it wrote itself, unless the read model is far behind); ``use_cache`` likewise
chooses between an answer that may be a moment old and the newest one.

Source: edx-submissions, ``submissions/api.py``.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from uuid import UUID

from api import rendering
from api.in_process import Installation, installation, provenance
from api.rendering import Result
from api.signals import score_reset, score_set
from domain.errors import UnavailableError
from domain.submissions import fields
from domain.submissions.errors import (
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
)
from domain.submissions.fields import REQUIRED, UNKNOWN_FIELD, StudentItemKey
from domain.submissions.student_item import ScoreReset, ScoreSet
from projections import submissions as queries
from projections.read_model import Query
from projections.submissions import Score, Submission, TopSubmission

T = TypeVar("T")

MAX_TOP_SUBMISSIONS = fields.MAX_TOP_SUBMISSIONS
MAX_ANSWER_SIZE = fields.MAX_ANSWER_SIZE


# --- writing ----------------------------------------------------------------------------------


def create_submission(
    student_item_dict: Any,
    answer: Any,
    submitted_at: Any = None,
    attempt_number: Any = None,
    team_submission: Any = None,
) -> Result:
    """Hand in an answer.

    Args:
        student_item_dict: ``student_id``, ``course_id``, ``item_id``, ``item_type``.
        answer: any JSON value but None, at most 102400 characters of JSON text.
        submitted_at: datetime or ISO text, naive means UTC; now when falsy.
        attempt_number: 0 or more; one more than the last attempt when None.
        team_submission: uuid of an active team submission, or an object with ``uuid``.

    Returns:
        ``uuid, student_item, attempt_number, submitted_at, created_at, answer,
        team_submission_uuid``.

    Raises:
        SubmissionRequestError: bad fields, all of them in ``field_errors``.
        SubmissionInternalError: nothing was stored, and cannot be at the moment.
    """
    by = provenance()
    try:
        done = installation().carry_out(
            lambda commands: commands.create_submission(
                student_item_dict,
                answer,
                submitted_at,
                attempt_number,
                team_submission,
                provenance=by,
            )
        )
    except UnavailableError as error:
        raise SubmissionInternalError(
            f"An error occurred while creating submission for student item: {student_item_dict}"
        ) from error
    created = done.value
    return rendering.submission(
        rendering.submission_row(created.event), json.loads(created.answer_text)
    )


def set_score(
    submission_uuid: Any,
    points_earned: Any,
    points_possible: Any,
    annotation_creator: Any = None,
    annotation_type: Any = None,
    annotation_reason: Any = None,
) -> None:
    """Say what a submission is worth, and send ``score_set``.

    Args:
        submission_uuid: a UUID, or text in any form that Python's UUID parser takes.
        points_earned: whole points, 0 or more; above the possible is extra credit.
        points_possible: whole points; 0 hides the score.
        annotation_creator: opaque id of who gives the reason; None for no annotation.
        annotation_type: kind of the annotation, needed with a creator.
        annotation_reason: why.

    Raises:
        SubmissionNotFoundError: never created, or deleted.
        SubmissionInternalError: bad points; the only argument is the field errors.
        SubmissionRequestError: a malformed uuid or annotation, or no access to the submission.
    """
    by = provenance()
    try:
        done = installation().carry_out(
            lambda commands: commands.set_score(
                submission_uuid,
                points_earned,
                points_possible,
                annotation_creator,
                annotation_type,
                annotation_reason,
                provenance=by,
            )
        )
    except UnavailableError as error:
        raise SubmissionRequestError(f"Could not retrieve submission {submission_uuid}.") from error
    send_score_set(done.value)


def reset_score(
    student_id: Any,
    course_id: Any,
    item_id: Any,
    clear_state: bool = False,
    emit_signal: bool = True,
) -> None:
    """Let the score of a student item count no longer, and send ``score_reset``.

    Does nothing for an item that is not known.

    Args:
        student_id: as in the student item.
        course_id: as in the student item.
        item_id: as in the student item.
        clear_state: also delete all active submissions of the item.
        emit_signal: whether ``score_reset`` is sent.

    Raises:
        SubmissionInternalError: nothing was stored, and cannot be at the moment.
    """
    by = provenance()
    try:
        done = installation().carry_out(
            lambda commands: commands.reset_score(
                student_id, course_id, item_id, clear_state, emit_signal, provenance=by
            )
        )
    except UnavailableError as error:
        raise SubmissionInternalError(
            f"Error occurred while reseting scores for item {item_id} in course {course_id}"
            f" for student {student_id}"
        ) from error
    if done.value is not None:
        send_score_reset(done.value)


def send_score_set(event: ScoreSet) -> None:
    """Tell the receivers in this process."""
    score_set.send(
        sender=None,
        points_possible=event.points_possible,
        points_earned=event.points_earned,
        anonymous_user_id=event.student_id,
        course_id=event.course_id,
        item_id=event.item_id,
        created_at=event.timestamp,
    )


def send_score_reset(event: ScoreReset) -> None:
    """Tell the receivers in this process, unless the reset is no news."""
    if event.emit_signal:
        score_reset.send(
            sender=None,
            anonymous_user_id=event.student_id,
            course_id=event.course_id,
            item_id=event.item_id,
            created_at=event.timestamp,
        )


# --- reading submissions ----------------------------------------------------------------------


def get_submission(submission_uuid: Any, read_replica: bool = False) -> Result:
    """Return one submission.

    Raises:
        SubmissionNotFoundError: never created, or deleted.
        SubmissionRequestError: neither text nor a UUID.
        SubmissionInternalError: text that is no UUID, or no answer at the moment.
    """
    here = installation()
    row = _submission(here, submission_uuid, read_replica=read_replica)
    return rendering.submission(row, _answers(here, [row])[0])


def get_submission_and_student(uuid: Any, read_replica: bool = False) -> Result:
    """Return one submission; ``student_item`` is the dict of its student item.

    Raises:
        SubmissionNotFoundError: never created, or deleted.
        SubmissionRequestError: neither text nor a UUID.
        SubmissionInternalError: text that is no UUID, or no answer at the moment.
    """
    here = installation()
    row = _submission(here, uuid, read_replica=read_replica)
    return rendering.submission_with_student(row, _answers(here, [row])[0])


def get_submissions(student_item_dict: Any, limit: Any = None) -> list[Result]:
    """Return the submissions of a student item, the one submitted last first.

    Args:
        student_item_dict: ``student_id``, ``course_id``, ``item_id``, ``item_type``.
        limit: how many at most; all when None or 0.

    Raises:
        SubmissionRequestError: a bad student item or limit.
        SubmissionNotFoundError: no answer at the moment.
    """
    key = fields.student_item(student_item_dict)
    count = fields.limit(limit)
    here = installation()
    try:
        rows = here.ask(queries.submissions_of_item(key, count), latest=True)
        answers = _answers(here, rows)
    except UnavailableError as error:
        raise SubmissionNotFoundError(
            f"Error getting submission request for student item {student_item_dict}"
        ) from error
    return [rendering.submission(row, answer) for row, answer in zip(rows, answers, strict=True)]


def get_all_submissions(
    course_id: str, item_id: str, item_type: str, read_replica: bool = True
) -> Iterator[Result]:
    """Yield the submission that each student has submitted last, by student id."""
    if not fields.storable(course_id, item_id, item_type):
        return
    here = installation()
    query = queries.all_latest_submissions(course_id, item_id, item_type)
    with here.stream(query, latest=not read_replica) as chunks:
        for rows in chunks:
            for row, answer in zip(rows, _answers(here, rows), strict=True):
                yield rendering.submission_with_student_id(row, answer)


def get_all_course_submission_information(
    course_id: str, item_type: str, read_replica: bool = True
) -> Iterator[tuple[Result, Result, Result]]:
    """Yield student item, submission and score of each submission of a course.

    Those submitted last come first. The score is the latest of the student item if it
    belongs to this very submission and is not hidden, else ``{}``.
    """
    if not fields.storable(course_id, item_type):
        return
    here = installation()
    query = queries.all_course_information(course_id, item_type)
    with here.stream(query, latest=not read_replica) as chunks:
        for rows in chunks:
            answers = _answers(here, [row.submission for row in rows])
            here.load(rendering.sealed_reasons(row.score for row in rows if row.score))
            for row, answer in zip(rows, answers, strict=True):
                yield (
                    rendering.student_item(row.submission.student_item),
                    rendering.submission(row.submission, answer),
                    _rendered_score(here, row.score) or {},
                )


def get_top_submissions(
    course_id: str,
    item_id: str,
    item_type: str,
    number_of_top_scores: Any,
    use_cache: bool = True,
    read_replica: bool = True,
) -> list[Result]:
    """Return the best latest scores of an item and the answers they were given for.

    Args:
        course_id: as in the student item.
        item_id: as in the student item.
        item_type: as in the student item.
        number_of_top_scores: from 1 to 100.
        use_cache: whether an answer that is a moment old will do.
        read_replica: the same.

    Raises:
        SubmissionRequestError: the number is out of bounds.
        SubmissionInternalError: no answer at the moment.
    """
    count = fields.number_of_top_scores(number_of_top_scores)
    if not fields.storable(course_id, item_id, item_type):
        return []
    here = installation()
    query = queries.top_submissions(course_id, item_id, item_type, count)
    try:
        rows = here.ask(query, latest=not (use_cache and read_replica))
        answers = _answers(here, rows)
    except UnavailableError as error:
        raise SubmissionInternalError(
            f"Could not fetch top score summaries for course {course_id}, item {item_id}"
            f" of type {item_type}"
        ) from error
    return [rendering.top_entry(row, answer) for row, answer in zip(rows, answers, strict=True)]


def get_student_ids_by_submission_uuid(
    course_id: str, submission_uuids: Iterable[Any], read_replica: bool = True
) -> dict[str, str]:
    """Return the student of each submission of a course; leave out what is not there.

    Raises:
        SubmissionRequestError: one of the uuids is malformed.
    """
    wanted = parsed_uuids(submission_uuids)
    if not wanted or not fields.storable(course_id):
        return {}
    query = queries.student_ids_by_submission_uuid(course_id, wanted)
    found = _asked(installation(), query, latest=not read_replica)
    return {str(uuid): student_id for uuid, student_id in found.items()}


# --- reading scores ---------------------------------------------------------------------------


def get_score(student_item: Any) -> Result | None:
    """Return the score of a student item that counts now; None when there is none.

    Raises:
        SubmissionRequestError: keys that are missing or unknown.
    """
    key = _lookup_key(student_item)
    if key is None:
        return None
    here = installation()
    return _loaded_score(here, _asked(here, queries.score_of_item(key), latest=True))


def get_scores(course_id: str, student_id: str) -> dict[str, Result]:
    """Return the scores of a student that count now, by item id, without annotations.

    Raises:
        SubmissionInternalError: no answer at the moment.
    """
    if not fields.storable(course_id, student_id):
        return {}
    try:
        found = installation().ask(queries.scores_of_student(course_id, student_id), latest=True)
    except UnavailableError as error:
        raise SubmissionInternalError(
            f"Could not fetch scores for course {course_id}, student {student_id}"
        ) from error
    return {item_id: rendering.unannotated_score(score) for item_id, score in found.items()}


def get_latest_score_for_submission(
    submission_uuid: Any, read_replica: bool = False
) -> Result | None:
    """Return the score written last for a submission; None when it is hidden.

    Raises:
        SubmissionRequestError: a malformed uuid.
    """
    here = installation()
    query = queries.latest_score_of_submission(parsed_uuids([submission_uuid])[0])
    return _loaded_score(here, _asked(here, query, latest=not read_replica))


# --- shared -----------------------------------------------------------------------------------


def parsed_uuids(values: Iterable[Any]) -> list[UUID]:
    """UUIDs in any form that Python's parser takes.

    Raises:
        SubmissionRequestError: one of them is malformed.
    """
    found = []
    for value in values:
        try:
            found.append(fields.submission_uuid(value))
        except ValueError:
            raise SubmissionRequestError(f"“{value}” is not a valid UUID.") from None
    return found


def _asked(here: Installation, query: Query[T], *, latest: bool) -> T:
    try:
        return here.ask(query, latest=latest)
    except UnavailableError as error:
        raise SubmissionInternalError(f"The answer could not be fetched: {error}") from error


def _submission(here: Installation, given: Any, *, read_replica: bool) -> Submission:
    try:
        uuid = fields.submission_uuid(given)
        row = here.ask(queries.submission_by_uuid(uuid), latest=not read_replica)
    except ValueError:
        raise SubmissionInternalError(
            f"Could not get submission due to error: ['“{given}” is not a valid UUID.']"
        ) from None
    except UnavailableError as error:
        raise SubmissionInternalError(f"Could not get submission due to error: {error}") from error
    if row is None:
        raise SubmissionNotFoundError(f"No submission matching uuid {given}")
    return row


def _answers(here: Installation, rows: Iterable[Submission | TopSubmission]) -> list[Any]:
    found = list(rows)
    here.load(row.answer for row in found if row.answer is not None)
    texts = (rendering.opened_answer(here, row) for row in found)
    return [None if text is None else json.loads(text) for text in texts]


def _loaded_score(here: Installation, row: Score | None) -> Result | None:
    if row is not None:
        here.load(rendering.sealed_reasons([row]))
    return _rendered_score(here, row)


def _rendered_score(here: Installation, row: Score | None) -> Result | None:
    return None if row is None else rendering.score(row, rendering.opened_reasons(here, row))


def _lookup_key(student_item: Any) -> StudentItemKey | None:
    """The keys as given, for an exact match; None when nothing can match them."""
    if not isinstance(student_item, dict):
        fields.student_item(student_item)  # says what is wrong
    wrong = {name: [REQUIRED] for name in StudentItemKey._fields if name not in student_item}
    wrong |= {
        str(name): [UNKNOWN_FIELD] for name in student_item if name not in StudentItemKey._fields
    }
    if wrong:
        raise SubmissionRequestError(field_errors=wrong)
    values = [student_item[name] for name in StudentItemKey._fields]
    if any(isinstance(v, bool) or not isinstance(v, str | int | float) for v in values):
        return None
    key = StudentItemKey(*map(str, values))
    return key if fields.storable(*key) else None
