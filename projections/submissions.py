"""The submissions, the latest submission of each student, and the scores that count now.

Answers and reasons stay sealed; whoever answers a caller opens them. Source of the rules:
edx-submissions, ``submissions.api``.
"""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, LiteralString, NamedTuple
from uuid import UUID

import orjson
from psycopg import Connection

from domain.events import Event, Recorded
from domain.submissions.fields import MAX_TOP_SUBMISSIONS, StudentItemKey
from domain.submissions.score_summary import Points, replaces_highest
from domain.submissions.student_item import (
    ScoreReset,
    ScoreSet,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from projections.bulk import annotations_text, columns, copy_rows, execute, fetch, item_key
from projections.read_model import Query, ReadModel, Row, StreamQuery

# --- what the queries answer ----------------------------------------------------------------

# Tuples, because they are made by the hundred thousand: a frozen dataclass takes four times as
# long.


class Annotation(NamedTuple):
    """Why a score is what it is. ``reason`` is sealed unless it is empty."""

    creator: str
    reason: str
    annotation_type: str


class Score(NamedTuple):
    """A score. Only a reset has no submission.

    The reason of each annotation opens with ``reason_context(score_id)``.
    """

    score_id: int
    student_item_id: int
    submission_uuid: UUID | None
    submission_id: int | None
    points_earned: int
    points_possible: int
    created_at: datetime
    annotations: tuple[Annotation, ...]


class Submission(NamedTuple):
    """A submission that is not deleted, and whose work at what it is.

    ``answer`` is sealed; it opens with ``answer_context(submission_uuid)``.
    """

    submission_uuid: UUID
    submission_id: int
    student_item_id: int
    student_item: StudentItemKey
    attempt_number: int
    submitted_at: datetime
    created_at: datetime
    answer: str
    team_submission_uuid: UUID | None


class SubmissionInformation(NamedTuple):
    """A submission with its item's latest score, if that is its own and is not hidden."""

    submission: Submission
    score: Score | None


class TopSubmission(NamedTuple):
    """One of the best scored items: its points, and the answer they were given for.

    ``submission_uuid`` and the sealed ``answer`` are None when the submission is gone.
    """

    student_item_id: int
    points_earned: int
    submission_uuid: UUID | None
    answer: str | None


class ScoredSubmission(NamedTuple):
    """A submission with the last score written for it, as one entry of a learner's history.

    ``answer`` is sealed; it opens with ``answer_context(submission_uuid)``.
    """

    student_id: str
    item_id: str
    submission_uuid: UUID
    submission_id: int
    created_at: datetime
    points_earned: int | None
    points_possible: int | None
    answer: str


# --- the read model -------------------------------------------------------------------------


class Submissions(ReadModel):
    """What was handed in and what it is worth now."""

    name: ClassVar[str] = "submissions"
    version: ClassVar[int] = 1
    folds: ClassVar[frozenset[type[Event]]] = frozenset(
        {StudentItemRegistered, SubmissionCreated, ScoreSet, ScoreReset, SubmissionDeleted}
    )
    tables: ClassVar[LiteralString] = """
    CREATE TABLE student_items (
        student_item_id bigint PRIMARY KEY,
        stream_id       uuid   NOT NULL UNIQUE,
        item_key        uuid   NOT NULL,
        student_id      text   COLLATE "C" NOT NULL,
        course_id       text   COLLATE "C" NOT NULL,
        item_id         text   COLLATE "C" NOT NULL,
        item_type       text   COLLATE "C" NOT NULL
    );
    CREATE INDEX student_items_of_item ON student_items (item_key, student_id);
    CREATE INDEX student_items_of_student ON student_items (course_id, student_id);

    -- Apart from the items, because every score rewrites its row and the entries of all its
    -- indexes.
    CREATE TABLE score_summaries (
        student_item_id         bigint      PRIMARY KEY,
        item_key                uuid        NOT NULL,
        item_type               text        COLLATE "C" NOT NULL,
        highest_score_id        bigint      NOT NULL,
        highest_points_earned   integer     NOT NULL,
        highest_points_possible integer     NOT NULL,
        highest_created_at      timestamptz NOT NULL,
        highest_reset           boolean     NOT NULL,
        latest_score_id         bigint      NOT NULL,
        latest_points_earned    integer     NOT NULL,
        latest_points_possible  integer     NOT NULL,
        latest_created_at       timestamptz NOT NULL,
        latest_reset            boolean     NOT NULL,
        latest_submission_uuid  uuid,
        latest_submission_id    bigint,
        latest_annotations      text
    );
    CREATE INDEX score_summaries_top
        ON score_summaries (item_key, item_type, latest_points_earned DESC, student_item_id)
        WHERE latest_points_earned > 0;

    -- The last score that was written for a submission stands with it: a reset of the item
    -- does not touch it. It counts as long as it is the latest of the item. Pages keep some
    -- room, so that a score that comes later finds a place beside.
    CREATE TABLE submissions (
        submission_uuid      uuid        PRIMARY KEY,
        submission_id        bigint      NOT NULL,
        student_item_id      bigint      NOT NULL,
        student_id           text        COLLATE "C" NOT NULL,
        course_id            text        COLLATE "C" NOT NULL,
        item_id              text        COLLATE "C" NOT NULL,
        item_type            text        COLLATE "C" NOT NULL,
        attempt_number       integer     NOT NULL,
        submitted_at         timestamptz NOT NULL,
        created_at           timestamptz NOT NULL,
        team_submission_uuid uuid,
        score_id             bigint,
        points_earned        integer,
        points_possible      integer,
        score_created_at     timestamptz,
        annotations          text,
        counts               boolean     NOT NULL,
        answer               text        COLLATE "C" NOT NULL
    ) WITH (fillfactor = 90);
    -- What is encrypted cannot be compressed.
    ALTER TABLE submissions ALTER COLUMN answer SET STORAGE EXTERNAL;
    CREATE INDEX submissions_of_student_item
        ON submissions (student_item_id, submitted_at DESC, submission_id DESC);
    CREATE INDEX submissions_of_course
        ON submissions (course_id, item_type, submitted_at DESC, submission_id DESC);
    """

    def fold(self, db: Connection[Row], events: Iterable[Recorded]) -> None:
        """Gather what the batch changes, then write each table once."""
        items: list[Row] = []
        created: dict[UUID, list[Any]] = {}
        deleted: list[UUID] = []
        scores: list[_Scored] = []
        for recorded in events:
            event = recorded.event
            match event:
                case SubmissionCreated():
                    created[event.submission_uuid] = [
                        event.submission_uuid,
                        event.submission_id,
                        event.student_item_id,
                        event.student_id,
                        event.course_id,
                        event.item_id,
                        event.item_type,
                        event.attempt_number,
                        event.submitted_at,
                        event.timestamp,
                        event.team_submission_uuid,
                        *_UNSCORED,
                        event.answer,
                    ]
                case ScoreSet():
                    scores.append(_set(event))
                case StudentItemRegistered():
                    items.append(
                        (
                            event.student_item_id,
                            event.originator_id,
                            item_key(event.course_id, event.item_id),
                            event.student_id,
                            event.course_id,
                            event.item_id,
                            event.item_type,
                        )
                    )
                case ScoreReset():
                    scores.append(_reset(event))
                case SubmissionDeleted():
                    if created.pop(event.submission_uuid, None) is None:
                        deleted.append(event.submission_uuid)
        copy_rows(db, _COPY_ITEMS, _ITEM_TYPES, items)
        if scores:
            latest = {scored.event.student_item_id: scored for scored in scores}
            superseded = _summarise(db, scores, latest, new={item[0] for item in items})
            if superseded:
                execute(db, _SUPERSEDE, superseded)
            if rescored := _score_submissions(created, scores, latest):
                execute(db, _SCORE_SUBMISSIONS, *columns(rescored.values()))
        if deleted:
            execute(db, _DELETE_SUBMISSIONS, deleted)
        copy_rows(db, _COPY_SUBMISSIONS, _SUBMISSION_TYPES, created.values())


class _Scored(NamedTuple):
    """A score or a reset, as its rows want it."""

    event: ScoreSet | ScoreReset
    score: tuple[int, int, int, datetime, bool]
    submission: tuple[UUID | None, int | None, str | None]


def _set(event: ScoreSet) -> _Scored:
    return _Scored(
        event,
        (event.score_id, event.points_earned, event.points_possible, event.timestamp, False),
        (event.submission_uuid, event.submission_id, annotations_text(event.annotation)),
    )


def _reset(event: ScoreReset) -> _Scored:
    return _Scored(event, (event.score_id, 0, 0, event.timestamp, True), (None, None, None))


_UNSCORED: Final = (*(None,) * 5, False)
_SCORE_COLUMNS: Final = slice(11, 17)
_ITEM_TYPES: Final = ("int8", "uuid", "uuid", "text", "text", "text", "text")
_COPY_ITEMS: Final = """
COPY student_items (student_item_id, stream_id, item_key, student_id, course_id, item_id, item_type)
FROM STDIN (FORMAT binary)
"""
_SUBMISSION_TYPES: Final = (
    *("uuid", "int8", "int8", "text", "text", "text", "text"),
    *("int4", "timestamptz", "timestamptz", "uuid"),
    *("int8", "int4", "int4", "timestamptz", "text", "bool", "text"),
)
_COPY_SUBMISSIONS: Final = """
COPY submissions (
    submission_uuid, submission_id, student_item_id, student_id, course_id, item_id, item_type,
    attempt_number, submitted_at, created_at, team_submission_uuid, score_id, points_earned,
    points_possible, score_created_at, annotations, counts, answer)
FROM STDIN (FORMAT binary)
"""
_SCORE_SUBMISSIONS: Final = """
UPDATE submissions s SET score_id = t.score_id, points_earned = t.points_earned,
    points_possible = t.points_possible, score_created_at = t.created_at,
    annotations = t.annotations, counts = t.counts
FROM unnest(
        %b::uuid[], %b::bigint[], %b::int[], %b::int[], %b::timestamptz[], %b::text[], %b::bool[])
    AS t (
        submission_uuid, score_id, points_earned, points_possible, created_at, annotations, counts)
WHERE s.submission_uuid = t.submission_uuid
"""
_SUPERSEDE: Final = """
UPDATE submissions SET counts = false WHERE submission_uuid = ANY (%b::uuid[])
"""
_DELETE_SUBMISSIONS: Final = "DELETE FROM submissions WHERE submission_uuid = ANY (%b::uuid[])"


def _score_submissions(
    created: dict[UUID, list[Any]], scores: Iterable[_Scored], latest: Mapping[int, _Scored]
) -> dict[UUID, Row]:
    """Put scores on the submissions of the batch; return those of older submissions."""
    rescored: dict[UUID, Row] = {}
    for scored in scores:
        event, score, (submission_uuid, _, annotations) = scored
        if submission_uuid is None:
            continue
        values = (*score[:4], annotations, latest[event.student_item_id] is scored)
        if (row := created.get(submission_uuid)) is not None:
            row[_SCORE_COLUMNS] = values
        else:
            rescored[submission_uuid] = (submission_uuid, *values)
    return rescored


# --- score summaries ------------------------------------------------------------------------

_SUMMARY_TYPES: Final = (
    *("int8", "uuid", "text"),
    *("int8", "int4", "int4", "timestamptz", "bool"),
    *("int8", "int4", "int4", "timestamptz", "bool", "uuid", "int8", "text"),
)
_COPY_SUMMARIES: Final = """
COPY score_summaries (
    student_item_id, item_key, item_type, highest_score_id, highest_points_earned,
    highest_points_possible, highest_created_at, highest_reset, latest_score_id,
    latest_points_earned, latest_points_possible, latest_created_at, latest_reset,
    latest_submission_uuid, latest_submission_id, latest_annotations)
FROM STDIN (FORMAT binary)
"""
_TAKE_SUMMARIES: Final = """
DELETE FROM score_summaries WHERE student_item_id = ANY (%b::bigint[])
RETURNING student_item_id, highest_score_id, highest_points_earned, highest_points_possible,
    highest_created_at, highest_reset, latest_submission_uuid
"""


def _summarise(
    db: Connection[Row],
    scores: Sequence[_Scored],
    latest: Mapping[int, _Scored],
    *,
    new: set[int],
) -> list[UUID]:
    """Replace the summaries of the scored items; ``new`` are the items of this batch.

    Returns the submissions whose score was the latest of their item and is so no more.
    """
    known = [item for item in latest if item not in new]
    # The new row needs the entries of all indexes anyway: deleting the old one reads it too.
    taken = fetch(db, _TAKE_SUMMARIES, known) if known else []
    highest: dict[int, Row] = {row[0]: row[1:6] for row in taken}
    for event, score, _ in scores:
        item = event.student_item_id
        before = highest.get(item)
        if before is None or replaces_highest(
            Points(before[1], before[2]), Points(score[1], score[2], score[4])
        ):
            highest[item] = score
    copy_rows(
        db,
        _COPY_SUMMARIES,
        _SUMMARY_TYPES,
        [
            (
                item,
                item_key(event.course_id, event.item_id),
                event.item_type,
                *highest[item],
                *score,
                *submission,
            )
            for item, (event, score, submission) in latest.items()
        ],
    )
    return [
        before for item, *_, before in taken if before not in (None, latest[item].submission[0])
    ]


# --- queries about submissions --------------------------------------------------------------

_SUBMISSION: Final = """
s.submission_uuid, s.submission_id, s.student_item_id, s.student_id, s.course_id, s.item_id,
s.item_type, s.attempt_number, s.submitted_at, s.created_at, s.answer, s.team_submission_uuid
"""
_NEWEST_FIRST: Final = "ORDER BY s.submitted_at DESC, s.submission_id DESC"

LARGEST_PAGE: Final = 2000
"""Entries. The number stands in the statements of pages, so that the server plans for few
rows whatever the argument is."""

_SUBMISSIONS_BY_UUIDS: Final = f"""
SELECT {_SUBMISSION} FROM submissions s WHERE s.submission_uuid = ANY (%b::uuid[])
"""
_SUBMISSION_BY_UUID: Final = f"""
SELECT {_SUBMISSION} FROM submissions s WHERE s.submission_uuid = %b
"""
_SUBMISSIONS_OF_ITEM: Final = f"""
SELECT {_SUBMISSION} FROM student_items i JOIN submissions s USING (student_item_id)
WHERE i.stream_id = %b AND i.item_type = %b
{_NEWEST_FIRST} LIMIT %b::bigint
"""
_LATEST_OF_EACH_STUDENT: Final = f"""
SELECT {_SUBMISSION} FROM student_items i
CROSS JOIN LATERAL (
    SELECT * FROM submissions s WHERE s.student_item_id = i.student_item_id
    {_NEWEST_FIRST} LIMIT 1
) AS s
WHERE i.item_key = %b AND i.item_type = %b AND i.student_id > %b
ORDER BY i.student_id
"""
_PAGE_OF_LATEST: Final = f"""
SELECT * FROM ({_LATEST_OF_EACH_STUDENT} LIMIT {LARGEST_PAGE}) AS page LIMIT %b::bigint
"""
_SUBMISSION_UUIDS_OF_ITEM: Final = """
SELECT s.submission_uuid FROM student_items i JOIN submissions s USING (student_item_id)
WHERE i.item_key = %b ORDER BY s.submission_id
"""
_STUDENT_IDS: Final = """
SELECT s.submission_uuid, s.student_id FROM submissions s
WHERE s.submission_uuid = ANY (%b::uuid[]) AND s.course_id = %b
"""
_SCORED_OF_STUDENTS: Final = """
SELECT s.student_id, s.item_id, s.submission_uuid, s.submission_id, s.created_at,
    s.points_earned, s.points_possible, s.answer
FROM student_items i JOIN submissions s USING (student_item_id)
WHERE i.course_id = %b AND i.student_id = ANY (%b::text[]) AND i.item_id = ANY (%b::text[])
ORDER BY s.created_at DESC, s.submission_id DESC
"""
_COURSE_INFORMATION: Final = f"""
SELECT {_SUBMISSION}, s.counts AND s.points_possible > 0, s.score_id, s.points_earned,
    s.points_possible, s.score_created_at, s.annotations
FROM submissions s WHERE s.course_id = %b AND s.item_type = %b
"""
_ALL_COURSE_INFORMATION: Final = f"{_COURSE_INFORMATION} {_NEWEST_FIRST}"
_FIRST_COURSE_INFORMATION: Final = f"""
SELECT * FROM ({_ALL_COURSE_INFORMATION} LIMIT {LARGEST_PAGE}) AS page LIMIT %b::bigint
"""
_NEXT_COURSE_INFORMATION: Final = f"""
SELECT * FROM (
    {_COURSE_INFORMATION} AND (s.submitted_at, s.submission_id) < (%b, %b::bigint)
    {_NEWEST_FIRST} LIMIT {LARGEST_PAGE}
) AS page LIMIT %b::bigint
"""


def submission_by_uuid(submission_uuid: UUID) -> Query[Submission | None]:
    """One submission; None when it is unknown or deleted."""
    return Query(Submissions, _SUBMISSION_BY_UUID, (submission_uuid,), _first_submission)


def submissions_by_uuids(submission_uuids: Iterable[UUID]) -> Query[dict[UUID, Submission]]:
    """Submissions by uuid; unknown and deleted ones are left out."""
    return Query(Submissions, _SUBMISSIONS_BY_UUIDS, (list(submission_uuids),), _by_uuid)


def submissions_of_item(key: StudentItemKey, limit: int | None = None) -> Query[list[Submission]]:
    """The submissions of one student for one item, the newest first."""
    arguments = (_stream_of(key), key.item_type, limit)
    return Query(Submissions, _SUBMISSIONS_OF_ITEM, arguments, _submissions)


def latest_submission_of_each_student(
    course_id: str,
    item_id: str,
    item_type: str,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> Query[list[Submission]]:
    """The newest submission of each student for an item, by student id in code-point order.

    ``after`` is the student id of the last entry of the page before; a page has at most
    ``LARGEST_PAGE`` entries.
    """
    arguments = (item_key(course_id, item_id), item_type, after or "")
    if limit is None:
        return Query(Submissions, _LATEST_OF_EACH_STUDENT, arguments, _submissions)
    return Query(Submissions, _PAGE_OF_LATEST, (*arguments, limit), _submissions)


def all_latest_submissions(course_id: str, item_id: str, item_type: str) -> StreamQuery[Submission]:
    """The same, of any number of students."""
    arguments = (item_key(course_id, item_id), item_type, "")
    return StreamQuery(Submissions, _LATEST_OF_EACH_STUDENT, arguments, _submission)


def course_information(
    course_id: str,
    item_type: str,
    *,
    limit: int,
    after: tuple[datetime, int] | None = None,
) -> Query[list[SubmissionInformation]]:
    """The submissions of a course for items of one type with their scores, newest first.

    ``after`` is ``submitted_at`` and ``submission_id`` of the last entry of the page before;
    a page has at most ``LARGEST_PAGE`` entries.
    """
    if after is None:
        return Query(
            Submissions, _FIRST_COURSE_INFORMATION, (course_id, item_type, limit), _informations
        )
    arguments = (course_id, item_type, *after, limit)
    return Query(Submissions, _NEXT_COURSE_INFORMATION, arguments, _informations)


def all_course_information(course_id: str, item_type: str) -> StreamQuery[SubmissionInformation]:
    """The same, of a whole course."""
    return StreamQuery(Submissions, _ALL_COURSE_INFORMATION, (course_id, item_type), _information)


def student_ids_by_submission_uuid(
    course_id: str, submission_uuids: Iterable[UUID]
) -> Query[dict[UUID, str]]:
    """Whose submissions these are; those unknown, deleted or of other courses are left out."""
    arguments = (list(submission_uuids), course_id)
    return Query(Submissions, _STUDENT_IDS, arguments, _student_ids)


def scored_submissions_of_students(
    course_id: str, student_ids: Collection[str], item_ids: Collection[str]
) -> Query[list[ScoredSubmission]]:
    """The submissions of some students for some items of a course, the newest first."""
    arguments = (course_id, list(student_ids), list(item_ids))
    return Query(Submissions, _SCORED_OF_STUDENTS, arguments, _scored_submissions)


def submission_uuids_of_item(course_id: str, item_id: str) -> Query[list[UUID]]:
    """All submissions of an item, of all its types, in the order in which they came."""
    arguments = (item_key(course_id, item_id),)
    return Query(Submissions, _SUBMISSION_UUIDS_OF_ITEM, arguments, _uuids)


# --- queries about scores -------------------------------------------------------------------

_SCORE: Final = """
c.latest_score_id, c.student_item_id, c.latest_submission_uuid, c.latest_submission_id,
c.latest_points_earned, c.latest_points_possible, c.latest_created_at, c.latest_annotations
"""
_SCORE_OF_ITEM: Final = f"""
SELECT {_SCORE} FROM student_items i JOIN score_summaries c USING (student_item_id)
WHERE i.stream_id = %b AND i.item_type = %b AND c.latest_points_possible > 0
"""
_SCORES_OF_STUDENT: Final = f"""
SELECT {_SCORE}, i.item_id FROM student_items i JOIN score_summaries c USING (student_item_id)
WHERE i.course_id = %b AND i.student_id = %b AND c.latest_points_possible > 0
ORDER BY i.student_item_id
"""
_SCORE_OF_SUBMISSION: Final = """
SELECT score_id, student_item_id, submission_uuid, submission_id, points_earned,
    points_possible, score_created_at, annotations
FROM submissions WHERE submission_uuid = %b AND points_possible > 0
"""
_SCORES_OF_SUBMISSIONS: Final = """
SELECT score_id, student_item_id, submission_uuid, submission_id, points_earned,
    points_possible, score_created_at, annotations
FROM submissions WHERE submission_uuid = ANY (%b::uuid[]) AND points_possible > 0
"""
# As for pages, the largest number stands in the statement; and n answers are read, no more.
_TOP: Final = f"""
SELECT c.student_item_id, c.latest_points_earned, s.submission_uuid, s.answer
FROM (
    SELECT * FROM (
        SELECT student_item_id, latest_points_earned, latest_submission_uuid FROM score_summaries
        WHERE item_key = %b AND item_type = %b AND latest_points_earned > 0
        ORDER BY latest_points_earned DESC, student_item_id LIMIT {MAX_TOP_SUBMISSIONS}
    ) AS c LIMIT %b::bigint
) AS c
LEFT JOIN submissions s ON s.submission_uuid = c.latest_submission_uuid
ORDER BY c.latest_points_earned DESC, c.student_item_id
"""


def score_of_item(key: StudentItemKey) -> Query[Score | None]:
    """The score that counts now; None when there is none or it is hidden."""
    return Query(Submissions, _SCORE_OF_ITEM, (_stream_of(key), key.item_type), _first_score)


def scores_of_student(course_id: str, student_id: str) -> Query[dict[str, Score]]:
    """The scores that count now and are not hidden, by item id, of all item types."""
    return Query(Submissions, _SCORES_OF_STUDENT, (course_id, student_id), _scores_by_item)


def latest_score_of_submission(submission_uuid: UUID) -> Query[Score | None]:
    """The last score written for a submission, whatever happened to its item since.

    None when it is hidden, and for a submission that is unknown or deleted.
    """
    return Query(Submissions, _SCORE_OF_SUBMISSION, (submission_uuid,), _first_score)


def latest_scores_of_submissions(submission_uuids: Iterable[UUID]) -> Query[dict[UUID, Score]]:
    """The same for many; submissions without a visible score are left out."""
    return Query(
        Submissions, _SCORES_OF_SUBMISSIONS, (list(submission_uuids),), _scores_by_submission
    )


def top_submissions(
    course_id: str, item_id: str, item_type: str, n: int
) -> Query[list[TopSubmission]]:
    """The n latest scores with most points, and the answers they were given for.

    At most ``MAX_TOP_SUBMISSIONS``, by raw points, more than 0, also when they are out of
    nothing; of equal ones the lower student item id comes first.
    """
    arguments = (item_key(course_id, item_id), item_type, n)
    return Query(Submissions, _TOP, arguments, _top_submissions)


# --- rows -----------------------------------------------------------------------------------


def _stream_of(key: StudentItemKey) -> UUID:
    return student_item_stream(key.student_id, key.course_id, key.item_id)


def _submission(row: Row) -> Submission:
    return Submission._make((*row[:3], StudentItemKey._make(row[3:7]), *row[7:12]))


def _submissions(rows: list[Row]) -> list[Submission]:
    return [_submission(row) for row in rows]


def _first_submission(rows: list[Row]) -> Submission | None:
    return _submission(rows[0]) if rows else None


def _by_uuid(rows: list[Row]) -> dict[UUID, Submission]:
    return {row[0]: _submission(row) for row in rows}


def parse_score(row: Row) -> Score:
    """A score from a row that begins with its fields in order."""
    return Score._make((*row[:7], parse_annotations(row[7])))


def _first_score(rows: list[Row]) -> Score | None:
    return parse_score(rows[0]) if rows else None


def _scores_by_item(rows: list[Row]) -> dict[str, Score]:
    return {row[8]: parse_score(row) for row in rows}


def _scores_by_submission(rows: list[Row]) -> dict[UUID, Score]:
    return {row[2]: parse_score(row) for row in rows}


def parse_annotations(text: str | None) -> tuple[Annotation, ...]:
    """Annotations from the text in which they are kept."""
    if text is None:
        return ()
    return tuple([Annotation(**found) for found in orjson.loads(text)])


def _information(row: Row) -> SubmissionInformation:
    submission = _submission(row)
    if not row[12]:
        return SubmissionInformation(submission, None)
    score = (row[13], row[2], row[0], row[1], *row[14:17], parse_annotations(row[17]))
    return SubmissionInformation(submission, Score._make(score))


def _scored_submissions(rows: list[Row]) -> list[ScoredSubmission]:
    return [ScoredSubmission._make(row) for row in rows]


def _informations(rows: list[Row]) -> list[SubmissionInformation]:
    return [_information(row) for row in rows]


def _student_ids(rows: list[Row]) -> dict[UUID, str]:
    return {row[0]: row[1] for row in rows}


def _uuids(rows: list[Row]) -> list[UUID]:
    return [row[0] for row in rows]


def _top_submissions(rows: list[Row]) -> list[TopSubmission]:
    return [TopSubmission._make(row) for row in rows]
