"""The routes of files of grades, and what is said about each."""

from collections.abc import Mapping
from typing import Any, Final

from api.http.bulk_grades import export, imports, results, schemas
from api.http.grades.errors import refusal
from api.http.grades.schemas import GradesError
from api.http.routing import Answers, Operation, Parameter
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION, ON_BEHALF_OF

TAG: Final = "grades"
COURSE: Final = "/api/bulk_grades/course/{course_id:course}/"

_NUMBER: Final = {"type": "number"}
_COHORT: Final = Parameter("cohort", "Members of the cohort of this name.")
_FILTERS: Final = (
    Parameter("assignment", "Only the columns of this subsection; escape a plus as %2B."),
    Parameter("assignmentType", "Only the columns of this assignment type."),
    Parameter(
        "assignmentGradeMin",
        "With assignment: at least this percentage of it; 0 is no bound.",
        _NUMBER,
    ),
    Parameter("assignmentGradeMax", "With assignment: at most this percentage of it.", _NUMBER),
    Parameter("courseGradeMin", "At least this percentage; 0 is no bound.", _NUMBER),
    Parameter("courseGradeMax", "At most this percentage; 0 is no bound.", _NUMBER),
)
_PATHS: Final = {"course_id": "A key of a course, escaped or as it is."}
_TEXTS: Final = {
    400: "A parameter or the form cannot be understood.",
    401: "There is no token that can be trusted.",
    403: "The caller is not of the course team, or grades are frozen.",
    404: "There is no such thing.",
    413: "The body is too large. Nothing was written.",
    415: "The body has another format than this takes.",
    500: "Something went wrong here; it was recorded under the id of the request.",
    503: "This cannot be answered now; try again later.",
}


def _refusals(*statuses: int) -> Mapping[int, Answers]:
    return {
        status: Answers(
            _TEXTS[status], GradesError, headers=("Retry-After",) if status == 503 else ()
        )
        for status in (400, 401, 403, 404, *statuses, 500, 503)
    }


def _file(path: str, handler: Any, operation_id: str, summary: str, **more: Any) -> Operation:
    return Operation(
        method="GET",
        path=path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        path_descriptions=_PATHS,
        answers={
            200: Answers("The file.", str, ("text/csv",), ("X-Log-Position",)),
            **_refusals(),
        },
        refusal=refusal,
        **more,
    )


def _history(path: str, operation_id: str, summary: str, **more: Any) -> Operation:
    of_reads = ("X-Log-Position", "ETag")
    return Operation(
        method="GET",
        path=path,
        handler=results.get_history,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        parameters=(MIN_POSITION, IF_NONE_MATCH),
        path_descriptions=_PATHS,
        answers={
            200: Answers("The uploads.", list[schemas.ImportEntry], headers=of_reads),
            304: Answers("The answer at hand is the same.", headers=of_reads),
            **_refusals(),
        },
        refusal=refusal,
        **more,
    )


OPERATIONS: Final = (
    _file(
        COURSE,
        export.export_grades,
        "exportGrades",
        "The grades of a course as CSV, to be filled in and uploaded again.",
        description=(
            "Active enrolments, and for each subsection five columns named by the first eight"
            " characters of its block id. Sent as it is read."
        ),
        parameters=(
            Parameter("error_id", "The rows of this upload instead, and what became of each."),
            Parameter("track", "Learners of this track."),
            _COHORT,
            Parameter(
                "excludedCourseRoles",
                "Nobody with this role on the course; all for any role. May be repeated.",
            ),
            *_FILTERS,
            MIN_POSITION,
        ),
    ),
    Operation(
        method="POST",
        path=COURSE,
        handler=imports.import_grades,
        operation_id="importGrades",
        tag=TAG,
        summary="Save the new overrides of a file of grades.",
        description=(
            "What stands in a column new_override replaces the graded points of the learner in"
            " the subsection. A file with any error is not saved at all. The answer comes when"
            " the gradebook shows what was saved; when that takes long, after spaces and without"
            " X-Log-Position."
        ),
        parameters=(ON_BEHALF_OF,),
        path_descriptions=_PATHS,
        body=schemas.GivenGrades,
        body_media_type="multipart/form-data",
        answers={
            200: Answers("What became of the file, errors included.", schemas.ImportOutcome),
            **_refusals(413, 415),
        },
        refusal=refusal,
    ),
    _history(COURSE + "history/", "getGradeImports", "The uploads to a course, the newest first."),
    _history(
        "/api/grades/v1/gradebook/{course_id:course}/bulk-updatehistory/",
        "getGradeImportsOfGradebook",
        "The same at the address where the shipped gradebook looks for it.",
    ),
    _file(
        COURSE + "intervention/",
        export.export_intervention,
        "exportIntervention",
        "The learners of the masters track with their grades as CSV.",
        description=(
            "Those who have left, too. What the peer asks of a service for analytics is 0 here."
        ),
        parameters=(_COHORT, *_FILTERS, MIN_POSITION),
    ),
)
