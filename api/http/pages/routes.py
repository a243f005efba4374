"""The routes of the pages, and what is said about each."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.http.pages import assets, cell, courses, overriding, table
from api.http.pages.filters import BOUNDS, CURSOR, INCLUDE_STAFF, PAGE_SIZE, SHOW, TEXTS
from api.http.pages.refusals import PROBLEM_OR_PAGE, refusal
from api.http.routing import Answers, Operation, Parameter
from api.http.schemas import Problem

TAG: Final = "pages"
CELL: Final = "/gradebook/{course_id:course}/learners/{user_id}/{usage_key:any}/"

_HTML: Final = ("text/html",)
_EITHER: Final = str | Problem
_PATHS: Final = {
    "course_id": "A key of a course.",
    "user_id": "Number of a learner.",
    "usage_key": "Of a subsection of the course.",
}
_FILTERS: Final = (
    *(
        Parameter(name, "As in the grades interface; an empty one is not given.")
        for name in (*TEXTS, *BOUNDS)
    ),
    Parameter(INCLUDE_STAFF, "Anything: who has a role on the course is shown, too."),
    Parameter(SHOW, "points: points instead of percentages."),
    Parameter(PAGE_SIZE, "25, 50, 100 or 200.", {"type": "integer"}),
    Parameter(CURSOR, "From the address of the page before or after."),
)
_REFUSALS: Final = {
    400: "Something was not understood; the page says what.",
    403: "This is not allowed, or not with this token against forgery.",
    404: "There is no such course, learner or assignment.",
}


class OverrideForm(BaseModel):
    """What the form of a cell sends."""

    model_config = ConfigDict(extra="allow")

    points: str = Field("", max_length=1000, description="That count from now on.")
    reason: str = Field("", max_length=1000, description="Why; 300 characters at most.")
    seen: str = Field("", max_length=1000, description="Number of the last change on the page.")
    action: str = Field("", max_length=1000, description="remove: the override is taken away.")
    csrf_token: str = Field("", max_length=1000, description="As it stands in the page.")


def _operation(
    method: str, path: str, handler: Any, name: str, summary: str, **more: Any
) -> Operation:
    answers = {
        **more.pop("answers", {200: Answers("The page.", str, _HTML)}),
        302: Answers("Nobody is signed in: to where that is done."),
        401: Answers(
            "There is no token that can be trusted.",
            _EITHER,
            PROBLEM_OR_PAGE,
        ),
        **{status: Answers(text, _EITHER, PROBLEM_OR_PAGE) for status, text in _REFUSALS.items()},
        503: Answers("Not now.", _EITHER, PROBLEM_OR_PAGE, ("Retry-After",)),
    }
    return Operation(
        method=method,
        path=path,
        handler=handler,
        operation_id=name,
        tag=TAG,
        summary=summary,
        browser=True,
        path_descriptions=_PATHS,
        answers=answers,
        refusal=refusal,
        **more,
    )


OPERATIONS: Final = (
    _operation(
        "GET",
        "/gradebook/",
        courses.list_courses,
        "showCourses",
        "The courses whose gradebooks the reader may see.",
        parameters=(
            Parameter("search", "Part of name or key, in any case."),
            Parameter("after", "The key after which the list goes on."),
        ),
    ),
    _operation(
        "GET",
        CELL,
        cell.show_cell,
        "showCell",
        "One grade: what counts, its history, and the form that changes it.",
        parameters=(*_FILTERS, Parameter("saved", "Number of the change that was just made.")),
    ),
    _operation(
        "POST",
        CELL,
        overriding.change_cell,
        "changeCell",
        "Override a grade, or take the override away.",
        parameters=_FILTERS,
        body=OverrideForm,
        body_media_type="application/x-www-form-urlencoded",
        answers={
            303: Answers("Saved; to the page that shows it."),
            409: Answers("Changed since the page was loaded.", _EITHER, PROBLEM_OR_PAGE),
            413: Answers("The body is too large.", _EITHER, PROBLEM_OR_PAGE),
            415: Answers("No form.", _EITHER, PROBLEM_OR_PAGE, ("Accept-Post",)),
        },
        problems=(504,),
    ),
    _operation(
        "GET",
        "/gradebook/{course_id:course}/",
        table.show_gradebook,
        "showGradebook",
        "The gradebook of a course as a table.",
        parameters=_FILTERS,
    ),
    *assets.OPERATIONS,
)
