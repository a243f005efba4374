"""The submissions interface over HTTP: one URL for each function, and what is said about it."""

from typing import Any, Final

from api.http import schemas, submission_reads, submission_writes
from api.http.bulk import carry_out_commands
from api.http.commands import IN_STUDENT_ITEM, PREFIX
from api.http.problems import Locations
from api.http.routing import Answers, Operation, Parameter

TAG: Final = "submissions"

_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 255}
_TYPE: Final = {"type": "string", "minLength": 1, "maxLength": 100}

STUDENT_ID: Final = Parameter("student_id", "Whose work.", _NAME, required=True)
COURSE_ID: Final = Parameter("course_id", "Escape a plus as %2B.", _NAME, required=True)
ITEM_ID: Final = Parameter("item_id", "At what. Escape a plus as %2B.", _NAME, required=True)
ITEM_TYPE: Final = Parameter("item_type", "For example openassessment.", _TYPE, required=True)
STUDENT_ITEM: Final = (STUDENT_ID, COURSE_ID, ITEM_ID, ITEM_TYPE)

PAGES: Final = (
    Parameter(
        "page_size",
        "Entries of a page.",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
    ),
    Parameter("cursor", "From the address of the page before.", {"type": "string"}),
)
PAST: Final = (
    Parameter(
        "as_of",
        "Answer as of this moment (ISO 8601, UTC when it says nothing else).",
        {"type": "string", "format": "date-time"},
    ),
    Parameter(
        "as_of_position",
        "Answer as of this position of the log; one beyond its end is its end.",
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    ),
)
MIN_POSITION: Final = Parameter(
    "X-Min-Log-Position",
    "Wait, 5 seconds at most, until this position of the log has been applied.",
    {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    where="header",
)
IF_NONE_MATCH: Final = Parameter("If-None-Match", "The ETag of an answer at hand.", where="header")
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "The same key with the same request is answered again and carried out once. Kept 7 days.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    where="header",
)
ON_BEHALF_OF: Final = Parameter(
    "X-On-Behalf-Of",
    "The person for whom a service acts; recorded with each event.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    where="header",
)

_IN_PATH: Final = Locations("query", {"submission_uuid": ("path",)})
_SCORED: Final = Locations(unnamed=("path", "submission_uuid"))
_LISTED: Final = Locations(unnamed=("body", "submission_uuids"))
_COUNTED: Final = Locations("query", unnamed=("query", "number_of_top_scores"))
_PATHS: Final = {
    "submission_uuid": "In any usual form of a UUID.",
    "course_id": "Any text; escaped, or as it is.",
    "student_id": "Any text; escaped, or as it is.",
}

_OF_READS: Final = ("X-Log-Position", "ETag")
_OF_WRITES: Final = ("X-Log-Position", "Idempotent-Replayed")
_OF_CREATED: Final = (*_OF_WRITES, "Location")
_REFUSALS: Final = (400, 401, 403, 409, 413, 415, 422, 503, 504)


def _read(
    path: str, handler: Any, operation_id: str, summary: str, schema: Any, **more: Any
) -> Operation:
    parameters = (*more.pop("parameters", ()), MIN_POSITION, IF_NONE_MATCH)
    answer = more.pop("answer", Answers("The answer.", schema, headers=_OF_READS))
    return Operation(
        method="GET",
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        recorded_rights=True,
        summary=summary,
        parameters=parameters,
        path_descriptions=_PATHS,
        answers={
            200: answer,
            304: Answers("The answer at hand is the same.", headers=_OF_READS),
        },
        problems=(400, 401, 403, 503, *more.pop("problems", ())),
        **more,
    )


def _write(path: str, handler: Any, operation_id: str, summary: str, **more: Any) -> Operation:
    return Operation(
        method="POST",
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        recorded_rights=True,
        summary=summary,
        parameters=(IDEMPOTENCY_KEY, ON_BEHALF_OF),
        path_descriptions=_PATHS,
        problems=more.pop("problems", _REFUSALS),
        **more,
    )


_LARGE: Final = ("application/json", "application/x-ndjson")

