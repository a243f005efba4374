"""How far the grades of a course are calculated anew after its policy or outline changed."""

from typing import Final

from pydantic import Field
from starlette.responses import Response

from api.backend import Recalculation
from api.http.calls import Call
from api.http.course_reads import course_key
from api.http.grades.access import standing
from api.http.grades.permissions import has_staff_access
from api.http.learner_access import WRITE_COURSES
from api.http.problems import Problem
from api.http.responses import dumps
from api.http.routing import Answers, Operation
from api.http.schemas import Closed, Moment
from api.rendering import Result
from domain.errors import ForbiddenError


class RecalculationProgress(Closed):
    """The last time that all learners of a course were graded anew."""

    course_id: str
    position: int = Field(description="Of the event that made it necessary.")
    reason: str = Field(description="policy or outline")
    total: int = Field(description="Learners to be graded.")
    done: int = Field(description="Those who are.")
    changed: int = Field(description="Those who have other grades now.")
    fraction: float = Field(description="Done of all, 0 to 1.")
    seconds_left: float | None = Field(
        description="At the rate so far; null before there is one, 0 when it is finished."
    )
    requested_at: Moment
    started_at: Moment | None
    updated_at: Moment
    finished_at: Moment | None
    error: str | None = Field(description="Why it cannot go on now; it is tried again.")


async def get_recalculation(call: Call) -> Response:
    """How far the last recalculation of a course is."""
    key = course_key(call)
    found = await standing(call, str(key))
    if not (
        has_staff_access(call.caller, found.rights, key)
        or (WRITE_COURSES in call.caller.scopes and call.caller.may(WRITE_COURSES, str(key)))
    ):
        raise ForbiddenError("this takes staff of the course")
    progress = await call.backend.grading.recalculation(str(key))
    if progress is None:
        raise Problem(404, "NotFoundError", "the grades of this course never were recalculated")
    headers = {"Cache-Control": "no-store"}  # it moves without any event of the course
    return Response(dumps(render(progress)), headers=headers, media_type="application/json")


def render(progress: Recalculation) -> Result:
    """A recalculation with how much of it is done and how long the rest will take."""
    return {
        "course_id": progress.course_id,
        "position": progress.position,
        "reason": progress.reason,
        "total": progress.total,
        "done": progress.done,
        "changed": progress.changed,
        "fraction": progress.fraction,
        "seconds_left": progress.seconds_left,
        "requested_at": progress.requested_at,
        "started_at": progress.started_at,
        "updated_at": progress.updated_at,
        "finished_at": progress.finished_at,
        "error": progress.error,
    }


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/courses/v1/courses/{course_id:course}/recalculation/",
        handler=get_recalculation,
        operation_id="getRecalculation",
        tag="courses",
        summary="How far the grades of a course are calculated anew.",
        description="After its grading policy or outline changed. For staff of the course.",
        path_descriptions={"course_id": "Key of a course; escaped, or as it is."},
        answers={200: Answers("The last recalculation.", RecalculationProgress)},
        problems=(400, 401, 403, 404, 503),
    ),
)
