"""Which addresses the cohort interface has, and what is said about them."""

from typing import Any, Final

from api.http import cohorts
from api.http import learner_schemas as schemas
from api.http.routing import Answers, Operation, Parameter
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION, ON_BEHALF_OF

PREFIX: Final = "/api/cohorts/v1"
TAG: Final = "cohorts"

_COURSE: Final = "/courses/{course_id:course}"
_COHORT: Final = _COURSE + "/cohorts/{cohort_id}"
_PATHS: Final = {
    "course_id": "Key of a course; escaped, or as it is.",
    "cohort_id": "Number of a cohort.",
    "username": "Of a registered user.",
}
_PAGE_SIZE: Final = Parameter(
    "page_size", "Entries of a page.", {"type": "integer", "minimum": 1, "maximum": 1000}
)
_OF_READS: Final = ("X-Log-Position", "ETag")
_OF_WRITES: Final = ("X-Log-Position",)
_REFUSALS: Final = {
    400: "The request was refused.",
    401: "There is no token that can be trusted.",
    403: "The caller is not of the staff of the course.",
    404: "There is no such thing.",
    409: "Others changed the same at the same time; send it again.",
    413: "The body is too large.",
    415: "The body has another format than this takes.",
    503: "This cannot be answered now; try again later.",
    504: "It is not known whether this was written.",
}


def _refused(*statuses: int) -> dict[int, Answers]:
    return {s: Answers(_REFUSALS[s], schemas.DeveloperRefusal) for s in statuses}


def _read(
    path: str,
    handler: Any,
    operation_id: str,
    summary: str,
    schema: Any,
    *parameters: Parameter,
    prefix: str = PREFIX,
) -> Operation:
    return Operation(
        method="GET",
        path=prefix + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        parameters=(*parameters, MIN_POSITION, IF_NONE_MATCH),
        path_descriptions=_PATHS,
        answers={
            200: Answers("The answer.", schema, headers=_OF_READS),
            304: Answers("The answer at hand is the same.", headers=_OF_READS),
            **_refused(400, 401, 403, 404, 503),
        },
        refusal=cohorts.refusal,
    )


def _write(
    method: str,
    path: str,
    handler: Any,
    operation_id: str,
    summary: str,
    schema: Any = None,
    **more: Any,
) -> Operation:
    done = Answers("What came of it.", schema, headers=_OF_WRITES)
    with_body = (413, 415) if "body" in more else ()
    return Operation(
        method=method,
        path=PREFIX + path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        parameters=(ON_BEHALF_OF,),
        path_descriptions=_PATHS,
        answers={
            (204 if schema is None else 200): done,
            **_refused(400, 401, 403, 404, 409, *with_body, 503, 504),
        },
        refusal=cohorts.refusal,
        **more,
    )


OPERATIONS: Final = (
    _read(
        "/settings/{course_id:course}/",
        cohorts.get_settings,
        "getCohortSettings",
        "Whether a course uses cohorts.",
        schemas.CohortSettings,
    ),
    _write(
        "PUT",
        "/settings/{course_id:course}/",
        cohorts.put_settings,
        "setCohortSettings",
        "Say whether a course uses cohorts.",
        schemas.CohortSettings,
        body=schemas.CohortSettings,
    ),
    _read(
        _COURSE + "/cohorts/",
        cohorts.get_cohorts_as_object,
        "listCohorts",
        "The cohorts of a course, where and as older front ends ask for them.",
        schemas.CohortList,
        prefix="",
    ),
    _read(
        _COURSE + "/cohorts/",
        cohorts.get_cohorts,
        "getCohorts",
        "The cohorts of a course: a list, or a page when page or page_size is given.",
        list[schemas.Cohort] | schemas.CohortPage,
        _PAGE_SIZE,
        Parameter("page", "Which page.", {"type": "integer", "minimum": 1}),
    ),
    _write(
        "POST",
        _COURSE + "/cohorts/",
        cohorts.create_cohort,
        "createCohort",
        "Give a course a cohort; one that is the same already is the answer.",
        schemas.Cohort,
        body=schemas.GivenCohort,
    ),
    _read(_COHORT + "/", cohorts.get_cohort, "getCohort", "One cohort.", schemas.Cohort),
    _write(
        "PATCH",
        _COHORT + "/",
        cohorts.change_cohort,
        "changeCohort",
        "Change what is given of a cohort.",
        body=schemas.CohortChanges,
    ),
    _read(
        _COHORT + "/users/",
        cohorts.get_members,
        "getCohortMembers",
        "Who is in a cohort, in the order of their names.",
        schemas.MemberPage,
        _PAGE_SIZE,
        Parameter("cursor", "From the address of the page before."),
    ),
    _write(
        "POST",
        _COHORT + "/users/",
        cohorts.add_members,
        "addCohortMembers",
        "Put users into a cohort, out of another one of the course.",
        schemas.MembersAdded,
        body=schemas.GivenMembers,
    ),
    _write(
        "POST",
        _COHORT + "/users/{username}/",
        cohorts.add_member,
        "addCohortMember",
        "Put one user into a cohort.",
        schemas.MembersAdded,
    ),
    _write(
        "DELETE",
        _COHORT + "/users/{username}/",
        cohorts.remove_member,
        "removeCohortMember",
        "Take a user out of a cohort.",
    ),
    _write(
        "POST",
        _COURSE + "/users/",
        cohorts.upload_members,
        "uploadCohortMembers",
        "Put users into cohorts by a file; for global staff and services.",
        description=(
            "CSV, at most 2,000,000 bytes, with the column cohort and username or email or both."
            " Rows that name no cohort of the course or no user are passed over."
        ),
        body=schemas.GivenFile,
        body_media_type="multipart/form-data",
    ),
)
