"""The routes of the grades interface, and what is said about each.

Source: Open edX LMS, ``/api/grades/v1/``.
"""

from collections.abc import Mapping
from typing import Any, Final

from api.http.grades import (
    breakdown,
    bulk_update,
    courses,
    gradebook,
    schemas,
    submission_history,
    subsections,
)
from api.http.grades.errors import refusal, refusal_where_none_provided
from api.http.routing import Answers, Operation, Parameter
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION, PAST

TAG: Final = "grades"
PREFIX: Final = "/api/grades/v1"

_INTEGER: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
_BOOLEAN: Final = {
    "type": "string",
    "enum": ["True", "true", "1", "False", "false", "0", ""],
    "default": "false",
}

PAGES: Final = (
    Parameter("page_size", "Entries of a page, 1999 at most.", _INTEGER | {"default": 50}),
    Parameter("cursor", "From the address of the page before or after."),
)
_USERNAME: Final = Parameter("username", "Only this learner, enrolled now or before.")
_ONE_OR_MANY: Final = "With username an array of one item, also of the past; else a page."
_FILTERS: Final = (
    Parameter("user_contains", "Part of user name, address or external key, in any case."),
    Parameter("username_contains", "Part of the user name, in any case."),
    Parameter("cohort_id", "Members of this cohort.", _INTEGER),
    Parameter("enrollment_mode", "Learners of this track."),
    Parameter(
        "excluded_course_roles",
        "Nobody with this role on the course; all for any role. May be repeated.",
    ),
    Parameter("assignment", "The subsection that the next two are about."),
    Parameter("assignment_grade_min", "At least this percentage, 0 to 100.", _NUMBER),
    Parameter("assignment_grade_max", "At most this percentage, 0 to 100.", _NUMBER),
    Parameter(
        "course_grade_min",
        "At least this percentage; at 0 learners without a grade are shown, too.",
        _NUMBER,
    ),
    Parameter("course_grade_max", "At most this percentage.", _NUMBER),
)
_PATHS: Final = {
    "course_id": "A key of a course, escaped or as it is.",
    "subsection_id": "A usage key, escaped or as it is.",
}
_OF_READS: Final = ("X-Log-Position", "ETag")
_TEXTS: Final = {
    400: "A parameter or the body cannot be understood.",
    401: "There is no token that can be trusted.",
    403: "This is not allowed to the caller, or is not enabled for the course.",
    404: "There is no such thing.",
    413: "The body is too large. Nothing was written.",
    415: "The body has another format than this takes.",
    429: "Too many requests of one user.",
    500: "Something went wrong here; it was recorded under the id of the request.",
    503: "This cannot be answered now; try again later.",
}
_WITH_RETRY: Final = (429, 503)


def _refusals(*statuses: int) -> Mapping[int, Answers]:
    """How an operation refuses: in the shape that clients of this interface read."""
    return {
        status: Answers(
            _TEXTS[status],
            schemas.GradesError,
            headers=("Retry-After",) if status in _WITH_RETRY else (),
        )
        for status in (400, 401, 403, 404, *statuses, 500, 503)
    }


def _read(
    path: str, handler: Any, operation_id: str, summary: str, schema: Any, **more: Any
) -> Operation:
    return Operation(
        method="GET",
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        parameters=(*more.pop("parameters", ()), MIN_POSITION, IF_NONE_MATCH),
        path_descriptions=_PATHS,
        answers={
            200: Answers("The answer.", schema, headers=_OF_READS),
            304: Answers("The answer at hand is the same.", headers=_OF_READS),
            **_refusals(*more.pop("refusals", ())),
        },
        refusal=more.pop("refusal", refusal),
        **more,
    )


OPERATIONS: Final = (
    _read(
        "/courses/",
        courses.get_grades,
        "getGrades",
        "Course grades, with the course in the query.",
        list[schemas.CourseGrade] | schemas.CourseGradePage,
        parameters=(Parameter("course_id", "Escape a plus as %2B."), _USERNAME, *PAST, *PAGES),
        description=_ONE_OR_MANY,
    ),
    _read(
        "/courses/{course_id:course}/",
        courses.get_course_grades,
        "getCourseGrades",
        "Course grades: of everybody for global staff, of a learner for himself.",
        list[schemas.CourseGrade] | schemas.CourseGradePage,
        parameters=(_USERNAME, *PAST, *PAGES),
        description=_ONE_OR_MANY,
    ),
    _read(
        "/policy/courses/{course_id:course}/",
        courses.get_grading_policy,
        "getGradingPolicy",
        "The assignment types of a course.",
        list[schemas.GraderPolicy],
    ),
    _read(
        "/gradebook/{course_id:course}/",
        gradebook.get_gradebook,
        "getGradebook",
        "Learners with what they have in each graded subsection.",
        schemas.GradebookEntry | schemas.GradebookPage,
        parameters=(_USERNAME, *_FILTERS, *PAGES),
        description="With username one entry, else a page.",
    ),
    Operation(
        method="POST",
        path=f"{PREFIX}/gradebook/{{course_id:course}}/bulk-update",
        handler=bulk_update.bulk_update_gradebook,
        operation_id="bulkUpdateGradebook",
        tag=TAG,
        summary="Override what learners have in subsections.",
        description=(
            "Items about the same cell are carried out in their order. The answer comes when"
            " the gradebook shows what was written."
        ),
        path_descriptions=_PATHS,
        body=schemas.RequestedOverrides,
        answers={
            202: Answers(
                "All of it was done.", list[schemas.OverrideOutcome], headers=("X-Log-Position",)
            ),
            422: Answers(
                "Some of it was not done; the rest was and stays.",
                list[schemas.OverrideOutcome],
                headers=("X-Log-Position",),
            ),
            **_refusals(413, 415),
        },
        refusal=refusal,
    ),
    _read(
        "/gradebook/{course_id:course}/grading-info",
        gradebook.get_grading_info,
        "getGradingInfo",
        "Assignment types, cut-offs and subsections of a course.",
        schemas.GradingInfo,
        parameters=(
            Parameter("graded_only", "Only graded subsections.", _BOOLEAN),
            Parameter("all", "Changes nothing.", _BOOLEAN),
        ),
        refusal=refusal_where_none_provided,
    ),
    _read(
        "/subsection/{subsection_id:any}/",
        subsections.get_subsection_grade,
        "getSubsectionGrade",
        "One learner's grade in one subsection, with the history of its override.",
        schemas.SubsectionGrade,
        parameters=(
            Parameter("user_id", "Whose.", _INTEGER, required=True),
            Parameter("history_record_limit", "The newest so many changes.", _INTEGER),
        ),
    ),
    _read(
        "/section_grades_breakdown/",
        breakdown.get_section_grades_breakdown,
        "getSectionGradesBreakdown",
        "The entries and averages that make up course grades.",
        schemas.LearnerBreakdownPage,
        parameters=(
            Parameter("course_id", "Of this course only. Escape a plus as %2B."),
            Parameter("course_key", "The same; wins over course_id."),
            Parameter("username", "Of these learners only: up to 100, with commas between."),
            *PAGES,
        ),
    ),
    _read(
        "/submission_history/{course_id:any}/",
        submission_history.get_submission_history,
        "getSubmissionHistory",
        "Every saved state of the problems of a course.",
        schemas.LearnerHistoryPage,
        parameters=(Parameter("username", "Of this learner only."), *PAGES),
        refusals=(429,),
    ),
)