OPERATIONS: Final = (
    _write(
        "/submissions/",
        submission_writes.create_submission,
        "createSubmission",
        "Hand in an answer.",
        body=schemas.NewSubmission,
        answers={201: Answers("The submission.", schemas.Submission, headers=_OF_CREATED)},
        locations=IN_STUDENT_ITEM,
    ),
    _write(
        "/submissions/{submission_uuid}/score/",
        submission_writes.set_score,
        "setScore",
        "Say what a submission is worth.",
        body=schemas.NewScore,
        answers={201: Answers("The score.", schemas.Score, headers=_OF_CREATED)},
        problems=(*_REFUSALS, 404),
        locations=_SCORED,
    ),
    _read(
        "/score/",
        submission_reads.get_score,
        "getScore",
        "The score of a student item that counts; null when there is none.",
        schemas.Score | None,
        parameters=(*STUDENT_ITEM, *PAST),
    ),
    _read(
        "/submissions/",
        submission_reads.get_submissions,
        "getSubmissions",
        "The submissions of one student for one item, the newest first.",
        list[schemas.Submission],
        parameters=(
            *STUDENT_ITEM,
            Parameter(
                "limit",
                "How many; 0 means all.",
                {"type": "integer", "minimum": 0, "maximum": schemas.MAX_INTEGER},
            ),
            *PAST,
        ),
    ),
    _read(
        "/submissions/{submission_uuid}/",
        submission_reads.get_submission,
        "getSubmission",
        "One submission.",
        schemas.Submission | schemas.SubmissionWithStudent,
        parameters=(
            Parameter(
                "include",
                "The whole student item instead of its id.",
                {"type": "string", "enum": ["student_item"]},
            ),
        ),
        problems=(404,),
        locations=_IN_PATH,
    ),
    _read(
        "/submissions/{submission_uuid}/score/",
        submission_reads.get_latest_score_for_submission,
        "getLatestScoreForSubmission",
        "The last score written for a submission; null when there is none.",
        schemas.Score | None,
        parameters=PAST,
        problems=(404,),
        locations=_IN_PATH,
    ),
    _read(
        "/items/submissions/",
        submission_reads.get_all_submissions,
        "getAllSubmissions",
        "The newest submission of each student for an item, by student id.",
        schemas.SubmissionPage,
        answer=Answers(
            "A page, or with Accept: application/x-ndjson the whole list, one entry a line.",
            schemas.SubmissionPage,
            _LARGE,
            _OF_READS,
        ),
        parameters=(COURSE_ID, ITEM_ID, ITEM_TYPE, *PAGES),
    ),
    _read(
        "/courses/{course_id:any}/submissions/",
        submission_reads.get_all_course_submission_information,
        "getAllCourseSubmissionInformation",
        "The submissions of a course for items of one type with their scores, newest first.",
        schemas.InformationPage,
        answer=Answers(
            "A page, or with Accept: application/x-ndjson the whole list, one entry a line.",
            schemas.InformationPage,
            _LARGE,
            _OF_READS,
        ),
        parameters=(ITEM_TYPE, *PAGES),
    ),
    _read(
        "/items/top/",
        submission_reads.get_top_submissions,
        "getTopSubmissions",
        "The best scored answers of an item.",
        list[schemas.TopEntry],
        parameters=(
            COURSE_ID,
            ITEM_ID,
            ITEM_TYPE,
            Parameter(
                "number_of_top_scores",
                "How many.",
                {"type": "integer", "minimum": 1, "maximum": 100},
                required=True,
            ),
            *PAST,
        ),
        locations=_COUNTED,
    ),
    Operation(
        method="POST",
        path=PREFIX + "/courses/{course_id:any}/student-ids/",
        handler=submission_reads.get_student_ids_by_submission_uuid,
        operation_id="getStudentIdsBySubmissionUuid",
        tag=TAG,
        recorded_rights=True,
        summary="Whose submissions these are; those of other courses are left out.",
        parameters=(MIN_POSITION,),
        path_descriptions=_PATHS,
        body=schemas.SubmissionUuids,
        answers={
            200: Answers(
                "Student ids by submission uuid.", dict[str, str], headers=("X-Log-Position",)
            )
        },
        problems=(400, 401, 403, 413, 415, 503),
        locations=_LISTED,
    ),
    _read(
        "/courses/{course_id:any}/students/{student_id:any}/scores/",
        submission_reads.get_scores,
        "getScores",
        "The scores of a student in a course that count, by item.",
        dict[str, schemas.UnannotatedScore],
        parameters=PAST,
    ),
    _write(
        "/score-resets/",
        submission_writes.reset_score,
        "resetScore",
        "Let the score of a student item count no longer.",
        body=schemas.NewReset,
        answers={204: Answers("Done; also when there was nothing to reset.", headers=_OF_WRITES)},
    ),
    _read(
        "/history/",
        submission_reads.get_history,
        "getHistory",
        "Every event of one student item, oldest first, with who, when and why.",
        list[schemas.HistoryEntry],
        parameters=(STUDENT_ID, COURSE_ID, ITEM_ID),
    ),
    _write(
        "/commands/",
        carry_out_commands,
        "carryOutCommands",
        "Many commands, one a line.",
        description=(
            "Each line is a command with an id of the caller's choice: create_submission,"
            " set_score (with submission_uuid) or reset_score, with the members of the request"
            " that carries it alone. The answer has one line for each, in the same order, with"
            " its own status; a bad line fails alone. Commands about the same student item are"
            " carried out in their order. With Idempotency-Key, key and number of a line stand"
            " for the line; idempotency_key in a line stands for that line."
        ),
        body=schemas.CommandLine,
        body_media_type="application/x-ndjson",
        answers={
            200: Answers("One result a line.", schemas.CommandResult, ("application/x-ndjson",))
        },
        problems=(400, 401, 403, 415, 503),
    ),
)
