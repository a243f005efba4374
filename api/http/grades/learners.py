"""The learners of a course: who is meant, and what each of them can see."""

from collections.abc import Sequence
from typing import Final

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.content import CourseContent
from api.http.reading import ask
from domain.grades.structure import Viewer
from projections.gradebook import queries
from projections.gradebook.inputs import is_course_staff, viewer_of
from projections.gradebook.rows import LearnerGradesRow
from projections.read_model import Answer

MASTERS: Final = "masters"
"""The enrolment mode whose learners course teams may contact outside of the platform."""


async def learner_called(call: Call, course_id: str, username: str) -> Answer[LearnerGradesRow]:
    """One learner, enrolled now or before.

    Raises:
        ApiError: 404: nobody is called so, or he never was in the course.
    """
    found = await ask(call, queries.learner_by_username(course_id, username))
    if found.value is not None:
        return Answer(found.value, found.position)
    user = await ask(call, queries.user_by_username(username))
    raise errors.user_does_not_exist() if user.value is None else errors.user_not_enrolled()


# --- what they can see ------------------------------------------------------------------------


async def viewers(
    call: Call, content: CourseContent, rows: Sequence[LearnerGradesRow]
) -> dict[int, Viewer]:
    """Through whose eyes learners see their course, by user id: members of its team see all."""
    if not rows:
        return {}
    staff: set[int] = set()
    if not content.structure.uniform:
        team = await ask(call, queries.course_team(content.course_id))
        users = await ask(call, queries.users_by_ids([row.user_id for row in rows]))
        staff = {user.user_id for user, roles in team.value if is_course_staff(roles)}
        staff |= {user_id for user_id, user in users.value.items() if user.is_staff}
    return {
        row.user_id: viewer_of(
            row.mode, row.partition_id, row.group_id, is_staff=row.user_id in staff
        )
        for row in rows
    }
