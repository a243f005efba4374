"""What a decision about an exam attempt needs: the course as it stands, and the learner in it."""

from dataclasses import dataclass
from typing import Final

from consumers.inbound.requests import Commands
from domain.errors import NotFoundError
from domain.grades.application import PROCTORING
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, read_policy
from domain.grades.regrading import CourseVersion
from domain.grades.structure import Viewer, read_structure
from domain.keys import BlockKey, parse_block_key, parse_course_key
from domain.learners.errors import UserNotFoundError
from projections.gradebook import queries
from projections.gradebook.inputs import is_course_staff, viewer_of
from projections.gradebook.rows import LearnerGradesRow

PROCTORED: Final = (PROCTORING, "")
"""The features whose overrides a verified attempt takes back."""


@dataclass(frozen=True, slots=True)
class Exam:
    """An exam, and the learner whose attempt it is about."""

    course: CourseVersion
    user_id: int
    usage_key: str
    viewer: Viewer
    may_be_undone: bool


class CourseNotFoundError(NotFoundError):
    """Nobody published the course yet."""


async def exam_of(
    commands: Commands,
    *,
    course_id: str,
    usage_key: str,
    username: str | None = None,
    user_id: int | None = None,
) -> Exam:
    """Look up course and learner as of everything that is in the log.

    Raises:
        InvalidKeyError: a text is no key.
        UserNotFoundError: nobody is called so, or is not in the course.
        CourseNotFoundError: there is no such course.
        UnavailableError: the read models are too far behind.
    """
    course_key, block = parse_course_key(course_id).without_branch, parse_block_key(usage_key)
    number = await commands.learners.find_user(username, user_id)
    course_id = str(course_key)
    ask = commands.reads.ask
    row = (await ask(queries.course_by_id(course_id), latest=True)).value
    if row is None or row.version is None:
        raise CourseNotFoundError(f"there is no course {course_id}")
    learner = (await ask(queries.learners_by_ids(course_id, [number]), latest=True)).value.get(
        number
    )
    if learner is None:
        raise UserNotFoundError(f"the user with the number {number} is not in {course_id}")
    structure = read_structure(row.blocks)
    policy = read_policy(
        DEFAULT_GRADERS if row.graders is None else row.graders,
        DEFAULT_CUTOFFS if row.cutoffs is None else row.cutoffs,
    )
    return Exam(
        CourseVersion(course_id, structure, policy, row.version, row.edited_at),
        number,
        str(BlockKey(block.course.without_branch, block.block_type, block.block_id)),
        await _viewer(commands, course_id, learner, uniform=structure.uniform),
        row.rejected_exam_overrides_grade,
    )


async def _viewer(
    commands: Commands, course_id: str, learner: LearnerGradesRow, *, uniform: bool
) -> Viewer:
    """Through whose eyes the learner sees the course: members of its team see all."""
    staff = False
    if not uniform:
        ask = commands.reads.ask
        team = (await ask(queries.course_team(course_id), latest=True)).value
        users = (await ask(queries.users_by_ids([learner.user_id]), latest=True)).value
        staff = any(u.user_id == learner.user_id and is_course_staff(r) for u, r in team) or any(
            user.is_staff for user in users.values()
        )
    return viewer_of(learner.mode, learner.partition_id, learner.group_id, is_staff=staff)
